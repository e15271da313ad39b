package tenants

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Keys are those by which tokens are verified. They do not change.
type Keys struct {
	list       []tokenKey
	algorithms []jose.SignatureAlgorithm // of all of them
}

// tokenKey verifies tokens of one algorithm: a token does not choose how its signature is looked at.
type tokenKey struct {
	id        string // kid; empty: it has none, and may be any token's
	algorithm jose.SignatureAlgorithm
	key       any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
}

const (
	mostKeys   = 16
	leastRSA   = 2048 // bits
	leastHMAC  = 32   // bytes (RFC 7518, 3.2)
	whatIsAKey = "want a set of JSON Web Keys (RFC 7517), or public keys in PEM"
)

// ParseKeys reads a file of keys: a JSON Web Key, a set of them, or public keys and certificates in PEM. RSA keys of 2,048
// bits or more are for RS256, those of the curve P-256 for ES256, Ed25519 for EdDSA, and symmetric ones of 32 bytes or more,
// which only JSON can have, for HS256. Errors show no key.
func ParseKeys(text []byte) (*Keys, error) {
	text = bytes.TrimSpace(text)
	k := new(Keys)
	parse := k.addPEM
	if bytes.HasPrefix(text, []byte("{")) {
		parse = k.addJSON
	}
	if err := parse(text); err != nil {
		return nil, err
	}
	switch n := len(k.list); {
	case n == 0:
		return nil, errors.New("no key, " + whatIsAKey)
	case n > mostKeys:
		return nil, fmt.Errorf("%d keys, want at most %d", n, mostKeys)
	}
	return k, nil
}

// Secret reports whether one of them is symmetric: who can read the file can sign tokens.
func (k *Keys) Secret() bool { return slices.Contains(k.algorithms, jose.HS256) }

func (k *Keys) addJSON(text []byte) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return errors.New("it is no JSON, " + whatIsAKey)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{text}
	}
	for i, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil {
			return fmt.Errorf("key %d is none that is known: %s", i+1, whatIsAKey)
		}
		if key.Use != "" && key.Use != "sig" {
			continue // providers publish keys for other uses beside those
		}
		if err := k.add(key.KeyID, key.Algorithm, key.Key); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	return nil
}

func (k *Keys) addPEM(text []byte) error {
	for i := 1; ; i++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		var key any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = cert.PublicKey
			}
		default:
			err = fmt.Errorf("a block of type %q, want PUBLIC KEY: verifying tokens needs no private key", block.Type)
		}
		if err == nil {
			err = k.add("", "", key)
		}
		if err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
	}
}

// add takes a key, by the one algorithm that it is for.
func (k *Keys) add(id, named string, key any) error {
	var algorithm jose.SignatureAlgorithm
	switch key := key.(type) {
	case *rsa.PublicKey:
		if algorithm = jose.RS256; key.N.BitLen() < leastRSA {
			return fmt.Errorf("an RSA key of %d bits, want at least %d", key.N.BitLen(), leastRSA)
		}
	case *ecdsa.PublicKey:
		if algorithm = jose.ES256; key.Curve != elliptic.P256() {
			return fmt.Errorf("a key of the curve %s, want P-256", key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		algorithm = jose.EdDSA
	case []byte:
		if algorithm = jose.HS256; len(key) < leastHMAC {
			return fmt.Errorf("a symmetric key of %d bytes, want at least %d", len(key), leastHMAC)
		}
	default:
		return errors.New("want a public key of RSA, P-256 or Ed25519, or a symmetric one: verifying tokens needs no private key")
	}
	if named != "" && named != string(algorithm) {
		return fmt.Errorf("it is for %q, want %s for a key of its kind", named, algorithm)
	}
	k.list = append(k.list, tokenKey{id, algorithm, key})
	if !slices.Contains(k.algorithms, algorithm) {
		k.algorithms = append(k.algorithms, algorithm)
	}
	return nil
}
