package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the examples of docs/wire.md")

const document = "../docs/wire.md"

// TestDocument holds the hexadecimal examples of the document against the codec, both ways.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```hex ([a-z]+)\n(.*?)```")
	if *update {
		text = block.ReplaceAllFunc(text, func(old []byte) []byte {
			name := string(block.FindSubmatch(old)[1])
			return []byte("```hex " + name + "\n" + annotate(example(t, name)) + "```")
		})
		if err := os.WriteFile(document, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown := make(map[string]bool)
	for _, found := range block.FindAllStringSubmatch(string(text), -1) {
		name, body := found[1], found[2]
		shown[name] = true
		frame := example(t, name)
		if want := annotate(frame); body != want {
			t.Errorf("%s: the example of %s reads\n%s\nwant\n%s\nrun: go test ./wire -run TestDocument -update", document, name, body, want)
		}
		if got := readHex(t, body); string(got) != string(frame) {
			t.Errorf("%s: the bytes of %s are %x, want %x", document, name, got, frame)
		}
	}
	for _, test := range full {
		if !shown[test.name] {
			t.Errorf("%s: no example of %s", document, test.name)
		}
	}
}

func example(t *testing.T, name string) []byte {
	for _, test := range full {
		if test.name == name {
			return bind(test.m).append(nil)
		}
	}
	t.Fatalf("%s: an example of %q, which is no message", document, name)
	return nil
}

// readHex reads what stands before the comments.
func readHex(t *testing.T, body string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(body) {
		code, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lists names the fields that are messages within messages.
var lists = map[Type][]uint64{TAsk: {10, 16}, TReports: {1}, TSnapshot: {4}, TChange: {4}, TRegister: {7}}

// annotate writes a frame with a line for each field.
func annotate(frame []byte) string {
	var b strings.Builder
	typ := Type(frame[4])
	line(&b, frame[:4], fmt.Sprintf("length %d", len(frame)-4))
	line(&b, frame[4:5], fmt.Sprintf("type %d, %v", typ, typ))
	annotateFields(&b, frame[headerSize:], lists[typ], "")
	return b.String()
}

func annotateFields(b *strings.Builder, in []byte, nested []uint64, indent string) {
	f := fields{in: in}
	for from := 0; f.next(); from = f.at {
		raw, name := in[from:f.at], fmt.Sprintf("%sfield %d", indent, f.no)
		inner, isNested := within(nested, f.no)
		switch {
		case f.kind == kindVarint:
			line(b, raw, fmt.Sprintf("%s, varint %d", name, f.value))
		case f.kind == kindFixed:
			line(b, raw, fmt.Sprintf("%s, fixed64 %016x", name, f.value))
		case isNested:
			line(b, raw[:len(raw)-len(f.bytes)], fmt.Sprintf("%s, %d bytes: a message", name, len(f.bytes)))
			annotateFields(b, f.bytes, inner, indent+"  ")
		case printable(f.bytes):
			line(b, raw, fmt.Sprintf("%s, %q", name, f.bytes))
		default:
			line(b, raw, fmt.Sprintf("%s, %d bytes", name, len(f.bytes)))
		}
	}
}

// within reports whether a field is a message, and which of its fields are in turn.
func within(nested []uint64, no uint64) ([]uint64, bool) {
	for _, n := range nested {
		if n == no {
			return []uint64{4}, true // a report's metrics; of the others, no field 4 holds bytes
		}
	}
	return nil, false
}

func printable(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func line(b *strings.Builder, raw []byte, comment string) {
	const width = 16
	for len(raw) > width {
		fmt.Fprintf(b, "% x\n", raw[:width])
		raw = raw[width:]
	}
	fmt.Fprintf(b, "%-*s # %s\n", 3*width-1, fmt.Sprintf("% x", raw), comment)
}
