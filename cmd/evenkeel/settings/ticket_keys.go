package settings

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// ticketKeys are the keys by which clients resume TLS sessions. They outlive a reload, so
// that clients need not shake hands in full after one.
type ticketKeys struct {
	tickets *routing.Tickets
	path    string // of the file that they come from; empty: they are made here

	mu   sync.Mutex
	seen fs.FileInfo // the file when it was last read
}

// allTickets are those of this process, by their files.
var allTickets struct {
	sync.Mutex
	byPath map[string]*ticketKeys
}

// ticketKeysOf returns the keys in a file, which it reads; path empty: this process's own. With an
// error they are not those of the file.
func ticketKeysOf(path string) (*ticketKeys, error) {
	allTickets.Lock()
	defer allTickets.Unlock()
	t := allTickets.byPath[path]
	if t == nil {
		t = &ticketKeys{tickets: routing.NewTickets(), path: path}
	}
	if path != "" {
		if err := t.read(); err != nil {
			return t, err
		}
	}
	if allTickets.byPath == nil {
		allTickets.byPath = make(map[string]*ticketKeys)
	}
	allTickets.byPath[path] = t
	return t, nil
}

// read takes the keys of the file.
func (t *ticketKeys) read() error {
	info, _ := os.Stat(t.path) // if it fails, reading the file returns the error
	text, err := readPEM(t.path)
	if err != nil {
		return err
	}
	keys, err := parseTicketKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	t.tickets.SetKeys(keys)
	t.mu.Lock()
	t.seen = info
	t.mu.Unlock()
	return nil
}

// maxTicketKeys are in a file: each is tried with each ticket.
const maxTicketKeys = 16

// parseTicketKeys reads a key a line: 32 bytes in hexadecimal or base64. Empty lines and
// those that begin with # count for nothing. Errors show no key.
func parseTicketKeys(text []byte) (keys [][32]byte, err error) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := hex.DecodeString(string(line))
		if err != nil {
			key, err = base64.StdEncoding.DecodeString(string(line))
		}
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("line %d is no key of 32 bytes in hexadecimal or base64; openssl rand -hex 32 makes one", number)
		}
		keys = append(keys, [32]byte(key))
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("no key, want one a line; openssl rand -hex 32 makes one")
	case len(keys) > maxTicketKeys:
		return nil, fmt.Errorf("%d keys, want at most %d: leave out those whose tickets have run out", len(keys), maxTicketKeys)
	}
	return keys, nil
}

// watch reads the file anew when it has changed, until ctx ends. What makes no sense is
// logged, and the keys from before go on.
func (t *ticketKeys) watch(ctx context.Context, log *slog.Logger) {
	if t.path == "" {
		return
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, _ := os.Stat(t.path)
		t.mu.Lock()
		unchanged := sameFile(now, t.seen)
		t.mu.Unlock()
		if unchanged {
			continue
		}
		switch err := t.read(); {
		case err == nil:
			said = ""
			log.Info("ticket keys loaded", "file", t.path)
		case err.Error() != said:
			said = err.Error()
			log.Error("ticket keys failed to load; the old ones stay", "err", err)
		}
	}
}

// distinct returns each of them once, and no nil.
func distinct(all []*ticketKeys) (some []*ticketKeys) {
	seen := make(map[*ticketKeys]bool)
	for _, t := range all {
		if t != nil && !seen[t] {
			seen[t] = true
			some = append(some, t)
		}
	}
	return some
}

// read makes of the part what an edge asks clients to prove; nil: nothing.
func (c *ClientCertificates) read(bad func(field, problem string)) (asked routing.ClientCerts) {
	if c == nil {
		return asked
	}
	text, err := readPEM(c.CA)
	asked.Authorities, asked.Optional = x509.NewCertPool(), c.Optional
	if err != nil {
		bad("ca", err.Error())
	} else if !asked.Authorities.AppendCertsFromPEM(text) {
		bad("ca", c.CA+" has no certificate in PEM")
	}
	asked.Binding = sha256.Sum256(fmt.Append(nil, c.Optional, "\n", string(text)))
	return asked
}
