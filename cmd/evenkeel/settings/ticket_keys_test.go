package settings

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestTicketKeysAreReadALine(t *testing.T) {
	one, two := strings.Repeat("\x01", 32), strings.Repeat("\x02", 32)
	keys, err := parseTicketKeys([]byte("# old\n" + hex.EncodeToString([]byte(one)) + "\r\n\n" + base64.StdEncoding.EncodeToString([]byte(two))))
	if err != nil || len(keys) != 2 || string(keys[0][:]) != one || string(keys[1][:]) != two {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	secret := hex.EncodeToString([]byte(one))[:62]
	for text, want := range map[string]string{
		"":                      "no key",
		"# none\n":              "no key",
		secret:                  "line 1 is no key",
		"\n\nsecret-of-another": "line 3 is no key",
		strings.Repeat(hex.EncodeToString([]byte(one))+"\n", 17): "17 keys, want at most 16",
	} {
		_, err := parseTicketKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "another") {
			t.Errorf("%.20q: got %v, want %q and no key shown", text, err, want)
		}
	}
}
