package grpc

import (
	"context"
	"errors"
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
	"google.golang.org/grpc/metadata"
)

const reloads = 100

// The file is reloaded again and again, with gRPC streams open that outlive all that and calls that come and
// go: nothing is dropped, and every answer is its own call's.
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
			id := fmt.Sprintf("%s stream %d", front, i)
			stream, err := client.FullDuplexCall(withID(ctx, id))
			if err != nil {
				t.Fatal(err)
			}
			begun := false
			talking.Go(func() {
				until(end, func(n int) error {
					messages.Add(1)
					if err := echo(stream, 1+(n*10+i)%4999); err != nil || begun {
						return err
					}
					begun = true
					head, err := stream.Header()
					return errors.Join(err, isAnswerTo(id, head))
				}, func(err error) {
					t.Errorf("%s: a stream was dropped after %d messages of all: %v", front, messages.Load(), err)
				})
				_ = stream.CloseSend()
			})
		}
		talking.Go(func() {
			until(end, func(n int) error {
				call.Add(1)
				var head metadata.MD
				id := fmt.Sprintf("%s call %d", front, n)
				size := 1 + n%4999
				got, err := client.UnaryCall(withID(ctx, id), &grpc_testing.SimpleRequest{ResponseSize: int32(size)}, grpc.Header(&head))
				if err != nil {
					return err
				}
				if n := len(got.GetPayload().GetBody()); n != size {
					return fmt.Errorf("got %d bytes, want %d", n, size)
				}
				return isAnswerTo(id, head)
			}, func(err error) { t.Errorf("%s: a call failed: %v", front, err) })
		})
	}
	for n := range reloads {
		if err := s.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(90 * time.Second); s.reloads.Load() <= int64(n); {
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

// The server sends back what comes in this field.
const headerID = "x-grpc-test-echo-initial"

func withID(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, headerID, id)
}

// isAnswerTo returns an error if an answer's header is another call's.
func isAnswerTo(id string, head metadata.MD) error {
	if got := head.Get(headerID); len(got) != 1 || got[0] != id {
		return fmt.Errorf("the answer to %q is that to %q", id, got)
	}
	return nil
}

// echo sends a message that asks for so many bytes, which no other message about then
// does, and waits for those.
func echo(stream grpc_testing.TestService_FullDuplexCallClient, size int) error {
	if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{ResponseParameters: []*grpc_testing.ResponseParameters{{Size: int32(size)}}}); err != nil {
		return err
	}
	got, err := stream.Recv()
	if err != nil {
		return err
	}
	if n := len(got.GetPayload().GetBody()); n != size {
		return fmt.Errorf("got %d bytes, want %d", n, size)
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
