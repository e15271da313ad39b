package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// AccessFormat is how a record of the access log becomes a line of text: a template in which {FIELD} stands for a field.
type AccessFormat struct {
	parts  []formatPart
	client bool
}

// formatPart is a text, and the field that follows it.
type formatPart struct {
	text  string
	field int // index in AccessFields, or one of those that are made here; negative: none
}

// Formats that other programs have, by their names.
const (
	commonFormat   = `{client} - - [{time_clf}] "{request_line}" {status} {bytes}`
	combinedFormat = commonFormat + ` "{referer}" "{user_agent}"`
)

var namedFormats = map[string]string{"common": commonFormat, "combined": combinedFormat}

// AccessFields are the fields that records of the access log have, in the order of docs/logs.md.
var AccessFields = []string{
	"method", "host", "path", "client", "status", "bytes", "duration_ms", "pick_ms", "queue_ms", "first_byte_ms", "pool", "server", "lease", "fence", "attempts", "result",
	"reason", "detail", "overflow_from", "kept", "chosen_by", "size", "class", "size_done", "tenant", "tenant_claimed", "tenant_err", "err", "grpc_status",
	"trace_id", "trace_flags", "span_id", "parent_span_id", "edge", "request",
	"target", "proto", "referer", "user_agent", // only if the format has them
	"listen", "bytes_in", "bytes_out", "ended", // of connections
}

// Fields that are made here.
const (
	fieldTime        = 1000 + iota // RFC 3339
	fieldTimeCLF                   // as Apache and nginx write it
	fieldRequestLine               // method, target and version of the protocol
)

var madeFields = map[string]int{"time": fieldTime, "time_clf": fieldTimeCLF, "request_line": fieldRequestLine}

// fieldIndex are the indexes of AccessFields.
var fieldIndex = func() map[string]int {
	all := make(map[string]int, len(AccessFields))
	for i, name := range AccessFields {
		all[name] = i
	}
	return all
}()

// accessFieldsMost is how many AccessFields there may be.
const accessFieldsMost = 48

var (
	methodField, targetField, protoField = fieldIndex["method"], fieldIndex["target"], fieldIndex["proto"]
	clientFields                         = []string{"target", "proto", "referer", "user_agent", "request_line"}
)

// ParseAccessFormat reads a format: common or combined, or a template. {{ stands for a brace.
func ParseAccessFormat(text string) (*AccessFormat, error) {
	template, named := namedFormats[text]
	if !named {
		template = text
	}
	if strings.ContainsFunc(template, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("it has control characters, but a record is one line")
	}
	f, before, fields := new(AccessFormat), "", 0
	for template != "" {
		plain, rest, found := strings.Cut(template, "{")
		before += plain
		if !found {
			break
		}
		if escaped, is := strings.CutPrefix(rest, "{"); is {
			before, template = before+"{", escaped
			continue
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("{%s has no closing brace; {{ stands for a brace", name)
		}
		field, known := madeFields[name]
		if !known {
			if field, known = fieldIndex[name]; !known {
				return nil, &UnknownField{name}
			}
		}
		f.parts, f.client = append(f.parts, formatPart{before, field}), f.client || slices.Contains(clientFields, name)
		before, template, fields = "", rest, fields+1
	}
	if fields == 0 {
		return nil, errors.New("it has no {field}")
	}
	f.parts = append(f.parts, formatPart{before + "\n", -1})
	return f, nil
}

// UnknownField is the error of a template with a field that no record has.
type UnknownField struct{ Name string }

// Error names the field.
func (e *UnknownField) Error() string { return fmt.Sprintf("no field {%s}", e.Name) }

// TemplateFields returns the names of all fields that a template may have.
func TemplateFields() []string {
	all := slices.Clone(AccessFields)
	for name := range madeFields {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// TellsClient reports whether lines have what only the client's head says: target, protocol, referer, user agent.
func (f *AccessFormat) TellsClient() bool { return f.client }

// Handler returns a handler that writes each record as one line, in one call.
func (f *AccessFormat) Handler(w io.Writer) slog.Handler { return &accessHandler{f, w} }

// accessHandler writes records by a format.
type accessHandler struct {
	format *AccessFormat
	w      io.Writer
}

func (h *accessHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *accessHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *accessHandler) WithGroup(string) slog.Handler { return h }

var linePool = sync.Pool{New: func() any { return new([]byte) }}

func (h *accessHandler) Handle(_ context.Context, r slog.Record) error {
	var values [accessFieldsMost]slog.Value
	r.Attrs(func(a slog.Attr) bool {
		if i, known := fieldIndex[a.Key]; known {
			values[i] = a.Value
		}
		return true
	})
	line := linePool.Get().(*[]byte)
	defer linePool.Put(line)
	*line = h.format.appendLine((*line)[:0], r.Time, &values)
	_, err := h.w.Write(*line)
	return err
}

// clfTime is the time as Apache and nginx write it.
const clfTime = "02/Jan/2006:15:04:05 -0700"

func (f *AccessFormat) appendLine(dst []byte, at time.Time, values *[accessFieldsMost]slog.Value) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		dst = append(dst, p.text...)
		switch {
		case p.field < 0:
		case p.field == fieldTime:
			dst = at.AppendFormat(dst, time.RFC3339Nano)
		case p.field == fieldTimeCLF:
			dst = at.AppendFormat(dst, clfTime)
		case p.field == fieldRequestLine:
			dst = appendRequestLine(dst, values)
		default:
			dst = appendValue(dst, values[p.field])
		}
	}
	return dst
}

// appendRequestLine appends the first line of a request, as far as it is known.
func appendRequestLine(dst []byte, values *[accessFieldsMost]slog.Value) []byte {
	method := values[methodField]
	if method.Kind() != slog.KindString || method.String() == "" {
		return append(dst, '-')
	}
	dst = append(appendValue(dst, method), ' ')
	dst = append(appendValue(dst, values[targetField]), ' ')
	return appendValue(dst, values[protoField])
}

// appendValue appends a field's value; - if it has none.
func appendValue(dst []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		if v.String() == "" {
			return append(dst, '-')
		}
		return appendEscaped(dst, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(dst, v.Float64(), 'f', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(dst, v.Bool())
	}
	return append(dst, '-')
}

// appendEscaped appends a text as nginx does: what could end a quoted text or a line, and all that is not ASCII, is \xXX.
func appendEscaped(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
