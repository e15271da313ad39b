package bodies

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

func newBuffers(limit int64) *Buffers { return &Buffers{Memory: limits.NewBodyMemory(limit)} }

// fill puts p into the store, and returns false if there is no memory for all of it.
func fill(s *Store, m *Buffers, p []byte) bool {
	for len(p) > 0 {
		if len(s.Free()) == 0 && !s.Grow(m, int64(len(p))) {
			return false
		}
		n := copy(s.Free(), p)
		s.Filled(n)
		p = p[n:]
	}
	return true
}

// A store gives back what it was given, in order, from the start again after Rewind, and all memory at its end.
func TestAStoreIsReadAsItWasFilled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBuffers(64 << 20)
		s := Store{Begun: true}
		var all []byte
		sent := 0
		piece := rapid.IntRange(1, 3*LargeBuf)
		read := func() {
			if s.Unsent() != (sent < len(all)) {
				t.Fatalf("unsent: %v, with %d of %d bytes sent", s.Unsent(), sent, len(all))
			}
			if !s.Unsent() {
				return
			}
			most := piece.Draw(t, "most")
			p := s.Next(most)
			if len(p) == 0 || len(p) > most || !bytes.Equal(p, all[sent:sent+len(p)]) {
				t.Fatalf("%d bytes at %d of %d, at most %d: not those that were filled in", len(p), sent, len(all), most)
			}
			sent += len(p)
		}
		next := func() []byte { return bytes.Repeat([]byte{byte(len(all))}, piece.Draw(t, "bytes")) }
		for range rapid.IntRange(0, 5).Draw(t, "pieces") { // all of it comes before any of it is sent
			p := next()
			if !fill(&s, m, p) {
				t.Fatal("no memory")
			}
			all = append(all, p...)
		}
		if rapid.Bool().Draw(t, "trailers") {
			p := next()
			s.Add(p)
			all = append(all, p...)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				p := next()
				if p = p[:min(len(p), LargeBuf)]; sent == len(all) && s.Keep(m, p, int64(len(all)+len(p))) {
					all = append(all, p...)
					sent = len(all)
				}
			case 1:
				s.Rewind()
				sent = 0
			default:
				read()
			}
			if s.Size != int64(len(all)) || s.Holds() != (len(all) > 0) {
				t.Fatalf("size %d, holds %v, want %d bytes", s.Size, s.Holds(), len(all))
			}
		}
		for s.Unsent() {
			read()
		}
		s.Reset(m)
		if used := m.Memory.Used(); used != 0 || s.Holds() || s.Size != 0 || s.Unsent() {
			t.Fatalf("after its end it holds %v, and %d bytes of memory are taken", s.Holds(), used)
		}
	})
}

// What is kept for a second time stays within its bound, and what is released is gone.
func TestAStoreKeepsNoMoreThanItMay(t *testing.T) {
	m := newBuffers(1 << 20)
	s := Store{Begun: true}
	p := bytes.Repeat([]byte("x"), 1000)
	for i, want := range []bool{true, true, false} {
		if kept := s.Keep(m, p, 2000); kept != want {
			t.Errorf("of pieces of 1000 bytes, %d is kept: %v, want %v", i, kept, want)
		}
	}
	s.Release(m)
	if !s.Freed || !s.Holds() || s.Unsent() || s.Keep(m, p, 2000) {
		t.Errorf("after its release: freed %v, holds %v, unsent %v", s.Freed, s.Holds(), s.Unsent())
	}
	if used := m.Memory.Used(); used != 0 {
		t.Errorf("%d bytes of memory are taken after the release", used)
	}
}

// A body that has begun and finds no memory is promised all that it still needs, once, and returns what it did not use.
func TestABodyThatHasBegunIsPromisedTheRest(t *testing.T) {
	const limit = 4 << 20
	m := newBuffers(limit)
	others, s := Store{Begun: true, Client: 1}, Store{Begun: true, Client: 2}
	if !fill(&s, m, make([]byte, SmallBuf-1)) {
		t.Fatal("no memory at the beginning")
	}
	for client := others.Client; ; client++ { // each client has a share
		others.Client = client
		if !others.Grow(m, LargeBuf) && client > 20 {
			break
		}
	}
	if s.Grow(m, LargeBuf) {
		t.Fatal("there is memory, want none")
	}
	before := m.Memory.Used()
	if grown, ever := s.GrowToEnd(m, limit); grown || ever {
		t.Errorf("more than ever can be had: grown %v, ever %v", grown, ever)
	}
	if grown, ever := s.GrowToEnd(m, 2*LargeBuf); !grown || !ever {
		t.Fatalf("the rest of a small body: grown %v, ever %v", grown, ever)
	}
	if taken := m.Memory.Used() - before; taken != 2*LargeBuf {
		t.Errorf("%d bytes are promised, want %d", taken, 2*LargeBuf)
	}
	s.EndRest(m)
	if taken := m.Memory.Used() - before; taken != LargeBuf {
		t.Errorf("%d bytes are taken after the end of a body that needed one buffer, want %d", taken, LargeBuf)
	}
	s.Reset(m)
	if taken := m.Memory.Used() - before; taken != -SmallBuf {
		t.Errorf("the body holds %d bytes after its end", taken+SmallBuf)
	}
}

