package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// promptPicker has its answers at once, as a master in the same process.
type promptPicker struct{ *fakePicker }

func (p promptPicker) TryPick(_ balance.Instant, pool string, req *balance.Request, grant *balance.Grant) (_ func(context.Context) (balance.Grant, error), err error) {
	*grant, err = p.Pick(context.Background(), pool, req)
	return nil, err
}

// What a log line and Server-Timing say of the ask is this request's own: not another's, and
// nothing where no master was asked.
func TestPickTimeIsTheRequestsOwn(t *testing.T) { eachPicker(t, testPickTimeIsTheRequestsOwn) }

func testPickTimeIsTheRequestsOwn(t *testing.T) {
	const long = 20 * time.Millisecond
	var mu sync.Mutex
	var lines bytes.Buffer
	own := server(t, echo)
	p := newFakePicker()
	p.atOnce = true
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/a/slow" {
			time.Sleep(long) // the ask lasts so long
		}
		return granted("s1", own), nil
	}
	r := run(t, p, func(c *Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil))
		c.Listeners[0].Routes[0].Path = "/a/"
	})
	paths := []string{"/a/quick", "/a/slow", "/nowhere", "/a/slow"}
	for _, path := range paths {
		r.do(r.request("GET", path, ""))
	}
	r.stop()
	<-r.stopped
	mu.Lock()
	defer mu.Unlock()
	for i, line := range strings.Split(strings.TrimSpace(lines.String()), "\n") {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["path"] != paths[i] {
			t.Fatalf("line %d: %v, %s, want %s", i, err, line, paths[i])
		}
		took, told := got["pick_ms"].(float64)
		if told != (got["path"] != "/nowhere") {
			t.Errorf("%s: pick_ms is %v, want one where a master was asked", got["path"], got["pick_ms"])
		}
		if got["path"] == "/a/slow" && took < float64(long.Milliseconds()) {
			t.Errorf("%s: pick_ms is %v, but its ask took %v", got["path"], took, long)
		}
	}
}
