package admin

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A file of tokens has a line for each: a name, its roles, and a hash of the token.
//
//	# who      may           by what
//	alice      read,operate  sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	prometheus read          sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//
// A token has 256 bits of chance in it, so a plain hash is enough: it cannot be guessed.

// token is one line of a file of tokens.
type token struct {
	name  string
	roles Roles
	hash  [sha256.Size]byte
}

const (
	tokenPrefix = "ek_" // by which people and scanners for leaked secrets know one
	hashPrefix  = "sha256:"
	mostTokens  = 10_000
	mostText    = 4 << 20 // bytes of a file of tokens
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// ParseRoles reads roles as a file of tokens has them.
func ParseRoles(text string) (Roles, error) {
	var all []Role
	for word := range strings.SplitSeq(text, ",") {
		i := slices.Index(roleNames[:], word)
		if i < int(Read) || i > int(Enrol) {
			return 0, fmt.Errorf("role %q, want read, operate, pick or enrol, several with commas between them", clip(word))
		}
		all = append(all, Role(i))
	}
	return RolesOf(all...), nil
}

// NewToken makes a token, and the line that a file of tokens needs for it.
func NewToken(name, roles string) (secret, line string, err error) {
	if !tokenName.MatchString(name) {
		return "", "", fmt.Errorf("name %q, want 1 to 64 letters, digits, '.', '_', '@' or '-', the first a letter or digit", clip(name))
	}
	if _, err := ParseRoles(roles); err != nil {
		return "", "", err
	}
	secret = tokenPrefix + random()
	hash := sha256.Sum256([]byte(secret))
	return secret, fmt.Sprintf("%s %s %s%s\n", name, roles, hashPrefix, hex.EncodeToString(hash[:])), nil
}

// random returns 256 bits of chance as text.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// AddToken makes a token and appends its line to a file, which it makes if there is none.
// Only the file's owner may read it.
func AddToken(path, name, roles string) (secret string, err error) {
	had, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	known, err := parseTokens(had)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if slices.ContainsFunc(known, func(t token) bool { return t.name == name }) {
		return "", fmt.Errorf("%s has a token called %s: take its line out first, or choose another name", path, name)
	}
	secret, line, err := NewToken(name, roles)
	if err != nil {
		return "", err
	}
	if len(had) > 0 && had[len(had)-1] != '\n' {
		line = "\n" + line
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(line)
	return secret, errors.Join(err, f.Close())
}

// parseTokens reads a file of tokens.
func parseTokens(text []byte) (all []token, err error) {
	if len(text) > mostText {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(text), mostText)
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		t, err := parseToken(words)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		case slices.ContainsFunc(all, func(other token) bool { return other.name == t.name }):
			return nil, fmt.Errorf("line %d: %s stands twice", n, t.name)
		case len(all) == mostTokens:
			return nil, fmt.Errorf("line %d: more than %d tokens", n, mostTokens)
		}
		all = append(all, t)
	}
	return all, nil
}

func parseToken(words []string) (t token, err error) {
	if len(words) != 3 {
		return t, fmt.Errorf("%d words, want a name, roles and %sHASH; evenkeel tokens add makes such a line", len(words), hashPrefix)
	}
	if t.name = words[0]; !tokenName.MatchString(t.name) {
		return t, fmt.Errorf("name %q, want 1 to 64 letters, digits, '.', '_', '@' or '-', the first a letter or digit", clip(t.name))
	}
	if t.roles, err = ParseRoles(words[1]); err != nil {
		return t, err
	}
	digits, ok := strings.CutPrefix(words[2], hashPrefix)
	hash, err := hex.DecodeString(digits)
	if !ok || err != nil || len(hash) != len(t.hash) {
		// Not quoted: it may be a token that was put here by mistake.
		return t, fmt.Errorf("the third word is no hash, want %s and %d hexadecimal digits: the file has hashes of tokens, not tokens", hashPrefix, 2*len(t.hash))
	}
	copy(t.hash[:], hash)
	return t, nil
}

// find returns the token whose secret is given, nil if there is none. It takes as long
// whichever it is.
func find(all []token, secret string) (found *token) {
	hash := sha256.Sum256([]byte(secret))
	for i := range all {
		if subtle.ConstantTimeCompare(all[i].hash[:], hash[:]) == 1 {
			found = &all[i]
		}
	}
	return found
}
