package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/load"
)

// Three times more is asked for than there is room for: what there is room for is done,
// the rest is refused with a word on when to come back, a small tenant keeps its share,
// memory stays, and afterwards all is well again.
func TestOverload(t *testing.T) {
	const slots, n = 4, 4
	capacity := rate(40, 320) // requests a second
	each := time.Duration(n * slots / capacity * float64(time.Second))
	_, entries := servers(t, n, slots)
	m := startFixedMaster(t, "pools: {web: {queue: {size: 16, wait: 500ms}, servers: "+entries+"}}")
	name := file(t, fmt.Sprintf("edge: {id: e1, masters: [%q], admin: 127.0.0.1:0, listeners: [{listen: 127.0.0.1:0, routes: [{pool: web, tenant: 'query:tenant'}]}]}\n", m.wire))
	e := start(t, append([]string{"edge", "--config", name, "--access-log", "off"}, m.proofs(t, "e1")...)...)
	length := whenLong(2*time.Second, 20*time.Second)
	at := "http://" + e.Addr("listen") + "/"

	goodput := func(all []load.Result) float64 {
		failed, _ := failures(all)
		return float64(len(all)-failed) / length.Seconds()
	}
	measure := func(trace []load.Arrival) []load.Result {
		r := startTrace(t, []string{at + "?tenant=big"}, trace)
		r.settle(whenLong(300*time.Millisecond, 2*time.Second))
		from := time.Now()
		r.settle(length + time.Second) // and until the longest wait is over
		all := r.within(from, from.Add(length))
		r.stop()
		return all
	}
	peak := goodput(measure(load.LogNormal(1, 10*time.Minute, .95*capacity, each.Seconds(), 0)))
	before := residentKB(t, m.Process) + residentKB(t, e)

	big := load.LogNormal(2, 10*time.Minute, 2.9*capacity, each.Seconds(), 0)
	small := load.LogNormal(3, 10*time.Minute, .1*capacity, each.Seconds(), 0)
	for i := range small {
		small[i].URL = at + "?tenant=small"
	}
	both := append(big, small...)
	slices.SortFunc(both, func(a, b load.Arrival) int { return int(a.At - b.At) })
	all := measure(both)
	growth := residentKB(t, m.Process) + residentKB(t, e) - before
	hint := "nothing was refused just then"
	eventually(t, func() (bool, string) { // one request more, while the last of the overload is there
		r := startTrace(t, []string{at}, load.LogNormal(4, time.Minute, 3*capacity, each.Seconds(), 0))
		defer r.stop()
		for range 200 {
			if resp := get(t, at, "Sample-Work", fmt.Sprint(each.Seconds())); refusal(resp.StatusCode) {
				hint = resp.Header.Get("Retry-After")
				return true, ""
			}
		}
		return false, hint
	})

	var refused []time.Duration
	var smalls, smallServed int
	for _, r := range all {
		if refusal(r.Status) {
			refused = append(refused, r.Took-r.Late)
		} else if r.Status != http.StatusOK {
			t.Errorf("got status %d, want 200, 429 or 503", r.Status)
		}
		if strings.HasSuffix(r.URL, "small") {
			smalls++
			if r.Status == http.StatusOK {
				smallServed++
			}
		}
	}
	slices.Sort(refused)
	if hint == "" {
		t.Error("a refusal has no Retry-After")
	}
	ended := time.Now()
	calm := startTrace(t, []string{at}, load.LogNormal(5, time.Minute, .3*capacity, each.Seconds(), 0))
	eventually(t, func() (bool, string) {
		from := time.Now()
		calm.settle(3 * each)
		last := calm.within(from, from.Add(3*each))
		n, _ := failures(last)
		return len(last) > 0 && n == 0, fmt.Sprintf("%d of %d requests fail", n, len(last))
	})
	recovery := time.Since(ended)
	calm.stop()

	figure(t, "overload: capacity of the servers", capacity, "/s", "")
	figure(t, "overload: goodput just below capacity", peak, "/s", "")
	figure(t, "overload: goodput at 3 x capacity, of that", goodput(all)/peak, "", ">=0.9")
	figure(t, "overload: refusals", float64(len(refused)), "", "")
	figure(t, "overload: refusal, median", milliseconds(load.Quantile(refused, .5)), "ms", "<=5")
	figure(t, "overload: refusals within 5 ms, share", float64(within(refused, 5*time.Millisecond))/float64(max(1, len(refused))), "", "")
	figure(t, "overload: refusal, p99; some have waited, until a request of a client with less took their place", milliseconds(load.Quantile(refused, .99)), "ms", "")
	figure(t, "overload: requests of a tenant that asks for a tenth of capacity", float64(smalls), "", "")
	figure(t, "overload: of these served", float64(smallServed)/float64(max(1, smalls)), "", ">=0.9")
	figure(t, "overload: memory that master and edge gained", float64(growth)/1024, "MiB", "<=64")
	figure(t, "overload: until nothing is refused at .3 x capacity", recovery.Seconds(), "s", "<=5")
	if len(refused) == 0 {
		t.Error("nothing was refused at 3 x capacity")
	}
}

// within returns how many of sorted are no longer than a limit.
func within(sorted []time.Duration, limit time.Duration) int {
	n, _ := slices.BinarySearch(sorted, limit+1)
	return n
}

func refusal(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}
