package agent

import (
	"net/http"

	"github.com/evenkeel-lb/evenkeel/internal/admin"
)

// Handler serves the endpoints as a process does, without asking for proof. example.com is
// what httptest's requests have as Host.
func (a *Agent) Handler() http.Handler {
	return admin.New(admin.Config{Hosts: []string{"example.com"}}, a.Endpoints())
}
