package inside

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

func TestAPeerIsBelievedAboutItsOwnMachineOnly(t *testing.T) {
	near, far := Origin{IP: netip.MustParseAddr("127.0.0.1"), Near: true}, Origin{IP: netip.MustParseAddr("10.0.0.7")}
	for _, c := range []struct {
		what string
		told []string
		from Origin
		yes  []string
		no   []string
	}{
		{"loopback, near", []string{"127.0.0.1:7481"}, near, []string{"127.0.0.1:7481", "[::1]:7481", "127.0.0.2:7481", "0.0.0.0:7481", "[::ffff:127.0.0.1]:7481", "localhost:7481"}, []string{"127.0.0.1:7482", "10.0.0.7:7481"}},
		{"loopback, from afar", []string{"127.0.0.1:7481"}, far, nil, []string{"127.0.0.1:7481", "10.0.0.7:7481"}},
		{"every address, from afar", []string{"[::]:7481"}, far, []string{"10.0.0.7:7481"}, []string{"127.0.0.1:7481", "10.0.0.8:7481"}},
		{"its own address", []string{"10.0.0.7:7481"}, far, []string{"10.0.0.7:7481", "[::ffff:10.0.0.7]:7481"}, []string{"10.0.0.7:80"}},
		{"another's address", []string{"10.0.0.8:80"}, far, nil, []string{"10.0.0.8:80"}},
		{"by a unix socket", []string{"[::1]:7481"}, Origin{Near: true}, []string{"127.0.0.1:7481"}, nil},
		{"nonsense", []string{"x", ""}, near, nil, []string{"x", ""}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var s Set
			forget, fresh := s.Learn(c.told, c.from)
			if (len(fresh) > 0) != (len(c.yes) > 0) {
				t.Errorf("fresh: got %v", fresh)
			}
			if len(c.yes) > 0 && s.HasOwn(c.yes[0]) {
				t.Error("a peer's word counts as our own")
			}
			for _, at := range c.yes {
				if !s.HasText(at) {
					t.Errorf("%s is not known", at)
				}
			}
			for _, at := range c.no {
				if s.HasText(at) {
					t.Errorf("%s is known", at)
				}
			}
			forget()
			for _, at := range c.yes {
				if s.HasText(at) {
					t.Errorf("%s is known when the peer has gone", at)
				}
			}
		})
	}
}

func TestOwnListenersAreKnown(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var s Set
	s.AddOwn(l, nil)
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	for _, ip := range append(Interfaces(), netip.IPv6Loopback(), netip.IPv4Unspecified()) {
		if at := netip.AddrPortFrom(ip, port); !s.Has(at) {
			t.Errorf("%s is not known, and the listener is reached there", at)
		}
	}
	if len(s.Own()) != 1 || s.Has(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)) {
		t.Errorf("got %v", s.Own())
	}
	var none *Set
	if none.HasText("127.0.0.1:1") || none.Own() != nil {
		t.Error("a nil set knows something")
	}
}

func TestOwnSocketsAreNoServers(t *testing.T) {
	dir, err := os.MkdirTemp("", "ek") // a path of a test is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/admin")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, err := range []error{os.Symlink(dir+"/admin", dir+"/link"), os.Link(dir+"/admin", dir+"/hard"), os.Mkdir(dir+"/run", 0o700), os.Symlink(dir+"/run", dir+"/runs")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(rundir.Env, dir+"/run")
	var s Set
	s.AddOwn(l)
	forget, _ := s.Learn([]string{"unix:" + dir + "/agent"}, Origin{Near: true})
	s.Learn([]string{"unix:" + dir + "/far"}, Origin{IP: netip.MustParseAddr("10.0.0.7")})
	for path, refused := range map[string]bool{
		"/admin": true, "/link": true, "/hard": true, "/x/../admin": true, "/run/master-1.sock": true, "/runs/master-1.sock": true, "/agent": true, "/far": false, "/app": false,
	} {
		if err := s.RefuseSocket(dir + path); (err != nil) != refused {
			t.Errorf("%s: got %v", path, err)
		}
	}
	forget()
	if err := s.RefuseSocket(dir + "/agent"); err != nil {
		t.Errorf("its component has gone: %v", err)
	}
	if err := (*Set)(nil).RefuseSocket(dir + "/run/x"); err == nil {
		t.Error("a nil set lets who asks into the folder of our sockets")
	}
}
