// Package redact shows URLs to people, in logs, answers and refusals, without what may be secret in them: user and
// password, and the values of the query.
package redact

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// hidden stands in the place of what is not shown.
const hidden = "…"

// URL returns a URL, or a path with a query, without its user, password, query and fragment; of the first three
// it shows that they are there.
func URL(s string) string {
	s, _, _ = strings.Cut(s, "#")
	s, _, query := strings.Cut(s, "?")
	if query {
		s += "?" + hidden
	}
	scheme, rest, absolute := strings.Cut(s, "://")
	if !absolute {
		return s
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = hidden + host[i:]
	}
	return scheme + "://" + host + path
}

// Text returns a text in which every URL is shown so.
func Text(s string) string {
	return urlInText.ReplaceAllStringFunc(s, URL)
}

var urlInText = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s",\\]+`)

// Error returns an error with the URL that package net/http puts in front of it shown so. What it wraps
// can be looked for as before.
func Error(err error) error {
	var told *url.Error
	if !errors.As(err, &told) {
		return err
	}
	return &url.Error{Op: told.Op, URL: URL(told.URL), Err: told.Err}
}
