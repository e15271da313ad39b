package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// The edge's own answers: status, fields and problem document.
func TestAnswersOfTheEdge(t *testing.T) {
	refused := flight.Answer{Status: 503, Reason: balance.Saturated.String(), RetryAfter: 1500 * time.Millisecond, Server: "a"}
	for _, c := range []struct {
		name              string
		a                 flight.Answer
		detail            string
		headOnly, closing bool
		head              []string
		not               []string
		want              Problem
	}{
		{"refused", refused, "", false, false, []string{"HTTP/1.1 503 Service Unavailable\r\n", "\r\nRetry-After: 2\r\n", "\r\nX-Request-Id: id-1\r\n", "\r\nCache-Control: no-store\r\n", "\r\nContent-Type: application/problem+json\r\n"},
			[]string{"Connection:"}, Problem{"about:blank", "Service Unavailable", 503, details["saturated"], "saturated", "a", "id-1"}},
		{"with an explanation", refused, "in words", false, true, []string{"\r\nConnection: close\r\n"}, nil, Problem{"about:blank", "Service Unavailable", 503, "in words", "saturated", "a", "id-1"}},
		{"no time is told", flight.Answer{Status: 404, Reason: ReasonNoRoute}, "", false, false, []string{"HTTP/1.1 404 Not Found\r\n"}, []string{"Retry-After"},
			Problem{"about:blank", "Not Found", 404, details[ReasonNoRoute], ReasonNoRoute, "", "id-1"}},
		{"a reason without words", flight.Answer{Status: 499, Reason: "other"}, "", false, false, []string{"HTTP/1.1 499 \r\n"}, nil, Problem{"about:blank", "Error", 499, "other", "other", "", "id-1"}},
		{"to HEAD", refused, "", true, false, []string{"\r\nRetry-After: 2\r\n", "\r\nContent-Length: "}, nil, Problem{}},
	} {
		out, size := AppendProblem(nil, c.a, c.detail, "id-1", c.headOnly, c.closing)
		head, body, ok := strings.Cut(string(out), "\r\n\r\n")
		head += "\r\n"
		if !ok || len(body) != size || c.headOnly != (size == 0) {
			t.Errorf("%s: %q, with a body of %d bytes", c.name, out, size)
		}
		for _, want := range c.head {
			if !strings.Contains(head, want) {
				t.Errorf("%s: %q, want %q", c.name, head, want)
			}
		}
		for _, not := range c.not {
			if strings.Contains(head, not) {
				t.Errorf("%s: %q has %q", c.name, head, not)
			}
		}
		if c.headOnly {
			continue
		}
		if !strings.Contains(head, fmt.Sprintf("\r\nContent-Length: %d\r\n", size)) {
			t.Errorf("%s: %q, want the length %d", c.name, head, size)
		}
		var got Problem
		if err := json.Unmarshal([]byte(body), &got); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	if out, size := AppendProblem(nil, flight.Answer{Status: 204}, "", "id-1", false, false); string(out) != "HTTP/1.1 204 No Content\r\nX-Request-Id: id-1\r\n\r\n" || size != 0 {
		t.Errorf("204: %q with %d bytes", out, size)
	}
}

func TestRedirects(t *testing.T) {
	for lease, want := range map[string]string{
		"":     "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://a/b\r\nCache-Control: no-store\r\nContent-Length: 0\r\nX-Request-Id: id-1\r\n\r\n",
		"0102": "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://a/b\r\nCache-Control: no-store\r\nContent-Length: 0\r\nEvenkeel-Lease: 0102\r\nX-Request-Id: id-1\r\n\r\n",
	} {
		if got := string(appendRedirect(nil, "http://a/b", lease, "id-1", false)); got != want {
			t.Errorf("lease %q: %q, want %q", lease, got, want)
		}
	}
}

// What gRPC clients are told of the same.
func TestAnswersToGRPC(t *testing.T) {
	for _, c := range []struct {
		a      flight.Answer
		detail string
		want   string
	}{
		{flight.Answer{Status: 503, Reason: balance.Saturated.String(), RetryAfter: 1500*time.Millisecond + 1}, "", "Content-Type: application/grpc\r\nGrpc-Status: 8\r\nGrpc-Message: every server is full, and so is the queue (saturated)\r\nGrpc-Retry-Pushback-Ms: 1501\r\n"},
		{flight.Answer{Status: 502, Reason: flight.ReasonBroken, Server: "a"}, "in words", "Content-Type: application/grpc\r\nGrpc-Status: 14\r\nGrpc-Message: in words (broken, server a)\r\n"},
	} {
		c.want = strings.ReplaceAll(c.want, "(broken", "("+flight.ReasonBroken)
		if got, want := string(AppendGRPCAnswer(nil, c.a, c.detail, "id-1")), "HTTP/1.1 200 OK\r\n"+c.want+"X-Request-Id: id-1\r\n\r\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The log gets the master's own words, and the client what helps it.
func TestWhoIsToldWhat(t *testing.T) {
	route := new(routing.BoundRoute)
	route.Timeout = 10 * time.Second
	for _, c := range []struct {
		name    string
		refusal *balance.Refusal
		reason  string
		client  string
		log     string
	}{
		{"not refused", nil, ReasonNoRoute, "given", "given"},
		{"refused", &balance.Refusal{Reason: balance.Saturated, Detail: "pool web: every server"}, "saturated", "given", "pool web: every server"},
		{"refused before, and answered for another reason", &balance.Refusal{Reason: balance.Saturated, Detail: "pool web: every server"}, ReasonNoRoute, "given", "given"},
		{"no time is left", &balance.Refusal{Reason: balance.Shed, Detail: "pool web: shed", Needs: 12345 * time.Millisecond}, "shed", "refused at once: every server is at its limit, requests take up to 12.3s here, and this one has 10s", "pool web: shed"},
	} {
		x := new(Exchange)
		x.refusal, x.Route = c.refusal, route
		x.AskedAt, x.Request.Deadline = 1, balance.Instant(1).Add(route.Timeout)
		if got := x.NoteAnswer(flight.Answer{Reason: c.reason}, "given"); got != c.client || x.detail != c.log || x.reason != c.reason {
			t.Errorf("%s: the client is told %q and the log %q, for %q; want %q and %q", c.name, got, x.detail, x.reason, c.client, c.log)
		}
	}
}

func TestDurationsInWords(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{999*time.Millisecond + 100*time.Microsecond: 999 * time.Millisecond, 1234 * time.Millisecond: 1200 * time.Millisecond} {
		if got := inWords(d); got != want {
			t.Errorf("%v reads %v, want %v", d, got, want)
		}
	}
}

func TestRefusalsOfConnections(t *testing.T) {
	for err, want := range map[error]string{routing.ErrDenied: reasonDenied, fmt.Errorf("x: %w", routing.ErrConnections): reasonConnections, errors.New("other"): ReasonPreface} {
		if got := Refusal(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// Which requests that could not be read are answered, and how.
func TestAnswersToWhatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		come   int
		status int // zero: none
		reason string
	}{
		{"malformed", http1.ErrTruncated, 10, http1.ErrTruncated.Status(), reasonMalformed},
		{"a head that is too large", tooLarge(t), 10, 431, reasonHeadTooBig},
		{"the head did not come in time", os.ErrDeadlineExceeded, 3, 408, ReasonHeadSlow},
		{"nothing but an empty line came in time", os.ErrDeadlineExceeded, 2, 0, ""},
		{"the client has left", errors.New("reset"), 10, 0, ""},
	} {
		a, _, ok := Unreadable(c.err, c.come)
		if ok != (c.status != 0) || a.Status != c.status || a.Reason != c.reason {
			t.Errorf("%s: %+v, %t; want %d %s", c.name, a, ok, c.status, c.reason)
		}
	}
	for _, c := range []struct {
		name   string
		err    error
		status int
		reason string
	}{
		{"a body that is too large", fmt.Errorf("x: %w", http1.ErrLongBody), 413, reasonBodyTooBig},
		{"a body that ends early", http1.ErrTruncated, 0, ""},
		{"a malformed chunk", tooLarge(t), 400, reasonMalformed},
		{"the body did not come in time", os.ErrDeadlineExceeded, 408, reasonBodySlow},
		{"the client has left", errors.New("reset"), 0, ""},
	} {
		a, _, ok := Unusable(c.err)
		if ok != (c.status != 0) || a.Status != c.status || a.Reason != c.reason {
			t.Errorf("%s: %+v, %t; want %d %s", c.name, a, ok, c.status, c.reason)
		}
	}
}

// tooLarge is the error of a head that has more fields than are taken.
func tooLarge(t *testing.T) error {
	t.Helper()
	var r http1.RequestHead
	r.Limits = http1.Limits{Head: 1000, Fields: 1}
	_, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ: 1\r\n\r\n"))
	if err == nil {
		t.Fatal("a head of more fields than are taken is taken")
	}
	return err
}

// Probes of the edge itself are answered without a look at the request.
func TestFinalAnswers(t *testing.T) {
	if a := finalAnswer(http.MethodTrace); a.Status != 405 || a.Reason != reasonTrace {
		t.Errorf("TRACE: %+v", a)
	}
	if a := finalAnswer(http.MethodOptions); a.Status != 204 || a.Reason != "" {
		t.Errorf("OPTIONS: %+v", a)
	}
}
