package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

const second = balance.Instant(time.Second)

// one is where a name leads that is one server.
func one(n *Name) string {
	place, ok := n.One()
	if !ok {
		return "nowhere"
	}
	return place.At("80")
}

// all is where a name leads each of whose addresses is a server; those that are leaving in brackets.
func all(n *Name, now balance.Instant) string {
	var words []string
	for _, place := range n.All(now) {
		word := place.At("80")
		if place.Leaving {
			word = "(" + word + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestTheAddressInUseStaysForAsLongAsTheNameHasIt(t *testing.T) {
	var n Name
	for i, step := range []struct {
		v4, v6 []netip.Addr
		want   string
	}{
		{addrs("10.0.0.2"), nil, "10.0.0.2:80"},
		{addrs("10.0.0.1", "10.0.0.2"), nil, "10.0.0.2:80"},
		{addrs("10.0.0.2", "10.0.0.1"), addrs("fd00::1"), "[fd00::1]:80,10.0.0.2:80"},
		{addrs("10.0.0.1"), addrs("fd00::1"), "[fd00::1]:80,10.0.0.1:80"},
		{nil, addrs("fd00::1", "fd00::2"), "[fd00::1]:80"},
		{nil, addrs("fd00::2"), "[fd00::2]:80"},
	} {
		n.Take(second*balance.Instant(i+1), Answer{V4: step.v4, V6: step.v6})
		if got := one(&n); got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
}

func TestANameThatCannotBeLookedUpLeadsWhereItLed(t *testing.T) {
	var n Name
	if one(&n) != "nowhere" || n.Asked() || n.Known() {
		t.Error("a name that was never looked up is known")
	}
	n.Take(second, Answer{Err: errors.New("no such host")})
	if why, since := n.Problem(); why != "no such host" || since != second || one(&n) != "nowhere" {
		t.Errorf("got %q since %v, at %s", why, since, one(&n))
	}
	n.Take(2*second, Answer{V4: addrs("10.0.0.1"), V6: addrs("fd00::1")})
	n.Take(3*second, Answer{Err: errors.New("no answer")})
	n.Take(4*second, Answer{Err: errors.New("no answer")})
	if why, since := n.Problem(); why != "no answer" || since != 3*second || one(&n) != "[fd00::1]:80,10.0.0.1:80" {
		t.Errorf("got %q since %v, at %s", why, since, one(&n))
	}
	n.Take(5*second, Answer{V4: addrs("10.0.0.2"), Kept6: true})
	if why, _ := n.Problem(); why != "" || one(&n) != "[fd00::1]:80,10.0.0.2:80" {
		t.Errorf("one family could not be looked up: got %q, at %s", why, one(&n))
	}
}

func TestAddressesThatComeBackAreNoNewcomers(t *testing.T) {
	var n Name
	take := func(at int, list ...string) {
		n.Take(second*balance.Instant(at), Answer{V4: addrs(list...), TTL: 30 * time.Second})
	}
	want := func(at int, want string) {
		t.Helper()
		if got := all(&n, second*balance.Instant(at)); got != want {
			t.Errorf("after %d s: got %s, want %s", at, got, want)
		}
	}
	take(1, "10.0.0.1", "10.0.0.2")
	take(6, "10.0.0.3", "10.0.0.2")
	want(6, "10.0.0.2:80 10.0.0.3:80 (10.0.0.1:80)")
	take(11, "10.0.0.1", "10.0.0.2")
	want(11, "10.0.0.1:80 10.0.0.2:80 (10.0.0.3:80)")
	want(100, "10.0.0.1:80 10.0.0.2:80 (10.0.0.3:80)")
	if next := n.Next(11 * second); next != 101*second {
		t.Errorf("looked at again at %v, want 3 TTLs of 30 s after 11 s", next)
	}
	want(101, "10.0.0.1:80 10.0.0.2:80")
	take(102, "10.0.0.2")
	n.Take(103*second, Answer{Err: errors.New("no answer")})
	want(104, "10.0.0.2:80 (10.0.0.1:80)")
}

func TestAnAddressIsRememberedForAMinuteAtLeast(t *testing.T) {
	var n Name
	n.Take(second, Answer{V4: addrs("10.0.0.1"), TTL: time.Second})
	n.Take(2*second, Answer{V4: addrs("10.0.0.2"), TTL: time.Second})
	if got := all(&n, 61*second); got != "10.0.0.2:80 (10.0.0.1:80)" {
		t.Errorf("59 s later: %s", got)
	}
	if got := all(&n, 62*second); got != "10.0.0.2:80" {
		t.Errorf("60 s later: %s", got)
	}
}

func TestBothFamiliesOfOneNameAreOneServer(t *testing.T) {
	for want, a := range map[string]Answer{
		"10.0.0.1:80,[fd00::1]:80":  {V4: addrs("10.0.0.1"), V6: addrs("fd00::1")},
		"10.0.0.1:80 10.0.0.2:80":   {V4: addrs("10.0.0.1", "10.0.0.2"), V6: addrs("fd00::1", "fd00::2")},
		"[fd00::1]:80 [fd00::2]:80": {V6: addrs("fd00::1", "fd00::2", "fd00::1")},
	} {
		var n Name
		n.Take(second, a)
		if got := all(&n, second); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNamesAreLookedUpAgainWithinFiveSeconds(t *testing.T) {
	for _, c := range []struct {
		a    Answer
		want time.Duration
	}{
		{Answer{V4: addrs("10.0.0.1"), TTL: time.Hour}, 5 * time.Second},
		{Answer{V4: addrs("10.0.0.1"), TTL: 3 * time.Second}, 3 * time.Second},
		{Answer{V4: addrs("10.0.0.1"), TTL: time.Millisecond}, time.Second},
		{Answer{V4: addrs("10.0.0.1")}, 2500 * time.Millisecond},
		{Answer{Err: errors.New("no answer")}, 2 * time.Second},
	} {
		var n Name
		n.Take(second, c.a)
		if got := n.Due().Sub(second); got != c.want {
			t.Errorf("%+v: looked up again after %v, want %v", c.a, got, c.want)
		}
	}
}

func TestOnlyAddressesThatMayBeAreKept(t *testing.T) {
	p := Place{Addr: netip.MustParseAddr("fd00::1"), Other: netip.MustParseAddr("10.0.0.1")}
	for _, c := range []struct{ bad, want string }{
		{"", "[fd00::1]:80,10.0.0.1:80"}, {"fd00::1", "10.0.0.1:80"}, {"10.0.0.1", "[fd00::1]:80"}, {"fd00::1 10.0.0.1", "error"},
	} {
		kept, err := p.Keep(func(a netip.Addr) error {
			if strings.Contains(c.bad, a.String()) {
				return fmt.Errorf("%s is bad", a)
			}
			return nil
		})
		got := kept.At("80")
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("without %s: got %s, want %s", c.bad, got, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"app.test:80": "app.test 80", "https://App.test:443": "app.test 443", "10.0.0.1:80": "", "[fd00::1]:80": "", "[fe80::1%eth0]:80": "", "unix:/run/a:80": "", "localhost:80": "localhost 80",
	} {
		name, port, named := Host(address)
		if got := strings.TrimSpace(name + " " + port); got != want || named != (want != "") {
			t.Errorf("%s: got %q, %t, want %q", address, got, named, want)
		}
	}
}
