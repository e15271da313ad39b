//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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

	begun, mended time.Time
}

func (f *fault) String() string { return f.kind + " " + f.target.name }

// act does a fault; the function it returns undoes it.
type act func(s *system, p *part) (mend func() error, err error)

// acts is all that can happen, by the roles to which it can.
var acts = map[string]map[string]act{
	"master": {"kill": kill, "stop": stop, "reload": reload, "cut off from etcd": cutFromEtcd, "partition": partition, "loss": loss},
	"edge":   {"kill": kill, "stop": stop, "reload": reload},
	"server": {"kill": kill, "stop": stop},
	"agent":  {"kill": kill, "stop": stop},
}

// order names the acts in a fixed order, for a map has none.
var order = []string{"kill", "stop", "reload", "cut off from etcd", "partition", "loss"}

// walled are the acts that need namespaces.
var walled = map[string]bool{"cut off from etcd": true, "partition": true, "loss": true}

// lanes are roles to which at most one thing happens at a time.
var lanes = [][]string{{"master"}, {"edge", "server", "agent"}}

// schedule draws what happens in a lane for a time. Equal seeds give equal schedules.
func schedule(seed uint64, s *system, lane int, length time.Duration) (all []*fault) {
	rng := rand.New(rand.NewPCG(seed, uint64(lane)))
	var targets []*part
	for _, role := range lanes[lane] {
		targets = append(targets, s.of(role)...)
	}
	for at := time.Duration(0); ; {
		f := &fault{target: targets[rng.IntN(len(targets))]}
		f.after = 500*time.Millisecond + time.Duration(rng.Int64N(int64(2*time.Second)))
		f.length = 300*time.Millisecond + time.Duration(rng.Int64N(int64(3*time.Second)))
		for f.kind == "" {
			kind := order[rng.IntN(len(order))]
			if acts[f.target.role][kind] != nil && (s.namespaces || !walled[kind]) {
				f.kind = kind
			}
		}
		if at += f.after + f.length; at > length {
			return all
		}
		all = append(all, f)
	}
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
	log.Info("fault", "kind", f.kind, "target", f.target.name, "for", f.length.Round(time.Millisecond))
	f.begun = time.Now()
	mend, err := acts[f.target.role][f.kind](s, f.target)
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

func kill(_ *system, p *part) (func() error, error) {
	p.kill()
	return p.start, nil
}

func stop(_ *system, p *part) (func() error, error) {
	return func() error { return p.signal(syscall.SIGCONT) }, p.signal(syscall.SIGSTOP)
}

func reload(_ *system, p *part) (func() error, error) {
	return func() error { return nil }, p.signal(syscall.SIGHUP)
}

func cutFromEtcd(s *system, p *part) (func() error, error) {
	return drop(p, "tcp dport "+s.etcdPort+" drop")
}

func partition(_ *system, p *part) (func() error, error) { return drop(p, "oifname eth0 drop") }

func loss(_ *system, p *part) (func() error, error) {
	return drop(p, "oifname eth0 numgen random mod 100 < 20 drop")
}

// drop has packets dropped that leave a part's namespace.
func drop(p *part, rule string) (func() error, error) {
	in := "ip netns exec " + p.namespace + " nft "
	err := sh(in + "add table inet chaos && " + in + "add chain inet chaos out '{ type filter hook output priority 0; }' && " + in + "add rule inet chaos out '" + rule + "'")
	return func() error { return sh(in + "delete table inet chaos") }, err
}
