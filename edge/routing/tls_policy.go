package routing

import "crypto/tls"

// TLSPolicy says which versions and cipher suites clients may speak. It follows Mozilla's
// guidelines for servers (https://wiki.mozilla.org/Security/Server_Side_TLS).
type TLSPolicy uint8

const (
	// Intermediate is for clients of every kind: TLS 1.2 with suites that have forward
	// secrecy and authenticate what they encrypt, and TLS 1.3. No suite is of CBC.
	Intermediate TLSPolicy = iota
	// Modern is TLS 1.3 alone.
	Modern
)

var tlsNames = [...]string{"intermediate", "modern"}

func (p TLSPolicy) String() string { return tlsNames[p] }

// TLSPolicies are all of them.
func TLSPolicies() []TLSPolicy { return []TLSPolicy{Intermediate, Modern} }

// Version returns the lowest version that may be spoken.
func (p TLSPolicy) Version() uint16 {
	if p == Modern {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// Suites returns those of TLS 1.2 that may be spoken; those of TLS 1.3 are not to be chosen.
// RFC 9113, 9.2.2 has none of them among those by which HTTP/2 may not be spoken.
func (p TLSPolicy) Suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}
