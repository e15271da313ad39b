package flight

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func yes() bool { return true }
func no() bool  { return false }

func grant(lease balance.LeaseID, server balance.ServerID) *balance.Grant {
	return &balance.Grant{Lease: lease, Server: server, Address: "127.0.0.1:1", Public: "http://public.example"}
}

// reply is that of a response without fields.
func reply(status int) *Reply {
	r := new(Reply)
	r.Head(status, false, func(string) string { return "" })
	return r
}

func TestOneLink(t *testing.T) {
	for _, c := range []struct {
		status int
		want   balance.Result
	}{{200, balance.OK}, {101, balance.OK}, {404, balance.ClientError}, {429, balance.Full}, {500, balance.Fault}, {503, balance.Fault}} {
		f, step := New(Facts{Method: "POST"}, Limits{})
		if step.Do != Ask || len(step.Exclude) != 0 {
			t.Fatalf("first step %+v, want to ask without exclusions", step)
		}
		if step = f.Granted(100, grant(7, "a")); step.Do != Link || step.Grant.Server != "a" || step.Done.Lease != 0 {
			t.Fatalf("granted: %+v, want a link to a", step)
		}
		want := Step{Do: End, Done: Done{7, balance.Outcome{Result: c.want, Duration: 50, Status: c.status}}}
		if got := f.Finished(150, reply(c.status)); got.Do != want.Do || got.Done != want.Done {
			t.Errorf("status %d: %+v, want %+v", c.status, got, want)
		}
		if !f.Over() {
			t.Errorf("status %d: not over", c.status)
		}
	}
}

func TestFailure(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		why    Failure
		budget func() bool
		want   Do
		status int
		reason string
		result balance.Result
	}{
		{"no connection", "POST", Failure{Unreachable: true}, yes, Ask, 0, "", balance.Unreachable},
		{"no connection, no budget", "POST", Failure{Unreachable: true}, no, Respond, 502, ReasonUnreachable, balance.Unreachable},
		{"no connection, body spent", "POST", Failure{Unreachable: true, Spent: true}, yes, Respond, 502, ReasonUnreachable, balance.Unreachable},
		{"nothing sent", "POST", Failure{}, yes, Ask, 0, "", balance.Broken},
		{"sent, idempotent", "GET", Failure{Sent: true}, yes, Ask, 0, "", balance.Broken},
		{"sent, idempotent, body spent", "PUT", Failure{Sent: true, Spent: true}, yes, Respond, 502, ReasonBroken, balance.Broken},
		{"sent, not idempotent", "POST", Failure{Sent: true}, yes, Respond, 502, ReasonBroken, balance.Broken},
		{"sent, method of another case", "get", Failure{Sent: true}, yes, Respond, 502, ReasonBroken, balance.Broken},
		{"response begun", "GET", Failure{Sent: true, Begun: true}, yes, Abort, 0, "", balance.Broken},
		{"late", "GET", Failure{Sent: true, Late: true}, yes, Respond, 504, ReasonTimeout, balance.Broken},
		{"ours", "GET", Failure{Ours: true}, yes, Respond, 503, ReasonEdge, balance.Canceled},
		{"not taken, body spent", "POST", Failure{NotTaken: true, Spent: true}, yes, Respond, 502, ReasonNotTaken, balance.Canceled},
		{"sent away, body spent", "GET", Failure{NotTaken: true, Kept: true, Spent: true}, yes, Respond, 502, ReasonNotTaken, balance.Canceled},
	} {
		f, _ := New(Facts{Method: c.method}, Limits{})
		f.Granted(0, grant(7, "a"))
		got := f.Failed(5, c.why, c.budget)
		if got.Do != c.want || got.Answer.Status != c.status || got.Answer.Reason != c.reason {
			t.Errorf("%s: %v %+v, want %v %d %q", c.name, got.Do, got.Answer, c.want, c.status, c.reason)
		}
		if want := (Done{7, balance.Outcome{Result: c.result, Duration: 5}}); got.Done != want {
			t.Errorf("%s: done %+v, want %+v", c.name, got.Done, want)
		}
		if got.Do == Ask && !slices.Equal(got.Exclude, []balance.ServerID{"a"}) {
			t.Errorf("%s: excludes %v, want a", c.name, got.Exclude)
		}
	}
}

