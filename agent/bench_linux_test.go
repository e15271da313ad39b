package agent

import (
	"net"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What an agent does each half second, each second and each two seconds, as far as the host goes.
func BenchmarkHost(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	h := newHost("", Application{Address: l.Addr().String()}, func(string, error) {})
	now := balance.Instant(time.Hour)
	if err := h.find(now); err != nil {
		b.Fatal(err)
	}
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if err := h.find(now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("slow", func(b *testing.B) {
		for b.Loop() {
			now = now.Add(time.Second)
			h.slow, h.look = now, now+1
			if _, _, err := h.sample(now); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, f := range map[string]func(){
		"memory": func() { h.memory() }, "network": func() { now++; h.network(now) }, "load": func() { h.load() },
		"pressure": func() { h.pressure("memory") }, "meminfo": func() { h.proc.Meminfo() }, "listeners": func() { h.owner.listeners() },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}
