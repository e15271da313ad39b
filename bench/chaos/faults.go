//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is one thing that is done to one part, and undone.
type fault struct {
	after  time.Duration // since the end of the one before
	length time.Duration
	kind   string
	target *part
	other  *part  // that it is about too; nil: there is none
	place  string // where a server has moved to

	begun, mended time.Time
}

func (f *fault) String() string {
	if f.other != nil {
		return f.kind + " " + f.other.name + ", " + f.target.name
	}
	return f.kind + " " + f.target.name
}

// act does a fault; the function it returns undoes it.
type act func(s *system, f *fault) (mend func() error, err error)

// Kinds of faults.
const (
	killed    = "kill"
	stopped   = "stop"
	reloaded  = "reload"
	noEtcd    = "cut off from etcd"
	alone     = "partition"
	lossy     = "loss"
	noMasters = "cut off from masters"
	noServer  = "cut off from"
	few       = "few descriptors"
	slow      = "slow"
	moved     = "move"
	mute      = "log stalls"
	logless   = "log goes"
)

// kind is a way in which things go wrong.
type kind struct {
	name   string
	roles  []string
	walled bool // needs namespaces
	act    act
}

// kinds are all that can happen, by the roles to which it can. The order is part of what a
// seed means.
var kinds = []kind{
	{killed, []string{"master", "etcd", "edge", "server", "agent"}, false, kill},
	{stopped, []string{"master", "etcd", "edge", "server", "agent"}, false, stop},
	{reloaded, []string{"master", "edge"}, false, reload},
	{noEtcd, []string{"master"}, true, cutFromEtcd},
	{alone, []string{"master"}, true, partition},
	{lossy, []string{"master"}, true, loss},
	{slow, []string{"etcd"}, false, slowDown},
	{mute, []string{"master", "edge", "agent"}, false, stallLog},
	{logless, []string{"master", "edge", "agent"}, false, endLog},
	{noMasters, []string{"edge"}, true, cutFromMasters},
	{noServer, []string{"edge"}, true, cutFromServer},
	{few, []string{"edge"}, false, starve},
	{moved, []string{"server"}, true, move},
}

// lanes are roles to which at most one thing happens at a time. Those named more often are
// hit more often.
var lanes = [][]string{{"master", "master", "etcd"}, {"edge", "edge", "server", "agent"}}

// schedule draws what happens in a lane for a time. Equal seeds give equal schedules.
func schedule(seed uint64, s *system, lane int, length time.Duration) (all []*fault) {
	rng := rand.New(rand.NewPCG(seed, uint64(lane)))
	for at := time.Duration(0); ; {
		targets := s.of(lanes[lane][rng.IntN(len(lanes[lane]))])
		f := &fault{target: targets[rng.IntN(len(targets))]}
		f.after = 500*time.Millisecond + time.Duration(rng.Int64N(int64(2*time.Second)))
		f.length = 300*time.Millisecond + time.Duration(rng.Int64N(int64(3*time.Second)))
		for f.kind == "" {
			k := kinds[rng.IntN(len(kinds))]
			if slices.Contains(k.roles, f.target.role) && (s.net.walls || !k.walled) && (k.name != moved || f.target.host != "") {
				f.kind = k.name
			}
		}
		if f.kind == noServer {
			f.other = s.serversOf(web)[rng.IntN(len(s.serversOf(web)))]
			f.length += atLeast
		}
		if at += f.after + f.length; at > length {
			return all
		}
		all = append(all, f)
	}
}

func (s *system) serversOf(pool string) (all []*part) {
	for _, p := range s.of("server") {
		if p.pool == pool {
			all = append(all, p)
		}
	}
	return all
}

