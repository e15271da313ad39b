package edge

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// bareListener is a network listener whose descriptor cannot be had, and whose accepts cannot be ended but by closing it.
type bareListener struct{ net.Listener }

// A program may hand in any network listener where connections are package net's. Where they are descriptors, Run says what is
// missing.
func TestListenersWithoutADescriptor(t *testing.T) {
	e, err := New(Config{ID: "e1", Listeners: []routing.Listener{{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}}}, to(granted("a", server(t, echo))))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- e.Run(ctx, bareListener{l}) }()
	if fd.OwnThread { // epoll is there
		if err := <-stopped; err == nil || !strings.Contains(err.Error(), "edge.bareListener: it has no descriptor") {
			t.Errorf("Run: %v", err)
		}
		return
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if string(body) != "GET /x " {
		t.Errorf("got %q", body)
	}
	if stop(); <-stopped != nil {
		t.Errorf("Run: %v", err)
	}
}
