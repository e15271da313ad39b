package routing

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
)

// mostName is how many bytes a name of a certificate may have, as text. A longer one is not cut: two
// that begin alike would be the same.
const mostName = 1024

// attributeNames are the attribute types that RFC 4514 has names for, and the two more that crypto/x509
// has.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.17": "POSTALCODE",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
}

// nameAttribute is one attribute of a name, and a nameSET those that stand together in it.
type nameAttribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type nameSET []nameAttribute // asn1 knows it for a set by its name

// Subject returns a certificate's subject (its RawSubject) as a field's value can have it: as RFC 4514
// has it, all attributes in their order, and all that is not printable ASCII by its bytes in hexadecimal
// (\0A), so that no name can end the field's line. Names that differ in an attribute, a value or their
// order give different texts. It is an error if the text would be longer than 1,024 bytes.
func Subject(raw []byte) (string, error) {
	var sets []nameSET
	if rest, err := asn1.Unmarshal(raw, &sets); err != nil || len(rest) > 0 {
		return "", fmt.Errorf("the certificate's subject is not a name: %v", err)
	}
	var b strings.Builder
	for i := range sets {
		if i > 0 {
			b.WriteByte(',')
		}
		for k, a := range sets[len(sets)-1-i] {
			if k > 0 {
				b.WriteByte('+')
			}
			a.write(&b)
			if b.Len() > mostName {
				return "", fmt.Errorf("the certificate's subject has more than %d bytes as text", mostName)
			}
		}
	}
	return b.String(), nil
}

// write writes type and value. A value is written as text only if its type has a name and its bytes are
// UTF-8 by what the certificate says: other encodings of text would let two values look alike.
func (a *nameAttribute) write(b *strings.Builder) {
	id := a.Type.String()
	name, named := attributeNames[id]
	if !named || !a.isText() {
		b.WriteString(id + "=#" + hex.EncodeToString(a.Value.FullBytes))
		return
	}
	b.WriteString(name + "=")
	value := a.Value.Bytes
	for i, c := range value {
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == ' ' && (i == 0 || i == len(value)-1): // servers may cut off a space that ends a field
			writeHex(b, c)
		default:
			writePrintable(b, c)
		}
	}
}

func (a *nameAttribute) isText() bool {
	if a.Value.Class != asn1.ClassUniversal || a.Value.IsCompound {
		return false
	}
	switch a.Value.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return true
	}
	return false
}

// AltName returns the first of a certificate's alternative names that are URIs, else the first that are DNS names, with
// all that is not printable ASCII in hexadecimal; empty: it has neither, or one of more than 1,024 bytes.
func AltName(cert *x509.Certificate) string {
	var plain string
	switch {
	case len(cert.URIs) > 0:
		plain = cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		plain = cert.DNSNames[0]
	}
	var b strings.Builder
	for i := range len(plain) {
		if writePrintable(&b, plain[i]); b.Len() > mostName {
			return ""
		}
	}
	return strings.TrimSpace(b.String())
}

// writePrintable writes a byte, in hexadecimal if it is not printable ASCII.
func writePrintable(b *strings.Builder, c byte) {
	if c < ' ' || c >= 0x7f {
		writeHex(b, c)
		return
	}
	b.WriteByte(c)
}

func writeHex(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('\\')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}
