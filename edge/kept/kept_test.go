package kept

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// memoryFile is a file of the spool.
type memoryFile struct {
	data   []byte
	closed int
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if off != int64(len(f.data)) {
		return 0, errors.New("not at the end")
	}
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if f.closed > 0 {
		return 0, errors.New("closed")
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Close() error { f.closed++; return nil }

var testConfig = Config{Requests: 4, PerClient: 2, Memory: 1 << 20, Body: 1 << 20, Answer: 200 << 10, Keep: time.Minute}

const second = balance.Instant(time.Second)

func newTestStore(c Config, files *[]*memoryFile) *Store {
	s := NewStore([8]byte{1})
	var make func() (File, error)
	if files != nil {
		make = func() (File, error) {
			f := new(memoryFile)
			*files = append(*files, f)
			return f, nil
		}
	}
	s.Configure(c, make)
	return s
}

func open(t *testing.T, s *Store, now balance.Instant, token byte, client balance.ClientPrefix) *Request {
	t.Helper()
	r, refused := s.Open(now, Token{token}, client)
	if refused != NotRefused {
		t.Fatalf("request %d is refused: %d", token, refused)
	}
	return r
}

// A request goes through its states, and what may be told of it follows.
func TestStates(t *testing.T) {
	s := newTestStore(testConfig, nil)
	r := open(t, s, second, 1, 1)
	at := func(now balance.Instant, want Status) {
		t.Helper()
		got, ok := s.Status(now, r.Token)
		if !ok || got != want {
			t.Errorf("at %v: %+v, %v; want %+v", time.Duration(now), got, ok, want)
		}
	}
	at(second, Status{State: Receiving})
	r.Received("id", nil)
	at(2*second, Status{State: Waiting, ID: "id", Waited: time.Second})
	r.Stand(2*second, 3, 5*time.Second)
	at(3*second, Status{State: Waiting, ID: "id", Position: 3, ExpectedStart: 4 * time.Second, Waited: 2 * time.Second})
	at(9*second, Status{State: Waiting, ID: "id", Position: 3, Waited: 8 * time.Second})
	r.Run(10 * second)
	at(11*second, Status{State: Running, ID: "id", Waited: 9 * time.Second, Ran: time.Second})
	r.Wait() // its server has failed
	at(12*second, Status{State: Waiting, ID: "id", Waited: 11 * time.Second})
	r.Run(13 * second)
	if s.Read(14*second, r.Token) != nil {
		t.Error("an answer that is not complete can be read")
	}
	if err := r.Answer.Append([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.Finish(15*second, 200)
	r.Fail(16*second, "broken")
	r.Wait()
	at(20*second, Status{State: Done, ID: "id", Waited: 12 * time.Second, Ran: 2 * time.Second, Status: 200, Bytes: 19, ExpiresIn: 55 * time.Second})
	r.Leave()
	at(75*second-1, Status{State: Done, ID: "id", Waited: 12 * time.Second, Ran: 2 * time.Second, Status: 200, Bytes: 19, ExpiresIn: 1})
	if _, ok := s.Status(75*second, r.Token); ok {
		t.Error("it is kept beyond its time")
	}
	if c := s.Counts(); c.Memory != 0 || c.Ended != [ends]uint64{EndDone: 1, EndExpired: 1} {
		t.Errorf("left: %+v", c)
	}
}

// One that fails has a reason and no answer.
func TestFailure(t *testing.T) {
	s := newTestStore(testConfig, nil)
	r := open(t, s, 0, 1, 1)
	r.Received("id", nil)
	r.Run(second)
	_ = r.Answer.Append([]byte("HTT"))
	r.Fail(2*second, "broken")
	r.Leave()
	if got, _ := s.Status(2*second, r.Token); got.State != Failed || got.Reason != "broken" || got.Status != 0 || got.Bytes != 0 {
		t.Errorf("told: %+v", got)
	}
	if s.Read(2*second, r.Token) != nil {
		t.Error("there is an answer to read")
	}
	if c := s.Counts(); c.Memory != 0 || c.States != [states]int{Failed: 1} {
		t.Errorf("left: %+v", c)
	}
}

// The number of requests is bounded, of all and of one client, and places come free with each end.
func TestNumbersAreBounded(t *testing.T) {
	s := newTestStore(testConfig, nil)
	open(t, s, 0, 1, 1)
	second1 := open(t, s, 0, 2, 1)
	if _, refused := s.Open(0, Token{3}, 1); refused != ClientFull {
		t.Errorf("a client's third: %d, want ClientFull", refused)
	}
	open(t, s, 0, 3, 2)
	open(t, s, 0, 4, 3)
	if _, refused := s.Open(0, Token{5}, 4); refused != Full {
		t.Errorf("the fifth: %d, want Full", refused)
	}
	second1.Drop()
	open(t, s, 0, 5, 1)
	if c := s.Counts(); c.Ended[EndRefused] != 2 {
		t.Errorf("%d are counted as refused, want 2", c.Ended[EndRefused])
	}
}

// Cancel calls the request's end once, outside the lock, and frees all only when its loop has left it.
func TestCancel(t *testing.T) {
	s := newTestStore(testConfig, nil)
	r := open(t, s, 0, 1, 1)
	_ = r.Body.Append([]byte("body"))
	canceled := 0
	r.Received("id", func() { canceled++; s.Counts() })
	r.Run(second)
	_ = r.Answer.Append([]byte("part"))
	if s.Cancel(second, Token{9}) || !s.Cancel(second, r.Token) || s.Cancel(second, r.Token) || canceled != 1 {
		t.Fatalf("canceled %d times", canceled)
	}
	if c := s.Counts(); c.Memory == 0 || c.Ended != [ends]uint64{EndCanceled: 1} {
		t.Errorf("while its loop has it: %+v", c)
	}
	r.Fail(2*second, "canceled")
	r.Leave()
	if c := s.Counts(); c.Memory != 0 || c.Ended != [ends]uint64{EndCanceled: 1} || len(s.clients) != 0 || s.over.Len() != 0 {
		t.Errorf("left: %+v", c)
	}
}

// An answer stays for those who read it, though it is dropped meanwhile.
func TestReadersHoldAnAnswer(t *testing.T) {
	var files []*memoryFile
	c := testConfig
	c.Spool = 1 << 20
	s := newTestStore(c, &files)
	r := open(t, s, 0, 1, 1)
	r.Received("id", nil)
	want := bytes.Repeat([]byte("0123456789"), 15<<10)
	if err := r.Answer.Append(want); err != nil {
		t.Fatal(err)
	}
	r.Finish(second, 200)
	r.Leave()
	a, b := s.Read(second, r.Token), s.Read(second, r.Token)
	s.Cancel(second, r.Token)
	a.Close()
	got := make([]byte, b.Size())
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	b.Close()
	if n := s.Counts(); n.Memory != 0 || n.Spool != 0 || len(files) != 1 || files[0].closed != 1 {
		t.Errorf("left: %+v, %d files", n, len(files))
	}
}

// Bytes come back as they were appended, from memory and from files, and bounds hold.
func TestBlobs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var files []*memoryFile
		c := testConfig
		spool := rapid.Bool().Draw(t, "spool")
		if spool {
			c.Spool, c.Memory = 1<<20, 256<<10
		}
		s := newTestStore(c, &files)
		r, _ := s.Open(0, Token{1}, 1)
		var all []byte
		for range rapid.IntRange(0, 12).Draw(t, "parts") {
			p := bytes.Repeat([]byte{byte(len(all))}, rapid.IntRange(0, 50<<10).Draw(t, "bytes"))
			err := r.Answer.Append(p)
			if long := int64(len(all)+len(p)) > c.Answer; long != errors.Is(err, ErrLong) || !long && err != nil {
				t.Fatalf("%d bytes behind %d: %v", len(p), len(all), err)
			}
			if err == nil {
				all = append(all, p...)
			}
		}
		if r.Answer.Size() != int64(len(all)) || spool && len(all) > inMemory+blockSize && len(files) != 1 {
			t.Fatalf("size %d, want %d; %d files", r.Answer.Size(), len(all), len(files))
		}
		off := rapid.IntRange(0, len(all)).Draw(t, "offset")
		p := make([]byte, rapid.IntRange(1, 100<<10).Draw(t, "most"))
		n, err := r.Answer.ReadAt(p, int64(off))
		if want := all[off:min(len(all), off+len(p))]; !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
			t.Fatalf("read %d bytes at %d of %d, %v; want %d", n, off, len(all), err, len(want))
		}
		most := rapid.Int64Range(0, 300<<10).Draw(t, "first")
		parts, err := r.Answer.First(most)
		if want := all[:min(int64(len(all)), most)]; err != nil || !bytes.Equal(bytes.Join(parts, nil), want) {
			t.Fatalf("the first %d bytes: %d, %v", most, len(bytes.Join(parts, nil)), err)
		}
		r.Drop()
		if n := s.Counts(); n.Memory != 0 || n.Spool != 0 {
			t.Fatalf("left: %+v", n)
		}
	})
}

// What all requests may take together is bounded, in memory and in files.
func TestBytesAreBounded(t *testing.T) {
	for _, spool := range []int64{0, 1 << 20} {
		c := testConfig
		c.Requests, c.PerClient, c.Answer, c.Spool = 1000, 1000, 100<<20, spool
		var files []*memoryFile
		s := newTestStore(c, &files)
		failed := false
		for client := range 100 {
			r := open(t, s, 0, byte(client), balance.ClientPrefix(client))
			if err := r.Answer.Append(make([]byte, 300<<10)); errors.Is(err, ErrFull) {
				failed = true
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		n := s.Counts()
		if !failed || n.Memory > c.Memory || n.Spool > spool {
			t.Errorf("full: %v, taken: %+v", failed, n)
		}
	}
}

// A spool that fails says so.
func TestSpoolFails(t *testing.T) {
	c := testConfig
	c.Spool = 1 << 20
	s := NewStore([8]byte{})
	broken := errors.New("no space left on device")
	s.Configure(c, func() (File, error) { return nil, broken })
	r := open(t, s, 0, 1, 1)
	if err := r.Answer.Append(make([]byte, 100<<10)); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}
