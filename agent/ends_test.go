package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
)

// accepting returns ends whose application accepts every dispatch but those of lease 9.
func accepting(t *testing.T, url string, leases ...balance.LeaseID) *Ends {
	t.Helper()
	e, err := NewEnds(url)
	if err != nil {
		t.Fatal(err)
	}
	dispatch := e.Watch(func(_ context.Context, d client.Dispatch) error {
		if d.Lease == 9 {
			return errors.New("no room")
		}
		return nil
	})
	for _, l := range leases {
		_ = dispatch(context.Background(), client.Dispatch{Lease: l, Tag: 0xb})
	}
	return e
}

func endOf(lease balance.LeaseID, r balance.Result, lost bool) client.LeaseEnd {
	return client.LeaseEnd{Dispatch: client.Dispatch{Lease: lease, Pool: "p", Tag: 0xb}, Result: r, Lost: lost}
}

// An end is posted until the application takes it.
func TestEndsArePosted(t *testing.T) {
	posted, refuse := make(chan leaseEnd, 8), make(chan struct{}, 1)
	refuse <- struct{}{}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-refuse:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		default:
		}
		var end leaseEnd
		if err := json.NewDecoder(r.Body).Decode(&end); err != nil || r.Header.Get("Evenkeel-Lease") != end.Lease {
			t.Errorf("posted %+v with the header %q: %v", end, r.Header.Get("Evenkeel-Lease"), err)
		}
		posted <- end
	}))
	defer app.Close()
	e := accepting(t, app.URL, 1, 2, 3, 4)
	a, _ := running(t, Config{Ends: e})
	_ = a
	for _, c := range []struct {
		end            client.LeaseEnd
		reason, result string
	}{
		{endOf(1, balance.Canceled, false), "client-left", ""},
		{endOf(2, balance.Fault, false), "done", "fault"},
		{endOf(3, balance.Expired, false), "expired", ""},
		{endOf(4, balance.OK, true), "master", ""},
	} {
		e.Ended(c.end)
		if got := <-posted; got != (leaseEnd{Lease: c.end.Dispatch.Told().String(), Pool: "p", State: "ended", Reason: c.reason, Result: c.result}) {
			t.Errorf("posted %+v, want reason %s and result %q", got, c.reason, c.result)
		}
	}
	if counts, undelivered := e.counts(); counts["client-left"] != 1 || counts["done"] != 1 || undelivered != 0 {
		t.Errorf("counted %v, %d undelivered", counts, undelivered)
	}
}

// An application without an end_hook can ask, and wait.
func TestLeasesAreAnswered(t *testing.T) {
	e := accepting(t, "", 1, 2, 9)
	a, _ := running(t, Config{Ends: e})
	get := func(path string) (int, string) { return call(a, http.MethodGet, path, "", "") }
	if code, body := get("/v1/leases/0000000000000001"); code != 200 || body != `{"lease":"0000000000000001","state":"open"}`+"\n" {
		t.Errorf("an open lease: %d %s", code, body)
	}
	e.Ended(endOf(2, balance.Canceled, false))
	if code, body := get("/v1/leases/0000000000000002000000000000000b?wait=5m"); code != 200 || body != `{"lease":"0000000000000002000000000000000b","pool":"p","state":"ended","reason":"client-left"}`+"\n" {
		t.Errorf("a lease that is over: %d %s", code, body)
	}
	for path, want := range map[string]int{"/v1/leases/0000000000000009": 404, "/v1/leases/x": 400, "/v1/leases/0000000000000001?wait=soon": 400, "/v1/leases/0000000000000001?wait=1h": 400} {
		if code, body := get(path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("id", "0000000000000001")
		a.getLease(w, r)
	}))
	defer server.Close()
	waited := make(chan string, 1)
	go func() {
		res, err := http.Get(server.URL + "/?wait=5m")
		if err != nil {
			waited <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		waited <- string(body)
	}()
	e.Ended(endOf(1, balance.OK, false))
	if body := <-waited; body != `{"lease":"0000000000000001000000000000000b","pool":"p","state":"ended","reason":"done","result":"ok"}`+"\n" {
		t.Errorf("waited for %s", body)
	}
}
