package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestCanceledPickReleasesALateGrant(t *testing.T) {
	cancelSeen := make(chan struct{})
	m := startMaster(t, &fakeMaster{onAsk: func(*fakeConn, *wire.Ask) {}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	cause := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		defer close(cancelSeen)
		ask := await[wire.Ask](m, 1, nil)[0]
		cancel(cause)
		if got := await[wire.Cancel](m, 1, nil)[0]; got.Seq != ask.Seq {
			t.Errorf("cancel of %d, want %d", got.Seq, ask.Seq)
		}
		m.conns[0].Write((&wire.Granted{Seq: ask.Seq, Grant: balance.Grant{Lease: 0x99, Server: "s"}}).Append(nil, 1))
	}()
	if _, err := c.Pick(ctx, "p", &balance.Request{}); err != cause {
		t.Errorf("Pick = %v, want the context's cause", err)
	}
	<-cancelSeen
	if d := await[wire.Done](m, 1, nil)[0]; d.Lease != 0x99 || d.Pool != "p" || d.Outcome.Result != balance.Canceled {
		t.Errorf("the late grant was released by %+v", d)
	}
}

func TestPickWithAnEndedContextAsksNobody(t *testing.T) {
	c, _ := New(Config{Masters: []string{"127.0.0.1:1"}, ID: "a"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Pick(ctx, "p", &balance.Request{}); err != context.Canceled {
		t.Errorf("Pick = %v, want context canceled", err)
	}
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); !errors.Is(err, ErrNoMaster) {
		t.Errorf("Pick before Run = %v, want ErrNoMaster", err)
	}
}

func TestRefusalsAreReturned(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		c.out = (&wire.Queued{Seq: m.Seq, Position: 3}).Append(c.out)
		c.out = (&wire.Refused{Seq: m.Seq, Refusal: balance.Refusal{Reason: balance.Saturated, RetryAfter: time.Second, Detail: "full"}}).Append(c.out)
	}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	_, err := c.Pick(context.Background(), "p", &balance.Request{})
	var refusal *balance.Refusal
	if !errors.As(err, &refusal) || *refusal != (balance.Refusal{Reason: balance.Saturated, RetryAfter: time.Second, Detail: "full"}) {
		t.Errorf("Pick = %v", err)
	}
	if c.Queued() != 1 {
		t.Errorf("Queued = %d, want 1", c.Queued())
	}
}

func TestALostConnectionFailsPicksAndLeasesAreAnnouncedAgain(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		if m.Request.Key != "never" {
			c.grant(m)
		}
	}})
	c := start(t, Config{Masters: []string{m.addr()}, Pools: []string{"p"}}, m)
	held, _ := c.Pick(context.Background(), "p", &balance.Request{})
	ended, _ := c.Pick(context.Background(), "p", &balance.Request{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		await(m, 1, func(a wire.Ask) bool { return a.Request.Key == "never" })
		m.listener.Close() // so that nothing is welcomed before the done below
		m.cut()
	})
	if _, err := c.Pick(context.Background(), "p", &balance.Request{Key: "never"}); !errors.Is(err, ErrNoMaster) {
		t.Fatalf("Pick whose connection was lost = %v, want ErrNoMaster", err)
	}
	cutting.Wait()
	if c.Connected() {
		t.Error("Connected, after the loss")
	}
	c.Done("p", ended.Lease, balance.Outcome{Result: balance.Fault})
	m.restart()
	waitFor(t, "a new connection", c.Connected)
	if h := await[wire.Hold](m, 1, nil); len(h) != 1 || h[0].Lease != held.Lease || h[0].Pool != "p" || h[0].Server != "s" || h[0].Left != 0 {
		t.Errorf("held %+v, want %v alone", h, held.Lease)
	}
	if d := await[wire.Done](m, 1, nil)[0]; d.Lease != ended.Lease || d.Outcome.Result != balance.Fault {
		t.Errorf("done %+v, want %v", d, ended.Lease)
	}
	await[wire.Watch](m, 2, nil)
}

// restart listens anew where the master listened before.
func (m *fakeMaster) restart() {
	l, err := net.Listen("tcp", m.addr())
	if err != nil {
		m.t.Fatal(err)
	}
	m.listen(l)
}

