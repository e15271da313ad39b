package echo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func ask(t *testing.T, url string, q Question) *http.Response {
	t.Helper()
	req, err := http.NewRequest("PUT", url, q.Content())
	if err != nil {
		t.Fatal(err)
	}
	q.Put(req.Header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestAnAnswerIsItsRequests(t *testing.T) {
	s := httptest.NewServer(Handler("a"))
	defer s.Close()
	for _, q := range []Question{{ID: "1"}, {ID: "2", Body: 10}, {ID: "3", Body: 100 << 10, Fill: 70_000}, {ID: "4", Fill: 1}} {
		if err := q.Check(ask(t, s.URL, q)); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Every part of an answer that is another request's is found.
func TestAnAnswerOfAnother(t *testing.T) {
	q := Question{ID: "mine", Body: 20, Fill: 500}
	whole := func(as Question) (http.Header, []byte) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("PUT", "/", as.Content())
		as.Put(r.Header)
		Handler("a").ServeHTTP(w, r)
		return w.Header(), w.Body.Bytes()
	}
	head, body := whole(q)
	otherHead, otherBody := whole(Question{ID: "your", Body: 20, Fill: 500})
	cut := bytes.IndexByte(body, '\n') + 1
	for what, c := range map[string]struct {
		head http.Header
		body []byte
	}{
		"all":                        {otherHead, otherBody},
		"the head":                   {otherHead, body},
		"the body":                   {head, otherBody},
		"the body behind its line":   {head, append(bytes.Clone(body[:cut]), otherBody[cut:]...)},
		"the last bytes of the body": {head, append(bytes.Clone(body[:len(body)-60]), otherBody[len(body)-60:]...)},
		"one byte too much":          {head, append(bytes.Clone(body), 'x')},
		"one byte too few":           {head, body[:len(body)-1]},
		"an edge's id":               {http.Header{HeaderID: {"your"}, HeaderReceipt: head[HeaderReceipt]}, body},
		"another body was received":  {http.Header{HeaderReceipt: {strings.Replace(q.receipt(), " 20 ", " 21 ", 1)}}, body},
		"no receipt":                 {http.Header{}, body},
		"no body":                    {head, nil},
	} {
		err := q.Check(&http.Response{Header: c.head, Body: io.NopCloser(bytes.NewReader(c.body))})
		if mixed := new(Mixed); !errors.As(err, &mixed) || mixed.ID != "mine" {
			t.Errorf("%s is another's: got %v, want a Mixed", what, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(otherBody), failing{})
	if err := q.Check(&http.Response{Header: head, Body: io.NopCloser(broken)}); !errors.As(err, new(*Mixed)) {
		t.Errorf("another's body that breaks off: got %v, want a Mixed", err)
	}
	broken = io.MultiReader(bytes.NewReader(body[:cut+50]), failing{})
	if err := q.Check(&http.Response{Header: head, Body: io.NopCloser(broken)}); err == nil || errors.As(err, new(*Mixed)) {
		t.Errorf("its own body that breaks off: got %v, want the error alone", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestStreams(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refused":
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		case "/crossed":
			r.Header.Set(HeaderID, "your")
		}
		ServeWebSocket(w, r, "a")
	}))
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	deadline := time.Now().Add(2 * time.Minute)
	stream, err := Dial(at, "/", "mine", deadline)
	if err != nil {
		t.Fatal(err)
	}
	for size := range 3 {
		if err := stream.Say(size * 40_000); err != nil {
			t.Error(err)
		}
	}
	if stream.Server != "a" {
		t.Errorf("the server is %q, want a", stream.Server)
	}
	stream.ID = "your" // as if it were another's
	if err := stream.Say(1); !errors.As(err, new(*Mixed)) {
		t.Errorf("a stream of another: got %v, want a Mixed", err)
	}
	_ = stream.Close()
	if _, err := Dial(at, "/crossed", "mine", deadline); !errors.As(err, new(*Mixed)) {
		t.Errorf("a stream opened for another: got %v, want a Mixed", err)
	}
	if _, err := Dial(at, "/refused", "mine", deadline); !errors.As(err, new(*Refused)) || !strings.Contains(fmt.Sprint(err), "503") {
		t.Errorf("a stream that is refused: got %v, want 503", err)
	}
}
