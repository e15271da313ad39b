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

// AppendRequest appends the pseudo-fields of a request, whose scheme is https if secure,
// else http.
func AppendRequest(dst, method []byte, secure bool, authority, path []byte) []byte {
	switch string(method) {
	case "GET":
		dst = append(dst, 0x80|2)
	case "POST":
		dst = append(dst, 0x80|3)
	default:
		dst = appendString(append(dst, 2), method)
	}
	scheme := byte(0x80 | 6)
	if secure {
		scheme++
	}
	dst = appendString(append(dst, scheme, 1), authority)
	if len(path) == 1 && path[0] == '/' {
		return append(dst, 0x80|4)
	}
	return appendString(append(dst, 4), path)
}

// appendString appends a string as it is.
func appendString(dst, s []byte) []byte { return append(appendInteger(dst, 0, 7, len(s)), s...) }

// AppendField appends a field, its name in lower case.
func AppendField(dst, name, value []byte) []byte {
	if at := static(name); at != 0 {
		dst = appendInteger(dst, 0, 4, at)
	} else {
		dst = appendString(append(dst, 0), name)
		for text := dst[len(dst)-len(name):]; len(text) > 0; text = text[1:] {
			text[0] = lower(text[0])
		}
	}
	return appendString(dst, value)
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

// static is where a name stands in the static table; zero: nowhere.
func static(name []byte) int {
	var room [32]byte
	if len(name) > len(room) {
		return 0
	}
	for i, c := range name {
		room[i] = lower(c)
	}
	switch string(room[:len(name)]) {
	case "accept-charset":
		return 15
	case "accept-encoding":
		return 16
	case "accept-language":
		return 17
	case "accept-ranges":
		return 18
	case "accept":
		return 19
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "authorization":
		return 23
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
	case "cookie":
		return 32
	case "date":
		return 33
	case "etag":
		return 34
	case "expect":
		return 35
	case "expires":
		return 36
	case "from":
		return 37
	case "if-match":
		return 39
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "max-forwards":
		return 47
	case "range":
		return 50
	case "referer":
		return 51
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
	case "user-agent":
		return 58
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}
