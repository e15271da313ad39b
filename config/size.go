package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 512, 32KiB, 10MB or 1GiB. It is never negative.
type Size int64

// units are looked for in this order, for each ends as another does.
var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads what a person wrote.
func (s *Size) UnmarshalText(text []byte) error {
	number, bytes := string(text), 1.
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, bytes = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	total := n * bytes
	if err != nil || !(total >= 0 && total <= 1<<62) || total != math.Trunc(total) {
		return fmt.Errorf("want a whole number of bytes, such as 512, 32KiB or 10MB; units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB%s", sizeMeant(string(text)))
	}
	*s = Size(total)
	return nil
}

// sizeMeant returns a question to put behind a problem with a size whose unit is written otherwise, such as 10g or 1Mib.
func sizeMeant(text string) string {
	digits := strings.TrimRight(text, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(strings.TrimSpace(text[len(digits):]))
	if _, err := strconv.ParseFloat(digits, 64); err != nil || unit == "" {
		return ""
	}
	for _, u := range units {
		if name := strings.ToLower(u.name); u.name != "KB" && (unit == name || unit+"b" == name || unit == name+"s") {
			return fmt.Sprintf("; did you mean %q?", digits+u.name)
		}
	}
	return ""
}
