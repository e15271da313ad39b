package h2

// What we say in HPACK (RFC 7541) uses its static table and nothing else: to keep a
// dynamic one for every client, and to search it for every field, costs more than the
// octets that it would save on most links.

// EmptyTable says that what a peer may have kept of our fields is not used.
const EmptyTable = 0x20

// AppendStatus appends the pseudo-field of a response.
func AppendStatus(dst []byte, status int) []byte {
	for i, known := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if status == known {
			return append(dst, 0x80|byte(8+i))
		}
	}
	return append(dst, 0x08, 3, '0'+byte(status/100), '0'+byte(status/10%10), '0'+byte(status%10))
}

// AppendField appends a field, its name in lower case.
func AppendField(dst, name, value []byte) []byte {
	if at := static(name); at != 0 {
		dst = appendInteger(dst, 0, 4, at)
	} else {
		dst = appendInteger(append(dst, 0), 0, 7, len(name))
		for _, c := range name {
			dst = append(dst, lower(c))
		}
	}
	return append(appendInteger(dst, 0, 7, len(value)), value...)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// appendInteger appends an integer of which the first octet has so many bits (RFC 7541, 5.1).
func appendInteger(dst []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

// static is where a name stands in the static table; zero: nowhere. Names that only
// requests have are left out.
func static(name []byte) int {
	var room [32]byte
	if len(name) > len(room) {
		return 0
	}
	for i, c := range name {
		room[i] = lower(c)
	}
	switch string(room[:len(name)]) {
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "refresh":
		return 52
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "strict-transport-security":
		return 56
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}
