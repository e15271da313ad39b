package logs

import (
	"context"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/lograte"
)

// MoreKey is the key under which a line tells how many like it were not written.
const MoreKey = "more_like_this"

// placeKeys are the attributes that tell one place from another: two lines of the same
// statement with different values are both written. What a client or a connection brings
// along, such as its address or an error, is none.
var placeKeys = []string{"pool", "server", "edge", "master", "listen", "source", "at", "cert", "file", "admin"}

// Limit returns a handler that hands on, of the records from one statement about one
// place, the first in a second, and the last when that second is over; the others are
// counted under MoreKey. Records below info are not limited. flush hands on what is held
// back.
func Limit(next slog.Handler) (limited slog.Handler, flush func()) {
	s := &limits{}
	return &limit{next: next, shared: s}, s.flush
}

// Unlimited returns a logger like log that is not limited, for lines that only the operator
// of this process can provoke.
func Unlimited(log *slog.Logger) *slog.Logger {
	if l, ok := log.Handler().(*limit); ok {
		return slog.New(l.next)
	}
	return log
}

// limit is one handler of those that With has derived from one.
type limit struct {
	next   slog.Handler
	shared *limits
	place  uint64 // of the attributes of With
}

// limits is what they share.
type limits struct {
	mu      sync.Mutex
	limiter lograte.Limiter[held]
	armed   bool // due will be called
}

// held is a record and where it goes.
type held struct {
	next   slog.Handler
	record slog.Record
}

func (l *limit) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

func (l *limit) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &limit{next: l.next.WithAttrs(attrs), shared: l.shared, place: l.place}
	for _, a := range attrs {
		with.place = addPlace(with.place, a)
	}
	return with
}

func (l *limit) WithGroup(name string) slog.Handler {
	return &limit{next: l.next.WithGroup(name), shared: l.shared, place: l.place}
}

func (l *limit) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return l.next.Handle(ctx, r)
	}
	place := l.place
	r.Attrs(func(a slog.Attr) bool {
		place = addPlace(place, a)
		return true
	})
	if r.PC == 0 { // it came through the log package, so its text is all that is known of where it came from
		place ^= maphash.String(seed, r.Message)
	}
	more, now := l.shared.take(l.next, r, place)
	if !now {
		return nil
	}
	return hand(ctx, l.next, r, more)
}

// take decides on a record. now reports whether it is to be handed on now, and then more
// is how many like it were not.
func (s *limits) take(next slog.Handler, r slog.Record, place uint64) (more int, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more, keep := s.limiter.Take(time.Now(), r.PC, place)
	if keep == nil {
		return more, true
	}
	*keep = held{next, own(r)}
	if !s.armed {
		s.armed = true
		time.AfterFunc(lograte.Every, s.due)
	}
	return 0, false
}

// due hands on what has been held back for long enough.
func (s *limits) due() {
	s.mu.Lock()
	all := s.limiter.Due(time.Now())
	s.armed = s.limiter.Held() > 0
	if s.armed {
		time.AfterFunc(lograte.Every/4, s.due)
	}
	s.mu.Unlock()
	handAll(all)
}

func (s *limits) flush() {
	s.mu.Lock()
	all := s.limiter.Flush(time.Now())
	s.mu.Unlock()
	handAll(all)
}

func handAll(all []lograte.Line[held]) {
	slices.SortFunc(all, func(a, b lograte.Line[held]) int { return a.Content.record.Time.Compare(b.Content.record.Time) })
	for _, line := range all {
		_ = hand(context.Background(), line.Content.next, line.Content.record, line.More) // where it is written says what becomes of it
	}
}

func hand(ctx context.Context, next slog.Handler, r slog.Record, more int) error {
	if more > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(MoreKey, more))
	}
	return next.Handle(ctx, r)
}

var seed = maphash.MakeSeed()

// addPlace adds an attribute to the hash of a place.
func addPlace(place uint64, a slog.Attr) uint64 {
	if !slices.Contains(placeKeys, a.Key) {
		return place
	}
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(a.Key) // it never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(a.Value.Resolve().String())
	return place*31 + h.Sum64()
}

// own copies a record with all that it refers to, which its sender may use for something
// else when Handle has returned.
func own(r slog.Record) slog.Record {
	c := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(strings.Clone(v.String()))
		case slog.KindAny:
			if err, ok := v.Any().(error); ok {
				a.Value = slog.StringValue(err.Error())
			}
		default:
			a.Value = v
		}
		c.AddAttrs(a)
		return true
	})
	return c
}
