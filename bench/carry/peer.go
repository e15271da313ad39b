//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// order is what the peer is told on its standard input, result what it answers.
type order struct {
	Port, Headers, Body int
	Post                int // bytes of the request's body; zero: it is a GET
	Path                string
	For                 time.Duration
	Conns               int // clients; zero: as many as the peer was started with
	Secure              bool
	ToTLS               bool // the proxy's server is the one that speaks TLS
	Keep                int  // clients that ask once and keep their connections; negative: give those up
}

type result struct {
	Requests int
	Took     time.Duration
	P50, P99 float64 // µs
	Error    string
}

// peerProcess is generator and backend.
type peerProcess struct {
	cmd     *exec.Cmd
	in      *json.Encoder
	out     *json.Decoder
	port    int // of the backend
	portTLS int // of the backend that speaks TLS
}

// startPeer starts it. The backend that speaks TLS shows the certificate of these files.
func startPeer(conns int, cert, key string) (*peerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("taskset", "-c", "1", self, "-child", "peer", "-connections", strconv.Itoa(conns), cert, key)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &peerProcess{cmd: cmd, in: json.NewEncoder(in), out: json.NewDecoder(out)}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.out.Decode(&p.port); err != nil {
		return p, err
	}
	return p, p.out.Decode(&p.portTLS)
}

func (p *peerProcess) load(o order) (r result, err error) {
	if err := p.in.Encode(o); err != nil {
		return r, err
	}
	if err := p.out.Decode(&r); err != nil {
		return r, err
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s", strings.TrimSpace(r.Error))
	}
	return r, nil
}

// peer is the process of generator and backend, until its standard input ends.
func peer(conns int, cert, key string) error {
	runtime.GOMAXPROCS(3)
	h, err := newHub()
	if err != nil {
		return err
	}
	portTLS, err := serveTLS(h.answers, cert, key)
	if err != nil {
		return err
	}
	go h.run()
	out := json.NewEncoder(os.Stdout)
	if err := errors.Join(out.Encode(h.port), out.Encode(portTLS)); err != nil {
		return err
	}
	var kept idlers
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if in.Decode(&o) != nil {
			return nil
		}
		var r result
		var err error
		switch {
		case o.Keep < 0:
			kept.closeAll()
		case o.Keep > 0:
			err = kept.come(o)
		case o.Secure || o.ToTLS: // the hub would not let a server beside it have the processor
			r, err = generateBeside(o, cmp.Or(o.Conns, conns))
		default:
			r, err = h.generate(o, cmp.Or(o.Conns, conns))
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}
