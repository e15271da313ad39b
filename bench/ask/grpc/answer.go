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

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
	"github.com/evenkeel-lb/evenkeel/master"
)

var outcome = balance.Outcome{Result: balance.OK, Duration: 50e6}

// answer is the process of the master.
func answer(servers int) error {
	m, err := master.New(master.Config{Pools: []master.PoolConfig{{Name: trial.Pool, Servers: trial.Servers(servers)}}, Seed: 1})
	if err != nil {
		return err
	}
	go m.Run(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	desk := &desk{edge: m.Edge("grpc")}
	s.RegisterService(&unary, desk)
	extproc.RegisterExternalProcessorServer(s, &processor{desk: desk})
	go s.Serve(l)
	if err := json.NewEncoder(os.Stdout).Encode(trial.Places{TCP: l.Addr().String()}); err != nil {
		return err
	}
	return trial.Serve(func(trial.Order) (*trial.Result, error) { return nil, errors.New("this process only answers") })
}

// desk answers asks from the master in its own process.
type desk struct{ edge *master.Local }

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
		d.edge.Done(trial.Pool, balance.LeaseID(lease), outcome)
	}
	g, err := d.edge.Pick(context.Background(), trial.Pool, &balance.Request{Path: string(in[8:])})
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
	defer func() { p.edge.Done(trial.Pool, open, outcome) }()
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		req := &balance.Request{}
		for _, h := range in.GetRequestHeaders().GetHeaders().GetHeaders() {
			switch h.Key {
			case ":path":
				req.Path = string(h.RawValue)
			case ":authority":
				req.Host = string(h.RawValue)
			}
		}
		g, err := p.edge.Pick(s.Context(), trial.Pool, req)
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
