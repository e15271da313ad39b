// Package ui is the page of a master's admin address, at /ui: every server alive, what changed, why a request went where it went, and
// drains. The page is files of HTML, CSS and ES modules, without a build step, in folder assets; its data come from the master's HTTP API
// (GET /v1/stream above all). assets/vendor has uPlot, with its licence.
package ui

import (
	"cmp"
	"embed"
	"net/http"
	"path"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

//go:embed assets
var assets embed.FS

// Path is where the page is.
const Path = "/ui"

// policy has the browser load nothing but the page's own files, and run nothing that is not in them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Endpoints returns the page and its files. The files tell nothing of servers, yet need the role read: who has none gets the login.
func Endpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: http.MethodGet, Path: Path, Role: admin.Read, Handle: func(w http.ResponseWriter, _ *http.Request) { serve(w, "index.html") }},
		{Method: http.MethodGet, Path: Path + "/{file...}", Role: admin.Read, Handle: func(w http.ResponseWriter, r *http.Request) { serve(w, r.PathValue("file")) }},
	}
}

// types are those of the files; what a machine's tables say may differ.
var types = map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

// serve answers with an embedded file.
func serve(w http.ResponseWriter, name string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		http.Error(w, "the page has no such file", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", cmp.Or(types[path.Ext(name)], "text/plain; charset=utf-8"))
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write(text) // the browser may be gone
}
