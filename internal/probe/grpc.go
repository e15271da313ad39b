package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// askHealth asks a server's grpc.health.v1.Health about a service, or about the server as a whole if
// service is empty.
func askHealth(ctx context.Context, to target, service string) error {
	creds := insecure.NewCredentials()
	if to.tls != nil {
		creds = credentials.NewTLS(to.tls)
	}
	var unreachable atomic.Pointer[error] // what grpc-go tells of it is for programmers
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := to.dial(ctx)
		if err != nil {
			unreachable.Store(&err)
		}
		return conn, err
	}
	conn, err := grpc.NewClient("passthrough:///"+to.hostPort, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(dial),
		grpc.WithUserAgent("evenkeel-health"), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	_ = conn.Close()
	name := "the server"
	if service != "" {
		name = fmt.Sprintf("service %q", service)
	}
	switch told := status.Convert(err); {
	case err != nil && unreachable.Load() != nil:
		return *unreachable.Load()
	case told.Code() == codes.Unimplemented:
		return errors.New("the server has no grpc.health.v1.Health")
	case told.Code() == codes.NotFound:
		return fmt.Errorf("grpc.health.v1.Health does not know %s", name)
	case err != nil:
		return fmt.Errorf("grpc.health.v1.Health: %s: %s", told.Code(), told.Message())
	case answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return fmt.Errorf("grpc.health.v1.Health says that %s is %s", name, answer.GetStatus())
	}
	return nil
}