func TestTheNextMasterIsTriedAfterAFailure(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	start(t, Config{Masters: []string{freeport.Address(t), m.addr()}}, m)
}

func TestGoodbyeIsSaid(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c, err := New(Config{Masters: []string{m.addr()}, ID: "edge-a"})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, c.Run)
	waitFor(t, "a connection", c.Connected)
	c.Report("p", balance.Report{Server: "s", Metrics: []balance.Metric{{Name: "x", Value: 1}}})
	stop()
	await[wire.Goodbye](m, 1, nil)
	await[wire.Reports](m, 1, nil)
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); !errors.Is(err, ErrNoMaster) {
		t.Errorf("Pick after Run = %v, want ErrNoMaster", err)
	}
}

func TestReportsRideInTheAsk(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	for _, v := range []float64{1, 2} {
		c.Report("p", balance.Report{Server: "s", Metrics: []balance.Metric{{Name: balance.InFlight, Value: v}}})
	}
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	a := await[wire.Ask](m, 1, nil)[0]
	if len(a.Reports) != 1 || a.Reports[0].Pool != "p" || a.Reports[0].Report.Server != "s" || a.Reports[0].Report.Metrics[0] != (balance.Metric{Name: balance.InFlight, Value: 2}) || a.Reports[0].Form != 1 {
		t.Errorf("with the ask came %+v, want the latest report", a.Reports)
	}
	c.Report("p", balance.Report{Server: "lonely"})
	if r := await[wire.Reports](m, 1, nil)[0].Reports; len(r) != 1 || r[0].Report.Server != "lonely" {
		t.Errorf("on their own came %+v", r)
	}
}

func TestAMasterThatMakesNoSenseIsLeft(t *testing.T) {
	for name, bytes := range map[string]string{
		"rubbish":         "\xff\xff\xff\xff\xff",
		"a bad field":     "\x03\x00\x00\x00\x11\x0f\x00",
		"an edge's frame": string((&wire.Watch{Pool: "p"}).Append(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, _ *wire.Ask) { c.out = append(c.out, bytes...) }})
			c := start(t, Config{Masters: []string{m.addr()}}, m)
			_, err := c.Pick(context.Background(), "p", &balance.Request{})
			var bad *wire.FrameError
			if !errors.Is(err, ErrNoMaster) || !errors.As(err, &bad) {
				t.Errorf("Pick = %v, want ErrNoMaster for a bad frame", err)
			}
			if f := await[wire.Fail](m, 1, nil)[0]; f.Code != wire.BadFrame {
				t.Errorf("the master was told %v", &f)
			}
		})
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		c.out = append(c.out, "\x03\x00\x00\x00\xf0ab"...)
		c.grant(m)
	}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); err != nil {
		t.Error(err)
	}
}

func TestAnHTTPServerIsNamedAsSuch(t *testing.T) {
	var s session
	s.open(1)
	_, err := s.receive(1, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "it speaks HTTP, not Evenkeel's protocol") {
		t.Errorf("receive = %v", err)
	}
}

func TestAWelcomeToAnotherVersionIsRefused(t *testing.T) {
	proto := newEdgeProtocol("a", nil, "")
	proto.open(1)
	_, err := proto.receive(1, (&wire.Welcome{Version: 7}).Append(nil))
	if err == nil || !strings.Contains(err.Error(), "version 7, but only 2 to 2") {
		t.Errorf("receive = %v", err)
	}
}

func TestAFailIsShown(t *testing.T) {
	m := startMaster(t, &fakeMaster{fail: &wire.Fail{Code: wire.BadVersion, Detail: "you speak 1 to 1, this side 8 to 9"}})
	c, _ := New(Config{Masters: []string{m.addr()}, ID: "edge-a"})
	run(t, c.Run)
	waitFor(t, "problem", func() bool { return c.Problem() != nil })
	if text := c.Problem().Error(); !strings.Contains(text, "bad version: you speak 1 to 1") {
		t.Errorf("Problem = %s", text)
	}
}

func TestUnixSocketAndTLS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := startMaster(t, &fakeMaster{})
	m.listener.Close()
	m.listen(tls.NewListener(l, serverTLS(t)))
	c := start(t, Config{Masters: []string{"unix:" + path}, TLS: &tls.Config{InsecureSkipVerify: true}}, m)
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); err != nil {
		t.Error(err)
	}
}

