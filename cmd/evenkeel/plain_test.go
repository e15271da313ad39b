package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/terminal"
)

// No text of an answer steers the terminal of who reads it, wherever in the answer it stands.
func TestAnswersAreShownAsPlainText(t *testing.T) {
	type inner struct {
		Name string
		Next *inner
	}
	var told struct {
		Text  string
		List  []string
		Inner inner
		Words map[string]inner
	}
	const bad = "a\x1b[31m\u009b1m\u202e\nb"
	answer, err := json.Marshal(map[string]any{"Text": bad, "List": []string{bad}, "Inner": inner{bad, &inner{Name: bad}}, "Words": map[string]inner{bad: {Name: bad}}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printAnswer(&out, answer, false, &told, func() {
		terminal.PrintLine(&out, told.Text+told.List[0]+told.Inner.Name+told.Inner.Next.Name)
		for key, value := range told.Words {
			terminal.PrintLine(&out, key+value.Name)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.ContainsAny(got, "\x1b\u009b\u202e") || strings.Count(got, "\n") != 2 || strings.Count(got, " b") != 6 {
		t.Errorf("got %q, want plain text", got)
	}
}
