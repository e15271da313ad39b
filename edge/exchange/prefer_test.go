package exchange

import "testing"

func TestPreferences(t *testing.T) {
	for _, c := range []struct {
		fields []string
		async  bool
		rest   string
	}{
		{nil, false, ""},
		{[]string{"respond-async"}, true, ""},
		{[]string{"Respond-Async, wait=10"}, true, ""},
		{[]string{"return=minimal", `foo="a, respond-async", wait=5`}, false, `return=minimal, foo="a, respond-async"`},
		{[]string{`return=minimal; foo="some, \", parameter"`, " respond-async ;x=1"}, true, `return=minimal; foo="some, \", parameter"`},
		{[]string{"respond-asynchronous", ", ,"}, false, "respond-asynchronous"},
		{[]string{`"`, `a="\`}, false, `", a="\`},
	} {
		if got := prefersAsync(c.fields); got != c.async {
			t.Errorf("%q: respond-async %v, want %v", c.fields, got, c.async)
		}
		if got := otherPreferences(c.fields); got != c.rest {
			t.Errorf("%q: the rest is %q, want %q", c.fields, got, c.rest)
		}
	}
}
