//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/policy"
)

var outcome = balance.Outcome{Result: balance.OK, Duration: 50e6}

// answer is the process of the master.
func answer(servers int) error {
	desk, err := newDesk(servers)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&unary, desk)
	extproc.RegisterExternalProcessorServer(s, &processor{desk: desk})
	go s.Serve(l)
	if err := json.NewEncoder(os.Stdout).Encode(trial.Places{TCP: l.Addr().String()}); err != nil {
		return err
	}
	return trial.Serve(func(trial.Order) (*trial.Result, error) { return nil, errors.New("this process only answers") })
}

// desk makes the same decisions as a master, and does nothing else. It is not a master so
// that this module needs none of what that one needs.
type desk struct {
	mu   sync.Mutex
	pool *balance.Pool
}

func newDesk(servers int) (*desk, error) {
	chosen, err := policy.New("")
	if err != nil {
		return nil, err
	}
	d := &desk{pool: balance.New(balance.Config{Name: trial.Pool, QueueSize: 1000}, chosen, 1)}
	for _, spec := range trial.Servers(servers) {
		if err := d.pool.Put(clock.Now(), spec, true); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *desk) ask(path string) (balance.Grant, error) {
	now := clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pool.Pick(now, &balance.Request{Edge: "grpc", Path: path})
}

func (d *desk) done(lease balance.LeaseID) {
	now := clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pool.Done(now, lease, outcome)
}

// unary is a service without a schema: bytes in, bytes out.
var unary = grpc.ServiceDesc{
	ServiceName: "evenkeel.bench.Ask",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Pick", Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in []byte
		if err := decode(&in); err != nil {
			return nil, err
		}
		return srv.(*desk).pick(in)
	}}},
}

// pick takes the lease that is done and the path, and returns the new lease and the
// server's address: the done rides in the next ask here too.
func (d *desk) pick(in []byte) (*[]byte, error) {
	if len(in) < 8 {
		return nil, errors.New("an ask of less than 8 bytes")
	}
	if lease := binary.LittleEndian.Uint64(in); lease != 0 {
		d.done(balance.LeaseID(lease))
	}
	g, err := d.ask(string(in[8:]))
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(g.Lease)), g.Address...)
	return &out, err
}

type processor struct {
	extproc.UnimplementedExternalProcessorServer
	*desk
}

// Process answers the request's headers with where to send it, as the Gateway API's
// endpoint pickers do; the end of the stream is the done.
func (p *processor) Process(s extproc.ExternalProcessor_ProcessServer) error {
	var open balance.LeaseID
	defer func() { p.done(open) }()
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		path := ""
		for _, h := range in.GetRequestHeaders().GetHeaders().GetHeaders() {
			if h.Key == ":path" {
				path = string(h.RawValue)
			}
		}
		g, err := p.ask(path)
		if err != nil {
			return err
		}
		open = g.Lease
		if err := s.Send(destination(g.Address)); err != nil {
			return err
		}
	}
}

func destination(address string) *extproc.ProcessingResponse {
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: &extproc.HeadersResponse{
		Response: &extproc.CommonResponse{ClearRouteCache: true, HeaderMutation: &extproc.HeaderMutation{SetHeaders: []*core.HeaderValueOption{
			{Header: &core.HeaderValue{Key: "x-gateway-destination-endpoint", RawValue: []byte(address)}},
		}}},
	}}}
}
