package grpc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
)

const reloads = 100

// The file is read anew again and again, with gRPC streams open that outlive all that and
// calls that come and go: nothing is dropped.
func TestStreamsOutliveReloads(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	end := make(chan struct{})
	var (
		talking        sync.WaitGroup
		messages, call atomic.Int64
	)
	for front := range s.listen {
		conn := s.dial(t, front)
		client := grpc_testing.NewTestServiceClient(conn)
		for i := range 5 {
			stream, err := client.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			talking.Go(func() {
				until(end, func(n int) error {
					messages.Add(1)
					return echo(stream, fmt.Sprintf("%s %d %d", front, i, n))
				}, func(err error) {
					t.Errorf("%s: a stream was dropped after %d messages of all: %v", front, messages.Load(), err)
				})
				_ = stream.CloseSend()
			})
		}
		talking.Go(func() {
			until(end, func(int) error {
				call.Add(1)
				_, err := client.EmptyCall(ctx, &grpc_testing.Empty{})
				return err
			}, func(err error) { t.Errorf("%s: a call failed: %v", front, err) })
		})
	}
	for n := range reloads {
		if err := s.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(30 * time.Second); s.reloads.Load() <= int64(n); {
			if time.Now().After(limit) {
				t.Fatalf("reload %d of %d is not in the log", n+1, reloads)
			}
			<-time.After(5 * time.Millisecond) // between two looks at another process
		}
	}
	close(end)
	talking.Wait()
	t.Logf("%d reloads, %d messages in 10 streams, %d calls", reloads, messages.Load(), call.Load())
}

// until does something every few milliseconds until the end, or until it fails.
func until(end <-chan struct{}, do func(n int) error, failed func(error)) {
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		if err := do(n); err != nil {
			failed(err)
			return
		}
		select {
		case <-end:
			return
		case <-pace.C:
		}
	}
}

// echo sends a message that asks for as many bytes as it has, and waits for those.
func echo(stream grpc_testing.TestService_FullDuplexCallClient, text string) error {
	if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{ResponseParameters: []*grpc_testing.ResponseParameters{{Size: int32(len(text))}}}); err != nil {
		return err
	}
	got, err := stream.Recv()
	if err != nil {
		return err
	}
	if n := len(got.GetPayload().GetBody()); n != len(text) {
		return fmt.Errorf("got %d bytes, want %d", n, len(text))
	}
	return nil
}

func (s *system) dial(t *testing.T, front string) *grpc.ClientConn {
	t.Helper()
	safe := insecure.NewCredentials()
	if front == "TLS" {
		var err error
		if safe, err = credentials.NewClientTLSFromFile(s.ca, "front.test"); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient(s.listen[front], grpc.WithTransportCredentials(safe))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
