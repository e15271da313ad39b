package trust

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a master has said is provable as long as it is not denied; nothing of it can be changed.
func TestStatementsAreTheirOwners(t *testing.T) {
	dir := t.TempDir()
	ca, err := NewAuthority(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	caFile, _ := AuthorityFiles(dir)
	open := func(name string, role Role, denied string) *Keeper {
		f := Files{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"), CA: caFile, Denied: denied}
		if _, err := os.Stat(f.Cert); err != nil {
			if err := ca.Issue(Subject{Identity: Identity{Role: role, Name: name}}, time.Now(), time.Hour, f.Cert, f.Key); err != nil {
				t.Fatal(err)
			}
		}
		k, err := Open(f, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	m1, m2, e1 := open("m1", Master, ""), open("m2", Master, ""), open("e1", Edge, "")
	proof, err := m1.SignStatement("drain", []byte("words"))
	if err != nil {
		t.Fatal(err)
	}
	edges, err := e1.SignStatement("drain", []byte("words"))
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "denied.txt")
	if err := os.WriteFile(list, []byte("master m1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		what, kind, words string
		proof             []byte
		by                *Keeper
		at                time.Time
		good              bool
	}{
		{"as it was said", "drain", "words", proof, m2, now, true},
		{"again", "drain", "words", proof, m2, now, true},
		{"to a component that is no master", "drain", "words", proof, e1, now, true},
		{"other words", "drain", "Words", proof, m2, now, false},
		{"another kind", "lead", "words", proof, m2, now, false},
		{"before the certificate was valid", "drain", "words", proof, m2, now.Add(-48 * time.Hour), false},
		{"after it has ended", "drain", "words", proof, m2, now.Add(48 * time.Hour), false},
		{"nothing", "drain", "words", nil, m2, now, false},
		{"cut off", "drain", "words", proof[:len(proof)-1], m2, now, false},
		{"something behind it", "drain", "words", append(append([]byte(nil), proof...), 0), m2, now, false},
		{"by an edge", "drain", "words", edges, m2, now, false},
		{"by one that is denied", "drain", "words", proof, open("m2", Master, list), now, false},
	} {
		err := c.by.VerifyStatement(c.kind, []byte(c.words), c.proof, c.at)
		if (err == nil) != c.good || err != nil && !errors.As(err, new(*Refusal)) {
			t.Errorf("%s: got %v, want it to be good: %v", c.what, err, c.good)
		}
	}
}

// Operators' own authorities have keys of other kinds.
func TestKeysOfOtherKindsSignStatements(t *testing.T) {
	ca, err := NewAuthority(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	byRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]crypto.Signer{"RSA": byRSA, "Ed25519": edwards} {
		template := componentTemplate(Subject{Identity: Identity{Role: Master, Name: "m1"}}, time.Now(), time.Hour)
		if template.SerialNumber, err = newSerial(); err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		k := new(Keeper)
		k.current.Store(&credentials{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots: roots})
		proof, err := k.SignStatement("drain", []byte("words"))
		if err != nil {
			t.Fatal(err)
		}
		if err := k.VerifyStatement("drain", []byte("words"), proof, time.Now()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if k.VerifyStatement("drain", []byte("Words"), proof, time.Now()) == nil {
			t.Errorf("%s: other words are believed", what)
		}
	}
}

// A proof that cannot be one is refused with its reason, and one with more in it than is needed up to a bound only.
func TestProofsThatAreNone(t *testing.T) {
	a, dir := authority(t)
	master, edge := open(t, issue(t, a, dir, Identity{Master, "m1"})), open(t, issue(t, a, dir, Identity{Edge, "e1"}))
	template := componentTemplate(Subject{Identity: Identity{Master, "m1"}}, time.Now(), time.Hour)
	template.URIs = nil
	made, err := sign(template, a)
	if err != nil {
		t.Fatal(err)
	}
	said := func(k *Keeper, change func(p *proof)) []byte {
		der, err := k.SignStatement("drain", []byte("words"))
		if err != nil {
			t.Fatal(err)
		}
		var p proof
		if _, err := asn1.Unmarshal(der, &p); err != nil {
			t.Fatal(err)
		}
		change(&p)
		if der, err = asn1.Marshal(p); err != nil {
			t.Fatal(err)
		}
		return der
	}
	padded := func(size int) func(p *proof) {
		return func(p *proof) {
			for all := 0; all < size; all += len(a.cert.Raw) {
				p.Chain = append(p.Chain, a.cert.Raw)
			}
		}
	}
	for what, c := range map[string]struct {
		proof []byte
		want  Reason
	}{
		"nothing":                   {nil, NoCertificate},
		"no DER":                    {[]byte{1, 2, 3}, Unfit},
		"without a certificate":     {said(master, func(p *proof) { p.Chain = nil }), NoCertificate},
		"a certificate that is not": {said(master, func(p *proof) { p.Chain = append(p.Chain, []byte("x")) }), Unfit},
		"by one without a name":     {said(keeperOf(a, made), func(*proof) {}), Unfit},
		"with its authority":        {said(master, padded(1)), reasons},
		"longer than any":           {said(master, padded(MostProof)), Unfit},
	} {
		if err := edge.VerifyStatement("drain", []byte("words"), c.proof, time.Now()); reasonOf(err) != c.want || (err == nil) != (c.want == reasons) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
}

// A chain that was verified is not believed any more once the files say otherwise.
func TestAMasterThatIsDeniedLaterIsNotBelieved(t *testing.T) {
	a, dir := authority(t)
	master, f := open(t, issue(t, a, dir, Identity{Master, "m1"})), issue(t, a, dir, Identity{Edge, "e1"})
	f.Denied = write(t, dir, "")
	edge := open(t, f)
	proof, err := master.SignStatement("drain", []byte("words"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := edge.VerifyStatement("drain", []byte("words"), proof, time.Now()); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(f.Denied, []byte("master m1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := edge.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := edge.VerifyStatement("drain", []byte("words"), proof, time.Now()); reasonOf(err) != Denied {
		t.Errorf("got %v, want %v", err, Denied)
	}
}
