package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// outage is what the master says of a server that gets nothing, or less.
type outage struct {
	Reason string  `json:"reason"`
	SinceS float64 `json:"since_s"`
	By     string  `json:"by"`
	What   string  `json:"what"`
	Error  string  `json:"error"`
	Next   string  `json:"next"`
}

// outages returns the first reason of each server of the first pool that is out.
func outages(t testing.TB, m *fixedMaster) map[string]outage {
	t.Helper()
	var status struct {
		Pools []struct {
			Servers []struct {
				ID      string
				Outages []outage
			}
		}
	}
	get(t, "http://"+m.admin+"/v1/status").into(t, &status)
	first := make(map[string]outage)
	for _, s := range status.Pools[0].Servers {
		if len(s.Outages) > 0 {
			first[s.ID] = s.Outages[0]
		}
	}
	return first
}

// evenkeel runs a command against a master and returns what it prints and its exit code.
func (m *fixedMaster) evenkeel(args ...string) (said string, code int) {
	m.t.Helper()
	cmd := exec.Command(binary, append(args, "--admin", m.admin)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// An operator learns of a server that is killed, of one that is drained, and of one that answers
// 404 where the others do not: which, why, by whose word, since when, and when it is tried next.
func TestWhoIsOutIsTold(t *testing.T) {
	t.Parallel() // most of it is waiting
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Evenkeel-Server", "wrong")
		http.Error(w, "no such deployment", http.StatusNotFound)
	}))
	t.Cleanup(wrong.Close)
	all, entries := servers(t, 4, 16)
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: wrong, address: %q, slots: 16}, %s}}", strings.TrimPrefix(wrong.URL, "http://"), entries[1:]))
	e := edgeAt(t, m, "e1", "web")
	r := startTraffic(t, rate(150, 500), work, e)
	await := func(id string, is func(o outage) bool) {
		t.Helper()
		eventually(t, func() (bool, string) {
			o, out := outages(t, m)[id]
			return out && is(o), fmt.Sprintf("of %s is told %+v", id, o)
		})
	}
	await("wrong", func(o outage) bool {
		return o.Reason == "ejected" && o.By == "edge e1" && o.What == "it answers client errors where the others do not" && o.Error == "HTTP status 404" && o.Next != ""
	})
	all[0].Kill()
	await("s1", func(o outage) bool {
		return o.Reason == "unreachable" && o.By == "edge e1" && strings.Contains(o.Error, "refused") && o.SinceS > 0 && o.Next != ""
	})
	do(t, "POST", "http://"+m.admin+"/v1/pools/web/servers/s2/drain", nil)
	await("s2", func(o outage) bool {
		return o.Reason == "draining" && o.By == "an operator" && o.Next == "until it is undrained"
	})
	await("s1", func(o outage) bool { return o.SinceS > 3 && o.Reason == "unreachable" }) // failed tries do not restart it

	var said string
	var code int
	eventually(t, func() (bool, string) { // wrong is back for a moment when its time is over
		said, code = m.evenkeel("status")
		for _, want := range []string{`(?m)^  s1 +unreachable [0-9]+s `, `(?m)^  s2 +draining [0-9]+s `, `(?m)^  s3 +up `, `(?m)^server s1 of pool web: unreachable since .* ago by edge e1: .* last error: .*refused.*; tried next `, `(?m)^server wrong of pool web: ejected since `} {
			if !regexp.MustCompile(want).MatchString(said) {
				return false, fmt.Sprintf("evenkeel status does not say %s:\n%s", want, said)
			}
		}
		return true, ""
	})
	if n := strings.Count(said, "unreachable since"); n != 1 {
		t.Errorf("evenkeel status tells %d times that s1 is unreachable, want once:\n%s", n, said)
	}
	if code != 3 {
		t.Errorf("evenkeel status: exit code %d, want 3, as something is wrong", code)
	}
	for id, want := range map[string]string{"s1": "unreachable from every edge", "s2": "draining", "wrong": "ejected"} {
		said, code := m.evenkeel("explain", "--server", id)
		if !regexp.MustCompile(`^server `+id+` of pool web is .*, and got [0-9]+ of the [0-9]+ picks of the last `).MatchString(said) || code != 0 ||
			!regexp.MustCompile(`(?m)^ *[0-9]+ +`+want+`$`).MatchString(said) {
			t.Errorf("evenkeel explain --server %s: exit code %d\n%s", id, code, said)
		}
	}
	if text := string(get(t, "http://"+m.admin+"/metrics").body); !strings.Contains(text, `evenkeel_server_out{pool="web",server="s2",reason="draining"} 1`) {
		t.Error("the metrics do not say that s2 is draining")
	}
	do(t, "POST", "http://"+m.admin+"/v1/pools/web/servers/s2/undrain", nil)
	eventually(t, func() (bool, string) {
		log := m.Log()
		return strings.Contains(log, `"msg":"server is back in","pool":"web","server":"s2","was":"draining"`), "s2 is not told to be back"
	})
	r.stop()
	for id, reason := range map[string]string{"s1": "unreachable", "s2": "draining", "wrong": "ejected"} {
		want := fmt.Sprintf(`"msg":"server is out","pool":"web","server":%q,"reason":%q`, id, reason)
		if n := strings.Count(m.Log(), want); n != 1 && (n == 0 || id != "wrong") { // wrong is tried again after ten seconds, if this takes so long
			t.Errorf("%d lines %s in the master's log, want 1", n, want)
		}
	}
}

