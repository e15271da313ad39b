package exchange

import (
	"bytes"
	"os"
	"testing"
)

func TestEveryReasonIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	for reason := range details {
		if !bytes.Contains(text, []byte("`"+reason+"`")) {
			t.Errorf("docs/refusals.md has no `%s`", reason)
		}
	}
	for _, reason := range []string{reasonMalformed, ReasonPreface, reasonDenied, reasonConnections} {
		if !bytes.Contains(text, []byte("`"+reason+"`")) {
			t.Errorf("docs/refusals.md has no `%s`", reason)
		}
	}
}
