package exchange

import "strings"

// preferAsync is RFC 7240's preference for an answer now and the result later (4.1).
const preferAsync = "respond-async"

// prefersAsync reports whether a request's Prefer fields have respond-async.
func prefersAsync(fields []string) bool {
	found := false
	eachPreference(fields, func(name, _ string) { found = found || strings.EqualFold(name, preferAsync) })
	return found
}

// otherPreferences returns what the fields have besides respond-async and wait, which belongs to it; empty: nothing.
func otherPreferences(fields []string) string {
	var rest []string
	eachPreference(fields, func(name, whole string) {
		if !strings.EqualFold(name, preferAsync) && !strings.EqualFold(name, "wait") {
			rest = append(rest, whole)
		}
	})
	return strings.Join(rest, ", ")
}

// eachPreference calls do with each preference's name, and its whole text. Commas and semicolons within quotes do not
// divide.
func eachPreference(fields []string, do func(name, whole string)) {
	for _, field := range fields {
		for len(field) > 0 {
			var whole string
			whole, field = cutUnquoted(field)
			if whole = strings.Trim(whole, " \t"); whole == "" {
				continue
			}
			name, _, _ := strings.Cut(whole, ";")
			name, _, _ = strings.Cut(name, "=")
			do(strings.Trim(name, " \t"), whole)
		}
	}
}

// cutUnquoted cuts a list at its first comma outside quotes.
func cutUnquoted(list string) (first, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}
