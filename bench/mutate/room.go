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
	"strings"
)

// room is a package whose code is changed, as the go command finds it.
type room struct {
	ImportPath, Name, Dir string
	GoFiles               []string // those that are compiled on this system, tests aside
	Module                struct{ Dir string }

	sources map[string][]byte // by GoFiles
	mutants []mutant          // the number of each is its index + 1
}

// openRoom finds a package, given as a path below the module's root or in any way that the go command knows, and all its mutants.
func openRoom(name string) (*room, error) {
	r := &room{sources: make(map[string][]byte)}
	if err := list(name, r); err != nil {
		return nil, fmt.Errorf("room %w", err)
	}
	for _, file := range r.GoFiles {
		source, err := os.ReadFile(filepath.Join(r.Dir, file))
		if err != nil {
			return nil, err
		}
		found, err := find(r.path()+"/"+file, source)
		if err != nil {
			return nil, err
		}
		r.sources[file] = source
		r.mutants = append(r.mutants, found...)
	}
	for i := range r.mutants {
		r.mutants[i].number = i + 1
	}
	return r, nil
}

// list asks the go command for one package.
func list(name string, into any) error {
	if !strings.HasPrefix(name, ".") && !filepath.IsAbs(name) {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			name = "./" + name
		}
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Dir,GoFiles,Module", name).Output()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(ended.Stderr))
	}
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		return fmt.Errorf("%s: want one package: %w", name, err)
	}
	return nil
}

// path is where the room is, from the module's root.
func (r *room) path() string {
	rel, err := filepath.Rel(r.Module.Dir, r.Dir)
	if err != nil {
		return r.ImportPath
	}
	return filepath.ToSlash(rel)
}

// compile makes the test binaries of packages, the first of which is the room, with all its mutants in them.
func (r *room) compile(ctx context.Context, dir string, packages []string) ([]*suite, error) {
	overlay, err := r.overlay(dir)
	if err != nil {
		return nil, err
	}
	var suites []*suite
	for i, name := range packages {
		s := &suite{pkg: name, binary: filepath.Join(dir, fmt.Sprintf("%d.test", i))}
		if err := list(name, s); err != nil {
			return nil, err
		}
		c := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", s.binary, s.ImportPath)
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("the tests of %s cannot be compiled with the mutants in %s: %w\n%s", name, r.path(), err, out)
		}
		if missing(s.binary) { // a package without tests makes none
			continue
		}
		if rapid := filepath.Join(s.Dir, "testdata", "rapid"); missing(rapid) {
			s.rapid = rapid
		}
		suites = append(suites, s)
	}
	return suites, nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}
