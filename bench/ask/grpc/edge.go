//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"

	"github.com/evenkeel-lb/evenkeel/bench/ask/trial"
)

// raw is the cheapest codec there can be: the bytes themselves.
type raw struct{}

func (raw) Name() string                  { return "raw" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

func init() { encoding.RegisterCodec(raw{}) }

// edge is the process that asks.
func edge() error {
	var p trial.Places
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	conn, err := grpc.NewClient(p.TCP, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	return trial.Serve(func(o trial.Order) (*trial.Result, error) {
		switch o.What {
		case "unary":
			return trial.Run(o.Waiting, false, o.For, callUnary(conn, o.Waiting)), nil
		case "stream":
			return trial.Run(o.Waiting, false, o.For, callStream(extproc.NewExternalProcessorClient(conn))), nil
		}
		return nil, fmt.Errorf("no way to ask by %q", o.What)
	})
}

func callUnary(conn *grpc.ClientConn, waiting int) func(int) error {
	leases := make([]uint64, waiting)
	how := grpc.CallContentSubtype("raw")
	return func(worker int) error {
		in := append(binary.LittleEndian.AppendUint64(nil, leases[worker]), "/v1/render"...)
		var out []byte
		if err := conn.Invoke(context.Background(), "/evenkeel.bench.Ask/Pick", &in, &out, how); err != nil {
			return err
		}
		leases[worker] = binary.LittleEndian.Uint64(out)
		return nil
	}
}

func callStream(client extproc.ExternalProcessorClient) func(int) error {
	headers := []*core.HeaderValue{
		{Key: ":method", RawValue: []byte("GET")}, {Key: ":path", RawValue: []byte("/v1/render")},
		{Key: ":authority", RawValue: []byte("render.example")}, {Key: ":scheme", RawValue: []byte("http")},
		{Key: "user-agent", RawValue: []byte("bench")}, {Key: "x-request-id", RawValue: []byte("5f0c9d0e-3f43-4c92-9b0a-3c1f4b7a9d11")},
	}
	return func(int) error {
		s, err := client.Process(context.Background())
		if err != nil {
			return err
		}
		err = s.Send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_RequestHeaders{
			RequestHeaders: &extproc.HttpHeaders{Headers: &core.HeaderMap{Headers: headers}, EndOfStream: true}}})
		if err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.CloseSend(); err != nil {
			return err
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("the stream ended with %v", err)
		}
		return nil
	}
}
