package e2e

import (
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A benchmark without the foreign programs that it needs says in one line which they are
// and how to get them, and fails.
func TestBenchmarksSayWhatIsMissing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: these benchmarks run on Linux only")
	}
	dir := t.TempDir()
	for _, test := range []struct {
		bench string
		args  []string
		want  []string
	}{
		{"chaos", []string{"-evenkeel", binary, "-duration", "1s"}, []string{"chaos: ", "etcd-server", "make peers"}},
		{"carry", []string{"-binary", binary}, []string{"carry: ", "haproxy", "util-linux", "make peers"}},
		{"attack", []string{"-binary", binary}, []string{"attack: ", "util-linux", "make peers"}},
		{"real", []string{"-evenkeel", "no-such-program"}, []string{"real: ", "gunicorn (", "ffmpeg (", "vipsthumbnail (Debian package libvips-tools)", "make peers", "make build"}},
		{"ask", []string{"-grpc", "no-such-program"}, []string{"ask: ", "-grpc", "no-such-program", "make bench-ask"}},
		{"choose", []string{"-evenkeel", "no-such-program", "-length", "1s", "-out", dir}, []string{"choose: ", "no-such-program", "make build"}},
	} {
		t.Run(test.bench, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(dir, test.bench)
			if out, err := exec.Command("go", "build", "-o", program, "../bench/"+test.bench).CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			cmd := exec.Command(program, test.args...)
			cmd.Env = []string{"PATH=" + t.TempDir(), "TMPDIR=" + dir}
			out, err := cmd.CombinedOutput()
			if ended := (*exec.ExitError)(nil); !errors.As(err, &ended) || ended.ExitCode() != 1 {
				t.Errorf("got %v, want exit code 1", err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if strings.Count(string(out), "\n") != 1 {
				t.Errorf("it says more than one line:\n%s", out)
			}
		})
	}
}
