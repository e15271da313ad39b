package trust

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// denied are peers that are refused although their certificates are good: those of lost keys and of
// machines that are not ours any more. A nil one is empty.
type denied struct {
	names   map[Identity]bool
	serials map[string]bool
}

// readDenied reads a list, one entry a line: "agent r1", or "serial" and the number of one
// certificate. What stands behind # is for people.
func readDenied(text []byte) (*denied, error) {
	d := &denied{names: make(map[Identity]bool), serials: make(map[string]bool)}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		what = strings.TrimSpace(what)
		switch {
		case kind == "":
		case what == "":
			return nil, fmt.Errorf("line %d: %q, want such as agent r1, or serial 1f2e3d", n, line)
		case kind == "serial":
			d.serials[strings.TrimLeft(strings.ToLower(strings.ReplaceAll(what, ":", "")), "0")] = true
		case slices.Contains(Roles, Role(kind)):
			d.names[Identity{Role(kind), what}] = true
		default:
			return nil, fmt.Errorf("line %d: %q, want a role, such as agent, or serial first", n, kind)
		}
	}
	return d, lines.Err()
}

// judge refuses the owner of a certificate that is denied, or whose issuer's is.
func (d *denied) judge(chain []*x509.Certificate) error {
	if d == nil {
		return nil
	}
	for _, cert := range chain {
		if serial := serialOf(cert); d.serials[serial] {
			return refusef(Denied, "the certificate with serial %s is denied here", serial)
		}
	}
	if who, err := IdentityOf(chain[0]); err == nil && d.names[who] {
		return refusef(Denied, "%s is denied here", who)
	}
	return nil
}

// Denylist is a list of the denied, for who verifies certificates by a library: operators' at admin addresses.
type Denylist = denied

// ReadDenylist reads a list as Files.Denied names one.
func ReadDenylist(text []byte) (*Denylist, error) { return readDenied(text) }

// Judge refuses a chain, which has been verified, if its owner is denied or its issuer may not sign
// for such. A nil list denies no one.
func (d *denied) Judge(chain []*x509.Certificate) error {
	return cmp.Or(judgeIssuers(chain), d.judge(chain))
}