// An HTTP server waits for the end of a line, and would never say what it is.
func TestAnHTTPServerThatWaitsIsNamedAsSuch(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	defer server.Close()
	go func() { _ = server.Serve(l) }()
	for _, h := range []roleParams{edgeParams, agentParams} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s := session{roleParams: h, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge, ID: "e1"}}
		s.open(1)
		first := len(s.out)
		for at := h.tick; at <= h.helloTimeout; at += h.tick {
			if len(s.out) > first {
				t.Fatalf("after %v, before its time, it says %q", at-h.tick, s.out[first:])
			}
			if err := s.checkIdle(balance.Instant(1).Add(at)); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.out) == first {
			t.Fatalf("it says nothing after %v", h.helloTimeout)
		}
		if _, err := conn.Write(s.out); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1000)
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.receive(2, answer[:n], nil)
		if err == nil || !strings.Contains(err.Error(), "it speaks HTTP, not Evenkeel's protocol") || !strings.Contains(err.Error(), "7400") {
			t.Errorf("receive = %v, want HTTP named, and the port", err)
		}
		conn.Close()
	}
}

// Who answers the Hello with nothing, not even when asked as HTTP would, is left.
func TestASilentStrangerIsLeft(t *testing.T) {
	s := session{roleParams: edgeParams}
	s.open(1)
	var err error
	at := balance.Instant(1)
	for ; err == nil && at < balance.Instant(1).Add(time.Minute); at = at.Add(s.tick) {
		err = s.checkIdle(at)
	}
	if took := at.Sub(1); !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "7400") || took > s.helloTimeout+httpTimeout+2*s.tick {
		t.Errorf("look = %v after %v, want errSilent with a cure", err, took)
	}
}

// A master that stands still is noticed: by the silence, or because it does not read.
func TestASilentMasterIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		proto := newEdgeProtocol("a", nil, "")
		l := newConnLoop([]string{"-"}, security{}, logger(nil), proto, func(context.Context) {})
		go func() {
			buf := make([]byte, 1000)
			theirs.Read(buf)
			theirs.Write((&wire.Welcome{Version: wire.MaxVersion, Master: "m"}).Append(nil))
			for { // reads, and says nothing
				if _, err := theirs.Read(buf); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		wasUp, err := l.serveConn(t.Context(), ours)
		if !wasUp || !errors.Is(err, errSilent) {
			t.Errorf("stay = %v, %v; want errSilent", wasUp, err)
		}
		if took := time.Since(began); took < edgeParams.silenceTimeout || took > edgeParams.silenceTimeout+time.Second {
			t.Errorf("it took %v to notice, want %v", took, edgeParams.silenceTimeout)
		}
	})
}

func TestAMasterThatDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		proto := newEdgeProtocol("a", nil, "")
		l := newConnLoop([]string{"-"}, security{}, logger(nil), proto, func(context.Context) {})
		ended := make(chan error)
		go func() {
			_, err := l.serveConn(t.Context(), ours)
			ended <- err
		}()
		theirs.Read(make([]byte, 1000))
		theirs.Write((&wire.Welcome{Version: wire.MaxVersion, Master: "m"}).Append(nil))
		var talking sync.WaitGroup
		talking.Go(func() {
			for { // talks, and does not read
				if _, err := theirs.Write((&wire.Pong{}).Append(nil)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		l.mu.Lock()
		proto.appendDone("p", 1, balance.Outcome{})
		l.writeAndUnlock()
		if err := <-ended; err == nil {
			t.Error("stay ended without an error")
		}
		theirs.Close()
		talking.Wait()
	})
}

func TestPingIsAnswered(t *testing.T) {
	proto := newEdgeProtocol("a", nil, "")
	proto.open(1)
	proto.out = proto.out[:0]
	in := (&wire.Welcome{Version: wire.MaxVersion}).Append(nil)
	in = (&wire.Ping{Seq: 8}).Append(in)
	if used, err := proto.receive(2, in); err != nil || used != len(in) {
		t.Fatal(used, err)
	}
	if want := (&wire.Pong{Seq: 8}).Append(nil); string(proto.out) != string(want) || !proto.urgent {
		t.Errorf("out %x, want %x", proto.out, want)
	}
}
