//go:build !linux

package main

import "log"

func main() { log.Fatal("ask: it measures CPU time as Linux tells it, and runs there only") }
