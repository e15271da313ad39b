package load

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

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
		if o.Status != http.StatusOK || o.Err != nil || o.Server != "a" || o.Of != o.ID {
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
		if o := s.Do(t.Context(), a); o.Mixed() == nil || o.Status != 0 || o.Of != "another" {
			t.Errorf("%+v: got %+v, want a Mixed of another and no status", a, o)
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
		if o := s.Do(t.Context(), a); o.Mixed() != nil || o.Status != http.StatusServiceUnavailable || o.Err == nil || o.Of != "" {
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

// An answer whose head is right and whose body is another's is mixed in part.
func TestASenderFindsBodiesOfOthers(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := echo.Receive(r)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set(echo.HeaderReceipt, got.String())
		got.ID = "another"
		_ = json.NewEncoder(w).Encode(echo.Line{Receipt: got.String()})
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	if o := s.Do(t.Context(), Arrival{URL: url}); o.Mixed() == nil || o.Of != "another, in part" || o.Status != 0 {
		t.Errorf("got %+v, want a Mixed in part", o)
	}
}

// Each kind of request travels as it is named, and says what it is about.
func TestHowRequestsTravel(t *testing.T) {
	type seen struct {
		major  int
		peer   string
		length int64
		work   string
		accept string
	}
	come := make(chan seen, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		come <- seen{r.ProtoMajor, r.RemoteAddr, r.ContentLength, r.Header.Get("Sample-Work"), r.Header.Get("Accept-Encoding")}
		good(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	s := NewSender(Limits{Time: 2 * time.Minute, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	defer s.Close()
	ask := func(a Arrival) seen {
		t.Helper()
		a.URL, a.Method, a.Work = server.URL, "POST", .125
		if o := s.Do(t.Context(), a); o.Err != nil || o.Status != http.StatusOK {
			t.Fatalf("%+v: got %+v", a, o)
		}
		got := <-come
		if got.length != a.Body || got.work != "0.125" || got.accept != "" {
			t.Errorf("%+v: the server got %+v", a, got)
		}
		return got
	}
	for _, body := range []int64{0, 1000} {
		a, b := ask(Arrival{Kind: Kept, Body: body}), ask(Arrival{Kind: Kept, Body: body})
		if a.major != 1 || a.peer != b.peer {
			t.Errorf("kept: %+v, then %+v", a, b)
		}
		a, b = ask(Arrival{Kind: Fresh, Body: body}), ask(Arrival{Kind: Fresh, Body: body})
		if a.major != 1 || a.peer == b.peer {
			t.Errorf("fresh: %+v, then %+v", a, b)
		}
		if a = ask(Arrival{Kind: HTTP2, Body: body}); a.major != 2 {
			t.Errorf("http2: %+v", a)
		}
	}
}

// HTTP/2 begins without TLS too.
func TestHTTP2WithoutTLS(t *testing.T) {
	come := make(chan int, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		come <- r.ProtoMajor
		good(w, r)
	})
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	if o := s.Do(t.Context(), Arrival{URL: url, Kind: HTTP2}); o.Err != nil {
		t.Fatal(o.Err)
	}
	if major := <-come; major != 2 {
		t.Errorf("got HTTP/%d", major)
	}
}

func TestAClosedSenderKeepsNoConnections(t *testing.T) {
	closed := make(chan struct{}, 2)
	server := httptest.NewUnstartedServer(http.HandlerFunc(good))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	s := NewSender(Limits{Time: 2 * time.Minute})
	for _, kind := range []Kind{Kept, HTTP2} {
		if o := s.Do(t.Context(), Arrival{URL: server.URL, Kind: kind}); o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	s.Close()
	for range 2 {
		select {
		case <-closed:
		case <-time.After(2 * time.Minute):
			t.Fatal("a connection stays open")
		}
	}
}

// A request that cannot be sent has an error and no status, whatever its kind.
func TestASenderTellsOfRequestsThatCannotBeSent(t *testing.T) {
	s := NewSender(Limits{Time: 2 * time.Minute})
	defer s.Close()
	server := httptest.NewServer(http.HandlerFunc(good))
	server.Close() // nothing listens there
	for _, url := range []string{"http://a b/", server.URL} {
		for _, kind := range []Kind{Kept, Fresh, HTTP2, WebSocket} {
			if o := s.Do(t.Context(), Arrival{URL: url, Kind: kind}); o.Err == nil || o.Status != 0 || o.Of != "" || o.Mixed() != nil {
				t.Errorf("%v to %q: got %+v, want an error", kind, url, o)
			}
		}
	}
}

// streams serves WebSockets whose messages are answered by say; done receives when one has ended.
func streams(t *testing.T, say func(ws *websocket.Conn, id, message string) error) (url string, done <-chan struct{}) {
	ended := make(chan struct{}, 1)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(echo.HeaderID)
		websocket.Server{Handler: func(ws *websocket.Conn) {
			defer func() { ended <- struct{}{} }()
			if websocket.Message.Send(ws, "a "+id) != nil {
				return
			}
			for {
				var message string
				if websocket.Message.Receive(ws, &message) != nil || say(ws, id, message) != nil {
					return
				}
			}
		}}.ServeHTTP(w, r)
	}), ended
}

// A stream is closed behind its last message, of as many bytes as are wanted in all, and one message of another is enough to tell.
func TestAStreamIsSaidAndClosed(t *testing.T) {
	for _, wrong := range []int{-1, 0, messages - 1} {
		n, size := 0, 0
		url, done := streams(t, func(ws *websocket.Conn, id, message string) error {
			if n++; n-1 == wrong {
				id = "another"
			}
			size += len(message)
			return websocket.Message.Send(ws, id+" "+message)
		})
		s := NewSender(Limits{Time: 2 * time.Minute})
		defer s.Close()
		o := s.Do(t.Context(), Arrival{URL: url, Kind: WebSocket, Body: 4000, Work: 1e-3})
		<-done
		switch {
		case wrong < 0 && (o.Err != nil || o.Status != http.StatusOK || o.Server != "a" || n != messages || size != 4000):
			t.Errorf("got %+v, %d messages of %d bytes in all", o, n, size)
		case wrong >= 0 && (o.Mixed() == nil || o.Status != 0 || o.Of != "another, in part" || n != wrong+1):
			t.Errorf("message %d is another's: got %+v after %d messages", wrong, o, n)
		}
	}
}

// A stream whose context ends is broken off, though nothing comes.
func TestAStreamEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url, done := streams(t, func(*websocket.Conn, string, string) error {
		cancel()
		return nil
	})
	s := NewSender(Limits{Time: time.Hour})
	defer s.Close()
	o := s.Do(ctx, Arrival{URL: url, Kind: WebSocket})
	if o.Err == nil || o.Status != 0 || errors.As(o.Err, new(*echo.Mixed)) {
		t.Errorf("got %+v, want an error", o)
	}
	<-done
}
