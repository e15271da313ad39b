package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The tournament's winner is what sorting would find, through any changes.
func TestOrderIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o order
		var obvious []key
		t.Repeat(map[string]func(*rapid.T){
			"grow": func(t *rapid.T) {
				for range rapid.IntRange(1, 70).Draw(t, "servers") {
					o.grow()
					obvious = append(obvious, never)
				}
			},
			"shrink": func(t *rapid.T) {
				for range rapid.IntRange(0, len(obvious)).Draw(t, "servers") {
					o.shrink()
					obvious = obvious[:len(obvious)-1]
				}
			},
			"set": func(t *rapid.T) {
				if len(obvious) == 0 {
					return
				}
				i := rapid.IntRange(0, len(obvious)-1).Draw(t, "server")
				k := rapid.SampledFrom([]key{never, newKey(rapid.Float64Range(0, 1e9).Draw(t, "score"), rapid.Uint32Range(0, turns-1).Draw(t, "turn"), int32(i))}).Draw(t, "key")
				o.set(i, k)
				obvious[i] = k
			},
			"": func(t *rapid.T) {
				first := o.first()
				if len(obvious) == 0 || slices.Min(obvious) == never {
					if first != -1 {
						t.Fatalf("first is %d, want none", first)
					}
					return
				}
				if first < 0 || obvious[first] != slices.Min(obvious) {
					t.Fatalf("first is %d of %v", first, obvious)
				}
				var keys []key
				for _, i := range o.best(nil, 5) {
					keys = append(keys, obvious[i])
				}
				sorted := slices.Sorted(slices.Values(obvious))
				sorted = slices.DeleteFunc(sorted, func(k key) bool { return k == never })
				if want := sorted[:min(5, len(sorted))]; !slices.Equal(keys, want) {
					t.Fatalf("best are %v, want %v", keys, want)
				}
			},
		})
	})
}

func TestKeysCompareAsScoresDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Float64Range(0, 1e12).Draw(t, "a"), rapid.Float64Range(0, 1e12).Draw(t, "b")
		if a*1.02 < b && newKey(a, turns-1, 7) >= newKey(b, 0, 3) {
			t.Fatalf("%v stands behind %v", a, b)
		}
	})
}
