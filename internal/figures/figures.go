// Package figures writes what a benchmark measured for programs to read: one entry for
// each figure, beside the table that people read.
package figures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Figure is one measured value.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal"` // such as <=1.12 or >=1000000; empty: none
}

// Met reports whether the value keeps to the goal. A figure without one always does.
func (f Figure) Met() bool {
	if f.Goal == "" {
		return true
	}
	bound, err := strconv.ParseFloat(strings.TrimLeft(f.Goal, "<>="), 64)
	if err != nil || math.IsNaN(f.Value) {
		return false
	}
	if strings.HasPrefix(f.Goal, ">") {
		return f.Value >= bound
	}
	return f.Value <= bound
}

// Write writes the figures to a file as a JSON list, and makes its folder.
func Write(name string, all []Figure) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // people read the goals too
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("figures for %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text.Bytes(), 0o644)
}