// A kept connection that closes costs neither an attempt nor the server's good name, once.
func TestKeptConnectionsAreTriedAgainOnce(t *testing.T) {
	closed := Failure{Sent: true, Kept: true}
	f, _ := New(Facts{Method: "GET"}, Limits{Attempts: 1})
	f.Granted(0, grant(7, "a"))
	if got := f.Failed(5, closed, no); got.Do != Link || got.Grant.Server != "a" || got.Done.Lease != 0 {
		t.Errorf("%+v, want the same link again and no lease given back", got)
	}
	if got := f.Failed(6, closed, no); got.Do != Respond || got.Done.Outcome.Result != balance.Broken {
		t.Errorf("the second time: %+v, want an answer and a fault", got)
	}
	f, _ = New(Facts{Method: "POST"}, Limits{})
	f.Granted(0, grant(8, "a"))
	if got := f.Failed(5, closed, yes); got.Do != Respond || got.Answer.Status != 502 {
		t.Errorf("POST: %+v, want 502", got)
	}
}

// A request that was never taken goes to the same server again, then to another one. That takes
// nothing from the budget, says no worse of the server than that it is busy, and ends.
func TestNotTaken(t *testing.T) {
	for _, c := range []struct {
		name    string
		why     Failure
		resends int
		result  balance.Result
	}{
		{"a refused stream", Failure{NotTaken: true}, 1, balance.Full},
		{"sent away by a connection that served others", Failure{NotTaken: true, Kept: true}, mostResends, balance.Canceled},
	} {
		f, step := New(Facts{Method: "POST"}, Limits{Attempts: 2})
		for attempt, end := range []Do{Ask, Respond} {
			if step.Do != Ask {
				t.Fatalf("%s: attempt %d: %v, want ask", c.name, attempt, step.Do)
			}
			lease := balance.LeaseID(attempt + 1)
			f.Granted(0, grant(lease, balance.ServerID(rune('a'+attempt))))
			for i := range c.resends {
				if step = f.Failed(5, c.why, no); step.Do != Link || step.Grant.Lease != lease || step.Done != (Done{}) {
					t.Fatalf("%s: attempt %d, resend %d: %+v, want the same link", c.name, attempt, i, step)
				}
			}
			step = f.Failed(5, c.why, no)
			if want := (Done{lease, balance.Outcome{Result: c.result, Duration: 5}}); step.Do != end || step.Done != want {
				t.Fatalf("%s: after attempt %d: %v, done %+v, want %v and %+v", c.name, attempt, step.Do, step.Done, end, want)
			}
		}
		if a := step.Answer; a.Status != 503 || a.Reason != ReasonNotTaken || a.RetryAfter == 0 || a.Server != "b" {
			t.Errorf("%s: answered %+v, want 503 %s with a time to come again", c.name, a, ReasonNotTaken)
		}
	}
}

