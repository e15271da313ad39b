// Package enrol has the tokens with which agents get their first certificate from a master.
//
//	Token    what an operator hands to a machine; only it and the machine have the secret
//	Record   what masters keep of it, under a hash of the secret
//	Book     adds, judges and counts; no use is counted twice, also by several masters
//	Store    where records are: etcd, Kubernetes, a folder, or the memory of one master
//
// The fields of a token that are not secret tell the agent where the token is valid, so that it is not sent in vain. A master uses only its
// own record.
package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Token lets agents of one pool get a certificate.
type Token struct {
	Authority string         `json:"a"`           // SHA-256 of the authority that must stand behind the master, hexadecimal
	Secret    string         `json:"s"`           //
	Pool      string         `json:"p"`           //
	Addresses []netip.Prefix `json:"n,omitempty"` // from which it is good, and in which the agent's server must be; empty: all
	Ends      time.Time      `json:"e"`
	Uses      int            `json:"u"`
}

// tokenMark begins a token's text, so that people and scanners for leaked secrets know one.
const tokenMark = "evenkeel-enrol-"

// Limits of tokens.
const (
	MostUses     = 1000
	DefaultLife  = time.Hour
	LongestLife  = 30 * 24 * time.Hour
	ShortestLife = time.Second

	mostText = 4096
)

// NewSecret draws a token's secret, of 256 bits.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Text is the token as an agent is given it. It must not get into logs or command lines.
func (t *Token) Text() (string, error) {
	text, err := json.Marshal(t)
	return tokenMark + base64.RawURLEncoding.EncodeToString(text), err
}

// String names the token without its secret.
func (t Token) String() string { return "token " + ID(Hash(t.Secret)) }

// GoString is String too, so that no verb of fmt shows the secret.
func (t Token) GoString() string { return t.String() }

// ParseToken reads what Text wrote. Its errors do not have the text in them.
func ParseToken(text string) (t Token, err error) {
	text = strings.TrimSpace(text)
	coded, ok := strings.CutPrefix(text, tokenMark)
	if !ok || len(text) > mostText {
		return t, fmt.Errorf("this is no token of evenkeel certs token: one begins with %s and stands on one line", tokenMark)
	}
	plain, err := base64.RawURLEncoding.DecodeString(coded)
	if err == nil {
		err = json.Unmarshal(plain, &t)
	}
	if err != nil || t.Secret == "" || t.Authority == "" || t.Pool == "" {
		return Token{}, errors.New("the token is not whole: copy all of its one line")
	}
	return t, nil
}

// Hash is the name under which masters keep what they know of a secret.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte("evenkeel enrol\x00" + secret))
	return hex.EncodeToString(sum[:])
}

// IsHash reports whether a text can be a Hash.
func IsHash(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == sha256.Size && text == strings.ToLower(text)
}

// ID is how people are told of a token: the beginning of its hash.
func ID(hash string) string { return hash[:min(len(hash), 12)] }
