// Package history is what happened to requests, as clients, edges and servers wrote it down
// independently of each other, and what of it a foreign checker, porcupine, makes of it.
//
// The checker is given a small model for each thing that must be one thing however many
// processes handle it, and searches for an order of the events that the model allows and that
// does not contradict their times. If there is none, the history is a violation:
//
//	leases    a lease is one server's and one request's; where a pool dispatches, its server
//	          accepts it once, before it is told to an edge and before its request arrives
//	fences    of a pool never fall, and neither do those of the dispatches that a server accepts
//	requests  an answer is its own request's, from a server that the request has reached; one
//	          that may not be repeated has reached one, once
package history

import (
	"cmp"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what happened.
type Kind uint8

const (
	Sent       Kind = iota // a client began a request
	Granted                // an edge was granted a lease for a request, some time from At to Until
	Dispatched             // a server was told of a lease
	Arrived                // a request reached a server
	Done                   // a server was done with a request
	Answered               // a client had a whole answer
)

var kindNames = [...]string{"sent", "granted", "dispatched", "arrived", "done", "answered"}

func (k Kind) String() string { return kindNames[k] }

// Event is one thing that happened. What is not known is empty.
type Event struct {
	Kind      Kind
	At, Until int64  // nanoseconds since 1970; Until is zero for what has no length
	Request   string // its id
	Of        string // of Answered: whose answer it is
	Lease     string
	Fence     uint64
	Pool      string
	Server    string
	Edge      string
	Once      bool // of Sent: the request may not be repeated
	Refused   bool // of Dispatched
}

func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", time.Unix(0, e.At).UTC().Format("15:04:05.000000"), e.Kind)
	if e.Until != 0 {
		fmt.Fprintf(&b, " until %s", time.Unix(0, e.Until).UTC().Format("15:04:05.000000"))
	}
	for _, f := range []struct{ name, value string }{{"request", e.Request}, {"answer of", e.Of}, {"lease", e.Lease}, {"pool", e.Pool}, {"server", e.Server}, {"edge", e.Edge}} {
		if f.value != "" {
			fmt.Fprintf(&b, ", %s %s", f.name, f.value)
		}
	}
	if e.Fence != 0 {
		fmt.Fprintf(&b, ", fence %d", e.Fence)
	}
	if e.Once {
		b.WriteString(", once")
	}
	if e.Refused {
		b.WriteString(", refused")
	}
	return b.String()
}

// Violation is a part of a history that no order explains.
type Violation struct {
	Rule    string
	Of      string  // which lease, pool or request
	Excerpt []Event // its events, by time; of many, those around the first that cannot be
	File    string  // a page that shows it; empty: it could not be written
}

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", v.Of, cmp.Or(v.File, "no picture"))
	for _, e := range v.Excerpt {
		fmt.Fprintf(&b, "\n    %v", e)
	}
	return b.String()
}

// Rules that Check holds a history against.
const (
	Leases   = "leases that are not one server's and one request's"
	Fences   = "fences that fell"
	Requests = "answers that are not their requests'"
)

// Rules are all of them, in the order in which they are judged.
var Rules = []string{Leases, Fences, Requests}

// MostViolations is how many of each rule are looked for; then it is broken enough.
const MostViolations = 20

// Check judges a history. dispatching names the pools whose servers must accept; pictures is
// the folder for pages that show violations, empty for none.
func Check(events []Event, dispatching []string, pictures string) []Violation {
	var all []Violation
	for _, c := range []struct {
		rule  string
		parts map[string][]Event
		model porcupine.Model
	}{
		{Leases, byLease(events), leaseModel(dispatching)},
		{Fences, byFence(events), fenceModel},
		{Requests, byRequest(events), requestModel},
	} {
		all = append(all, check(c.rule, c.parts, c.model, pictures)...)
	}
	return all
}

// check judges the parts, each by itself, on all processors.
func check(rule string, parts map[string][]Event, model porcupine.Model, pictures string) []Violation {
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	slices.Sort(names)
	var (
		mu      sync.Mutex
		broken  []string
		working sync.WaitGroup
		next    = make(chan string, 1024)
	)
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for name := range next {
				if !porcupine.CheckOperations(model, operations(parts[name])) {
					mu.Lock()
					broken = append(broken, name)
					mu.Unlock()
				}
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	working.Wait()
	slices.Sort(broken)
	var all []Violation
	for _, name := range broken[:min(len(broken), MostViolations)] {
		all = append(all, show(rule, name, parts[name], model, pictures))
	}
	return all
}

// show makes a violation as small as it goes, and a picture of it.
func show(rule, name string, events []Event, model porcupine.Model, pictures string) Violation {
	v := Violation{Rule: rule, Of: name, Excerpt: smallest(events, model)}
	if pictures == "" {
		return v
	}
	_, info := porcupine.CheckOperationsVerbose(model, operations(v.Excerpt), 0)
	file := filepath.Join(pictures, strings.Map(plain, rule+"-"+name)+".html")
	if porcupine.VisualizePath(model, info, file) == nil {
		v.File = file
	}
	return v
}

func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
		return r
	}
	return '-'
}

