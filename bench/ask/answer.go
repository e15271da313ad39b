//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/master"
)

// answer is the process of the master. It also answers pings, and asks itself where no
// connection is to be between.
func answer(n int) error {
	m, err := master.New(master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Servers: trial.Servers(n)}}, Seed: 1})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "evenkeel-ask")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	places, err := listen(m, dir)
	if err != nil {
		return err
	}
	go m.Run(context.Background())
	if err := json.NewEncoder(os.Stdout).Encode(places); err != nil {
		return err
	}
	local := m.Edge("local")
	ctx, req := context.Background(), &balance.Request{Path: "/v1/render"}
	return trial.Serve(func(o trial.Order) (*trial.Result, error) {
		return trial.Run(o.Waiting, true, o.For, func(int) error {
			g, err := local.Pick(ctx, trial.Pool, req)
			local.Done(trial.Pool, g.Lease, outcome)
			return err
		}), nil
	})
}

// outcome keeps what the pool learns the same for all.
var outcome = balance.Outcome{Result: balance.OK, Duration: 50e6}

// listen opens all doors, for masters and for pings.
func listen(m *master.Master, dir string) (*trial.Places, error) {
	theirs, places, err := authority()
	if err != nil {
		return nil, err
	}
	for _, door := range []struct {
		at              *string
		network, listen string
		tls             *tls.Config
		pings           bool
	}{
		{&places.TCP, "tcp", "127.0.0.1:0", nil, false},
		{&places.Unix, "unix", filepath.Join(dir, "master"), nil, false},
		{&places.TLS, "tcp", "127.0.0.1:0", theirs, false},
		{&places.PingTCP, "tcp", "127.0.0.1:0", nil, true},
		{&places.PingUnix, "unix", filepath.Join(dir, "ping"), nil, true},
		{&places.PingTLS, "tcp", "127.0.0.1:0", theirs, true},
	} {
		l, err := net.Listen(door.network, door.listen)
		if err != nil {
			return nil, err
		}
		*door.at = l.Addr().String()
		if door.tls != nil {
			l = tls.NewListener(l, door.tls)
		}
		if door.pings {
			go echo(l)
		} else {
			go m.Serve(context.Background(), l)
		}
	}
	return places, nil
}

const pingBytes = 64

// echo answers pings, each connection's on a goroutine, as plainly as can be.
func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			var b [pingBytes]byte
			for {
				if _, err := io.ReadFull(conn, b[:]); err != nil {
					return
				}
				if _, err := conn.Write(b[:]); err != nil {
					return
				}
			}
		}()
	}
}
