package tenants

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// pair is a key to sign by, and what verifies that.
type pair struct {
	algorithm       jose.SignatureAlgorithm
	private, public any
}

func pairs(t testing.TB) map[string]pair {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(strings.Repeat("k", 32))
	return map[string]pair{"rsa": {jose.RS256, r, r.Public()}, "ec": {jose.ES256, e, e.Public()}, "ed": {jose.EdDSA, private, public}, "hmac": {jose.HS256, secret, secret}}
}

// sign makes a token.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	if kid != "" {
		key = jose.JSONWebKey{Key: key, KeyID: kid}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func keySet(t testing.TB, keys ...jose.JSONWebKey) *Keys {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func good(more ...any) map[string]any {
	claims := map[string]any{"tenant": "acme", "iss": "idp", "aud": []string{"x", "api"}, "exp": now.Add(time.Hour).Unix()}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(claims, more[i].(string))
			continue
		}
		claims[more[i].(string)] = more[i+1]
	}
	return claims
}

func TestTokensOfEachAlgorithmProveTenants(t *testing.T) {
	all := pairs(t)
	var set []jose.JSONWebKey
	for kid, p := range all {
		set = append(set, jose.JSONWebKey{Key: p.public, KeyID: kid})
	}
	v := &Verifier{Claim: "tenant", Issuer: "idp", Audience: "api", Keys: keySet(t, set...)}
	for kid, p := range all {
		for _, named := range []string{kid, ""} {
			for _, scheme := range []string{"", "Bearer ", "bearer  "} {
				if name, err := v.Verify(now, scheme+sign(t, p.algorithm, p.private, named, good())); name != "acme" || err != nil {
					t.Errorf("%s with kid %q and %q: got %q, %v", kid, named, scheme, name, err)
				}
			}
		}
	}
}