// smallest returns the events, by time, without those whose absence leaves a violation. What
// a violation needs before it can be one (that a request was sent, say) is left in by that.
func smallest(events []Event, model porcupine.Model) []Event {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	for at := len(events) - 1; at >= 0 && len(events) > 2; at-- {
		less := slices.Delete(slices.Clone(events), at, at+1)
		if !isNeeded(events[at]) && !porcupine.CheckOperations(model, operations(less)) {
			events = less
		}
	}
	return events
}

// isNeeded reports whether an event gives others their meaning: without it a history would be a
// violation of another kind.
func isNeeded(e Event) bool {
	return e.Kind == Sent || e.Kind == Arrived || e.Kind == Dispatched && !e.Refused
}

// operations are events as porcupine has them.
func operations(events []Event) []porcupine.Operation {
	list := make([]porcupine.Operation, len(events))
	for i, e := range events {
		list[i] = porcupine.Operation{ClientId: int(e.Kind), Input: e, Call: e.At, Return: max(e.At, e.Until)}
	}
	return list
}

// leaseState is what is known of one lease.
type leaseState struct {
	server, request   string
	accepted, refused bool
	arrived           bool
}

func leaseModel(dispatching []string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return leaseState{} },
		Step: func(state, input, _ any) (bool, any) {
			s, e := state.(leaseState), input.(Event)
			if s.server != "" && s.server != e.Server || s.request != "" && e.Request != "" && s.request != e.Request {
				return false, s
			}
			s.server, s.request = e.Server, cmp.Or(s.request, e.Request)
			told := !slices.Contains(dispatching, e.Pool) || s.accepted
			switch e.Kind {
			case Dispatched:
				if s.accepted || s.refused {
					return false, s
				}
				s.accepted, s.refused = !e.Refused, e.Refused
			case Granted:
				return told, s
			case Arrived:
				s.arrived = true
				return told, s
			case Done:
				return s.arrived, s
			}
			return true, s
		},
		DescribeOperation: describe,
	}
}

func describe(input, _ any) string { return input.(Event).String() }

// byLease parts a history by lease. The ids are one master's; another may use them again, so
// that the fence belongs to them.
func byLease(events []Event) map[string][]Event {
	parts := make(map[string][]Event)
	for _, e := range events {
		if e.Lease != "" && e.Fence != 0 {
			name := e.Pool + "/" + strconv.FormatUint(e.Fence, 10) + "/" + e.Lease
			parts[name] = append(parts[name], e)
		}
	}
	return parts
}

var fenceModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		fence := input.(Event).Fence
		return fence >= state.(uint64), fence
	},
	DescribeOperation: describe,
}

// overtaking is how long the word of a dispatch may take from the agent, which compares its
// fence, to its server. Two such words may overtake each other.
const overtaking = 200 * time.Millisecond

// byFence parts a history by pool, and by server that accepts dispatches. A request has been
// granted its lease some time between its being sent and its arrival. Of all events with one
// fence only two can contradict others: the one that ended first, before which no larger
// fence may have been, and the one that began last, after which no smaller one may be. So the rest
// is left out, and what is to be searched stays small.
func byFence(events []Event) map[string][]Event {
	sent := make(map[string]int64)
	for _, e := range events {
		if e.Kind == Sent {
			sent[e.Request] = e.At
		}
	}
	parts := make(map[string]map[uint64][2]Event)
	for _, e := range events {
		name := e.Pool
		began, known := sent[e.Request]
		switch {
		case e.Fence == 0:
			continue
		case e.Kind == Arrived && known:
			e.At, e.Until = began, e.At
		case e.Kind == Dispatched && !e.Refused:
			name += "/" + e.Server
			e.At, e.Until = e.At-int64(overtaking), e.At
		default:
			continue
		}
		if parts[name] == nil {
			parts[name] = make(map[uint64][2]Event)
		}
		two, more := parts[name][e.Fence]
		if !more {
			two = [2]Event{e, e}
		}
		if max(e.At, e.Until) < max(two[0].At, two[0].Until) {
			two[0] = e
		}
		if e.At > two[1].At {
			two[1] = e
		}
		parts[name][e.Fence] = two
	}
	all := make(map[string][]Event)
	for name, fences := range parts {
		for _, two := range fences {
			all[name] = append(all[name], two[0], two[1])
		}
		slices.SortFunc(all[name], func(a, b Event) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Fence, b.Fence)) })
	}
	return all
}

// requestState is what is known of one request.
type requestState struct {
	sent, once bool
	arrivals   int
	servers    string // that it has reached, each behind a blank
	answered   bool
}

var requestModel = porcupine.Model{
	Init: func() any { return requestState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, e := state.(requestState), input.(Event)
		switch e.Kind {
		case Sent:
			ok := !s.sent
			s.sent, s.once = true, e.Once
			return ok, s
		case Arrived:
			s.arrivals++
			s.servers += " " + e.Server
			return s.sent && !(s.once && s.arrivals > 1), s
		case Answered:
			ok := s.arrivals > 0 && !s.answered && e.Of == e.Request && slices.Contains(strings.Fields(s.servers), e.Server)
			s.answered = true
			return ok, s
		}
		return true, s
	},
	DescribeOperation: describe,
}

func byRequest(events []Event) map[string][]Event {
	parts := make(map[string][]Event)
	for _, e := range events {
		if e.Request != "" && (e.Kind == Sent || e.Kind == Arrived || e.Kind == Answered) {
			parts[e.Request] = append(parts[e.Request], e)
		}
	}
	return parts
}
