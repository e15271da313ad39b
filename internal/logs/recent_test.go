package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What is kept are the newest records, also those that the log itself leaves out.
func TestTheNewestRecordsAreKept(t *testing.T) {
	var out bytes.Buffer
	r := new(Recent)
	log := slog.New(r.Tee(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}))).With("pool", "web")
	for range recentRecords {
		log.Info("old")
	}
	log.Debug("detail")
	log.Warn("new")
	text := string(r.Text())
	if n := strings.Count(text, "\n"); n != recentRecords || !strings.HasSuffix(text, `"msg":"new","pool":"web"}`+"\n") || strings.Contains(text, "detail") {
		t.Errorf("%d records are kept, the last %q, want %d and the newest", n, text[max(0, len(text)-80):], recentRecords)
	}
	if out.Len() > 0 {
		t.Errorf("the log has %q, want nothing below error", out.String())
	}
	for range 4 {
		log.Error("large", "text", strings.Repeat("x", recentBytes/2))
	}
	if n := len(r.Text()); n > recentBytes {
		t.Errorf("%d bytes are kept, want at most %d", n, recentBytes)
	}
}