// With all servers dead, explain says that, and that all are tried.
func TestAllDeadIsTold(t *testing.T) {
	t.Parallel()
	all, entries := servers(t, 2, 4)
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e := edgeAt(t, m, "e1", "web")
	get(t, "http://"+e.Addr("listen")+"/")
	for _, s := range all {
		s.Kill()
	}
	eventually(t, func() (bool, string) {
		get(t, "http://"+e.Addr("listen")+"/")
		said, _ := m.evenkeel("explain", "--pool", "web")
		return strings.Contains(said, "all servers that could take it are out, so all are tried") && strings.Contains(said, "s2: unreachable since"), said
	})
	if said, _ := m.evenkeel("status"); !strings.Contains(said, "pool web has no server that is up") {
		t.Errorf("evenkeel status does not say that none is up:\n%s", said)
	}
}

// The id that a client has from the response finds the decision; the lease stays between edge and server,
// also where the server answers with all that it was sent.
func TestARequestsIDExplainsIt(t *testing.T) {
	t.Parallel()
	parrot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			w.Header()[name] = values
		}
		_, _ = io.WriteString(w, r.Header.Get("Evenkeel-Lease"))
	}))
	t.Cleanup(parrot.Close)
	m := startFixedMaster(t, fmt.Sprintf("pools: {web: {servers: [{id: parrot, address: %q}]}}", strings.TrimPrefix(parrot.URL, "http://")))
	e := edgeAt(t, m, "e1", "web")
	for _, own := range []string{"", "trace/of:mine"} {
		var header []string
		if own != "" {
			header = []string{"X-Request-Id", own}
		}
		a := get(t, "http://"+e.Addr("listen")+"/", header...)
		id, lease := a.Header.Get("X-Request-Id"), string(a.body)
		if own != "" && id != own || id == "" || len(lease) != 16 {
			t.Fatalf("got id %q and lease %q, want %q", id, lease, own)
		}
		if a.Header.Get("Evenkeel-Lease") != "" || a.Header.Get("Evenkeel-Fence") != "" {
			t.Errorf("the client was told the lease: %v", a.Header)
		}
		said, code := m.evenkeel("explain", id)
		if want := fmt.Sprintf("request %s went to parrot because it was the only server\npool web; lease %s, ", id, lease); code != 0 || !strings.HasPrefix(said, want) {
			t.Errorf("evenkeel explain %s: exit code %d\n%s\nwant it to begin with %q", id, code, said, want)
		}
	}
}
