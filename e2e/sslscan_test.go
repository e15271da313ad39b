package e2e

import (
	"encoding/xml"
	"os/exec"
	"slices"
	"testing"
)

// scan is what sslscan tells of one address.
type scan struct {
	Protocols []struct {
		Type    string `xml:"type,attr"`
		Version string `xml:"version,attr"`
		Enabled int    `xml:"enabled,attr"`
	} `xml:"ssltest>protocol"`
	Renegotiation struct {
		Supported int `xml:"supported,attr"`
		Secure    int `xml:"secure,attr"`
	} `xml:"ssltest>renegotiation"`
	Heartbleed []struct {
		Vulnerable int `xml:"vulnerable,attr"`
	} `xml:"ssltest>heartbleed"`
	Ciphers []struct {
		Name     string `xml:"cipher,attr"`
		Bits     int    `xml:"bits,attr"`
		Strength string `xml:"strength,attr"`
	} `xml:"ssltest>cipher"`
}

// sslscan finds nothing to object to in a listener with TLS.
func TestPeerSslscan(t *testing.T) {
	sslscan := peer(t, "sslscan")
	_, _, secure, _ := startFronts(t)
	out, err := exec.Command(sslscan, "--xml=-", secure).Output()
	if err != nil {
		t.Fatalf("sslscan %s: %v\n%s", secure, err, out)
	}
	var found scan
	if err := xml.Unmarshal(out, &found); err != nil {
		t.Fatalf("what sslscan says cannot be read: %v\n%s", err, out)
	}
	var spoken []string
	for _, p := range found.Protocols {
		if p.Enabled != 0 {
			spoken = append(spoken, p.Type+p.Version)
		}
	}
	if want := []string{"tls1.2", "tls1.3"}; !slices.Equal(spoken, want) {
		t.Errorf("protocols %v, want %v", spoken, want)
	}
	if r := found.Renegotiation; r.Supported != 0 && r.Secure == 0 {
		t.Error("insecure renegotiation")
	}
	for _, h := range found.Heartbleed {
		if h.Vulnerable != 0 {
			t.Error("heartbleed")
		}
	}
	if len(found.Ciphers) == 0 {
		t.Errorf("sslscan found no ciphers:\n%s", out)
	}
	for _, c := range found.Ciphers {
		if c.Bits < 128 || c.Strength != "strong" && c.Strength != "acceptable" {
			t.Errorf("cipher %s: %d bits, %s", c.Name, c.Bits, c.Strength)
		}
	}
}
