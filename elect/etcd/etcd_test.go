package etcd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/evenkeel-lb/evenkeel/elect"
	"github.com/evenkeel-lb/evenkeel/elect/storetest"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// These tests hold the Store against a real etcd of one member.

// server is that etcd's address; empty: it is not installed.
var server string

func TestMain(m *testing.M) {
	code := 1
	if err := withEtcd(func() { code = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// withEtcd runs tests while an etcd runs, or without one.
func withEtcd(tests func()) error {
	program, err := peers.Find("etcd")
	if err != nil {
		if os.Getenv("EVENKEEL_PEERS") == "required" {
			return err
		}
		tests()
		return nil
	}
	dir, err := os.MkdirTemp("", "evenkeel-etcd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	clients, err := freeport.Loopback()
	if err != nil {
		return err
	}
	members, err := freeport.Loopback()
	if err != nil {
		return err
	}
	etcd := exec.Command(program, "--data-dir", dir, "--log-level", "error", "--unsafe-no-fsync", "--quota-backend-bytes", "67108864", "--listen-client-urls", "http://"+clients, "--advertise-client-urls", "http://"+clients,
		"--listen-peer-urls", "http://"+members, "--initial-advertise-peer-urls", "http://"+members, "--initial-cluster", "default=http://"+members)
	var said bytes.Buffer
	etcd.Stderr = &said
	if err := proc.Spawn(etcd); err != nil { // it does not outlive tests that panic
		return err
	}
	defer func() {
		_ = etcd.Process.Kill()
		_ = etcd.Wait() // it was killed
	}()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{clients}, DialTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := client.Get(ctx, "ready"); err != nil { // the client waits for it
		return fmt.Errorf("etcd does not answer: %w\n%s", err, &said)
	}
	server = clients
	tests()
	return nil
}

var prefixes atomic.Int32

// newPrefix returns one for a test of its own.
func newPrefix(t *testing.T) string {
	t.Helper()
	if server == "" {
		t.Skip("SKIPPED: etcd is not installed. To run this test too: make peers")
	}
	return fmt.Sprintf("test%d", prefixes.Add(1))
}

func newStore(t *testing.T, prefix, id string) *Store {
	t.Helper()
	s, err := New(Config{Endpoints: []string{server}, Prefix: prefix, TTL: time.Minute}, elect.Candidate{ID: id, Address: id + ":7400"})
	if err != nil {
		t.Fatal(err)
	}
	quit := sync.OnceFunc(func() {
		if err := s.Quit(context.Background()); err != nil {
			t.Errorf("quit: %v", err)
		}
	})
	t.Cleanup(quit)
	return s
}

// expire ends a Store's lease as its time would.
func expire(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.client.Revoke(context.Background(), s.lease); err != nil {
		t.Fatal(err)
	}
}

func TestOneTakesAPoolAndAllSeeIt(t *testing.T) {
	prefix := newPrefix(t)
	a, b := newStore(t, prefix, "a"), newStore(t, prefix, "b")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	fence := storetest.Take(t, a, "web")
	if fence == 0 {
		t.Fatal("a pool that is free was not had")
	}
	for _, s := range []*Store{a, b} {
		if again := storetest.Take(t, s, "web"); again != 0 {
			t.Errorf("a pool that is led was taken, with fence %d", again)
		}
		v := storetest.Look(t, s)
		if l := v.Leads["web"]; len(v.Leads) != 1 || l.Leader.ID != "a" || l.Leader.Address != "a:7400" || l.Fence != fence {
			t.Errorf("%s sees the leads %+v, want that of a, fence %d", s.self.ID, v.Leads, fence)
		}
		if len(v.Masters) != 2 {
			t.Errorf("%s sees the masters %+v, want both", s.self.ID, v.Masters)
		}
	}
}

func TestWhatAMasterTellsOfItself(t *testing.T) {
	prefix := newPrefix(t)
	a, b := newStore(t, prefix, "a"), newStore(t, prefix, "b")
	for edges, lacks := range [][]string{{"web", "jobs"}, {"web"}, nil} {
		if _, err := a.Renew(context.Background(), lacks, edges); err != nil {
			t.Fatal(err)
		}
		if m := storetest.Look(t, b).Masters; len(m) != 1 || m[0].ID != "a" || m[0].Address != "a:7400" || m[0].Edges != edges || !slices.Equal(m[0].Lacks, lacks) {
			t.Errorf("the masters are %+v, want a with %d edges that lacks %v", m, edges, lacks)
		}
	}
}

func TestALeadEndsWithItsLease(t *testing.T) {
	prefix := newPrefix(t)
	a, b := newStore(t, prefix, "a"), newStore(t, prefix, "b")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	first := storetest.Take(t, a, "web")
	if first == 0 {
		t.Fatal("a pool that is free was not had")
	}
	if lost := storetest.Renew(t, a); len(lost) > 0 {
		t.Fatalf("a lost %v, whose lease is there", lost)
	}
	expire(t, a)
	second := storetest.Take(t, b, "web")
	if second <= first {
		t.Errorf("fence %d follows %d", second, first)
	}
	if lost := storetest.Renew(t, a); !slices.Equal(lost, []string{"web"}) {
		t.Errorf("a is told that it lost %v, want web", lost)
	}
	if lost := storetest.Renew(t, a); len(lost) > 0 {
		t.Errorf("a is told twice that it lost %v", lost)
	}
	v := storetest.Look(t, a)
	if v.Leads["web"].Leader.ID != "b" || len(v.Masters) != 2 {
		t.Errorf("a sees %+v, want b to lead and both masters", v)
	}
	// What is no longer its own it cannot give up.
	if err := a.Leave(context.Background(), "web"); err != nil {
		t.Fatal(err)
	}
	if v := storetest.Look(t, b); v.Leads["web"].Fence != second {
		t.Errorf("b's lead is gone after a left what it had lost: %+v", v.Leads)
	}
}

func TestALeadThatIsLeftIsFreeAtOnce(t *testing.T) {
	prefix := newPrefix(t)
	a, b := newStore(t, prefix, "a"), newStore(t, prefix, "b")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	first := storetest.Take(t, a, "web")
	if err := a.Leave(context.Background(), "web"); err != nil {
		t.Fatal(err)
	}
	if second := storetest.Take(t, b, "web"); second <= first {
		t.Errorf("fence %d follows %d", second, first)
	}
	expire(t, a)
	if lost := storetest.Renew(t, a); len(lost) > 0 {
		t.Errorf("a lost %v, which it had left", lost)
	}
}

// A Store without a lease would make a key that nothing ends.
func TestNothingIsTakenWithoutALease(t *testing.T) {
	a := newStore(t, newPrefix(t), "a")
	if fence, err := a.Take(context.Background(), "web"); fence != 0 || err == nil {
		t.Errorf("taken with fence %d, error %v, before there is a lease", fence, err)
	}
	if v := storetest.Look(t, a); len(v.Leads) > 0 {
		t.Errorf("the leads are %+v, want none", v.Leads)
	}
}

func TestOfManyWhoTakeOneWins(t *testing.T) {
	prefix := newPrefix(t)
	all := make([]*Store, 8)
	for i := range all {
		all[i] = newStore(t, prefix, fmt.Sprintf("m%d", i))
		storetest.Renew(t, all[i])
	}
	var won atomic.Int32
	var taking sync.WaitGroup
	for _, s := range all {
		taking.Go(func() {
			if fence, err := s.Take(context.Background(), "web"); err != nil {
				t.Error(err)
			} else if fence != 0 {
				won.Add(1)
			}
		})
	}
	if taking.Wait(); won.Load() != 1 {
		t.Errorf("%d masters lead the pool", won.Load())
	}
}

func TestAGenerationRaisesAllFencesToCome(t *testing.T) {
	prefix := newPrefix(t)
	storetest.Generation(t, newStore(t, prefix, "a"), newStore(t, prefix, "b"), "web")
}

func TestChangesAreTold(t *testing.T) {
	prefix := newPrefix(t)
	a, b := newStore(t, prefix, "a"), newStore(t, prefix, "b")
	for _, change := range []func(){
		func() { storetest.Renew(t, a) },
		func() { storetest.Take(t, a, "web") },
		func() { _ = a.Leave(context.Background(), "web") },
		func() { expire(t, a) },
	} {
		watching(t, b)
		change()
		select {
		case <-b.Changed():
		case <-time.After(time.Minute):
			t.Fatal("b was not told within a minute")
		}
	}
}

// watching returns when the Store's watch is there: it tells of a key that is written until then.
func watching(t *testing.T, s *Store) {
	t.Helper()
	for range 6000 {
		if _, err := s.client.Put(context.Background(), s.cfg.Prefix+"/probe", ""); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Changed():
			settled(t, s)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the watch does not come")
}

// settled returns when all that was written before has been told of.
func settled(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	last, err := s.client.Put(ctx, s.cfg.Prefix+"/last", "")
	if err != nil {
		t.Fatal(err)
	}
	if r := <-s.client.Watch(ctx, s.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(last.Header.Revision)); r.Err() != nil {
		t.Fatal(r.Err())
	}
	select {
	case <-s.Changed():
	case <-time.After(time.Minute):
		t.Fatal("the watch has ceased")
	}
}

// A master that goes leaves nothing behind, and what others wrote stays.
func TestQuitLeavesNothing(t *testing.T) {
	prefix := newPrefix(t)
	a, err := New(Config{Endpoints: []string{server}, Prefix: prefix, TTL: time.Minute}, elect.Candidate{ID: "a", Address: "a:7400"})
	if err != nil {
		t.Fatal(err)
	}
	b := newStore(t, prefix, "b")
	storetest.Renew(t, a)
	storetest.Renew(t, b)
	storetest.Take(t, a, "web")
	storetest.Take(t, b, "jobs")
	if err := a.Quit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if v := storetest.Look(t, b); len(v.Masters) != 1 || v.Masters[0].ID != "b" || len(v.Leads) != 1 || v.Leads["jobs"].Leader.ID != "b" {
		t.Errorf("after a has quit b sees %+v", v)
	}
}

func TestEtcdKeepsValues(t *testing.T) {
	prefix := newPrefix(t)
	a, b, ctx := newStore(t, prefix, "a"), newStore(t, prefix, "b"), context.Background()
	now, secret := time.Now(), enrol.NewSecret()
	books := []*enrol.Book{enrol.NewBook(a.Values()), enrol.NewBook(b.Values())}
	const uses = 3
	record := enrol.Record{Pool: "web", Ends: now.Add(time.Hour), Uses: uses}
	if err := books[0].Add(ctx, enrol.Hash(secret), record); err != nil {
		t.Fatal(err)
	}
	if err := books[1].Add(ctx, enrol.Hash(secret), record); err == nil {
		t.Error("one name was added twice")
	}
	var using sync.WaitGroup
	var good atomic.Int32
	for i := range 12 {
		using.Go(func() {
			if err := books[i%2].Use(ctx, secret, fmt.Sprint(i), now, func(*enrol.Record) error { return nil }); err == nil {
				good.Add(1)
			}
		})
	}
	if using.Wait(); good.Load() != uses {
		t.Errorf("%d agents used a token for %d", good.Load(), uses)
	}
	if v := storetest.Look(t, b); len(v.Masters)+len(v.Leads) != 0 {
		t.Errorf("electors see values: %+v", v)
	}
}

// Every call to an etcd that does not answer returns an error that says what was tried, and nothing is believed to be done.
func TestAnEtcdThatIsAwayIsTold(t *testing.T) {
	address := net.JoinHostPort("127.0.0.1", "1")
	s, err := New(Config{Endpoints: []string{address}, TTL: time.Minute}, elect.Candidate{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if key := s.pool("web"); key != "evenkeel/pools/web" {
		t.Errorf("without a prefix a pool's key is %s", key)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	renew := func() error { _, err := s.Renew(over, nil, 0); return err }
	v := s.Values()
	for _, c := range []struct {
		lease clientv3.LeaseID
		says  string
		call  func() error
	}{
		{0, "etcd: lease: ", renew},
		{1, "etcd: renew: ", renew},
		{1, "etcd: enter: ", func() error { return s.enter(over, 1, "here") }},
		{0, "etcd: look: ", func() error { _, err := s.Look(over); return err }},
		{0, "etcd: take: there is no lease", func() error { _, err := s.Take(over, "web"); return err }},
		{1, "etcd: take: ", func() error { _, err := s.Take(over, "web"); return err }},
		{1, "etcd: leave: ", func() error { return s.Leave(over, "web") }},
		{0, "etcd: raise: ", func() error { return s.Raise(over, 1) }},
		{0, "etcd: lease: ", func() error { return v.Add(over, "x", nil, time.Now()) }},
		{0, "etcd: get: ", func() error { _, _, err := v.Get(over, "x"); return err }},
		{0, "etcd: names: ", func() error { _, err := v.Names(over); return err }},
		{0, "etcd: swap: ", func() error { _, err := v.Swap(over, "x", "1", nil); return err }},
		{0, "invalid syntax", func() error { _, err := v.Swap(over, "x", "no version", nil); return err }},
	} {
		s.lease = c.lease
		if err := c.call(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want it to say %q", err, c.says)
		}
		if len(s.held) != 0 || s.lease != c.lease || s.told != "" {
			t.Errorf("%s failed, and the store has lease %d, told %q, held %v", c.says, s.lease, s.told, s.held)
		}
	}
	s.lease = 1
	if err := s.Quit(over); err == nil {
		t.Error("a lease that cannot be ended is no error")
	}
	if s, err := New(Config{TTL: time.Minute}, elect.Candidate{ID: "a"}); s != nil || err == nil || !strings.HasPrefix(err.Error(), "etcd: ") {
		t.Errorf("without an address: got %v, %v", s, err)
	}
}

// A master's presence is written when it has changed, and with a lease that there is.
func TestAPresenceIsWrittenOnce(t *testing.T) {
	prefix := newPrefix(t)
	a, ctx := newStore(t, prefix, "a"), context.Background()
	revision := func() int64 {
		t.Helper()
		r, err := a.client.Get(ctx, a.master("a"))
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("got %v, %v, want one master", r, err)
		}
		return r.Kvs[0].ModRevision
	}
	storetest.Renew(t, a)
	first := revision()
	storetest.Renew(t, a)
	if again := revision(); again != first {
		t.Errorf("what has not changed is written again, in revision %d after %d", again, first)
	}
	if _, err := a.Renew(ctx, nil, 7); err != nil || revision() == first {
		t.Errorf("what has changed is not written: %v", err)
	}
	if err := a.enter(ctx, a.lease+1, "elsewhere"); err == nil || a.told == "elsewhere" {
		t.Errorf("written with a lease that there is not: %v", err)
	}
}

// A value has one version, and is changed only by who knows that; it ends with its time.
func TestValuesHaveVersions(t *testing.T) {
	prefix := newPrefix(t)
	a, b, ctx := newStore(t, prefix, "a").Values(), newStore(t, prefix, "b").Values(), context.Background()
	if value, version, err := a.Get(ctx, "x"); value != nil || version != "" || err != nil {
		t.Errorf("no value: got %q, %q, %v", value, version, err)
	}
	for _, name := range []string{"x", "y"} {
		if err := a.Add(ctx, name, []byte("one"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add(ctx, "x", []byte("two"), time.Now().Add(time.Hour)); err == nil {
		t.Error("a name was taken twice")
	}
	if names, err := b.Names(ctx); err != nil || !slices.Equal(names, []string{"x", "y"}) {
		t.Errorf("the names are %v, %v", names, err)
	}
	lease := func() int64 {
		t.Helper()
		r, err := a.store.client.Get(ctx, a.key("x"))
		if err != nil || len(r.Kvs) != 1 || r.Kvs[0].Lease == 0 {
			t.Fatalf("got %v, %v, want a value with a lease", r, err)
		}
		return r.Kvs[0].Lease
	}
	first := lease()
	_, old, err := b.Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if done, err := a.Swap(ctx, "x", old, []byte("three")); done != want || err != nil {
			t.Errorf("swap %d of the first version: %v, %v", i, done, err)
		}
	}
	if value, version, err := b.Get(ctx, "x"); string(value) != "three" || version == old || err != nil {
		t.Errorf("got %q, %q, %v", value, version, err)
	}
	if now := lease(); now != first {
		t.Errorf("after the swap it ends with lease %d, want %d, which it was added with", now, first)
	}
}
