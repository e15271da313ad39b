package load

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
)

// serve answers as a sample server does, over HTTP/1.1 and HTTP/2.
func serve(t *testing.T, h http.HandlerFunc) (url string) {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func good(w http.ResponseWriter, r *http.Request) {
	if echo.IsWebSocket(r) {
		echo.ServeWebSocket(w, r, "a")
		return
	}
	echo.Handler("a").ServeHTTP(w, r)
}

// each is a request of every kind.
func each(url string) []Arrival {
	return []Arrival{
		{URL: url}, {URL: url, Kind: Fresh}, {URL: url, Kind: HTTP2}, {URL: url, Kind: WebSocket, Body: 100},
		{URL: url, Method: "POST", Body: 100 << 10, Fill: 100 << 10}, {URL: url, Kind: HTTP2, Method: "PUT", Body: 300 << 10, Fill: 1},
	}
}

func TestASenderChecksEachAnswer(t *testing.T) {
	seen := make(map[string]bool)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			w.Header().Set(echo.HeaderID, r.Header.Get(echo.HeaderID))
			http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
			return
		}
		good(w, r)
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	all := append(each(url), Arrival{URL: url + "/away"}, Arrival{URL: url + "/away", Method: "POST", Body: 1000})
	for _, a := range all {
		o := s.Do(t.Context(), a)
		if o.Status != http.StatusOK || o.Err != nil || o.Server != "a" {
			t.Errorf("%+v: got %+v", a, o)
		}
		if seen[o.ID] {
			t.Errorf("the id %s was used twice", o.ID)
		}
		seen[o.ID] = true
	}
}

func TestASenderFindsAnswersOfOthers(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(echo.HeaderID, "another")
		good(w, r)
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	for _, a := range each(url) {
		if o := s.Do(t.Context(), a); o.Mixed() == nil || o.Status != 0 {
			t.Errorf("%+v: got %+v, want a Mixed and no status", a, o)
		}
	}
}

func TestASenderFindsRefusalsOfOthers(t *testing.T) {
	id := ""
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set(echo.HeaderID, id+r.Header.Get(echo.HeaderID))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	for _, a := range each(url) {
		id = ""
		if o := s.Do(t.Context(), a); o.Mixed() != nil || o.Status != http.StatusServiceUnavailable || o.Err == nil {
			t.Errorf("%+v: got %+v, want 503", a, o)
		}
		id = "another"
		if o := s.Do(t.Context(), a); a.Kind != WebSocket && o.Mixed() == nil {
			t.Errorf("%+v: got %+v, want a Mixed", a, o)
		}
	}
}

func TestASenderTellsOfBrokenAnswers(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(echo.HeaderReceipt, echo.Receipt{ID: r.Header.Get(echo.HeaderID), Digest: "e3b0c44298fc1c14"}.String())
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, strings.Repeat("x", 10))
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	if o := s.Do(t.Context(), Arrival{URL: url}); o.Status != 0 || o.Err == nil || o.Mixed() != nil {
		t.Errorf("got %+v, want an error that is no Mixed", o)
	}
}
