// Command real compares edges with agents, edges without, HAProxy (leastconn) and nginx (least_conn), in front of five real services with
// CPU quotas that do real work.
//
// The services (services.go) are a few lines each in front of programs that burn CPU: a page of a
// PDF is drawn, a database asked, a picture made small, a film transcoded, a text packed. Each runs in
// a control group with a quota of its own, .15 to .4 CPUs, so two cores have room for edges, master and
// the sender. What a job costs at each service is measured first, and requests come at 63 % of what all
// services together can do, open loop, as a Poisson process that is the same for all contenders.
//
// The contenders take turns in front of the same services, two edges each. Edges, master and agents have
// certificates, and every setting is the default. Each answer must carry its request's id and the very
// bytes that the job makes.
//
// After the calm runs comes a run with trouble (trouble.go). It prints tables, writes build/bench/real.json and
// needs root, since it makes control groups.
package main
