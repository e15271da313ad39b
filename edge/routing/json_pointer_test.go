package routing

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/http1"
)

func TestJSONPointers(t *testing.T) {
	const doc = `{"a":{"b":[1,{"c":"x/y"}],"":"empty","~/":true}, "n":-1.5e3,"nul":null,"o":{},"t":"","é\n":"q\"\u00e9","a":2}`
	for pointer, want := range map[string]struct {
		text string
		how  Reading
	}{
		"/a/b/0": {"1", Found}, "/a/b/1/c": {"x/y", Found}, "/a/": {"empty", Found}, "/a/~0~1": {"true", Found}, "/n": {"-1.5e3", Found}, "/é\n": {`q"é`, Found},
		"/nul": {"", Absent}, "/t": {"", Absent}, "/none": {"", Absent}, "/a/b/2": {"", Absent}, "/a/b/00": {"", Absent}, "/a/b/-": {"", Absent}, "/n/x": {"", Absent},
		"/o": {"", Unreadable}, "/a": {"", Unreadable},
	} {
		p, err := parseJSONPointer(pointer)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bodiesOf(doc) {
			if got, how := p.Read(b); got != want.text || how != want.how {
				t.Errorf("%q in %d pieces, chunked %v: got %q, %v, want %q, %v", pointer, len(b.Rest)+1, b.Framing == http1.ByChunks, got, how, want.text, want.how)
			}
		}
	}
	for _, doc := range []string{"{", `{"a" 1}`, `{"a":1`, "nonsense", `{"b":1 "a":2}`, "[1"} {
		p := jsonPointer{"a"}
		if got, how := p.Read(&RequestBody{First: []byte(doc), Framing: http1.ByLength, Complete: true}); how == Found {
			t.Errorf("%s: got %q", doc, got)
		}
	}
}

// What is no JSON cannot be read, what has no such member does not have it, and of a body that is cut off only the whole counts.
func TestJSONThatIsBroken(t *testing.T) {
	for _, c := range []struct {
		doc      string
		complete bool
		pointer  string
		want     Reading
	}{
		{`{"b":1}`, true, "/a", Absent}, {`{"b":1 "a":2}`, true, "/a", Unreadable}, {`{"b":1]`, true, "/a", Unreadable}, {`{"b":nope}`, true, "/a", Unreadable}, {`{"a":nope}`, true, "/a", Unreadable},
		{`{"a":"\u00zz"}`, true, "/a", Unreadable}, {`{"\u00zz":1,"a":2}`, true, "/a", Unreadable}, {`{"a":nul}`, true, "/a", Unreadable}, {`{"a":""}`, true, "/a", Absent}, {`[1,nope,2]`, true, "/2", Unreadable}, {`[1 2]`, true, "/1", Unreadable}, {`[1,2,3,4,5,6,7,8,9,10,11]`, true, "/10", Found},
		{`{"\u0061":1}`, true, "/a", Found}, {`{"\\a":1}`, true, "/a", Absent}, {`{"a":`, true, "/a", Unreadable}, {`5`, true, "/a", Absent}, {`nope`, true, "/a", Unreadable},
		{`{"a":`, false, "/a", Unbuffered}, {`{"b":1`, false, "/a", Unbuffered}, {`{"a":12`, false, "/a", Unbuffered}, {`{"a":"12`, false, "/a", Unbuffered}, {`{"a":12,`, false, "/a", Found}, {`{"a":"12"`, false, "/a", Found}, {`{"a":true`, false, "/a", Found},
		{`{"b":nope`, false, "/a", Unreadable}, {`{"b":1}`, false, "/a", Absent}, {`[1,`, false, "/1", Unbuffered}, {`[1`, false, "/0", Unbuffered},
	} {
		p, err := parseJSONPointer(c.pointer)
		if err != nil {
			t.Fatal(err)
		}
		half := len(c.doc) / 2
		for i, b := range []RequestBody{
			{First: []byte(c.doc)}, {Rest: [][]byte{[]byte(c.doc)}}, {First: []byte(c.doc[:half]), Rest: [][]byte{[]byte(c.doc[half:])}}, {Rest: [][]byte{[]byte(c.doc[:half]), []byte(c.doc[half:])}},
		} {
			b.Framing, b.Complete = http1.ByLength, c.complete
			if got, how := p.Read(&b); how != c.want {
				t.Errorf("%s of %s, complete %v, body %d: %q, %v, want %v", c.pointer, c.doc, c.complete, i, got, how, c.want)
			}
		}
	}
	p := jsonPointer{"a"}
	for _, b := range []*RequestBody{nil, {}, {Framing: http1.ByLength, Complete: true}} {
		if got, how := p.Read(b); how != Absent {
			t.Errorf("without a body: %q, %v", got, how)
		}
	}
	for sent, want := range map[string]Reading{"4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n": Found, "4\r\n{\"a\"\r\nzz\r\n:1}\r\n": Unreadable, "4\r\n{\"a\"\r\n0\r\n\r\n": Unreadable} {
		for _, b := range []*RequestBody{{First: []byte(sent)}, {Rest: [][]byte{[]byte(sent)}}, {First: []byte(sent[:9]), Rest: [][]byte{[]byte(sent[9:])}}} {
			b.Framing, b.Complete = http1.ByChunks, true
			if got, how := p.Read(b); how != want {
				t.Errorf("chunks %q: %q, %v, want %v", sent, got, how, want)
			}
		}
	}
}

