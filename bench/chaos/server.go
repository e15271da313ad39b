//go:build linux

package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Headers by which clients tell servers what they send.
const (
	headerID   = "Chaos-Id"
	headerWork = "Chaos-Work"
)

// serve is a server of the system: it writes down each request before it works on it, so
// that the record outlives a kill.
func serve(listen, record string) error {
	out, err := os.OpenFile(record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	return http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get(headerID); id != "" {
			if _, err := fmt.Fprintf(out, "%s %s %s\n", id, r.Method, r.Header.Get("Evenkeel-Fence")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		if work, err := strconv.ParseFloat(r.Header.Get(headerWork), 64); err == nil {
			time.Sleep(time.Duration(work * float64(time.Second)))
		}
		fmt.Fprintln(w, "done")
	}))
}
