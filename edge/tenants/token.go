package tenants

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Why a tenant is not believed.
var (
	errUntrusted = errors.New("it was told by a peer that is no trusted proxy")
	errSeveral   = errors.New("its header is there more than once")
	errLong      = errors.New("it has more than 255 bytes")

	errTokenLong = fmt.Errorf("the token has more than %d bytes", mostToken)
	errToken     = errors.New("it is no token that is signed by RS256, ES256, EdDSA or HS256, as the keys are")
	errKey       = errors.New("the token names a key that is not in tenant_jwt.keys")
	errSignature = errors.New("the token's signature is not by a key of tenant_jwt.keys")
	errNoEnd     = errors.New("the token has no exp, so it would be good for ever")
	errExpired   = errors.New("the token has expired")
	errNotYet    = errors.New("the token is not valid yet: are the clocks right?")
	errIssuer    = errors.New("the token's iss is not tenant_jwt.issuer")
	errAudience  = errors.New("the token's aud has not tenant_jwt.audience")
	errNoClaim   = errors.New("the token does not have the claim of tenant, as a text")
)

const (
	mostToken  = 8 << 10 // bytes; longer ones are not looked at
	leeway     = 30 * time.Second
	remembered = 1024 // verified tokens, each in the place of its hash
)

// Verifier reads tenants from signed tokens (RFC 7519). It may be used by many at once. What it has verified it
// remembers, so that a client that sends its token with each request costs one verification.
type Verifier struct {
	Header   string // that brings them, in lower case
	Claim    string // that names the tenant
	Issuer   string // that iss must be; empty: any
	Audience string // that aud must have; empty: any
	Keys     *Keys

	good [remembered]atomic.Pointer[verified]
}

// verified is a token that was good, by its hash.
type verified struct {
	hash  [sha256.Size]byte
	name  string
	until time.Time
}

// Verify returns the tenant that a token names, with or without "Bearer " before it, if it is good now.
func (v *Verifier) Verify(now time.Time, token string) (string, error) {
	if len(token) > mostToken {
		return "", errTokenLong
	}
	if scheme, rest, two := strings.Cut(token, " "); two && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	}
	hash := sha256.Sum256([]byte(token))
	place := &v.good[(int(hash[0])|int(hash[1])<<8)%remembered]
	if g := place.Load(); g != nil && g.hash == hash && now.Before(g.until) {
		return g.name, nil
	}
	name, until, err := v.verify(now, token)
	if err != nil {
		return "", err
	}
	place.Store(&verified{hash, name, until})
	return name, nil
}

// verify looks at the token itself. until is when it ends.
func (v *Verifier) verify(now time.Time, token string) (name string, until time.Time, err error) {
	parsed, err := jwt.ParseSigned(token, v.Keys.algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return "", until, errToken
	}
	claims, others, err := v.Keys.open(parsed)
	if err != nil {
		return "", until, err
	}
	if claims.Expiry == nil {
		return "", until, errNoEnd
	}
	expected := jwt.Expected{Issuer: v.Issuer, Time: now}
	if v.Audience != "" {
		expected.AnyAudience = jwt.Audience{v.Audience}
	}
	switch err := claims.ValidateWithLeeway(expected, leeway); {
	case err == nil:
	case errors.Is(err, jwt.ErrExpired):
		return "", until, errExpired
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return "", until, errNotYet
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return "", until, errIssuer
	case errors.Is(err, jwt.ErrInvalidAudience):
		return "", until, errAudience
	default:
		return "", until, errToken
	}
	name, _ = others[v.Claim].(string)
	if name == "" {
		return "", until, errNoClaim
	}
	return name, claims.Expiry.Time().Add(leeway), nil
}

// open verifies the signature by the key that the token names, or by each that suits it.
func (k *Keys) open(t *jwt.JSONWebToken) (claims jwt.Claims, others map[string]any, err error) {
	h := &t.Headers[0]
	err = errKey
	for i := range k.list {
		key := &k.list[i]
		if key.algorithm != jose.SignatureAlgorithm(h.Algorithm) || h.KeyID != "" && key.id != "" && key.id != h.KeyID {
			continue
		}
		if err = t.Claims(key.key, &claims, &others); err == nil {
			return claims, others, nil
		}
		err = errSignature
	}
	return claims, nil, err
}