// bodiesOf returns a document as a body in one piece, in many, and in chunks that begin and end anywhere.
func bodiesOf(doc string) []*RequestBody {
	var chunked strings.Builder
	var pieces [][]byte
	for i := 0; i < len(doc); i += 3 {
		part := doc[i:min(i+3, len(doc))]
		pieces = append(pieces, []byte(part))
		chunked.WriteString(strconv.FormatInt(int64(len(part)), 16) + "\r\n" + part + "\r\n")
	}
	chunked.WriteString("0\r\nX: trailer\r\n\r\n")
	sent := []byte(chunked.String())
	half := len(sent) / 2
	return []*RequestBody{
		{First: []byte(doc), Framing: http1.ByLength, Complete: true},
		{Rest: [][]byte{[]byte(doc)}, Framing: http1.ByLength, Complete: true},
		{First: pieces[0], Rest: pieces[1:], Framing: http1.ByLength, Complete: true},
		{First: sent[:half], Rest: [][]byte{sent[half:]}, Framing: http1.ByChunks, Complete: true},
	}
}

// What a pointer finds does not depend on how the body was cut, and is what encoding/json finds. Nothing of a body that
// is cut off is taken for the whole.
func FuzzJSONPointer(f *testing.F) {
	for _, doc := range []string{`{"a":{"b":1}}`, `{"a":{"b":"x\u0000"}}`, `{"a":[{"b":2}]}`, `{"a":{"b":1e999}}`, "\xff", `{"a":{"b":tru`, `[[[[[[`, `{"a":{"b":12345}}`} {
		f.Add(doc, uint8(7))
	}
	p := jsonPointer{"a", "b"}
	f.Fuzz(func(t *testing.T, doc string, cut uint8) {
		var first string
		var how Reading
		for i, b := range bodiesOf(doc + " ") {
			got, h := p.Read(b)
			if i == 0 {
				first, how = got, h
			} else if got != first || h != how {
				t.Errorf("%q: body %d gives %q, %v, the first %q, %v", doc, i, got, h, first, how)
			}
		}
		var want struct{ A struct{ B json.RawMessage } }
		if json.Unmarshal([]byte(doc), &want) == nil && how == Found && strings.Count(doc, "a")+strings.Count(doc, "A") == 1 && strings.Count(doc, "b")+strings.Count(doc, "B") == 1 {
			if text := string(want.A.B); text != first && text[0] != '"' {
				t.Errorf("%q: got %q, want %s", doc, first, text)
			}
		}
		part := RequestBody{First: []byte(doc)[:min(int(cut), len(doc))], Framing: http1.ByLength}
		if got, h := p.Read(&part); h == Found && (how != Found || got != first) && json.Valid([]byte(doc)) {
			t.Errorf("%q cut to %d: got %q, the whole has %q, %v", doc, cut, got, first, how)
		}
	})
}