func TestTokensThatProveNothing(t *testing.T) {
	all := pairs(t)
	other := pairs(t)
	v := &Verifier{Claim: "tenant", Issuer: "idp", Audience: "api", Keys: keySet(t, jose.JSONWebKey{Key: all["rsa"].public, KeyID: "one"}, jose.JSONWebKey{Key: all["ec"].public})}
	ec := func(more ...any) string { return sign(t, jose.ES256, all["ec"].private, "", good(more...)) }
	public, err := x509.MarshalPKIXPublicKey(all["rsa"].public)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(ec(), ".")[1] + "."
	changed := strings.Split(ec(), ".")
	changed[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"tenant":"victim","iss":"idp","aud":"api","exp":99999999999}`))
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"no token":                       {"Basic YTpi", errToken},
		"none":                           {unsigned, errToken},
		"another's key":                  {sign(t, jose.ES256, other["ec"].private, "", good()), errSignature},
		"changed":                        {strings.Join(changed, "."), errSignature},
		"another kid":                    {sign(t, jose.RS256, all["rsa"].private, "two", good()), errKey},
		"an algorithm without keys":      {sign(t, jose.EdDSA, all["ed"].private, "", good()), errToken},
		"another algorithm of a key":     {sign(t, jose.PS256, all["rsa"].private, "one", good()), errToken},
		"the public key as a shared one": {sign(t, jose.HS256, public, "one", good()), errToken},
		"expired":                        {ec("exp", now.Add(-time.Minute).Unix()), errExpired},
		"without an end":                 {ec("exp", nil), errNoEnd},
		"not yet":                        {ec("nbf", now.Add(time.Minute).Unix()), errNotYet},
		"another issuer":                 {ec("iss", "other"), errIssuer},
		"another audience":               {ec("aud", "other"), errAudience},
		"without the claim":              {ec("tenant", nil), errNoClaim},
		"a claim that is no text":        {ec("tenant", []string{"acme"}), errNoClaim},
		"an empty claim":                 {ec("tenant", ""), errNoClaim},
		"too long":                       {ec("more", strings.Repeat("a", mostToken)), errTokenLong},
	} {
		if got, err := v.Verify(now, c.token); got != "" || !errors.Is(err, c.want) {
			t.Errorf("%s: got %q, %v, want %v", name, got, err, c.want)
		}
	}
}

// A token that is remembered ends when it says, and is not remembered for another.
func TestRememberedTokensEnd(t *testing.T) {
	p := pairs(t)["ec"]
	v := &Verifier{Claim: "tenant", Keys: keySet(t, jose.JSONWebKey{Key: p.public})}
	token := sign(t, p.algorithm, p.private, "", good())
	for _, at := range []struct {
		after time.Duration
		want  string
	}{{0, "acme"}, {time.Minute, "acme"}, {time.Hour + leeway - time.Second, "acme"}, {time.Hour + leeway + time.Second, ""}} {
		if name, err := v.Verify(now.Add(at.after), token); name != at.want || (err == nil) != (at.want != "") {
			t.Errorf("after %v: got %q, %v, want %q", at.after, name, err, at.want)
		}
	}
	for i := range remembered + 10 { // more than have places
		name := strings.Repeat("x", i%7+1)
		if got, err := v.Verify(now, sign(t, p.algorithm, p.private, "", good("tenant", name, "n", i))); got != name || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, name)
		}
	}
}

// A client that sends its token again costs no second verification, and no memory.
func TestARememberedTokenCostsNoMemory(t *testing.T) {
	p := pairs(t)["ec"]
	v := &Verifier{Claim: "tenant", Keys: keySet(t, jose.JSONWebKey{Key: p.public})}
	token := "Bearer " + sign(t, p.algorithm, p.private, "", good())
	if n := testing.AllocsPerRun(100, func() { _, _ = v.Verify(now, token) }); n > 1 {
		t.Errorf("%v allocations, want the copy that is hashed at most", n)
	}
}

func TestFilesOfKeys(t *testing.T) {
	all := pairs(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki := func(public any) string {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	private, err := x509.MarshalPKCS8PrivateKey(all["ec"].private)
	if err != nil {
		t.Fatal(err)
	}
	asJSON := func(k jose.JSONWebKey) string {
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, c := range map[string]struct {
		text string
		keys int
		bad  string
	}{
		"PEM":                 {spki(all["rsa"].public) + spki(all["ec"].public) + spki(all["ed"].public), 3, ""},
		"one JSON key":        {asJSON(jose.JSONWebKey{Key: all["hmac"].public}), 1, ""},
		"one for encryption":  {`{"keys":[` + asJSON(jose.JSONWebKey{Key: all["rsa"].public, Use: "enc"}) + "," + asJSON(jose.JSONWebKey{Key: all["ec"].public, Use: "sig"}) + "]}", 1, ""},
		"nothing":             {"\n", 0, "no key"},
		"no JSON":             {"{", 0, "no JSON"},
		"no key in JSON":      {`{"keys":[{"kty":"x"}]}`, 0, "key 1 is none"},
		"a private key":       {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0, "no private key"},
		"a private JSON key":  {asJSON(jose.JSONWebKey{Key: all["ec"].private}), 0, "no private key"},
		"a small RSA key":     {spki(small.Public()), 0, "1024 bits"},
		"a wide curve":        {spki(wide.Public()), 0, "want P-256"},
		"a short shared key":  {asJSON(jose.JSONWebKey{Key: []byte("secret")}), 0, "6 bytes"},
		"for something else":  {asJSON(jose.JSONWebKey{Key: all["rsa"].public, Algorithm: "PS256"}), 0, `"PS256", want RS256`},
		"more than are tried": {strings.Repeat(spki(all["ec"].public), mostKeys+1), 0, "17 keys"},
	} {
		k, err := ParseKeys([]byte(c.text))
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want %q", name, err, c.bad)
			}
			continue
		}
		if err != nil || len(k.list) != c.keys {
			t.Errorf("%s: got %v, %v, want %d keys", name, k, err, c.keys)
		}
	}
}

func FuzzVerify(f *testing.F) {
	p := pairs(f)["ec"]
	v := &Verifier{Claim: "tenant", Keys: keySet(f, jose.JSONWebKey{Key: p.public})}
	token := sign(f, p.algorithm, p.private, "", good())
	f.Add(token)
	f.Add("Bearer " + token)
	f.Fuzz(func(t *testing.T, text string) {
		name, err := v.Verify(now, text)
		plain := strings.TrimSpace(text)
		if scheme, rest, two := strings.Cut(text, " "); two && strings.EqualFold(scheme, "bearer") {
			plain = strings.TrimSpace(rest)
		}
		// The signature is over the first two parts as they are; base64 leaves some freedom in the last.
		if signed := token[:strings.LastIndexByte(token, '.')+1]; err == nil && (name != "acme" || !strings.HasPrefix(plain, signed)) {
			t.Errorf("%q proves %q", text, name)
		}
	})
}
