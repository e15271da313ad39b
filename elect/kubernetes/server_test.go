package kubernetes

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// apiServer does what the Kubernetes API promises about Leases of one namespace: POST
// creates or answers 409 AlreadyExists; PUT replaces the version it names or answers 409
// Conflict; each write makes a new version; who has no token gets 401.
type apiServer struct {
	*httptest.Server

	mu      sync.Mutex
	version int
	leases  map[string]lease
	drop    bool // do what the next write says, and break the connection instead of answering
}

const (
	folder = "/apis/coordination.k8s.io/v1/namespaces/prod/leases"
	token  = "secret-1"
)

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{leases: make(map[string]lease)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, folder), "/")
	have, exists := s.leases[name]
	var sent lease
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		say(w, 401, "Unauthorized")
		return
	case !strings.HasPrefix(r.URL.Path, folder):
		say(w, 404, "NotFound")
		return
	case r.Method == http.MethodGet && name == "":
		s.list(w, r)
		return
	case r.Method == http.MethodGet && !exists, r.Method == http.MethodPut && !exists:
		say(w, 404, "NotFound")
		return
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(have)
		return
	case json.NewDecoder(r.Body).Decode(&sent) != nil, !fit(&sent):
		say(w, 422, "Invalid")
		return
	case r.Method == http.MethodPost:
		if _, there := s.leases[sent.Metadata.Name]; there {
			say(w, 409, "AlreadyExists")
			return
		}
	case r.Method == http.MethodPut:
		if v := sent.Metadata.ResourceVersion; v != "" && v != have.Metadata.ResourceVersion {
			say(w, 409, "Conflict")
			return
		}
	default:
		say(w, 405, "MethodNotAllowed")
		return
	}
	s.version++
	sent.Metadata.ResourceVersion = strconv.Itoa(s.version)
	s.leases[sent.Metadata.Name] = sent
	if s.drop {
		s.drop = false
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
		return
	}
	_ = json.NewEncoder(w).Encode(sent)
}

// fit reports whether the API would have the Lease.
func fit(l *lease) bool {
	return l.APIVersion == "coordination.k8s.io/v1" && l.Kind == "Lease" && l.Metadata.Name != "" && l.Spec.Seconds > 0 && l.Spec.Transitions >= 0 &&
		strings.Trim(l.Metadata.Name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && len(l.Metadata.Name) <= 253
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request) {
	key, value, _ := strings.Cut(r.URL.Query().Get("labelSelector"), "=")
	all := leaseList{Items: []lease{}}
	for _, l := range s.leases {
		if l.Metadata.Labels[key] == value {
			all.Items = append(all.Items, l)
		}
	}
	_ = json.NewEncoder(w).Encode(all)
}

func say(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status{Code: code, Reason: reason, Message: strings.ToLower(reason)})
}
