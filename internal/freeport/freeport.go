// Package freeport finds ports for processes that must be told their port before they
// start. Tests, benchmarks and the demo use it.
//
// A port that the system chose for a socket that is then closed is not safe: the
// system may give it to another process before its user listens. So ports here lie
// below the ranges from which systems choose (Linux: from 32768, others: from 49152),
// and a UDP socket of the same number keeps each from the other processes that look
// for one. The socket stays open until the process ends.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// low and high bound the ports that Take looks at, high excluded.
const low, high = 20000, 32000

var kept struct {
	sync.Mutex
	sockets []net.PacketConn // one for each port taken, so that it is not collected
}

// Take returns a port of a host's address at which nothing listens, and which no other
// call returns while this process lives, here or in another process.
func Take(host string) (port string, err error) {
	first := rand.IntN(high - low)
	for i := range high - low {
		port = strconv.Itoa(low + (first+i)%(high-low))
		address := net.JoinHostPort(host, port)
		socket, udp := net.ListenPacket("udp", address)
		if udp != nil {
			err = udp
			continue
		}
		l, tcp := net.Listen("tcp", address)
		if tcp != nil {
			err = errors.Join(tcp, socket.Close())
			continue
		}
		if err := l.Close(); err != nil {
			return "", errors.Join(err, socket.Close())
		}
		kept.Lock()
		defer kept.Unlock()
		kept.sockets = append(kept.sockets, socket)
		return port, nil
	}
	return "", err
}

// Loopback returns such a port with the address 127.0.0.1 before it.
func Loopback() (address string, err error) {
	port, err := Take("127.0.0.1")
	return net.JoinHostPort("127.0.0.1", port), err
}

// Address is Loopback for a test, which fails without a port.
func Address(t interface {
	Helper()
	Fatal(args ...any)
}) string {
	t.Helper()
	address, err := Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
