package settings

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
)

// read returns the locations by prefix, of file and map together; nil: there are none.
func (l Locations) read(bad func(field, problem string)) map[netip.Prefix]string {
	if l.File == "" && len(l.Prefixes) == 0 {
		return nil
	}
	all := make(map[netip.Prefix]string)
	if l.File != "" {
		if err := readLocations(l.File, all); err != nil {
			bad("locations", err.Error())
		}
	}
	for text, location := range l.Prefixes {
		if err := addLocation(all, text, location); err != nil {
			bad(config.Field("locations.prefixes", text), err.Error())
		}
	}
	return all
}

// readLocations reads a CSV file of two columns: a prefix and its location. Lines that begin with # are comments.
func readLocations(path string, into map[netip.Prefix]string) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, 2
	for {
		row, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := addLocation(into, row[0], row[1]); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("%s: line %d: %w", path, line, err)
		}
	}
}

// addLocation adds the location of a prefix, which may be a single address.
func addLocation(to map[netip.Prefix]string, text, location string) error {
	var p PrefixText
	if err := p.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	location = strings.TrimSpace(location)
	if problem := balance.BadName(location); problem != "" {
		return fmt.Errorf("%s: location: %s", text, problem)
	}
	prefix := netip.Prefix(p).Masked()
	if other, twice := to[prefix]; twice && other != location {
		return fmt.Errorf("%s is %q and %q", prefix, other, location)
	}
	to[prefix] = location
	return nil
}
