// Package peers lists the other programs that benchmarks and tests of the whole system run, and reports in one line which of them are
// missing and how to install them.
package peers

import (
	"fmt"
	"os/exec"
	"strings"
)

// packages is the Debian package of each program. make peers installs all of them.
var packages = map[string]string{
	"apache2":         "apache2-bin",
	"chromium":        "chromium",
	"curl":            "curl",
	"ffmpeg":          "ffmpeg",
	"gunicorn":        "gunicorn",
	"pdftoppm":        "poppler-utils",
	"sqlite3":         "sqlite3",
	"vipsthumbnail":   "libvips-tools",
	"zstd":            "zstd",
	"etcd":            "etcd-server",
	"h2load":          "nghttp2-client",
	"haproxy":         "haproxy",
	"ip":              "iproute2",
	"lighttpd":        "lighttpd",
	"nft":             "nftables",
	"nghttpd":         "nghttp2-server",
	"nginx":           "nginx",
	"node":            "nodejs",
	"promtool":        "prometheus",
	"python3":         "python3",
	"slowhttptest":    "slowhttptest",
	"sslscan":         "sslscan",
	"strace":          "strace",
	"systemd-analyze": "systemd",
	"taskset":         "util-linux",
	"testssl":         "testssl.sh",
	"wrk":             "wrk",
}

// Find returns the path of a program. It also looks where system programs are, which is
// not in every user's PATH.
func Find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		return "", Missing(program)
	}
	return path, nil
}

// Need returns nil if all programs are in the PATH, and otherwise what Missing returns for
// those that are not.
func Need(programs ...string) error {
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if missing == nil {
		return nil
	}
	return Missing(missing...)
}

// Missing is the error for programs that are not installed. Its text is one line with the
// programs, their packages and what to do. It is an exec.ErrNotFound.
func Missing(programs ...string) error {
	named := make([]string, len(programs))
	for i, program := range programs {
		named[i] = program
		if p := packages[program]; p != "" {
			named[i] += " (Debian package " + p + ")"
		}
	}
	return fmt.Errorf("%s: %w: install it, or run make peers, which installs every program that benchmarks and tests need", strings.Join(named, ", "), errNotFound{})
}

// errNotFound is exec.ErrNotFound in the words of a person who looks for a program.
type errNotFound struct{}

func (errNotFound) Error() string        { return "not installed" }
func (errNotFound) Is(target error) bool { return target == exec.ErrNotFound }
