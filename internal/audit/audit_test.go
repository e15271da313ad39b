package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// read returns the entries of a file, whose every line must be one.
func read(t *testing.T, path string) (all []Entry) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func TestAnEntryIsALineOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{Actor: "alice\n\"", Proof: ByToken, From: "192.0.2.1:4000", Action: "drain", Target: "web/r1", Outcome: Done}
	l.Record(want)
	all := read(t, path)
	if len(all) != 1 || time.Since(all[0].Time) > time.Minute {
		t.Fatalf("got %+v, want one entry of now", all)
	}
	all[0].Time = time.Time{}
	if all[0] != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v (%v), want 0600", info.Mode(), err)
	}
	l, err = Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Record(Entry{Action: "reload", Outcome: Failed})
	if all = read(t, path); len(all) != 2 || all[1].Proof != ByNothing {
		t.Errorf("got %+v, want a second entry behind the first, by nothing", all)
	}
}

func TestAMovedFileIsLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Record(Entry{Action: "first"})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Record(Entry{Action: "second"})
	if old, now := read(t, path+".1"), read(t, path); len(old) != 1 || len(now) != 1 || now[0].Action != "second" {
		t.Errorf("got %+v and %+v, want one entry in each", old, now)
	}
}

// Nothing is lost, and nothing waits, when the file cannot be written.
func TestWhatTheFileDoesNotTakeGoesToTheLog(t *testing.T) {
	var told bytes.Buffer
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, slog.New(slog.NewJSONHandler(&told, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Record(Entry{Actor: "alice", Action: "drain", Target: "web/r1", Outcome: Refused, Detail: "why"})
	for _, word := range []string{"cannot be written", "alice", "drain", "web/r1", Refused, "why"} {
		if !strings.Contains(told.String(), word) {
			t.Errorf("the log lacks %q:\n%s", word, told.String())
		}
	}
}

func TestOnlyRegularFilesAreWrittenTo(t *testing.T) {
	if _, err := Open(t.TempDir(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("got %v, want an error for a folder", err)
	}
	if _, err := Open("/dev/full", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("got no error for a device")
	}
}

func TestWithoutAFileEntriesAreInTheLogOfTheProcess(t *testing.T) {
	var told bytes.Buffer
	New(slog.New(slog.NewJSONHandler(&told, nil))).Record(Entry{Actor: "prometheus", Proof: ByCertificate, Action: "explain", Outcome: Done})
	var line map[string]any
	if err := json.Unmarshal(told.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"msg": "audit", "actor": "prometheus", "proof": ByCertificate, "action": "explain", "outcome": Done} {
		if line[key] != want {
			t.Errorf("%s: got %v, want %s", key, line[key], want)
		}
	}
	var none *Log
	none.Record(Entry{Action: "nothing"}) // and does not panic
}

func TestEntriesOfManyGoroutinesStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	for i := range 20 {
		writing.Go(func() {
			for j := range 50 {
				l.Record(Entry{Action: fmt.Sprintf("%d-%d", i, j), Detail: strings.Repeat("x", 2000)})
				if j%10 == 0 {
					_ = l.Reopen()
				}
			}
		})
	}
	writing.Wait()
	if all := read(t, path); len(all) != 1000 {
		t.Errorf("got %d entries, want 1000", len(all))
	}
}
