//go:build linux

package main

func measureFleet(n int, out string) error { return nil }
func agents(n int) error                   { return nil }
func fleetMaster() error                   { return nil }
