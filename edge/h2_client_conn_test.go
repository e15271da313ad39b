package edge

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A server that sends faster than a client takes it is held back, and others are not.
func TestHTTP2ServerIsHeldBack(t *testing.T) { eachPicker(t, testHTTP2ServerIsHeldBack) }

func testHTTP2ServerIsHeldBack(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	sent := make(chan int, 1)
	p := to(framing(t, nil, func(c *answerer, _ int) {
		slow := c.head()
		c.say(slow, false, ":status 200")
		n := 0
		for ; n < 256<<10; n += len(large) {
			_ = c.WriteData(slow, false, large)
		}
		sent <- n
		quick := c.head()
		c.say(quick, true, ":status 204")
		_ = c.WriteData(slow, true, nil)
		c.rest()
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	slow := c.open(true)
	n := <-sent
	if got := c.hear(c.open(true), nil); got != ":status 204\nended\n" {
		t.Errorf("beside it: got %q", got)
	}
	_ = c.WriteWindowUpdate(slow, 1<<24)
	_ = c.WriteWindowUpdate(0, 1<<24)
	got := 0
	for ended := false; !ended; {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.DataFrame); ok && f.StreamID == slow {
			got += len(f.Data())
			ended = f.StreamEnded()
		}
	}
	if got+10 < n { // ten bytes had gone before
		t.Errorf("got %d bytes of %d", got, n)
	}
	p.wantResults(t, balance.OK, balance.OK)
}
