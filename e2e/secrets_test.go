package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// What stands in URLs as user, password or query, such as a token from the environment, is in no log, answer, metric or
// explanation, whatever fails.
func TestSecretsInURLsAreShownNowhere(t *testing.T) {
	const secret = "s3cr3t-t0k3n"
	t.Setenv("EK_TOKEN", secret)
	t.Setenv("EK_HOST", "127.0.0.1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	dead := freeport.Address(t)
	m := startFixedMaster(t, "pools: {web: {dispatch: true, health: {http: '/gone?token=${EK_TOKEN}', interval: 100ms, fall: 2}}}")
	_, proof := issue(t, m.certs, "agent", "r1")
	agent := start(t, append([]string{"agent", "--config", file(t, fmt.Sprintf(`agent:
  pool: web
  id: r1
  masters: [%q]
  address: "${EK_HOST}:%s"
  admin: 127.0.0.1:0
  sample: false
  hook: "http://user:${EK_TOKEN}@%s/hook?token=${EK_TOKEN}"
  health: { http: "/healthz?token=${EK_TOKEN}", interval: 100ms }
  prometheus: { url: "http://${EK_TOKEN}@%s/metrics?token=${EK_TOKEN}", interval: 100ms, metrics: [{ name: queue, selector: q }] }
  orca: { url: "http://user:${EK_TOKEN}@${EK_HOST}:%s/orca?token=${EK_TOKEN}", interval: 100ms }
`, m.wire, port, dead, dead, port))}, proof...)...)
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 127.0.0.1:0, listeners: [{listen: 127.0.0.1:0, routes: [{pool: web}]}]}\n", m.wire))
	edge := start(t, append([]string{"edge", "--config", name, "--log-level", "debug"}, m.proofs(t, "e1")...)...)

	told := make(map[string]string)
	eventually(t, func() (bool, string) { // all that can fail has failed
		get(t, "http://"+edge.Addr("listen")+"/")
		told["the refusal"] = string(do(t, "POST", "http://"+m.admin+"/v1/pools/web/pick", struct{}{}).body)
		told["the pool"] = string(get(t, "http://"+m.admin+"/v1/pools/web").body)
		told["the agent's log"] = agent.Log()
		all := strings.Contains(told["the refusal"], "/hook?…") && strings.Contains(told["the pool"], "/gone?…") &&
			strings.Contains(told["the agent's log"], "/metrics?…") && strings.Contains(told["the agent's log"], "/orca?…")
		return all, fmt.Sprint(told)
	})
	told["the master's log"], told["the edge's log"] = m.Log(), edge.Log()
	for _, of := range []string{m.admin, agent.Addr("admin"), edge.Addr("admin")} {
		told["metrics of "+of] = string(get(t, "http://"+of+"/metrics").body)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"explain", "--server", "r1"}, {"explain", "--pool", "web"}} {
		out, _ := exec.Command(binary, append(args, "--admin", "http://"+m.admin)...).CombinedOutput()
		told[strings.Join(args, " ")] = string(out)
	}
	for where, text := range told {
		if strings.Contains(text, secret) {
			t.Errorf("%s has the secret:\n%s", where, text)
		}
	}
	if !strings.Contains(told["the pool"], "127.0.0.1:"+port) {
		t.Errorf("the API does not show the address that is dialled:\n%s", told["the pool"])
	}
}
