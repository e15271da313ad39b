package master

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Every wrong identity on every connection is refused, both sides say why, and both
// count it.

// house is two authorities: ours, and a stranger's.
type house struct {
	t              *testing.T
	ours, foreign  *trust.Authority
	dir, elsewhere string
	issued         int
	bounds         trust.Bounds // of the certificates that are issued
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, bounds: trust.Bounds{Pools: []string{"web"}}, dir: t.TempDir(), elsewhere: t.TempDir()}
	var err error
	if h.ours, err = trust.NewAuthority(h.dir, time.Now()); err == nil {
		h.foreign, err = trust.NewAuthority(h.elsewhere, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// issue makes a certificate that trusts our authority alone, whichever authority has signed it.
func (h *house) issue(by *trust.Authority, role trust.Role, name string, now time.Time, life time.Duration) trust.Files {
	h.t.Helper()
	h.issued++
	stem := filepath.Join(h.dir, fmt.Sprint(h.issued))
	ca, _ := trust.AuthorityFiles(h.dir)
	f := trust.Files{Cert: stem + ".crt", Key: stem + ".key", CA: ca}
	if err := by.Issue(trust.Subject{Identity: trust.Identity{Role: role, Name: name}, Bounds: h.bounds}, now, life, f.Cert, f.Key); err != nil {
		h.t.Fatal(err)
	}
	return f
}

func (h *house) keeper(f trust.Files) *trust.Keeper {
	h.t.Helper()
	k, err := trust.Open(f, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

func (h *house) good(role trust.Role, name string) *trust.Keeper {
	return h.keeper(h.issue(h.ours, role, name, time.Now(), trust.DefaultLife))
}

// bare is a peer's TLS that shows whatever it likes, as one that means ill would.
func (h *house) bare(f *trust.Files) *tls.Config {
	h.t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true}
	if f != nil {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			h.t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// journal is a log that can be looked into.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) log() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func counted(t *trust.Tally) map[string]uint64 {
	got := make(map[string]uint64)
	t.Each(func(reason string, n uint64) {
		if n > 0 {
			got[reason] = n
		}
	})
	return got
}

// peerOf is an edge or an agent of the client room.
type peerOf interface {
	Connected() bool
	Refused() *trust.Tally
}

// connect runs an edge e1 or an agent of server r1 with what it is to show.
func connect(t *testing.T, role trust.Role, at string, secure *tls.Config, keeper *trust.Keeper, log *slog.Logger) peerOf {
	t.Helper()
	if role == trust.Edge {
		c, err := client.New(client.Config{Masters: []string{at}, ID: "e1", TLS: secure, Trust: keeper, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		runAll(t, c.Run)
		return c
	}
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{at}, Pool: "web", Server: balance.ServerSpec{ID: "r1", Address: "127.0.0.1:9"}, TLS: secure, Trust: keeper, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, a.Run)
	return a
}

func TestWrongPeersAreRefused(t *testing.T) {
	own := map[trust.Role]string{trust.Edge: "e1", trust.Agent: "r1"}
	other := map[trust.Role]trust.Role{trust.Edge: trust.Agent, trust.Agent: trust.Edge}
	for _, role := range []trust.Role{trust.Edge, trust.Agent} {
		for _, c := range []struct {
			what   string
			show   func(h *house) *tls.Config
			reason string
			says   string // on both sides; empty: as reason cannot be told to who speaks no TLS
		}{
			{"speaks plainly", func(*house) *tls.Config { return nil }, "plaintext", "it speaks no TLS"},
			{"no certificate", func(h *house) *tls.Config { return h.bare(nil) }, "no-certificate", "no certificate was shown"},
			{"foreign authority", func(h *house) *tls.Config {
				f := h.issue(h.foreign, role, own[role], time.Now(), trust.DefaultLife)
				return h.bare(&f)
			}, "unknown-authority", "authority that is not trusted"},
			{"expired", func(h *house) *tls.Config {
				f := h.issue(h.ours, role, own[role], time.Now().Add(-48*time.Hour), 24*time.Hour)
				return h.bare(&f)
			}, "expired", "and that is not now"},
			{"not valid yet", func(h *house) *tls.Config {
				f := h.issue(h.ours, role, own[role], time.Now().Add(24*time.Hour), 24*time.Hour)
				return h.bare(&f)
			}, "expired", "and that is not now"},
			{"the other role", func(h *house) *tls.Config {
				f := h.issue(h.ours, other[role], own[role], time.Now(), trust.DefaultLife)
				return h.bare(&f)
			}, "wrong-role", "want one for role " + string(role)},
			{"a master's", func(h *house) *tls.Config {
				f := h.issue(h.ours, trust.Master, own[role], time.Now(), trust.DefaultLife)
				return h.bare(&f)
			}, "wrong-role", "want one for role " + string(role)},
			{"another's name", func(h *house) *tls.Config {
				f := h.issue(h.ours, role, "other", time.Now(), trust.DefaultLife)
				return h.bare(&f)
			}, "wrong-name", "for " + string(role) + " other, which may not speak as " + string(role) + " " + own[role]},
		} {
			t.Run(string(role)+"/"+c.what, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t)
				var here, there journal
				cfg := web("a")
				cfg.Trust, cfg.Log = h.good(trust.Master, "m1"), here.log()
				r := start(t, cfg)
				p := connect(t, role, r.addr, c.show(h), nil, there.log())
				eventually(t, "the peer is told", func() bool { return counted(p.Refused())["by-peer"] > 0 })
				if p.Connected() {
					t.Error("the peer is connected")
				}
				if got := counted(&r.refusals); got[c.reason] == 0 || len(got) != 1 {
					t.Errorf("the master counted %v, want %s alone", got, c.reason)
				}
				eventually(t, "the master's log", func() bool { return strings.Contains(here.String(), c.says) })
				eventually(t, "the peer's log", func() bool {
					return strings.Contains(there.String(), c.says) && strings.Contains(there.String(), "forbidden")
				})
				if n := r.peers.counts[roleEdge].Load() + r.peers.counts[roleAgent].Load(); n != 0 {
					t.Errorf("%d peers are connected, want none", n)
				}
			})
		}
	}
}

// both makes a file of the authorities of both.
func (h *house) both() string {
	h.t.Helper()
	var all []byte
	for _, dir := range []string{h.dir, h.elsewhere} {
		ca, _ := trust.AuthorityFiles(dir)
		text, err := os.ReadFile(ca)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, text...)
	}
	name := filepath.Join(h.dir, "both.crt")
	if err := os.WriteFile(name, all, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return name
}

func TestWrongMastersAreRefused(t *testing.T) {
	for _, role := range []trust.Role{trust.Edge, trust.Agent} {
		for _, c := range []struct {
			what   string
			show   func(h *house) *trust.Keeper
			reason string // that the peer counts
			here   string // that the master counts
			says   string // in both logs; empty: the peer's alone is asked
		}{
			{"speaks plainly", func(*house) *trust.Keeper { return nil }, "plaintext", "encrypted", "TLS"},
			{"foreign authority", func(h *house) *trust.Keeper {
				f := h.issue(h.foreign, trust.Master, "m1", time.Now(), trust.DefaultLife)
				f.CA = h.both() // so that only the peer has a reason to refuse
				return h.keeper(f)
			}, "unknown-authority", "by-peer", "authority that is not trusted"},
			{"an edge's certificate", func(h *house) *trust.Keeper { return h.good(trust.Edge, "e9") }, "wrong-role", "by-peer", "of the wrong kind"},
			{"an agent's certificate", func(h *house) *trust.Keeper { return h.good(trust.Agent, "r9") }, "wrong-role", "by-peer", "of the wrong kind"},
			{"expired", func(h *house) *trust.Keeper {
				f := h.issue(h.ours, trust.Master, "m1", time.Now(), 5*time.Second) // it cannot be opened later
				k := h.keeper(f)
				end := time.Now().Add(5 * time.Second)
				eventually(h.t, "the certificate's end", func() bool { return time.Now().After(end) })
				return k
			}, "expired", "by-peer", "and that is not now"},
		} {
			t.Run(string(role)+"/"+c.what, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t)
				var here, there journal
				cfg := web("a")
				cfg.Trust, cfg.Log = c.show(h), here.log()
				r := start(t, cfg)
				own := map[trust.Role]string{trust.Edge: "e1", trust.Agent: "r1"}
				p := connect(t, role, r.addr, nil, h.good(role, own[role]), there.log())
				eventually(t, "the peer refuses", func() bool { return counted(p.Refused())[c.reason] > 0 })
				eventually(t, "the master counts it", func() bool { return counted(&r.refusals)[c.here] > 0 })
				eventually(t, "both logs", func() bool {
					return strings.Contains(there.String(), c.says) && strings.Contains(here.String(), c.says)
				})
				if p.Connected() {
					t.Error("the peer is connected")
				}
			})
		}
	}
}

func TestRightPeersAreHad(t *testing.T) {
	h := newHouse(t)
	cfg := web("a")
	cfg.Trust = h.good(trust.Master, "m1")
	r := start(t, cfg)
	e := connect(t, trust.Edge, r.addr, nil, h.good(trust.Edge, "e1"), nil)
	a := connect(t, trust.Agent, r.addr, nil, h.good(trust.Agent, "r1"), nil)
	eventually(t, "both are connected", func() bool { return e.Connected() && a.Connected() && r.view("r1") != nil })
	g, err := e.(*client.Client).Pick(t.Context(), "web", &balance.Request{})
	if err != nil || r.open() != 1 {
		t.Fatalf("got %v and %d leases, want one", err, r.open())
	}
	e.(*client.Client).Done("web", g.Lease, balance.Outcome{})
	eventually(t, "the lease ends", func() bool { return r.open() == 0 })
	if n := len(counted(&r.refusals)) + len(counted(e.Refused())) + len(counted(a.Refused())); n != 0 {
		t.Errorf("%d reasons were counted, want none", n)
	}
}

// A certificate that is renewed under a master at work is what the next peer sees.
func TestANewCertificateIsShownAtOnce(t *testing.T) {
	h := newHouse(t)
	cfg := web("a")
	f := h.issue(h.foreign, trust.Master, "m1", time.Now(), trust.DefaultLife)
	f.CA = h.both()
	cfg.Trust = h.keeper(f)
	r := start(t, cfg)
	e := connect(t, trust.Edge, r.addr, nil, h.good(trust.Edge, "e1"), nil)
	eventually(t, "the edge refuses the old one", func() bool { return counted(e.Refused())["unknown-authority"] > 0 })
	renewed := h.issue(h.ours, trust.Master, "m1", time.Now(), trust.DefaultLife)
	for from, to := range map[string]string{renewed.Cert: f.Cert, renewed.Key: f.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := cfg.Trust.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge takes the new one", e.Connected)
}
