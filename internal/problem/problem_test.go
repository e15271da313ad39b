package problem

import (
	"net/http/httptest"
	"testing"
	"time"
)

func TestDocumentsAreWritten(t *testing.T) {
	for _, c := range []struct {
		d           Document
		want, after string
	}{
		{Document{Status: 404}, `{"type":"about:blank","title":"Not Found","status":404}`, ""},
		{Document{Type: "/x#y", Title: "T", Status: 503, Detail: "d", Reason: "r", Leader: "l:1", RetryAfter: 1500 * time.Millisecond},
			`{"type":"/x#y","title":"T","status":503,"detail":"d","reason":"r","leader":"l:1"}`, "2"},
	} {
		w := httptest.NewRecorder()
		c.d.Write(w)
		if got := w.Body.String(); got != c.want+"\n" || w.Code != c.d.Status || w.Header().Get("Retry-After") != c.after ||
			w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %v %s, want %s", w.Code, w.Header(), got, c.want)
		}
	}
}
