package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/hint"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

// Listen opens a listener for clients, on host:port or unix:/path, or takes the one that
// this process was started with. Its error has a hint.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if l, _ := takeInherited(address); l != nil {
		return l, nil
	}
	network, where := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, where = "unix", path
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // whose sockets have no TCP_USER_TIMEOUT that connections could inherit
	l, err := plain.Listen(ctx, network, where)
	if err != nil {
		return nil, listenError(address, err)
	}
	return l, nil
}

// listenError returns why address cannot be listened on, and what to do about it.
func listenError(address string, err error) error {
	path, isUnix := strings.CutPrefix(address, "unix:")
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && isUnix:
		return hint.With(addressInUse{address, err}, "if no process uses it, remove "+path)
	case errors.Is(err, syscall.EADDRINUSE):
		return hint.With(addressInUse{address, err}, "stop "+listeningProcess(address)+", or choose another port")
	case errors.Is(err, syscall.EACCES) && isUnix:
		return hint.With(fmt.Errorf("listen on %s: permission denied", address), "this user may not make sockets in its folder; choose another, or change who owns that one")
	case errors.Is(err, syscall.EACCES):
		return hint.With(fmt.Errorf("listen on %s: permission denied", address), "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hint.With(fmt.Errorf("listen on %s: this machine has no such address", address), "leave out the host to listen on every address, such as "+portOnly(address))
	case errors.Is(err, syscall.EMFILE):
		return hint.With(fmt.Errorf("listen on %s: this process may open no more files", address), "raise its limit, with ulimit -n or LimitNOFILE= of its systemd unit")
	}
	if problem := balance.BadListen(address); problem != "" {
		return hint.Usage(hint.With(fmt.Errorf("listen on %s", problem), "such as 127.0.0.1:8080, or :8080 for every address of this machine"))
	}
	return hint.With(fmt.Errorf("listen: %w", err), "want host:port or unix:/path, such as 127.0.0.1:8080 or :8080")
}

// addressInUse is the error of an address that another process has.
type addressInUse struct {
	address string
	cause   error
}

func (e addressInUse) Error() string { return "listen on " + e.address + ": address already in use" }

func (e addressInUse) Unwrap() error { return e.cause }

func portOnly(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return settings.DefaultListen
	}
	return ":" + port
}

// listeningProcess names the process that has the port of an address, or says how to find it.
func listeningProcess(address string) string {
	port, err := strconv.ParseUint(strings.TrimPrefix(portOnly(address), ":"), 10, 16)
	if pid, command := agent.WhoListens(uint16(port)); err == nil && pid != 0 {
		return fmt.Sprintf("%s, process %d, which listens there", command, pid)
	}
	return "the process that listens there (ss -ltnp 'sport = " + portOnly(address) + "' shows it)"
}

// ListenInternal opens a listener for our own components or operators. Beyond loopback
// it does so only if peers are authenticated or the caller allows it; advice is the hint of its error otherwise.
func ListenInternal(ctx context.Context, address string, safe bool, advice string) (net.Listener, error) {
	if !safe && !settings.IsLoopback(address) {
		return nil, hint.With(fmt.Errorf("listen on %s: it is beyond loopback, and peers would not be authenticated", address), advice)
	}
	return Listen(ctx, address)
}

const adminAdvice = "listen on 127.0.0.1, or authenticate callers: admin_access with cert and key, and tokens or ca (docs/admin.md); or give --insecure if every host that can reach the address is trusted"

// ForKey adds to an error of listening which key of the file, or which flag, has the address. It returns nil for nil.
func ForKey(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}

// AdminAddress is where a role serves its metrics and API.
type AdminAddress struct {
	Address string // off: nowhere
	Chosen  bool   // by a flag or the file, so it is an error if it is in use
	Key     string // of the file, or the flag, that has it
}

// ChooseAdmin returns the flag's address, else that of a part of the file, such as "master", else the role's default.
func ChooseAdmin(flag, part, file, standard string) AdminAddress {
	switch {
	case flag != "":
		return AdminAddress{Address: flag, Chosen: true, Key: "--admin"}
	case file != "":
		return AdminAddress{Address: file, Chosen: true, Key: part + ".admin"}
	}
	return AdminAddress{Address: standard, Key: part + ".admin (--admin)"}
}

// Other admin ports that are tried if another process uses the default one: so far from each other that no role gets the default port of
// another role. After them any free port is taken.
const (
	portStep   = 10
	otherPorts = 16
)

// Listen returns nil without an error if there is to be no listener. If another process uses the default address, it takes another port of
// the same host, and logs which.
func (a AdminAddress) Listen(ctx context.Context, safe bool, log *slog.Logger) (net.Listener, error) {
	if a.Address == settings.Off {
		return nil, nil
	}
	l, err := ListenInternal(ctx, a.Address, safe, adminAdvice)
	if a.Chosen || !errors.Is(err, syscall.EADDRINUSE) {
		return l, ForKey(a.Key, err)
	}
	host, port, _ := net.SplitHostPort(a.Address)
	first, _ := strconv.Atoi(port)
	for i := 1; errors.Is(err, syscall.EADDRINUSE) && i <= otherPorts+1; i++ {
		next := first + i*portStep
		if i > otherPorts {
			next = 0
		}
		if l, err = ListenInternal(ctx, net.JoinHostPort(host, strconv.Itoa(next)), safe, adminAdvice); err == nil {
			log.Warn("another process uses the default admin address, so this one uses another port; --admin sets one", "taken", a.Address, "admin", l.Addr().String())
		}
	}
	return l, ForKey(a.Key, err)
}

// ServeHTTP serves until ctx ends, then gives what is being answered a second.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	return serveUntil(ctx, &http.Server{Handler: h}, l, log)
}

// ServeHTTP1And2 does as serveHTTP, and speaks HTTP/2 without TLS to those that begin with it.
func ServeHTTP1And2(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return serveUntil(ctx, server, l, log)
}

func serveUntil(ctx context.Context, server *http.Server, l net.Listener, log *slog.Logger) error {
	server.ReadHeaderTimeout, server.ErrorLog = 10*time.Second, slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return admin.ServeUntil(ctx, server, l)
}
