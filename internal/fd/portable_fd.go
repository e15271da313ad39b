//go:build !linux || evenkeel_portable

package fd

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// This is what FD is where there is no epoll: a connection or a listener of package net, and goroutines that read,
// write and accept ahead for its owner, who is never made to wait. On Linux it is built with the tag
// evenkeel_portable, by which it is tested.

// FD is a connection, a listener or a bell with one owner. The zero FD is closed. It is not safe for concurrent
// use, except that several goroutines may use one while none closes or moves it.
type FD struct {
	_  noCopy
	at endpoint // nil: closed
}

// noCopy has go vet refuse copies of an FD: two of them would both close it.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// endpoint is what an FD can be: a *stream, a *door or a *bell.
type endpoint interface {
	// registration returns what a Poller needs to know of it.
	registration() *watched
	// state returns what there is to be told; the mutex of watched must be held.
	state() uint32
	// start is called, without the mutex, when a Poller begins to watch it.
	start(p *Poller)
	// stop is called, without the mutex, when it is watched no more, though not closed.
	stop()
	close()
}

// watched is by whom an endpoint is watched.
type watched struct {
	mu    sync.Mutex // of the endpoint
	watch *watch     // nil: no Poller
}

// watch is a registration with a Poller.
type watch struct {
	of               endpoint
	poller           *Poller
	events           uint32
	slot, generation int32
	queued           bool // the Poller is about to look at it; guarded by the endpoint's mutex
}

func (e *watched) registration() *watched { return e }

// tell has the Poller look at the endpoint. Its mutex must be held.
func (e *watched) tell() {
	if w := e.watch; w != nil && !w.queued {
		w.queued = true
		w.poller.post(w)
	}
}

// IsOpen reports whether f is not closed.
func (f *FD) IsOpen() bool { return f.at != nil }

// Move passes the descriptor on. f is closed from then on, and the descriptor is not.
func (f *FD) Move() FD {
	at := f.at
	f.at = nil
	return FD{at: at}
}

// Close closes the descriptor. What was sent goes to the peer before, unless ResetOnClose was called. Of a
// closed FD it does nothing.
func (f *FD) Close() {
	if at := f.at; at != nil {
		f.at = nil
		at.close()
	}
}

// stream returns nil if f is closed or no connection.
func (f *FD) stream() *stream {
	s, _ := f.at.(*stream)
	return s
}

// Take makes an FD of a connection of package net, which is the FD's from then on.
func Take(conn net.Conn) (FD, error) { return FD{at: newStream(conn)}, nil }

// Conn returns the connection of package net, which is the caller's from then on. No Poller may have
// watched it.
func (f *FD) Conn() (net.Conn, error) {
	s := f.stream()
	if s == nil {
		return nil, ErrClosed
	}
	if s.running {
		return nil, errors.New("the connection is read ahead already")
	}
	f.at = nil
	return s.conn, nil
}

// Read is Receive.
func (f *FD) Read(p []byte) (int, error) { return f.Receive(p) }

// Write is Send.
func (f *FD) Write(p []byte) (int, error) { return f.Send(p) }

// Receive takes what was read ahead. It returns EAGAIN if there is nothing, 0 and no error at the end.
func (f *FD) Receive(p []byte) (int, error) {
	s := f.stream()
	switch {
	case s == nil:
		return 0, ErrClosed
	case len(p) == 0:
		return 0, nil
	}
	return s.receive(p)
}

// Send has as much of p sent as there is room for. It returns EAGAIN if that is nothing.
func (f *FD) Send(p []byte) (int, error) {
	s := f.stream()
	switch {
	case s == nil:
		return 0, ErrClosed
	case len(p) == 0:
		return 0, nil
	}
	return s.send(p)
}

// Connected returns how a connection that was begun has come out.
func (f *FD) Connected() error {
	s := f.stream()
	if s == nil {
		return ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// LocalAddress is the zero AddrPort if there is none to be had.
func (f *FD) LocalAddress() netip.AddrPort {
	s := f.stream()
	if s == nil {
		return netip.AddrPort{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return netip.AddrPort{}
	}
	return addressOf(s.conn.LocalAddr())
}

// addressOf is invalid where there is no IP address, as at the other end of a unix socket.
func addressOf(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok && a != nil {
		at := a.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	return netip.AddrPort{}
}

// CloseWrite tells the peer that nothing more will come, behind all that was sent.
func (f *FD) CloseWrite() error {
	s := f.stream()
	if s == nil {
		return ErrClosed
	}
	return s.closeWrite()
}

// ResetOnClose has Close break the connection off. One that is gone needs that no more.
func (f *FD) ResetOnClose() {
	if s := f.stream(); s != nil {
		s.mu.Lock()
		s.resets = true
		s.mu.Unlock()
	}
}

// NothingToRead reports whether there are neither bytes nor the peer's end to read.
func (f *FD) NothingToRead() bool {
	s := f.stream()
	return s != nil && s.nothingToRead()
}

// Unacked reports whether the peer's machine has not yet taken all that was sent.
func (f *FD) Unacked() bool {
	s := f.stream()
	return s != nil && s.unacked()
}

// SetTCPOptions sets no delay, keep-alive, and o. Without them all is as right: only slower, and a peer that
// vanished is noticed later. all reports whether connections that are accepted have them too.
func (f *FD) SetTCPOptions(o *TCPOptions) (all bool) {
	if s := f.stream(); s != nil {
		s.setOptions(o)
	}
	return false
}

// SetKeepalive sets o's keep-alive times anew.
func (f *FD) SetKeepalive(o *TCPOptions) {
	if s := f.stream(); s != nil {
		if tcp, ok := s.conn.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(o.KeepAliveConfig()) // without it a peer that vanished is noticed later
		}
	}
}

// errnoOf returns the system's error behind one of package net, so that it can be compared: all that reset a
// connection are ECONNRESET.
func errnoOf(err error) error {
	var code syscall.Errno
	switch {
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case !errors.As(err, &code):
		return err
	case code == wsaConnAborted || code == wsaConnReset:
		return syscall.ECONNRESET
	}
	return code
}

// What Windows calls ECONNABORTED and ECONNRESET. Other systems have no such numbers.
const (
	wsaConnAborted = syscall.Errno(10053)
	wsaConnReset   = syscall.Errno(10054)
)
