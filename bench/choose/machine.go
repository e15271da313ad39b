//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is processor time until now.
type usage struct {
	busy, total float64       // of the machine, in ticks of all processors
	own         time.Duration // of some processes
}

// ticks a second, which Linux gives to programs on all machines that matter.
const ticks = 100

// measure reads what the machine and these processes have used.
func measure(pids []int) (u usage, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line)[1:] {
		if i >= 8 { // guests' time is in the others'
			break
		}
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/stat: %w", err)
		}
		u.total += n
		if i != 3 && i != 4 { // idle, waiting for a disk
			u.busy += n
		}
	}
	for _, pid := range pids {
		own, err := processTime(pid)
		if err != nil {
			return u, err
		}
		u.own += own
	}
	return u, nil
}

func processTime(pid int) (time.Duration, error) {
	name := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the command's name may have anything in it
	fields := strings.Fields(rest)
	sum := 0
	for _, i := range []int{11, 12} { // user and system time
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// others is the share of the machine that may be busy before a run begins.
const others = .10

// quiet waits until the machine has nothing else to do, or for so long.
func quiet(ctx context.Context, patience time.Duration) error {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		before, err := measure(nil)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		after, err := measure(nil)
		if err != nil || after.busy-before.busy <= others*(after.total-before.total) {
			return err
		}
	}
	return nil
}

// machine describes where this runs.
func machine() string {
	model := "unknown processor"
	count := 0
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			count++
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, Linux %s", count, model, strings.TrimSpace(string(kernel)))
}