// A copy that would be too long is none, until the next request.
func TestACopyIsWholeOrNone(t *testing.T) {
	m := newBuffers(1 << 20)
	var c Copy
	p := bytes.Repeat([]byte("0123456789abcdef"), MaxCopied/16/4)
	for i := range 4 {
		c.Add(m, p)
		if want := bytes.Repeat(p, i+1); !bytes.Equal(c.Bytes, want) {
			t.Fatalf("%d bytes are copied, want %d", len(c.Bytes), len(want))
		}
	}
	c.Add(m, []byte("x"))
	if c.Add(m, []byte("y")); len(c.Bytes) != 0 {
		t.Errorf("%d bytes of a body that is too long are copied", len(c.Bytes))
	}
	c.Reset(m)
	if c.Add(m, []byte("z")); string(c.Bytes) != "z" {
		t.Errorf("of the next body %q is copied", c.Bytes)
	}
}

// A copy has a large buffer only while it needs one; a few of these are kept, and others are freed.
func TestLargeCopiesShareBuffers(t *testing.T) {
	m := newBuffers(1 << 20)
	var small Copy
	small.Add(m, make([]byte, maxKeptCopy))
	if small.Reset(m); cap(small.Bytes) < maxKeptCopy || len(m.freeCopies) != 0 {
		t.Errorf("a small copy keeps %d bytes, and %d buffers are free", cap(small.Bytes), len(m.freeCopies))
	}
	small.Add(m, make([]byte, maxKeptCopy-1))
	if small.Add(m, []byte("x")); cap(small.Bytes) == MaxCopied {
		t.Error("what fits has a large buffer")
	}
	all := make([]Copy, maxFreeCopies+1)
	for i := range all {
		all[i].Add(m, make([]byte, maxKeptCopy+1))
		if cap(all[i].Bytes) != MaxCopied || len(m.freeCopies) != 0 {
			t.Errorf("a large copy has %d bytes, and %d buffers are free", cap(all[i].Bytes), len(m.freeCopies))
		}
		all[i].Add(m, make([]byte, maxKeptCopy))
	}
	for i := range all {
		if all[i].Reset(m); all[i].Bytes != nil || len(m.freeCopies) != min(i+1, maxFreeCopies) {
			t.Errorf("after %d ends %d buffers are free, and the copy keeps %d bytes", i+1, len(m.freeCopies), cap(all[i].Bytes))
		}
	}
	small.Reset(m)
	small.Add(m, []byte("he"))
	if small.Add(m, make([]byte, maxKeptCopy)); string(small.Bytes[:2]) != "he" || len(m.freeCopies) != maxFreeCopies-1 {
		t.Errorf("a copy that grows begins with %q, and %d buffers are free", small.Bytes[:2], len(m.freeCopies))
	}
}

// The first buffer of a body that is known to be small is small; of each size some are kept.
func TestTheSizesOfBuffers(t *testing.T) {
	m := newBuffers(64 << 20)
	for _, c := range []struct {
		known int64
		first int
	}{{0, SmallBuf}, {SmallBuf - 1, SmallBuf}, {SmallBuf, LargeBuf}, {LargeBuf, LargeBuf}} {
		s := Store{Begun: true}
		first, second := s.Grow(m, c.known), s.Grow(m, c.known)
		if !first || !second || cap(s.Bufs[0]) != c.first || cap(s.Bufs[1]) != LargeBuf {
			t.Errorf("%d bytes known: buffers of %d and %d bytes", c.known, cap(s.Bufs[0]), cap(s.Bufs[1]))
		}
		s.Reset(m)
	}
	s := Store{Begun: true}
	for range maxFreeBufs + 5 {
		s.Grow(m, LargeBuf)
	}
	if s.Reset(m); len(m.free[1]) != maxFreeBufs {
		t.Errorf("%d large buffers are kept", len(m.free[1]))
	}
	s = Store{Begun: true}
	if !s.Keep(m, make([]byte, LargeBuf), 1<<20) || len(s.Bufs) != 1 || s.Keep(m, make([]byte, LargeBuf+1), 1<<20) {
		t.Errorf("what fits a buffer exactly takes %d", len(s.Bufs))
	}
	s.Reset(m)
}

// A store that is not in use has nothing to release, and one whose body has stalled counts until its end.
func TestAStalledBodyCountsUntilItsEnd(t *testing.T) {
	m := newBuffers(1 << 20)
	stores := make([]Store, 1000)
	n := 0
	for i := range stores {
		stores[i] = Store{Begun: true, Client: 1}
		if !stores[i].Stall(m) {
			break
		}
		n++
	}
	if n == 0 || n == len(stores) {
		t.Fatalf("%d bodies of a client may stall, want some", n)
	}
	if stores[n].Unstall(m); stores[n].Stall(m) {
		t.Error("one that was refused has made room")
	}
	for _, end := range []func(s *Store){func(s *Store) { s.Unstall(m); s.Unstall(m) }, func(s *Store) { s.Reset(m) }} {
		end(&stores[0])
		stores[0] = Store{Begun: true, Client: 1}
		if another := (Store{Begun: true, Client: 1}); !stores[0].Stall(m) || another.Stall(m) {
			t.Error("the end of one makes room for none or for two")
		}
	}
}

// Buffers are used again: in the steady state a body costs no allocation.
func TestBodiesAllocateNothing(t *testing.T) {
	m := newBuffers(16 << 20)
	s, c := Store{}, Copy{}
	p := make([]byte, 40<<10)
	allocs := testing.AllocsPerRun(100, func() {
		s.Begun = true
		if !fill(&s, m, p) {
			t.Fatal("no memory")
		}
		s.Reset(m)
		c.Add(m, p)
		c.Reset(m)
	})
	if allocs > 0 {
		t.Errorf("a body costs %v allocations, want none", allocs)
	}
}
