package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Keys that every user of the machine may read are told where they are used: by listeners,
// components and admin addresses.
func TestExposedKeysAreTold(t *testing.T) {
	cert, key, err := selfsigned.Files(t.TempDir(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for mode, told := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if got := trust.Exposed(key) != ""; got != told {
			t.Errorf("mode %o: told is %v, want %v", mode, got, told)
		}
		var logged bytes.Buffer
		log := slog.New(slog.NewTextHandler(&logged, nil))
		newKeyring([]pairPart{{cert, key}}, func(_ int, field, problem string) { t.Errorf("%s: %s", field, problem) }).warn(log)
		if _, err := (accessPart{Cert: cert, Key: key}).open(log); err != nil {
			t.Fatal(err)
		}
		want := 0
		if told {
			want = 2
		}
		if n := strings.Count(logged.String(), "may read the key "+key); n != want {
			t.Errorf("mode %o: %d warnings, want %d, of the listener and of the admin address:\n%s", mode, n, want, logged.String())
		}
	}
}
