//go:build linux

package main

import (
	"errors"
	"flag"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("ask: ")
	if len(os.Args) == 3 && !strings.HasPrefix(os.Args[1], "-") { // a child
		n, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = child(os.Args[1], n)
		}
		if err != nil {
			log.Fatalf("%s: %v", os.Args[1], err)
		}
		return
	}
	var (
		fleet   = flag.Bool("fleet", false, "measure agents that report, not asks")
		watch   = flag.Bool("snapshots", false, "measure edges that watch a pool, not asks")
		rounds  = flag.Int("rounds", 10, "how often each case has its turn")
		slice   = flag.Duration("slice", 300*time.Millisecond, "how long a turn is")
		servers = flag.Int("servers", 10_000, "in the pool")
		agents  = flag.Int("agents", 10_000, "of the fleet")
		only    = flag.String("only", "", "only cases whose name contains this; goals need all")
		grpc    = flag.String("grpc", "", "the program that asks by gRPC; none: those cases are left out")
		byTLS   = flag.Bool("tls", false, "of a fleet, or of edges that watch: they and the master know each other by certificates")
		out     = flag.String("out", "", "file for the results as JSON")
	)
	flag.Parse()
	if *grpc != "" {
		if _, err := exec.LookPath(*grpc); err != nil {
			log.Fatalf("-grpc: %v: make bench-ask builds that program; without the flag its cases are left out", err)
		}
	}
	run := func() error { return measureAsks(*servers, *rounds, *slice, *only, *grpc, *out) }
	if *fleet {
		run = func() error { return measureFleet(*agents, *byTLS, *out) }
	}
	if *watch {
		run = func() error { return measureSnapshots(*servers, *byTLS, *out) }
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// child is what a process does that another has started.
func child(role string, n int) error {
	switch role {
	case "answer":
		return answer(n)
	case "edge":
		return edge(n)
	case "agents":
		return agents(n)
	case "edges":
		return edges(n)
	case "changing", "changing by TLS":
		return changing(n, role != "changing")
	case "watchers":
		return watchers(n)
	case "reporter":
		return reporter()
	case "master":
		return fleetMaster(n == withTLS)
	}
	return errors.New("there is no such role")
}
