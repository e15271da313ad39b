//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// profiler asks the processes that are measured what they spend their time on, so that the
// compiler can be told.
type profiler struct {
	admins []string // their addresses; empty: no profile is read
	dir    string
}

// flags returns the flags that let the next process be asked, or that it has no admin
// address where none is asked.
func (p *profiler) flags() []string {
	if p == nil {
		return []string{"--admin", "off"}
	}
	admin := fmt.Sprintf("127.0.0.1:%d", freePort())
	p.admins = append(p.admins, admin)
	return []string{"--pprof", "--admin", admin}
}

// watch asks until the function that it returns is called, which puts all that was told
// into one file.
func (p *profiler) watch(binary string) (write func(file string) error) {
	var asking sync.WaitGroup
	over := make(chan struct{})
	told := make(chan error, len(p.admins))
	for _, admin := range p.admins {
		asking.Go(func() { told <- p.query(admin, over) })
	}
	return func(file string) error {
		close(over)
		asking.Wait()
		for range p.admins {
			if err := <-told; err != nil {
				return fmt.Errorf("profile: %w", err)
			}
		}
		parts, err := filepath.Glob(filepath.Join(p.dir, "*.pprof"))
		if err != nil {
			return err
		}
		all := filepath.Join(p.dir, "all.pprof")
		merge := exec.Command("go", append([]string{"tool", "pprof", "-symbolize=none", "-proto", "-output", all}, parts...)...)
		if said, err := merge.CombinedOutput(); err != nil {
			return fmt.Errorf("merging profiles: %w\n%s", err, said)
		}
		return anonymous(all, binary, file)
	}
}

// anonymous copies a profile without where the binary stood: that is this machine's own. The
// name is as long as before, since its length stands before it.
func anonymous(from, binary, to string) error {
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	packed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte(path), bytes.Repeat([]byte("-"), len(path)))
	var packing bytes.Buffer
	out := gzip.NewWriter(&packing)
	if _, err := out.Write(text); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, packing.Bytes(), 0o644)
}

// query fetches profiles of a few seconds one after another.
func (p *profiler) query(admin string, over <-chan struct{}) error {
	for {
		select {
		case <-over:
			return nil
		default:
		}
		if err := p.fetch(admin); err != nil {
			return err
		}
	}
}

func (p *profiler) fetch(admin string) error {
	res, err := http.Get("http://" + admin + "/debug/pprof/profile?seconds=3")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	file, err := os.CreateTemp(p.dir, "*.pprof")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", admin, res.Status)
	}
	return nil
}
