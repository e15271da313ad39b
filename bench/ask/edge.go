//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/client"
)

// asker is a process that asks, with a connection of each kind.
type asker struct {
	clients map[string]*client.Client
	pings   map[string]net.Conn
}

// edge is the process of an edge.
func edge(n int) error {
	var p trial.Places
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	a := &asker{clients: make(map[string]*client.Client), pings: make(map[string]net.Conn)}
	secure, err := edgeTLS(&p)
	if err != nil {
		return err
	}
	for _, way := range []struct {
		name, master, ping string
		tls                *tls.Config
	}{
		{"tcp", p.TCP, p.PingTCP, nil},
		{"unix", "unix:" + p.Unix, p.PingUnix, nil},
		{"tls", p.TLS, p.PingTLS, secure},
	} {
		if err := a.open(fmt.Sprintf("edge-%d-%s", n, way.name), way.name, way.master, way.ping, way.tls); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	fmt.Println("true") // ready
	return trial.Serve(a.obey)
}

func (a *asker) open(id, way, master, ping string, secure *tls.Config) error {
	c, err := client.New(client.Config{Masters: []string{master}, ID: balance.EdgeID(id), TLS: secure})
	if err != nil {
		return err
	}
	go c.Run(context.Background())
	deadline := time.Now().Add(10 * time.Second)
	for !c.Connected() {
		if time.Now().After(deadline) {
			return fmt.Errorf("no connection to %s: %v", master, c.Problem())
		}
		time.Sleep(time.Millisecond)
	}
	a.clients[way] = c
	network := "tcp"
	if way == "unix" {
		network = "unix"
	}
	conn, err := net.Dial(network, ping)
	if err == nil && secure != nil {
		conn = tls.Client(conn, secure)
	}
	a.pings[way] = conn
	return err
}

func (a *asker) obey(o trial.Order) (*trial.Result, error) {
	if way, is := strings.CutPrefix(o.What, "ping-"); is {
		conn := a.pings[way]
		var b [pingBytes]byte
		return trial.Run(1, false, o.For, func(int) error {
			if _, err := conn.Write(b[:]); err != nil {
				return err
			}
			_, err := io.ReadFull(conn, b[:])
			return err
		}), nil
	}
	c := a.clients[o.What]
	if c == nil {
		return nil, fmt.Errorf("no connection of the kind %q", o.What)
	}
	ctx, req := context.Background(), &balance.Request{Path: "/v1/render"}
	return trial.Run(o.Waiting, false, o.For, func(int) error {
		g, err := c.Pick(ctx, trial.Pool, req)
		if err == nil {
			c.Done(trial.Pool, g.Lease, outcome)
		}
		return err
	}), nil
}
