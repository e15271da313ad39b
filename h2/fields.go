package h2

// What we say in HPACK (RFC 7541) uses its static table and nothing else: to keep a
// dynamic one for every client, and to search it for every field, costs more than the
// bytes that it would save on most links.

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
		for i, text := 0, dst[len(dst)-len(name):]; i < len(text); i++ {
			text[i] = lower(text[i])
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

// appendInteger appends an integer of which the first byte has so many bits (RFC 7541, 5.1).
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

// known are the names that stand in the static table (RFC 7541, A), by their places there.
var known = [...]string{
	15: "accept-charset",
	16: "accept-encoding",
	17: "accept-language",
	18: "accept-ranges",
	19: "accept",
	20: "access-control-allow-origin",
	21: "age",
	22: "allow",
	23: "authorization",
	24: "cache-control",
	25: "content-disposition",
	26: "content-encoding",
	27: "content-language",
	28: "content-length",
	29: "content-location",
	30: "content-range",
	31: "content-type",
	32: "cookie",
	33: "date",
	34: "etag",
	35: "expect",
	36: "expires",
	37: "from",
	39: "if-match",
	40: "if-modified-since",
	41: "if-none-match",
	42: "if-range",
	43: "if-unmodified-since",
	44: "last-modified",
	45: "link",
	46: "location",
	47: "max-forwards",
	50: "range",
	51: "referer",
	52: "refresh",
	53: "retry-after",
	54: "server",
	55: "set-cookie",
	56: "strict-transport-security",
	58: "user-agent",
	59: "vary",
	60: "via",
	61: "www-authenticate",
}

// byLetter are the places of the names with one first letter.
var byLetter = func() (t ['z' + 1][]uint8) {
	for at, name := range known {
		if name != "" {
			t[name[0]] = append(t[name[0]], uint8(at))
		}
	}
	return t
}()

// static is where a name stands in the static table; zero: nowhere.
func static(name []byte) int {
	if len(name) == 0 || name[0] > 'z' {
		return 0
	}
	for _, at := range byLetter[lower(name[0])] {
		if k := known[at]; len(k) == len(name) && isLower(name, k) {
			return int(at)
		}
	}
	return 0
}

// isLower reports whether a name is this one, which is in lower case.
func isLower(name []byte, k string) bool {
	for i, c := range name {
		if lower(c) != k[i] {
			return false
		}
	}
	return true
}
