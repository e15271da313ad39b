package settings

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// A key of a listener that every user of the machine may read is reported.
func TestExposedKeysOfListeners(t *testing.T) {
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
		newCertStore([]KeyPair{{cert, key}}, func(_ int, field, problem string) { t.Errorf("%s: %s", field, problem) }).WarnExposed(log)
		want := 0
		if told {
			want = 1
		}
		if n := strings.Count(logged.String(), "may read the key "+key); n != want {
			t.Errorf("mode %o: %d warnings, want %d:\n%s", mode, n, want, logged.String())
		}
	}
}
