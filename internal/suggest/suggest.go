// Package suggest finds the word that an unknown one was probably meant to be.
package suggest

import (
	"fmt"
	"strings"
)

// DidYouMean returns a question to put behind a problem with an unknown word, such as
// `; did you mean "least-load"?`, or nothing if none of the known words is like it. Aliases
// are words that other programs use for the same thing, without - and _, in lower case.
func DidYouMean(unknown string, known []string, aliases map[string]string) string {
	if meant := Likely(unknown, known, aliases); meant != "" {
		return fmt.Sprintf("; did you mean %q?", meant)
	}
	return ""
}

// Likely returns the known word that an unknown one was probably meant to be, or
// nothing. Aliases are words that other programs use for the same thing.
func Likely(unknown string, known []string, aliases map[string]string) string {
	plain := func(s string) string {
		return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
	}
	if k, ok := aliases[plain(unknown)]; ok {
		return k
	}
	if len(unknown) > 64 {
		return ""
	}
	best, least := "", 1+max(1, len(plain(unknown))/3)
	for _, k := range known {
		if d := distance(plain(unknown), plain(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, change or swap with their neighbour
// to turn a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
