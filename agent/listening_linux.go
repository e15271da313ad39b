package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
)

// Readers of /proc/net/tcp and tcp6. They take bytes and accept whatever bytes there are.

// listening is a TCP socket that takes connections.
type listening struct {
	at    netip.AddrPort
	inode uint64 // by which processes that hold it are found
}

// stateListen is the kernel's TCP_LISTEN.
const stateListen = "0A"

// parseSocket reads one line of /proc/net/tcp or tcp6:
//
//	sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode …
//	 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1673 1 …
//
// ok is false for a line that is no socket, such as the first.
func parseSocket(line []byte) (s listening, listens, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 10 {
		return s, false, false
	}
	if s.at, ok = parseEndpoint(fields[1]); !ok {
		return s, false, false
	}
	inode, err := strconv.ParseUint(string(fields[9]), 10, 64)
	if err != nil {
		return s, false, false
	}
	s.inode = inode
	return s, string(fields[3]) == stateListen, true
}

// parseEndpoint reads an address, which is 32-bit words in the machine's own byte order, and a
// port, which is a number.
func parseEndpoint(text []byte) (netip.AddrPort, bool) {
	words, port, ok := bytes.Cut(text, []byte(":"))
	n, err := strconv.ParseUint(string(port), 16, 16)
	if !ok || err != nil || len(words) != 8 && len(words) != 32 {
		return netip.AddrPort{}, false
	}
	var buf [16]byte
	raw := buf[:len(words)/2]
	if _, err := hex.Decode(raw, words); err != nil {
		return netip.AddrPort{}, false
	}
	for w := range len(raw) / 4 {
		word := raw[4*w : 4*w+4]
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// listenersAt returns the inodes of the sockets that get connections to a port of any of the
// addresses. As in the kernel, a socket of the address itself comes before one of all
// addresses; any tells that only those of all addresses were found.
func listenersAt(all []listening, addrs []netip.Addr, port uint16) (inodes []uint64, any bool) {
	for _, s := range all {
		for _, addr := range addrs {
			if s.at == netip.AddrPortFrom(addr.Unmap(), port) {
				inodes = append(inodes, s.inode)
				break
			}
		}
	}
	if len(inodes) > 0 {
		return inodes, false
	}
	for _, s := range all {
		if s.at.Port() != port || !s.at.Addr().IsUnspecified() {
			continue
		}
		for _, addr := range addrs { // a socket of :: takes IPv4 too
			if s.at.Addr().Is6() || addr.Unmap().Is4() {
				inodes = append(inodes, s.inode)
				break
			}
		}
	}
	return inodes, len(inodes) > 0
}

// parseSocketLink reads what a link of /proc/PID/fd says of a socket: socket:[1673].
func parseSocketLink(link string) (inode uint64, ok bool) {
	const begin = "socket:["
	if len(link) <= len(begin)+1 || link[:len(begin)] != begin || link[len(link)-1] != ']' {
		return 0, false
	}
	inode, err := strconv.ParseUint(link[len(begin):len(link)-1], 10, 64)
	return inode, err == nil
}
