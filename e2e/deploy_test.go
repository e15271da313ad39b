package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

const (
	alertsFile = "../deploy/prometheus/alerts.yaml"
	alertsTest = "../deploy/prometheus/alerts_test.yaml"
	boardFile  = "../deploy/grafana/evenkeel.json"
)

// promtool runs it, and returns what it prints.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(peer(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// rule is an alert.
type rule struct {
	Alert       string
	Expr        string
	Annotations map[string]string
}

// alerts reads those of deploy.
func alerts(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	text, err := os.ReadFile(alertsFile)
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// boardQueries returns the queries of the board, with its variables replaced, by the titles of their panels.
func boardQueries(t *testing.T) map[string][]string {
	t.Helper()
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	text, err := os.ReadFile(boardFile)
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$pool", ".*")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := variables.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: %s has a variable that the board has not", p.Title, target.Expr)
			}
			all[fmt.Sprintf("%d %s", p.ID, p.Title)] = append(all[fmt.Sprintf("%d %s", p.ID, p.Title)], expr)
		}
	}
	for _, v := range board.Templating.List {
		if query := regexp.MustCompile(`^label_values\((\w+), \w+\)$`).FindStringSubmatch(v.Definition); v.Type == "query" && query != nil {
			all["variable "+v.Name] = []string{query[1]}
		} else if v.Type == "query" {
			t.Errorf("variable %s: %q is not understood", v.Name, v.Definition)
		}
	}
	return all
}

// The alerts and the queries of the board are what Prometheus understands, and each alert fires when it should and only then, as its test
// in deploy says.
func TestAlertsAndBoardByPromtool(t *testing.T) {
	promtool(t, "check", "rules", alertsFile)
	promtool(t, "test", "rules", alertsTest)
	tests, err := os.ReadFile(alertsTest)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n") {
			t.Errorf("%s has no test", r.Alert)
		}
		if !strings.Contains(string(page), "| `"+r.Alert+"` |") {
			t.Errorf("deploy/README.md does not say what to do about %s", r.Alert)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
	}
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var records []record
	queries := boardQueries(t)
	for _, panel := range slices.Sorted(maps.Keys(queries)) {
		for _, expr := range queries[panel] {
			records = append(records, record{fmt.Sprintf("panel:%d", len(records)), expr})
		}
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "board", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "board.yaml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", name)
}

var (
	metricName   = regexp.MustCompile(`\b(?:evenkeel|process|go)_[a-z0-9_]+`)
	selector     = regexp.MustCompile(`\b((?:evenkeel|process|go)_[a-z0-9_]+)\{([^}]*)\}`)
	matcherLabel = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	sampleLine   = regexp.MustCompile(`(?m)^([a-z0-9_]+)(\{.*\})? [^ \n]+$`)
	groupLabels  = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// Every metric that an alert or a panel names is one that a master, an edge or an agent serves, with the labels by which it is selected.
func TestQueriedMetricsExist(t *testing.T) {
	certs := t.TempDir()
	run(t, "certs", "init", "--dir", certs)
	tls, _ := issue(t, certs, "master", "m1")
	servers := []string{freeport.Address(t), freeport.Address(t)}
	for i, address := range servers {
		start(t, "sample-server", "--listen", address, "--id", fmt.Sprint("s", i+1))
	}
	m := master{start(t, "master", "--config", file(t, fmt.Sprintf("master: {id: m1%s}\npools: {web: {share: {kind=canary: 10%%}, servers: [{id: s1, address: %q}, {id: s2, address: %q, labels: {kind: canary}}, {id: s3, address: %q}]}}",
		tls, servers[0], servers[1], freeport.Address(t))), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"), certs}
	tls, _ = issue(t, certs, "edge", "e1")
	edge := start(t, "edge", "--config", file(t, fmt.Sprintf("edge: {id: e1%s, masters: [%q], listeners: [{listen: %q, h2c: true, routes: [{pool: web, class: 'header:X-Class', tenant: 'header:X-Tenant'}]}]}", tls, m.Addr("listen"), freeport.Address(t))),
		"--admin", "127.0.0.1:0")
	sample := startServer(t, "s4")
	agent := startAgent(t, m, "web", "s4", sample)
	if a := do(t, "POST", m.url("/v1/pools/web/servers/s3/drain"), nil); a.StatusCode >= 300 {
		t.Fatalf("drain: %s %s", a.Status, a.body)
	}
	url := "http://" + edge.Addr("listen") + "/"
	eventually(t, func() (bool, string) {
		a := get(t, url, "X-Class", "batch", "X-Tenant", "acme")
		return a.StatusCode == 200, a.Status
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 2 * time.Minute}).Post(url, "application/grpc", strings.NewReader("")) // whatever comes of it is counted
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	queries := boardQueries(t)
	for _, r := range alerts(t) {
		queries[r.Alert] = []string{r.Expr}
	}
	var missing []string
	eventually(t, func() (bool, string) { // a report of the agent is there
		labels := map[string]map[string]bool{}
		for _, address := range []string{m.Addr("admin"), edge.Addr("admin"), agent.Addr("admin")} {
			for _, line := range sampleLine.FindAllStringSubmatch(string(get(t, "http://"+address+"/metrics").body), -1) {
				if labels[line[1]] == nil {
					labels[line[1]] = map[string]bool{"instance": true, "job": true}
				}
				for _, l := range matcherLabel.FindAllStringSubmatch(line[2], -1) {
					labels[line[1]][l[1]] = true
				}
			}
		}
		missing = nil
		for _, name := range slices.Sorted(maps.Keys(queries)) {
			for _, query := range queries[name] {
				missing = append(missing, missingIn(name, query, labels)...)
			}
		}
		return len(missing) == 0, strings.Join(missing, "\n")
	})
}

// missingIn returns what a query names that is not served: metrics, labels of selectors, and labels of groups that no metric of the query has.
func missingIn(name, query string, labels map[string]map[string]bool) (missing []string) {
	any := map[string]bool{}
	for _, metric := range metricName.FindAllString(query, -1) {
		if labels[metric] == nil {
			missing = append(missing, fmt.Sprintf("%s: no process serves %s", name, metric))
		}
		maps.Copy(any, labels[metric])
	}
	for _, s := range selector.FindAllStringSubmatch(query, -1) {
		for _, l := range matcherLabel.FindAllStringSubmatch(s[2], -1) {
			if labels[s[1]] != nil && !labels[s[1]][l[1]] {
				missing = append(missing, fmt.Sprintf("%s: %s has no label %s", name, s[1], l[1]))
			}
		}
	}
	for _, group := range groupLabels.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); !any[label] {
				missing = append(missing, fmt.Sprintf("%s: no metric of the query has the label %s", name, label))
			}
		}
	}
	return missing
}

// A metric, a label of a selector and a label of a group that are not served are found.
func TestMissingMetricsAreFound(t *testing.T) {
	served := map[string]map[string]bool{"evenkeel_a_total": {"pool": true, "code": true}, "evenkeel_b": {"pool": true}}
	for query, want := range map[string]int{
		`sum by (pool) (rate(evenkeel_a_total{code=~"5.."}[5m])) / on (pool) evenkeel_b > 0`: 0,
		`evenkeel_c > 0`: 1, `evenkeel_b{code="1"} > 0`: 1, `sum by (server) (evenkeel_b)`: 1, `max by (le) (evenkeel_a_bucket{x!="1"})`: 2,
	} {
		if got := missingIn("x", query, served); len(got) != want {
			t.Errorf("%s: %q, want %d", query, got, want)
		}
	}
}
