package client

import (
	"fmt"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestLeasesAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set leases
		model := make(map[balance.LeaseID]balance.Instant)
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			id := balance.LeaseID(rapid.Uint64Range(0, 60).Draw(t, "id"))
			if rapid.Bool().Draw(t, "far") {
				id <<= 40
			}
			if rapid.Bool().Draw(t, "put") && id != 0 {
				set.put(openLease{id: id, since: balance.Instant(i)})
				model[id] = balance.Instant(i)
			} else {
				set.remove(id)
				delete(model, id)
			}
			found := 0
			for i := range set.table {
				if o := &set.table[i]; o.id != 0 {
					if since, ok := model[o.id]; !ok || since != o.since {
						t.Fatalf("lease %v since %d is in the set; in the model %v, %v", o.id, o.since, since, ok)
					}
					found++
				}
			}
			if found != len(model) || set.n != found {
				t.Fatalf("%d leases in the set, which counts %d; want %d", found, set.n, len(model))
			}
		}
	})
}

// TestTheNextMasterIsToldOfSizes: a hold has the size and the class of its request, and of a class one copy is kept.
func TestTheNextMasterIsToldOfSizes(t *testing.T) {
	proto := newEdgeProtocol("e1", nil, "")
	proto.open(1)
	hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m"}).Append(nil))
	class := []byte("long")
	for range 2 {
		if _, err := proto.appendChosen("p", "s1", 2, &balance.Request{Size: 240, Class: unsafe.String(&class[0], len(class))}); err != nil {
			t.Fatal(err)
		}
	}
	seq, err := proto.appendAsk(2, "p", &balance.Request{Size: 3, Class: unsafe.String(&class[0], len(class))}, &waiter{done: make(chan struct{}, 1)})
	if err != nil {
		t.Fatal(err)
	}
	hear(t, proto, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: 1 << 60, Server: "s2", Address: "127.0.0.1:1"}}).Append(nil, 2))
	copy(class, "late")
	proto.lost(errSilent)
	proto.out = proto.out[:0]
	proto.open(3)
	hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m2"}).Append(nil))
	sizes := make(map[float64]int)
	for out := proto.out; len(out) > 0; {
		typ, payload, size, err := wire.Next(out)
		if err != nil {
			t.Fatal(err)
		}
		var h wire.Hold
		if typ == wire.THold && h.Decode(payload) == nil {
			if sizes[h.Size]++; h.Class != "long" {
				t.Errorf("held is a lease of class %q, want long", h.Class)
			}
		}
		out = out[size:]
	}
	if sizes[240] != 2 || sizes[3] != 1 {
		t.Errorf("held are leases of the sizes %v, want 240 twice and 3", sizes)
	}
	for i := range 3 * mostClassNames {
		proto.classes.of(fmt.Sprint("class ", i))
	}
	if n := len(proto.classes.known); n > mostClassNames {
		t.Errorf("%d classes are kept, want %d at most", n, mostClassNames)
	}
}
