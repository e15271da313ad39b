package main

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

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

// Where the roles listen when nobody says otherwise.
const (
	defaultListen      = ":8080"
	defaultWire        = "127.0.0.1:7400"
	defaultMasterAdmin = "127.0.0.1:7480"
	defaultEdgeAdmin   = "127.0.0.1:7481"
	defaultAgentAdmin  = "127.0.0.1:7482"
	off                = "off" // an admin address that listens nowhere
)

// listen opens a listener for clients, on host:port or unix:/path, or takes the one that
// this process was started with; its error tells what to do.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if l := inherited(address); l != nil {
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
		return hinted(inUse{address, err}, "if no process uses it, remove "+path)
	case errors.Is(err, syscall.EADDRINUSE):
		return hinted(inUse{address, err}, "stop "+whoListens(address)+", or choose another port")
	case errors.Is(err, syscall.EACCES) && isUnix:
		return hinted(fmt.Errorf("listen on %s: permission denied", address), "this user may not make sockets in its folder; choose another, or change who owns that one")
	case errors.Is(err, syscall.EACCES):
		return hinted(fmt.Errorf("listen on %s: permission denied", address), "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hinted(fmt.Errorf("listen on %s: this machine has no such address", address), "leave out the host to listen on every address, such as "+portOnly(address))
	case errors.Is(err, syscall.EMFILE):
		return hinted(fmt.Errorf("listen on %s: this process may open no more files", address), "raise its limit, with ulimit -n or LimitNOFILE= of its systemd unit")
	}
	if _, bad := strconv.ParseUint(address, 10, 16); bad == nil {
		return usageError{hinted(fmt.Errorf("listen on %s: is a port alone, want :%s", address, address), "such as :"+address+" on every address, or 127.0.0.1:"+address)}
	}
	return hinted(fmt.Errorf("listen: %w", err), "want host:port or unix:/path, such as 127.0.0.1:8080 or :8080")
}

// inUse is the error of an address that somebody else has.
type inUse struct {
	address string
	cause   error
}

func (e inUse) Error() string { return "listen on " + e.address + ": address already in use" }

func (e inUse) Unwrap() error { return e.cause }

func portOnly(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return defaultListen
	}
	return ":" + port
}

// whoListens names the process that has the port of an address, or says how to find it.
func whoListens(address string) string {
	port, err := strconv.ParseUint(strings.TrimPrefix(portOnly(address), ":"), 10, 16)
	if pid, command := agent.WhoListens(uint16(port)); err == nil && pid != 0 {
		return fmt.Sprintf("%s, process %d, which listens there", command, pid)
	}
	return "the process that listens there (ss -ltnp 'sport = " + portOnly(address) + "' shows it)"
}

// listenInside opens a listener for our own components or operators. Beyond loopback
// it does so only if that is safe, or said to be; advice tells how to make it so.
func listenInside(ctx context.Context, address string, safe bool, advice string) (net.Listener, error) {
	if !safe && !isLoopback(address) {
		return nil, hinted(fmt.Errorf("listen on %s: it is beyond loopback, and whoever connects would not have to prove who they are", address), advice)
	}
	return listen(ctx, address)
}

func isLoopback(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // no address at all: listening will say so better
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

const adminAdvice = "listen on 127.0.0.1, or have who connects prove who they are: admin_access with cert and key, and tokens or ca (docs/admin.md); or give --insecure if everybody who can reach that address may be trusted"

// adminAddress is where a role serves its metrics and API.
type adminAddress struct {
	address string // off: nowhere
	asked   bool   // somebody chose it, so it is an error if it cannot be had
}

// chooseAdmin takes the flag, else the file's word, else the role's default.
func chooseAdmin(flag, file, standard string) adminAddress {
	switch {
	case flag != "":
		return adminAddress{flag, true}
	case file != "":
		return adminAddress{file, true}
	}
	return adminAddress{standard, false}
}

// listen returns nil without an error if there is to be no listener, or if the
// default address is taken: a second role on this machine goes on without.
func (a adminAddress) listen(ctx context.Context, safe bool, log *slog.Logger) (net.Listener, error) {
	if a.address == off {
		return nil, nil
	}
	l, err := listenInside(ctx, a.address, safe, adminAdvice)
	if errors.Is(err, syscall.EADDRINUSE) && !a.asked {
		log.Warn("going on without the admin address, which another process has; evenkeel status finds this process by its socket, --admin chooses another address", "admin", a.address)
		return nil, nil
	}
	return l, err
}

// portsAside is how many ports behind a taken default are tried before any that is free.
const portsAside = 16

// listenAside is listen for a role of which one machine may have several: if the default
// address is taken, it takes another port of the same host and says which.
func (a adminAddress) listenAside(ctx context.Context, safe bool, log *slog.Logger) (net.Listener, error) {
	if a.address == off || a.asked {
		return a.listen(ctx, safe, log)
	}
	l, err := listenInside(ctx, a.address, safe, adminAdvice)
	host, port, _ := net.SplitHostPort(a.address)
	first, _ := strconv.Atoi(port)
	for i := 1; errors.Is(err, syscall.EADDRINUSE) && i <= portsAside; i++ {
		next := first + i
		if i == portsAside {
			next = 0
		}
		if l, err = listenInside(ctx, net.JoinHostPort(host, strconv.Itoa(next)), safe, adminAdvice); err == nil {
			log.Warn("another process has the default admin address, so this one takes another port; --admin chooses one", "taken", a.address, "admin", l.Addr().String())
		}
	}
	return l, err
}

// serveHTTP serves until ctx ends, then gives what is being answered a second.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	return serveUntil(ctx, &http.Server{Handler: h}, l, log)
}

// serveBoth does as serveHTTP, and speaks HTTP/2 without TLS to those that begin with it.
func serveBoth(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return serveUntil(ctx, server, l, log)
}

func serveUntil(ctx context.Context, server *http.Server, l net.Listener, log *slog.Logger) error {
	server.ReadHeaderTimeout, server.ErrorLog = 10*time.Second, slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return admin.ServeUntil(ctx, server, l)
}
