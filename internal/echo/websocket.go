package echo

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// WebSocket handler: every message comes back with the id of the request that opened the
// stream in front, so that a stream whose two ends belong to different requests shows.

// IsWebSocket reports whether a request asks to become a WebSocket.
func IsWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// ServeWebSocket answers a WebSocket until its client closes it. The first message tells
// which server it is and whose stream.
func ServeWebSocket(w http.ResponseWriter, r *http.Request, server string) {
	id := r.Header.Get(HeaderID)
	websocket.Server{Handler: func(ws *websocket.Conn) {
		if websocket.Message.Send(ws, server+" "+id) != nil {
			return
		}
		for {
			var message string
			if websocket.Message.Receive(ws, &message) != nil {
				return
			}
			if websocket.Message.Send(ws, id+" "+message) != nil {
				return
			}
		}
	}}.ServeHTTP(w, r)
}

// Stream is a client's end of a WebSocket whose messages are checked.
type Stream struct {
	ID     string
	Server string // which has answered
	conn   net.Conn
	ws     *websocket.Conn
	n      int
}

// Dial opens a stream through an edge at an address. The deadline is for all that
// is said in it, until another is set.
func Dial(address, path, id string, deadline time.Time) (*Stream, error) {
	conn, err := net.DialTimeout("tcp", address, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	s, err := open(conn, address, path, id, deadline)
	if err != nil {
		_ = conn.Close() // the first error counts
		return nil, err
	}
	return s, nil
}

func open(conn net.Conn, address, path, id string, deadline time.Time) (*Stream, error) {
	cfg, err := websocket.NewConfig("ws://"+address+path, "http://"+address)
	if err != nil {
		return nil, err
	}
	cfg.Header = http.Header{HeaderID: {id}}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	spy := &spied{Conn: conn}
	ws, err := websocket.NewClient(cfg, spy)
	if status := spy.status(); err != nil && status != "" {
		return nil, &Refused{status}
	}
	if err != nil {
		return nil, err
	}
	var first string
	if err := websocket.Message.Receive(ws, &first); err != nil {
		return nil, err
	}
	server, owner, _ := strings.Cut(first, " ")
	if owner != id {
		return nil, &Mixed{id, fmt.Sprintf("the stream is %q's", owner)}
	}
	return &Stream{ID: id, Server: server, conn: conn, ws: ws}, nil
}

// Refused is the error for a stream that was not opened but answered.
type Refused struct{ Status string }

func (r *Refused) Error() string { return "no WebSocket, but " + r.Status }

// SetDeadline moves the deadline.
func (s *Stream) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// Say sends a message of at least size bytes and waits until it has come back.
func (s *Stream) Say(size int) error {
	message := fmt.Sprintf("%d of %s ", s.n, s.ID)
	message += strings.Repeat("~", max(0, size-len(message)))
	s.n++
	if err := websocket.Message.Send(s.ws, message); err != nil {
		return err
	}
	var got string
	if err := websocket.Message.Receive(s.ws, &got); err != nil {
		return err
	}
	if want := s.ID + " " + message; got != want {
		return &Mixed{s.ID, fmt.Sprintf("a stream said %q, want %q", clip([]byte(got)), clip([]byte(want)))}
	}
	return nil
}

// Close ends the stream.
func (s *Stream) Close() error { return s.ws.Close() }

// spied remembers the first bytes of what a peer answers.
type spied struct {
	net.Conn
	head []byte
}

func (s *spied) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.head = append(s.head, p[:min(n, 64-min(64, len(s.head)))]...)
	return n, err
}

// status returns the status of an answer that is not 101; empty: there is none.
func (s *spied) status() string {
	line, err := bufio.NewReader(strings.NewReader(string(s.head))).ReadString('\n')
	_, status, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok || strings.HasPrefix(status, "101") {
		return ""
	}
	return status
}
