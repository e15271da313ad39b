package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// room is a package whose tests are tried, as the go command finds it.
type room struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Module     struct{ Dir string }

	extra   []string      // packages whose tests are run too, behind the room's own
	timeout time.Duration // of the tests of one package
	blocks  []block
	kept    string // the folder of the room in which rapid keeps failures, unless there was one before
}

// openRoom finds a package, given as a path below the module's root or in any way that the go command knows.
func openRoom(name string, extra []string, timeout time.Duration) (*room, error) {
	if !strings.HasPrefix(name, ".") && !filepath.IsAbs(name) {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			name = "./" + name
		}
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Module", name).Output()
	if err != nil {
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(ended.Stderr))
		}
		return nil, fmt.Errorf("room %s: %w", name, err)
	}
	r := &room{extra: extra, timeout: timeout}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("room %s: want one package: %w", name, err)
	}
	if dir := filepath.Join(r.Dir, "testdata", "rapid"); missing(dir) {
		r.kept = dir
	}
	return r, nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// path is where the room is, from the module's root.
func (r *room) path() string {
	rel, err := filepath.Rel(r.Module.Dir, r.Dir)
	if err != nil {
		return r.ImportPath
	}
	return filepath.ToSlash(rel)
}

// mutants returns all mutants of the files that are compiled on this system, those of tests aside.
func (r *room) mutants() ([]mutant, error) {
	var all []mutant
	for _, name := range r.GoFiles {
		source, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			return nil, err
		}
		found, err := find(r.path()+"/"+name, source)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// verdict is what became of a mutant.
type verdict int

const (
	killed    verdict = iota // a test failed
	timedOut                 // tests did not end; counts as killed
	survived                 // all tests passed
	uncovered                // no test runs the line, so none was run
	broken                   // it does not compile, and counts for nothing
)

func (v verdict) String() string {
	return [...]string{"killed", "killed by the timeout", "survived", "survived, not covered", "does not compile"}[v]
}

// judge compiles a mutant in an overlay, so that the tree stays as it is, and runs the tests against it until one fails.
func (r *room) judge(ctx context.Context, m *mutant) (verdict, error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	original := filepath.Join(r.Dir, filepath.Base(m.file))
	source, err := os.ReadFile(original)
	if err != nil {
		return 0, err
	}
	changed, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err = errors.Join(err, os.WriteFile(changed, m.apply(source), 0o644), os.WriteFile(overlay, list, 0o644)); err != nil {
		return 0, err
	}
	if _, err := goCommand(ctx, "build", "-overlay", overlay, "-o", os.DevNull, r.ImportPath); err != nil {
		return broken, ctx.Err()
	}
	if !covered(r.blocks, m) {
		return uncovered, nil
	}
	for _, pkg := range append([]string{r.ImportPath}, r.extra...) {
		out, err := r.test(ctx, pkg, "-overlay", overlay, "-failfast")
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
			return 0, fmt.Errorf("the tests of %s cannot be built with %s:%d %s\n%s", pkg, m.file, m.line, m.change, out)
		case bytes.Contains(out, []byte("panic: test timed out")) || bytes.Contains(out, []byte("ran too long")):
			return timedOut, nil
		default:
			return killed, nil
		}
	}
	return survived, nil
}

// measure runs the tests once without a mutant, and remembers what of the room they run.
func (r *room) measure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for i, pkg := range append([]string{r.ImportPath}, r.extra...) {
		profile := filepath.Join(dir, strconv.Itoa(i))
		if out, err := r.test(ctx, pkg, "-coverprofile", profile, "-coverpkg", r.ImportPath); err != nil {
			return fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", pkg, err, out)
		}
		text, err := os.ReadFile(profile)
		if err != nil {
			return err
		}
		blocks, err := readProfile(r.ImportPath, string(text))
		if err != nil {
			return err
		}
		r.blocks = append(r.blocks, blocks...)
	}
	return nil
}

// mostMemory bounds the address space of a test, in KiB: a loop that never ends may fill a slice.
const mostMemory = 8 << 20

func (r *room) test(ctx context.Context, pkg string, flags ...string) ([]byte, error) {
	defer r.sweep()
	args := []string{"test", "-vet=off", "-count=1", "-timeout", r.timeout.String()}
	if runtime.GOOS == "linux" {
		args = append(args, "-exec", fmt.Sprintf(`sh -c 'ulimit -v %d && exec "$0" "$@"'`, mostMemory))
	}
	return goCommand(ctx, append(append(args, flags...), pkg)...)
}

// sweep removes what rapid keeps of a property that a mutant broke. It would be tried again with the next mutant, and without any.
func (r *room) sweep() {
	if r.kept != "" {
		_ = os.RemoveAll(r.kept)
	}
}

// goCommand returns what the go command prints; what goes wrong is in there too.
func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.WaitDelay = 5 * time.Second // for what a test has left behind and holds the output
	return c.CombinedOutput()
}