func TestAttemptsEnd(t *testing.T) {
	f, step := New(Facts{Method: "GET"}, Limits{Attempts: 2})
	for i, want := range []Do{Ask, Respond} {
		if step.Do != Ask {
			t.Fatalf("attempt %d: %v, want ask", i, step.Do)
		}
		f.Granted(0, grant(balance.LeaseID(i+1), balance.ServerID(rune('a'+i))))
		if step = f.Failed(0, Failure{Unreachable: true}, yes); step.Do != want {
			t.Fatalf("after attempt %d: %v, want %v", i, step.Do, want)
		}
	}
	if step.Answer.Server != "b" {
		t.Errorf("answer names server %q, want the last, b", step.Answer.Server)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		refusal balance.Refusal
		want    Answer
	}{
		{balance.Refusal{Reason: balance.NoServer}, Answer{Status: 503, Reason: "no-server", RetryAfter: time.Second}},
		{balance.Refusal{Reason: balance.Saturated, RetryAfter: 3 * time.Second}, Answer{Status: 503, Reason: "saturated", RetryAfter: 3 * time.Second}},
		{balance.Refusal{Reason: balance.Shed}, Answer{Status: 429, Reason: "shed", RetryAfter: time.Second}},
		{balance.Refusal{Reason: balance.UnknownPool}, Answer{Status: 503, Reason: "unknown-pool", RetryAfter: time.Second}},
		{balance.Refusal{Reason: balance.Declined}, Answer{Status: 503, Reason: "declined", RetryAfter: time.Second}},
		{balance.Refusal{Reason: balance.Malformed, RetryAfter: time.Second}, Answer{Status: 400, Reason: "malformed"}},
	} {
		f, _ := New(Facts{}, Limits{})
		if got := f.Refused(&c.refusal); got.Do != Respond || got.Answer != c.want {
			t.Errorf("%v: %v %+v, want %+v", c.refusal.Reason, got.Do, got.Answer, c.want)
		}
	}
	f, _ := New(Facts{}, Limits{})
	if got := f.Refused(&balance.Refusal{Reason: balance.NotLeader}); got.Do != Choose {
		t.Errorf("not the leader: %v, want to choose", got.Do)
	}
}

func TestLastServerFailed(t *testing.T) {
	f, _ := New(Facts{Method: "GET"}, Limits{})
	f.Granted(0, grant(1, "a"))
	f.Failed(0, Failure{Unreachable: true}, yes)
	got := f.Refused(&balance.Refusal{Reason: balance.NoServer})
	if got.Answer.Status != 502 || got.Answer.Server != "a" {
		t.Errorf("%+v, want 502 of server a: that no other is left is not the client's concern", got.Answer)
	}
	for _, reason := range []balance.Reason{balance.Saturated, balance.Shed, balance.Declined} {
		f, _ := New(Facts{Method: "GET"}, Limits{})
		f.Granted(0, grant(1, "a"))
		f.Failed(0, Failure{Sent: true}, yes)
		if got := f.Refused(&balance.Refusal{Reason: reason}); got.Answer.Status != 502 || got.Answer.Reason != ReasonBroken {
			t.Errorf("then %v: %+v, want 502 of server a, which is why the request fails", reason, got.Answer)
		}
	}
}

func TestRedirectKeepsItsLease(t *testing.T) {
	f, _ := New(Facts{Link: balance.LinkRedirect}, Limits{})
	if got := f.Granted(0, grant(9, "a")); got.Do != Redirect || got.Done.Lease != 0 {
		t.Errorf("%+v, want a redirection that keeps its lease", got)
	}
	if got := f.Gone(1); got.Done.Lease != 0 {
		t.Errorf("gone afterwards: %+v, want nothing", got)
	}
}

func TestFallbackSteps(t *testing.T) {
	f, _ := New(Facts{Method: "GET"}, Limits{})
	if got := f.NoMaster(); got.Do != Choose {
		t.Fatalf("no master: %v, want to choose", got.Do)
	}
	if got := f.Chosen(0, balance.SnapshotServer{ID: "a", Address: "x:1"}, 0); got.Do != Link || got.Grant.Address != "x:1" {
		t.Fatalf("chosen: %+v, want a link", got)
	}
	if got := f.Failed(0, Failure{Unreachable: true}, yes); got.Do != Ask || got.Done.Lease != 0 {
		t.Fatalf("failed: %+v, want another ask and no lease to give back", got)
	}
	f.NoMaster()
	if got := f.NoChoice(ReasonNoMaster); got.Answer.Status != 502 {
		t.Errorf("nothing to choose after a failure: %+v, want 502", got.Answer)
	}
}

