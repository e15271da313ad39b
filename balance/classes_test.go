package balance

import (
	"fmt"
	"testing"
	"time"
)

// Each class has its own latencies; the pool has those of all.
func TestClassesHaveTheirOwnTraffic(t *testing.T) {
	p := equalPool(t, 1)
	now := Instant(time.Second)
	for _, c := range []struct {
		class string
		took  time.Duration
		how   Result
	}{{"", 10 * time.Millisecond, OK}, {"image", 2 * time.Second, OK}, {"text", 100 * time.Millisecond, OK}, {"text", 0, Fault}} {
		g, err := p.Pick(now, &Request{Class: c.class})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * time.Second)
		p.Done(now, g.Lease, Outcome{Result: c.how, Duration: c.took})
	}
	list := p.Classes(now)
	if len(list) != 2 || list[0].Name != "image" || list[1].Name != "text" {
		t.Fatalf("got %+v, want image and text", list)
	}
	if image, text := list[0], list[1]; image.P50 < 1900*time.Millisecond || image.Failures != 0 || text.P50 > 130*time.Millisecond || text.Failures < .4 || text.Failures > .6 {
		t.Errorf("got %+v and %+v, want two slow seconds, and a tenth of one with half of them failed", image, text)
	}
	if all := p.Traffic(now); !all.Measured || all.P99 < 1900*time.Millisecond || all.Failures <= 0 || all.Failures >= list[1].Failures {
		t.Errorf("got %+v of all, want the slowest among them and fewer failures", all)
	}
}

// So many names as clients may send cannot fill the memory, and a class that is used keeps its place.
func TestClassesAreBounded(t *testing.T) {
	var c classes
	now := Instant(time.Second)
	for i := range 10 * mostClasses {
		if n := c.number(now, fmt.Sprint("class ", i)); i < mostClasses && int(n) != i+1 || i >= mostClasses && n != otherClasses {
			t.Fatalf("class %d has number %d", i, n)
		}
	}
	c.count(now, otherClasses, Outcome{Duration: time.Second})
	now = now.Add(classIdle)
	if n := c.number(now, "class 0"); n != 1 {
		t.Errorf("the first class has number %d, want 1", n)
	}
	if n := c.number(now, "late"); n != 2 || c.known[1].weight != 0 {
		t.Errorf("a new class has number %d, want that of the one unused for longest", n)
	}
	p := &Pool{poolCounts: poolCounts{classes: c}}
	if list := p.Classes(now); len(list) != mostClasses+1 || list[mostClasses].Name != "" {
		t.Errorf("got %d classes, want %d and the others", len(list), mostClasses)
	}
}