// inflict carries the schedules out, lane by lane, until all is over and mended.
func inflict(ctx context.Context, s *system, log *slog.Logger, plan [][]*fault) error {
	var (
		running sync.WaitGroup
		errs    = make([]error, len(plan))
	)
	for i, lane := range plan {
		running.Go(func() {
			for _, f := range lane {
				if errs[i] = f.happen(ctx, s, log); errs[i] != nil || ctx.Err() != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (f *fault) happen(ctx context.Context, s *system, log *slog.Logger) error {
	if !pause(ctx, f.after) {
		return nil
	}
	log.Info("fault", "kind", f.kind, "target", strings.TrimPrefix(f.String(), f.kind+" "), "for", f.length.Round(time.Millisecond))
	if err := f.target.revive(); err != nil {
		return err
	}
	f.begun = time.Now()
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == f.kind })
	mend, err := kinds[i].act(s, f)
	if err != nil {
		return fmt.Errorf("%v: %w", f, err)
	}
	pause(ctx, f.length)
	err = mend()
	f.mended = time.Now()
	if err != nil {
		return fmt.Errorf("after %v: %w", f, err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func kill(_ *system, f *fault) (func() error, error) {
	f.target.kill()
	return f.target.start, nil
}

func stop(_ *system, f *fault) (func() error, error) {
	return func() error { return f.target.signal(syscall.SIGCONT) }, f.target.signal(syscall.SIGSTOP)
}

func reload(_ *system, f *fault) (func() error, error) {
	return func() error { return nil }, f.target.signal(syscall.SIGHUP)
}

func stallLog(_ *system, f *fault) (func() error, error) {
	return func() error { f.target.log.resume(); return nil }, f.target.log.stall()
}

// endLog closes the reader of the part's log, and later opens a new one.
func endLog(_ *system, f *fault) (func() error, error) {
	f.target.log.leave()
	return f.target.log.come, nil
}

// slowDown has etcd answer late by as much as its lease of two seconds bears, or not.
func slowDown(s *system, f *fault) (func() error, error) {
	s.lag.Set(50*time.Millisecond + f.length/4)
	return func() error { s.lag.Set(0); return nil }, nil
}

// starve leaves an edge a handful of descriptors to open.
func starve(_ *system, f *fault) (func() error, error) { return f.target.limit(3) }

// move restarts a server at another address and has its name lead there; the old one
// ends a while later.
func move(s *system, f *fault) (func() error, error) {
	p := f.target
	at, err := s.net.place()
	if err != nil {
		return nil, err
	}
	f.place = at
	old := p.life
	s.lives(p, at, s.agentOf(p).admin)
	if err := p.start(); err != nil {
		return nil, err
	}
	return func() error {
		old.kill()
		return nil
	}, s.net.name(p.host, at)
}

func (s *system) agentOf(server *part) *part {
	for _, p := range s.of("agent") {
		if p.name == "agent of "+server.name {
			return p
		}
	}
	panic("chaos: " + server.name + " has no agent")
}

func cutFromEtcd(s *system, f *fault) (func() error, error) {
	return cut(f.target, "ip daddr "+hub+" tcp dport "+s.etcd+" drop")
}

func cutFromMasters(s *system, f *fault) (func() error, error) {
	return cut(f.target, "ip daddr 10.214.1.0/24 drop")
}

// cutFromServer is a firewall in front of an edge that answers for one server.
func cutFromServer(_ *system, f *fault) (func() error, error) {
	return cut(f.target, "ip daddr "+hostOf(f.other.listen)+" tcp dport "+f.other.port+" reject with tcp reset")
}

func partition(_ *system, f *fault) (func() error, error) {
	return cut(f.target, "oifname eth0 drop")
}

func loss(_ *system, f *fault) (func() error, error) {
	return cut(f.target, "oifname eth0 numgen random mod 100 < 20 drop")
}

// cut has a rule judge the packets that leave a part's namespace.
func cut(p *part, rule string) (func() error, error) {
	in := "ip netns exec " + p.namespace + " nft "
	err := sh(in + "add table inet chaos && " + in + "add chain inet chaos out '{ type filter hook output priority 0; }' && " + in + "add rule inet chaos out '" + rule + "'")
	return func() error { return sh(in + "delete table inet chaos") }, err
}
