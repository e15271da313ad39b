package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/suggest"
)

// Decode fills the struct that into points at. A field's key is its yaml tag; a field
// without one is not of the file. Its also tag lists words that other programs use for
// the key, which are then suggested, not accepted:
//
//	Servers []server `yaml:"servers" also:"backends upstreams"`
//
// A struct with a field whose short tag is yes may be given as that field's value alone, and a map of such structs as
// a list of names, with structs that are zero.
//
// The fields of an embedded struct are the struct's own.
//
// A field whose zero tag is no stands for its default if it is zero, so a zero that is written is
// a problem.
//
// Fields may be structs, pointers to them (nil: the key is absent), lists, maps by
// text, text, numbers, booleans, time.Duration ("10s") and whatever reads itself from
// text. Keys that the file lacks leave their fields alone. It is called once.
func (f *File) Decode(into any) {
	if f.root != nil {
		f.decode(f.root, "", reflect.ValueOf(into).Elem())
	}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (f *File) decode(n *node, path string, to reflect.Value) {
	if f.grow(1) {
		f.add(Problem{Position: f.root.at, Text: tooGrown})
		return
	}
	switch {
	case to.Kind() == reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		f.decode(n, path, to.Elem())
	case n.kind == broken:
		f.bad[path] = true
	case to.Type() == durationType || to.Addr().Type().Implements(textType):
		f.text(n, path, to)
	case to.Kind() == reflect.Struct:
		f.object(n, path, to)
	case to.Kind() == reflect.Map:
		f.named(n, path, to)
	case to.Kind() == reflect.Slice:
		f.list(n, path, to)
	default:
		f.text(n, path, to)
	}
}

func (f *File) object(n *node, path string, to reflect.Value) {
	if n.kind == null {
		return
	}
	if short, ok := shortField(to.Type()); ok && n.kind == scalar {
		f.field(n, path, to.Field(short), to.Type().Field(short).Tag)
		return
	}
	if n.kind != mapping {
		f.mismatch(n, path, "a map of keys to values")
		return
	}
	fields := make(map[string]reflect.StructField)
	for _, field := range reflect.VisibleFields(to.Type()) {
		if key := field.Tag.Get("yaml"); key != "" {
			fields[key] = field
		}
	}
	for _, e := range f.once(n, path) {
		if field, ok := fields[e.key]; ok {
			f.field(e.value, Field(path, e.key), to.FieldByIndex(field.Index), field.Tag)
		} else {
			f.unknown(n, e, path, to.Type())
		}
	}
}

// field fills a field of a struct, whose tag may say that it cannot be zero.
func (f *File) field(n *node, at string, to reflect.Value, tag reflect.StructTag) {
	f.decode(n, at, to)
	if tag.Get("zero") == "no" && n.kind == scalar && to.IsZero() && !f.bad[at] {
		f.fail(n, at, show(n)+": want more than 0; leave it out for the default")
	}
}

// unknown files a key that the struct has no field for, with the one probably meant.
func (f *File) unknown(n *node, e entry, path string, of reflect.Type) {
	var known []string
	aliases := make(map[string]string)
	for _, field := range reflect.VisibleFields(of) {
		tag := field.Tag
		if key := tag.Get("yaml"); key != "" {
			known = append(known, key)
			for _, alias := range strings.Fields(tag.Get("also")) {
				aliases[alias] = key
			}
		}
	}
	p := Problem{Position: e.at, Where: path, Text: fmt.Sprintf("key %q is not known", e.key)}
	if meant := suggest.Likely(e.key, known, aliases); meant != "" {
		p.Hint = fmt.Sprintf("did you mean %q?", meant)
		if n.find(meant) == nil {
			f.bad[Field(path, meant)] = true // that it is missing would be the same problem twice
		}
	} else if len(known) > 0 {
		p.Hint = "known here: " + strings.Join(known, ", ")
	}
	f.add(p)
}

// once returns the entries that count, and files keys that stand twice.
func (f *File) once(n *node, path string) []entry {
	first := make(map[string]entry, len(n.entries))
	for _, e := range n.entries {
		before, twice := first[e.key]
		switch {
		case !twice, before.merged && !e.merged:
			first[e.key] = e
		case !e.merged:
			f.add(Problem{Position: e.at, Where: path, Text: fmt.Sprintf("key %q stands here again, after line %d", e.key, before.at.Line)})
		}
	}
	var kept []entry
	for _, e := range n.entries {
		if first[e.key] == e {
			kept = append(kept, e)
		}
	}
	return kept
}

func (f *File) named(n *node, path string, to reflect.Value) {
	if n.kind == null {
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	if _, ok := shortField(to.Type().Elem()); ok && n.kind == list {
		f.names(n, path, to)
		return
	}
	if n.kind != mapping {
		f.mismatch(n, path, "a map of names to values")
		return
	}
	for _, e := range f.once(n, path) {
		value := reflect.New(to.Type().Elem()).Elem()
		f.decode(e.value, Field(path, e.key), value)
		to.SetMapIndex(reflect.ValueOf(e.key), value)
	}
}

// names fills a map from a list of its keys.
func (f *File) names(n *node, path string, to reflect.Value) {
	for i, item := range n.items {
		name := reflect.New(to.Type().Key()).Elem()
		f.decode(item, Item(path, i), name)
		to.SetMapIndex(name, reflect.Zero(to.Type().Elem()))
	}
}

// shortField returns the field of a struct that may stand for the whole.
func shortField(of reflect.Type) (index int, ok bool) {
	if of.Kind() != reflect.Struct {
		return 0, false
	}
	for i := range of.NumField() {
		if of.Field(i).Tag.Get("short") == "yes" {
			return i, true
		}
	}
	return 0, false
}

func (f *File) list(n *node, path string, to reflect.Value) {
	if n.kind == null {
		return
	}
	if n.kind != list {
		f.mismatch(n, path, "a list, such as [a, b]")
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		f.decode(item, Item(path, i), to.Index(i))
	}
}

// text fills what is written as one word, number or line of text.
func (f *File) text(n *node, path string, to reflect.Value) {
	if n.kind != scalar || n.quoted && !readsText(to) {
		f.mismatch(n, path, wanted(to))
		return
	}
	if err := set(to, n.text); err != nil {
		f.fail(n, path, fmt.Sprintf("%s: %s", show(n), f.hideAt(path, err.Error())))
	}
}

func (f *File) mismatch(n *node, path, want string) {
	got := show(n)
	if n.quoted && !strings.HasPrefix(want, "a list") && !strings.HasPrefix(want, "a map") {
		got += " in quotes, which make it a text: leave them out"
	}
	f.fail(n, path, fmt.Sprintf("want %s, got %s", want, got))
}

func (f *File) fail(n *node, path, text string) {
	f.bad[path] = true
	where, leaf := split(path)
	at := n.at
	if n.kind == null {
		at = f.Position(path)
	}
	f.add(Problem{Position: at, Where: where, Text: join(leaf, text)})
}

func show(n *node) string {
	switch n.kind {
	case null:
		return "nothing"
	case list:
		return "a list"
	case mapping:
		return "a map"
	}
	text := []rune(cmp.Or(n.written, n.text))
	if len(text) > 60 {
		return strconv.Quote(string(text[:60])) + "…"
	}
	return strconv.Quote(string(text))
}

// readsText reports whether a value may be given in quotes.
func readsText(v reflect.Value) bool {
	return v.Kind() == reflect.String || v.Type() == durationType || v.Addr().Type().Implements(textType)
}

func wanted(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a time, such as 10s"
	case v.Addr().Type().Implements(textType) || v.Kind() == reflect.String:
		return "text"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanFloat():
		return "a number"
	}
	return "a whole number"
}

// set fills a value from its text; its error completes `"text": …`.
func set(to reflect.Value, text string) error {
	if to.Type() == durationType {
		d, err := parseDuration(text)
		to.SetInt(int64(d))
		return err
	}
	if self, ok := to.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return self.UnmarshalText([]byte(text))
	}
	switch {
	case to.Kind() == reflect.String:
		to.SetString(text)
	case to.Kind() == reflect.Bool:
		if !slices.Contains([]string{"true", "false"}, text) {
			return fmt.Errorf("want true or false")
		}
		to.SetBool(text == "true")
	case to.CanInt():
		n, err := strconv.ParseInt(text, 10, to.Type().Bits())
		if err != nil {
			return outOfRange(err, math.MinInt64>>(64-to.Type().Bits()), math.MaxInt64>>(64-to.Type().Bits()))
		}
		to.SetInt(n)
	case to.CanUint():
		n, err := strconv.ParseUint(text, 10, to.Type().Bits())
		if err != nil {
			return fmt.Errorf("want a whole number from 0 to %d", uint64(math.MaxUint64>>(64-to.Type().Bits())))
		}
		to.SetUint(n)
	case to.CanFloat():
		x, err := strconv.ParseFloat(text, to.Type().Bits())
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("want a number")
		}
		to.SetFloat(x)
	default:
		return fmt.Errorf("a %s cannot come from a file", to.Type())
	}
	return nil
}

// parseDuration reads a length of time, such as 250ms, 10s or 1h30m; 0 needs no unit.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if _, number := strconv.ParseFloat(text, 64); err != nil && number == nil {
		return 0, fmt.Errorf("a time needs its unit, such as %ss or %sms", text, text)
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("want a time, such as 250ms, 10s or 1h30m")
	}
	return d, nil
}

// outOfRange says what is wrong with a whole number that could not be read.
func outOfRange(err error, least, most int64) error {
	switch {
	case !errors.Is(err, strconv.ErrRange):
		return errors.New("want a whole number")
	case most == math.MaxInt64:
		return errors.New("is too large a number")
	}
	return fmt.Errorf("want a whole number from %d to %d", least, most)
}
