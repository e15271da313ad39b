//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/mtls"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/sample"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// farm is what the process with all sample servers is told: its last argument, as JSON.
type farm struct {
	Model     string
	Fleet     []sim.Kind
	Every     time.Duration // between reports
	Responses bool          // every answer carries a report too
	Master    string        // that agents connect to; empty: no agents
	Certs     string        // folder of the authority that certifies them
}

const poolName = "choose"

func serverID(i int) string { return fmt.Sprint("s", i) }

// runFarm is the process: it logs all servers' addresses in order once they are served,
// and ends with a signal.
func runFarm(argument string) error {
	var f farm
	if err := json.Unmarshal([]byte(argument), &f); err != nil {
		return fmt.Errorf("farm: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	g, ctx := errgroup.WithContext(ctx)
	addresses := make([]string, len(f.Fleet))
	for i, k := range f.Fleet {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("server %s: %w", serverID(i), err)
		}
		addresses[i] = l.Addr().String()
		s := sample.New(sample.Config{ID: serverID(i), Model: f.Model, Slots: k.Slots, Speed: k.Speed, Window: f.Every, Quiet: !f.Responses, Exact: true})
		g.Go(func() error { return s.Run(ctx) })
		g.Go(func() error { return serve(ctx, l, s.Handler()) })
		if f.Master != "" {
			g.Go(func() error { return f.attend(ctx, i, addresses[i], s) })
		}
	}
	log.Info("serving", "role", "farm", "listen", strings.Join(addresses, " "))
	return g.Wait()
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// attend is one server's agent. Agents report at phases of their own, as they would on
// machines of their own.
func (f *farm) attend(ctx context.Context, i int, address string, s *sample.Server) error {
	certs, err := mtls.Open(f.Certs)
	if err != nil {
		return err
	}
	ours, err := certs.Keeper(trust.Agent, serverID(i))
	if err != nil {
		return err
	}
	a, err := client.NewAgent(client.AgentConfig{Masters: []string{f.Master}, Pool: poolName, Trust: ours,
		Server: balance.ServerSpec{ID: balance.ServerID(serverID(i)), Address: address}})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		wait := time.NewTimer(f.Every * time.Duration(i) / time.Duration(len(f.Fleet)))
		defer wait.Stop()
		for next := time.Now(); ; {
			select {
			case <-ctx.Done():
				return nil
			case now := <-wait.C:
				a.Report(balance.Report{Metrics: s.Metrics()})
				if next = next.Add(f.Every); next.Before(now) {
					next = now.Add(f.Every)
				}
				wait.Reset(time.Until(next))
			}
		}
	})
	return g.Wait()
}
