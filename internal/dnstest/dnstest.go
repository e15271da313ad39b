// Package dnstest is a DNS server for tests, whose answers change as they say.
package dnstest

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a DNS server on loopback, by UDP and TCP. It has no such name for whatever it was not told.
type Server struct {
	Address string // host:port

	mu       sync.Mutex
	names    map[string]func() Records
	asked    map[string]int
	truncate bool
}

// Records is what a name is answered.
type Records struct {
	Addrs  []string
	TTL    time.Duration
	Code   dnsmessage.RCode // other than success: there are no records
	Silent bool             // there is no answer
}

// Start runs a server for the length of a test.
func Start(t testing.TB) *Server {
	t.Helper()
	packets, streams, err := listen()
	for range 20 { // another may have the port
		if err == nil {
			break
		}
		packets, streams, err = listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: packets.LocalAddr().String(), names: make(map[string]func() Records), asked: make(map[string]int)}
	var running sync.WaitGroup
	running.Go(func() { s.servePackets(packets) })
	running.Go(func() { s.serveStreams(streams, &running) })
	t.Cleanup(func() {
		_ = packets.Close()
		_ = streams.Close()
		running.Wait()
	})
	return s
}

// listen listens at one port by UDP and TCP.
func listen() (net.PacketConn, net.Listener, error) {
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	packets, err := net.ListenPacket("udp", streams.Addr().String())
	if err != nil {
		_ = streams.Close() // nothing was taken from it
	}
	return packets, streams, err
}

// Set has a name lead to addresses.
func (s *Server) Set(name string, ttl time.Duration, addrs ...string) {
	s.Answer(name, func() Records { return Records{Addrs: addrs, TTL: ttl} })
}

// Answer has each question for a name answered by a function, which is called by one goroutine at a time.
func (s *Server) Answer(name string, records func() Records) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name+"."] = records
}

// Truncate has all be told to ask by TCP.
func (s *Server) Truncate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.truncate = true
}

// Asked returns how many questions for a name have come.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name+"."]
}

func (s *Server) servePackets(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		truncate := s.truncate
		s.mu.Unlock()
		if out := s.reply(buf[:n], truncate); out != nil {
			_, _ = conn.WriteTo(out, from) // who asked may be gone
		}
	}
}

func (s *Server) serveStreams(l net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // so that the test ends
			for {
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(conn, question); err != nil {
					return
				}
				out := s.reply(question, false)
				if out == nil {
					return
				}
				if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
					return
				}
			}
		})
	}
}

// reply returns the answer to a message; nil: none is given.
func (s *Server) reply(message []byte, truncate bool) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(message)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.ToLower(q.Name.String())
	s.asked[name]++
	told := Records{Code: dnsmessage.RCodeNameError}
	if records := s.names[name]; records != nil {
		told = records()
	}
	if told.Silent {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: head.ID, Response: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: told.Code, Truncated: truncate})
	_ = b.StartQuestions()
	_ = b.Question(q)
	_ = b.StartAnswers()
	if told.Code == dnsmessage.RCodeSuccess && !truncate {
		record := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: uint32(told.TTL / time.Second)}
		for _, text := range told.Addrs {
			switch addr := netip.MustParseAddr(text); {
			case addr.Is4() && q.Type == dnsmessage.TypeA:
				_ = b.AResource(record, dnsmessage.AResource{A: addr.As4()})
			case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
				_ = b.AAAAResource(record, dnsmessage.AAAAResource{AAAA: addr.As16()})
			}
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}