func TestLateGrantIsGivenBack(t *testing.T) {
	f, _ := New(Facts{}, Limits{})
	f.Gone(0)
	if got := f.Granted(1, grant(3, "a")); got.Do != Wait || got.Done != (Done{3, balance.Outcome{Result: balance.Canceled}}) {
		t.Errorf("%+v, want lease 3 given back as canceled", got)
	}
}

// Whatever happens in whatever order, every lease is given back once, unless its
// client was sent to the server, and a flight that is over stays over.
func TestEveryLeaseIsDoneOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := Facts{
			Method: rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
			Link:   rapid.SampledFrom([]balance.Link{balance.LinkRoute, balance.LinkRedirect}).Draw(t, "link"),
		}
		limit := rapid.IntRange(1, 4).Draw(t, "attempts")
		f, _ := New(facts, Limits{Attempts: limit})
		done := make(map[balance.LeaseID]int)
		var next balance.LeaseID
		var redirected balance.LeaseID
		links, endings := 0, 0
		now := balance.Instant(0)
		see := func(s Step) {
			switch s.Do {
			case Link:
				links++
			case Redirect:
				redirected = s.Grant.Lease
				endings++
			case Respond, Abort, End:
				endings++
			}
			if s.Done.Lease != 0 {
				done[s.Done.Lease]++
				if s.Done.Outcome.Duration < 0 {
					t.Fatalf("duration %v", s.Done.Outcome.Duration)
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			now++
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0, 1:
				next++
				see(f.Granted(now, grant(next, "s")))
			case 2:
				see(f.Refused(&balance.Refusal{Reason: balance.Reason(rapid.IntRange(1, 7).Draw(t, "reason"))}))
			case 3:
				see(f.NoMaster())
			case 4:
				see(f.Chosen(now, balance.SnapshotServer{ID: "s"}, 0))
				see(f.NoChoice(ReasonNoMaster))
			case 5:
				flag := rapid.Bool()
				step := f.Failed(now, Failure{flag.Draw(t, "unreachable"), flag.Draw(t, "sent"), flag.Draw(t, "spent"), flag.Draw(t, "begun"), flag.Draw(t, "late"), flag.Draw(t, "ours"), flag.Draw(t, "kept"), flag.Draw(t, "not taken"), flag.Draw(t, "unresolved"), "why"},
					func() bool { return flag.Draw(t, "budget") })
				if see(step); step.Do == Link {
					links-- // on the same grant, which costs no attempt
				}
			case 6:
				see(f.Finished(now, reply(rapid.IntRange(100, 599).Draw(t, "status"))))
			case 7:
				if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
					see(f.Gone(now))
				}
			}
		}
		see(f.Gone(now))
		for id := balance.LeaseID(1); id <= next; id++ {
			want := 1
			if id == redirected {
				want = 0
			}
			if done[id] != want {
				t.Fatalf("lease %v: done %d times, want %d", id, done[id], want)
			}
		}
		if endings != 1 || !f.Over() || links > limit {
			t.Fatalf("ended %d times, over %v, %d links of at most %d", endings, f.Over(), links, limit)
		}
	})
}

func TestBudget(t *testing.T) {
	var b Budget
	now := balance.Instant(time.Hour)
	taken := 0
	for b.Retry(now) {
		taken++
	}
	if taken != budgetMost {
		t.Errorf("a full budget gave %d retries, want %v", taken, budgetMost)
	}
	for range 100 {
		b.Request()
	}
	for taken = 0; b.Retry(now); taken++ {
	}
	if taken < 9 || taken > 10 { // sums of .1 are not exact
		t.Errorf("100 requests earned %d retries, want 10", taken)
	}
	for taken = 0; b.Retry(now.Add(500 * time.Millisecond)); taken++ {
	}
	if taken < 4 || taken > 6 {
		t.Errorf("half a second earned %d retries, want 5", taken)
	}
}
