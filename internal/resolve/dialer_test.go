package resolve

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// says runs a server that says a word to each client.
func says(t *testing.T, network, at, word string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Skip(err) // no IPv6 here
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(word + "\n"))
			_ = c.Close()
		}
	}()
	return l
}

// heard is what the server says that is connected to.
func heard(t *testing.T, d *Dialer, at string) string {
	t.Helper()
	c, err := d.DialContext(t.Context(), "", at)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	word, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(word)
}

func TestEitherFamilyOfAServerIsConnectedTo(t *testing.T) {
	four := says(t, "tcp4", "127.0.0.1:0", "four")
	_, port, _ := net.SplitHostPort(four.Addr().String())
	d := new(Dialer)
	both := "[::1]:" + port + ",127.0.0.1:" + port
	if got := heard(t, d, both); got != "four" {
		t.Fatalf("only IPv4 listens: got %q", got)
	}
	says(t, "tcp6", "[::1]:"+port, "six")
	if got := heard(t, d, both); got != "four" {
		t.Errorf("what worked last comes first: got %q", got)
	}
	if got := heard(t, new(Dialer), both); got != "six" {
		t.Errorf("IPv6 comes first: got %q", got)
	}
	_ = four.Close()
	if got := heard(t, d, both); got != "six" {
		t.Errorf("IPv4 does not listen any more: got %q", got)
	}
	if got := heard(t, d, "[::1]:1,127.0.0.1:1"); strings.Count(got, "connection refused") != 2 {
		t.Errorf("neither listens: got %q, want what became of both", got)
	}
}

// An address from which nothing comes back costs no more than the head start.
func TestASilentFamilyIsNotWaitedFor(t *testing.T) {
	four := says(t, "tcp4", "127.0.0.1:0", "four")
	d := &Dialer{Dialer: net.Dialer{Timeout: 30 * time.Second}}
	// 192.0.2.0/24 leads nowhere (RFC 5737); where the machine has no route there, it fails at once, which is as good.
	if got := heard(t, d, "192.0.2.1:9,"+four.Addr().String()); got != "four" {
		t.Errorf("got %q", got)
	}
}

func TestUnixSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "ek") // a path of a test is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	says(t, "unix", path, "unix")
	if got := heard(t, new(Dialer), "unix:"+path); got != "unix" {
		t.Errorf("got %q", got)
	}
	refused := errors.New("not this one")
	d := &Dialer{Refuse: func(at string) error {
		if at == path {
			return refused
		}
		return nil
	}}
	if _, err := d.DialContext(t.Context(), "", "unix:"+path); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestWhereNothingIsToBeConnectedTo(t *testing.T) {
	for _, at := range []string{balance.NowhereFor("app.test: no such host"), "no-such-name.invalid:80"} {
		_, err := new(Dialer).DialContext(t.Context(), "", at)
		if why, ok := errors.AsType[*Unresolved](err); !ok || !strings.Contains(why.Error(), "no such host") && !strings.Contains(why.Error(), "lookup") {
			t.Errorf("%s: got %v", at, err)
		}
	}
}
