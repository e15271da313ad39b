package peers

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNeed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(dir+"/curl", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Need("curl"); err != nil {
		t.Errorf("curl is in the PATH, but: %v", err)
	}
	err := Need("etcd", "curl", "nft", "fancyproxy")
	if !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("got error %v, want one that is exec.ErrNotFound", err)
	}
	want := "etcd (Debian package etcd-server), nft (Debian package nftables), fancyproxy: not installed: "
	if text := err.Error(); !strings.HasPrefix(text, want) || !strings.Contains(text, "make peers") || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line that begins with %q and says: make peers", text, want)
	}
	if _, err := Find("fancyproxy"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("Find of a program that is not there: got error %v, want one that is exec.ErrNotFound", err)
	}
}

// make peers installs what the table names, and make test looks for the same programs.
func TestMakefileKnowsTheSamePrograms(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	words := func(variable string) []string {
		line := regexp.MustCompile(`(?m)^` + variable + ` *= *(.*)$`).FindSubmatch(makefile)
		if line == nil {
			t.Fatalf("the Makefile has no variable %s", variable)
		}
		return slices.Sorted(slices.Values(strings.Fields(string(line[1]))))
	}
	if got, want := words("PEERS"), slices.Sorted(maps.Keys(packages)); !slices.Equal(got, want) {
		t.Errorf("PEERS of the Makefile is %q, the table has %q", got, want)
	}
	installed := words("PEER_PACKAGES")
	for program, p := range packages {
		if !slices.Contains(installed, p) {
			t.Errorf("make peers does not install %s, which has %s", p, program)
		}
	}
}
