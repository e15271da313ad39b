package config

import (
	"strings"
	"testing"
)

func testEnv(name string) (string, bool) {
	value, ok := map[string]string{"HOST": "db.internal", "PORT": "81", "EMPTY": "", "COUNT": "7", "TOKEN": "s3cr3t-token"}[name]
	return value, ok
}

func TestValuesAreExpanded(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{`"${HOST}:80"`, "db.internal:80"},
		{`db.internal`, "db.internal"},
		{`"${NONE:-x.example}:${PORT}"`, "x.example:81"},
		{`"${EMPTY:-filled}"`, "filled"},
		{`"${EMPTY}a"`, "a"},
		{`"a$$b $${HOST} $$$$"`, "a$b ${HOST} $$"},
		{`"5$ and $5"`, "5$ and $5"},
		{`"${NONE:-}x"`, "x"},
		{`'${HOST}'`, "db.internal"},
		{`"$$"`, "$"},
	} {
		var into struct {
			Text  string            `yaml:"text"`
			Again string            `yaml:"again"`
			Names map[string]string `yaml:"names"`
		}
		f := Parse("f.yaml", []byte("text: &t "+c.written+"\nagain: *t\nnames: { \"${HOST}\": "+c.written+" }\n"), testEnv)
		f.Decode(&into)
		if err := f.Err(); err != nil || into.Text != c.want || into.Again != c.want || into.Names["${HOST}"] != c.want {
			t.Errorf("%s: got %+v, %v, want %q", c.written, into, err, c.want)
		}
	}
}

// What YAML has to have in quotes, for its braces, is a number all the same.
func TestNumbersComeFromTheEnvironment(t *testing.T) {
	var into struct {
		Count int `yaml:"count"`
	}
	f := Parse("f.yaml", []byte(`{ count: "${COUNT}" }`), testEnv)
	if f.Decode(&into); f.Err() != nil || into.Count != 7 {
		t.Errorf("got %d, %v, want 7", into.Count, f.Err())
	}
}

func TestWhatCannotBeExpandedIsToldAtItsPlace(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{"${NONE}", "f.yaml:2:9: \"${NONE}\": the environment has no NONE: set it, or write ${NONE:-default}"},
		{"x$HOST", "$HOST is not replaced, want ${HOST}"},
		{"\"${HOST\"", "${ without a }"},
		{"\"${}\"", "want ${NAME} or ${NAME:-default}"},
		{"\"${A B}\"", "want ${NAME} or ${NAME:-default}"},
		{"\"${1A}\"", "want ${NAME} or ${NAME:-default}"},
	} {
		var into struct {
			Text  string `yaml:"text"`
			Other string `yaml:"other"`
		}
		f := Parse("f.yaml", []byte("other: x\ntext:   "+c.written+"\n"), testEnv)
		f.Decode(&into)
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "f.yaml:") != 1 {
			t.Errorf("%s: got %v, want one problem with %q", c.written, err, c.want)
		}
	}
}

// A value that came from the environment stands in no problem, neither whole nor in part.
func TestValuesOfTheEnvironmentAreNotShown(t *testing.T) {
	var into struct {
		Count int    `yaml:"count"`
		Token string `yaml:"token"`
		Port  string `yaml:"port"`
	}
	f := Parse("f.yaml", []byte("count: ${TOKEN}\ntoken: \"Bearer ${TOKEN}\"\nport: \"${PORT}\"\n"), testEnv)
	f.Decode(&into)
	f.Bad("token", `"Bearer s3cr3t-token": that is "s3cr3t-token", which is too short`)
	f.Bad("port", `"81", want more than 1023 of 8100`)
	text := f.Err().Error()
	if strings.Contains(text, "s3cr3t") || strings.Contains(text, `"81"`) {
		t.Errorf("the problems show values of the environment:\n%s", text)
	}
	for _, want := range []string{`count: "${TOKEN}": want a whole number`, `"Bearer ${TOKEN}": that is "${TOKEN}"`, `"${PORT}", want more than 1023 of 8100`} {
		if !strings.Contains(text, want) {
			t.Errorf("the problems lack %q:\n%s", want, text)
		}
	}
	if got := f.Hide("listen on 127.0.0.1: s3cr3t-token"); got != "listen on 127.0.0.1: ${TOKEN}" {
		t.Errorf("Hide: %q", got)
	}
}

func TestWithoutAnEnvironmentNothingIsExpanded(t *testing.T) {
	var into struct {
		Text string `yaml:"text"`
	}
	f := Parse("f.yaml", []byte(`text: "${HOST} $$"`), nil)
	if f.Decode(&into); f.Err() != nil || into.Text != "${HOST} $$" {
		t.Errorf("got %q, %v", into.Text, f.Err())
	}
}

func TestAWrittenZeroIsNoDefault(t *testing.T) {
	var into struct {
		Every int `yaml:"every" zero:"no"`
		Other int `yaml:"other"`
	}
	f := Parse("f.yaml", []byte("every: 0\nother: 0\n"), nil)
	f.Decode(&into)
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), `f.yaml:1:8: every: "0": want more than 0; leave it out for the default`) {
		t.Errorf("got %v", err)
	}
}
