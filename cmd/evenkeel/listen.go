package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
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
	l, err := new(net.ListenConfig).Listen(ctx, network, where)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE) && network == "unix":
		return nil, hinted(inUse{address, err}, "if no process uses it, remove "+where)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hinted(inUse{address, err}, "stop whoever listens there ("+whoListens(where)+"), or choose another port")
	case errors.Is(err, syscall.EACCES):
		return nil, hinted(fmt.Errorf("listen on %s: permission denied", address), "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, hinted(fmt.Errorf("listen on %s: this machine has no such address", address), "leave out the host to listen on every address, such as "+portOnly(where))
	}
	return nil, hinted(fmt.Errorf("listen: %w", err), "want host:port or unix:/path, such as 127.0.0.1:8080 or :8080")
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

func whoListens(address string) string {
	return "ss -ltnp 'sport = " + portOnly(address) + "' shows it"
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

const adminAdvice = "listen on 127.0.0.1, or give --insecure if everybody who can reach that address may be trusted"

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
func (a adminAddress) listen(ctx context.Context, insecure bool, log *slog.Logger) (net.Listener, error) {
	if a.address == off {
		return nil, nil
	}
	l, err := listenInside(ctx, a.address, insecure, adminAdvice)
	if errors.Is(err, syscall.EADDRINUSE) && !a.asked {
		log.Warn("going on without the admin address, which somebody else has; --admin chooses another", "admin", a.address)
		return nil, nil
	}
	return l, err
}

// serveHTTP serves until ctx ends, then gives what is being answered a second.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close() // whoever still reads had their second
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
