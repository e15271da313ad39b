package master

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// named is a master of one pool, whose servers' names lead where a test says.
type named struct {
	*Master
	t     *testing.T
	pool  *pool
	now   balance.Instant
	known resolve.Name
}

func newNamed(t *testing.T, cfg PoolConfig, in *inside.Set) *named {
	cfg.Name = "web"
	n := &named{t: t, Master: newMaster(t, Config{ID: "m1", Inside: in, Pools: []PoolConfig{cfg}}), now: clock.Now()}
	n.names.lookUp = func(resolve.Query) resolve.Name { return n.known }
	n.pool = n.Master.poolNamed("web")
	return n
}

// after has time pass, and the name be answered so.
func (n *named) after(d time.Duration, addrs ...string) {
	n.t.Helper()
	n.now = n.now.Add(d)
	a := resolve.Answer{TTL: time.Second}
	for _, text := range addrs {
		if addr := netip.MustParseAddr(text); addr.Is4() {
			a.V4 = append(a.V4, addr)
		} else {
			a.V6 = append(a.V6, addr)
		}
	}
	if len(addrs) == 0 {
		a.Err = errors.New("app.test: no such host")
	}
	n.known.Take(n.now, a)
	n.followNames(n.now)
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	if err := n.pool.core.Check(); err != nil {
		n.t.Error(err)
	}
}

// servers is a word for each server: its id, where it is and its state, if that is not up.
func (n *named) servers() string {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	var words []string
	for _, v := range n.pool.core.Views(n.now) {
		word := string(v.Spec.ID) + "=" + v.Location.At
		if v.State != balance.Up {
			word += "(" + v.State.String() + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (n *named) want(what, want string) {
	n.t.Helper()
	if got := n.servers(); got != want {
		n.t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func fromFile(resolve Resolve, specs ...balance.ServerSpec) PoolConfig {
	return PoolConfig{Resolve: resolve, Servers: specs}
}

func TestANameIsOneServerWhereverItLeads(t *testing.T) {
	n := newNamed(t, fromFile(ResolveOne, balance.ServerSpec{ID: "a", Address: "app.test:80"}, balance.ServerSpec{ID: "b", Address: "10.0.0.9:80"}), nil)
	n.want("before it was looked up", "a=? b=")
	n.after(0)
	n.want("it leads nowhere", "a=!app.test: no such host(ejected) b=")
	n.after(time.Second, "10.0.0.2", "10.0.0.1", "fd00::1")
	n.want("it leads somewhere", "a=[fd00::1]:80,10.0.0.1:80 b=")
	n.after(time.Second, "10.0.0.3", "10.0.0.1")
	n.want("the address in use is there", "a=10.0.0.1:80 b=")
	n.after(time.Second, "10.0.0.3")
	n.want("it has moved", "a=10.0.0.3:80 b=")
	n.after(time.Second)
	n.want("it cannot be looked up", "a=10.0.0.3:80 b=")
	if l, _ := n.pool.core.Located("a"); l.Problem != "app.test: no such host" {
		t.Errorf("it cannot be looked up: told %+v", l)
	}
}

func TestEachAddressIsAServer(t *testing.T) {
	file := fromFile(ResolveAll, balance.ServerSpec{ID: "app", Address: "app.test:80", Slots: 4})
	n := newNamed(t, file, nil)
	n.after(0)
	n.want("it leads nowhere", "app=!app.test: no such host(ejected)")
	n.after(time.Second, "10.0.0.1", "10.0.0.2", "fd00::1")
	n.want("two addresses", "app@10.0.0.1=10.0.0.1:80 app@10.0.0.2=10.0.0.2:80")
	grant, err := n.pool.core.Pick(n.now, &balance.Request{Exclude: []balance.ServerID{"app@10.0.0.2"}})
	if err != nil || grant.Address != "10.0.0.1:80" {
		t.Fatalf("granted %+v, %v", grant, err)
	}
	n.after(time.Second, "10.0.0.2", "10.0.0.3")
	n.want("one is gone, one is new", "app@10.0.0.1=10.0.0.1:80(draining) app@10.0.0.2=10.0.0.2:80 app@10.0.0.3=10.0.0.3:80")
	n.after(time.Second, "10.0.0.1", "10.0.0.2")
	n.want("it is back", "app@10.0.0.1=10.0.0.1:80 app@10.0.0.2=10.0.0.2:80 app@10.0.0.3=10.0.0.3:80(draining)")
	if v := n.view("app@10.0.0.1"); v.Granted != 1 || v.Leases != 1 || v.Spec.Slots != 4 {
		t.Errorf("what is known of it is not what was: %+v", v)
	}
	n.after(59*time.Second, "10.0.0.1", "10.0.0.2")
	n.want("it is remembered for a minute", "app@10.0.0.1=10.0.0.1:80 app@10.0.0.2=10.0.0.2:80 app@10.0.0.3=10.0.0.3:80(draining)")
	n.after(time.Second, "10.0.0.2")
	n.want("then it is gone", "app@10.0.0.1=10.0.0.1:80(draining) app@10.0.0.2=10.0.0.2:80")
	n.after(2 * time.Minute)
	n.want("nothing is known any more of who could not be looked up, and a lease is open", "app@10.0.0.1=10.0.0.1:80(gone) app@10.0.0.2=10.0.0.2:80")
	n.pool.mu.Lock()
	n.pool.core.Done(n.now, grant.Lease, balance.Outcome{})
	n.pool.mu.Unlock()
	n.want("its lease has ended", "app@10.0.0.2=10.0.0.2:80")

	file.Name = "web"
	file.Servers[0].Slots = 8
	if err := n.Reload(Config{Pools: []PoolConfig{file}}); err != nil {
		t.Fatal(err)
	}
	if v := n.view("app@10.0.0.2"); v.Spec.Slots != 8 {
		t.Errorf("the file says 8 slots, the server has %v", v.Spec.Slots)
	}
	file.Resolve = ResolveOne
	if err := n.Reload(Config{Pools: []PoolConfig{file}}); err != nil {
		t.Fatal(err)
	}
	n.want("resolve: one", "app=10.0.0.2:80")
	file.Resolve = ResolveAll
	if err := n.Reload(Config{Pools: []PoolConfig{file}}); err != nil {
		t.Fatal(err)
	}
	n.want("resolve: all", "app@10.0.0.2=10.0.0.2:80")
	if err := n.Reload(Config{}); err != nil {
		t.Fatal(err)
	}
	n.want("the pool is removed", "")
}

func (n *named) view(id balance.ServerID) *balance.View {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	for _, v := range n.pool.core.Views(n.now) {
		if v.Spec.ID == id {
			return &v
		}
	}
	n.t.Fatalf("no server %s", id)
	return nil
}

// Whose certificate has the name is called by it.
func TestServersOfATLSNameKeepIt(t *testing.T) {
	n := newNamed(t, fromFile(ResolveAll, balance.ServerSpec{ID: "app", Address: "https://app.test:443"}), nil)
	n.after(0, "10.0.0.1", "fd00::1")
	n.want("one of each family", "app@10.0.0.1=10.0.0.1:443,[fd00::1]:443")
	if v := n.view("app@10.0.0.1"); v.Spec.Address != "https://app.test:443" {
		t.Errorf("its address is %s", v.Spec.Address)
	}
}

// An operator's drain outlasts the coming and going of addresses, and to end it gives no work to a server
// that its name does not have.
func TestDrainsOfServersThatComeAndGo(t *testing.T) {
	n := newNamed(t, fromFile(ResolveAll, balance.ServerSpec{ID: "app", Address: "app.test:80"}), nil)
	n.after(0, "10.0.0.1", "10.0.0.2")
	say := func(id balance.ServerID, on bool) {
		n.pool.mu.Lock()
		defer n.pool.mu.Unlock()
		n.pool.storeOverrideLocked(n.now, id, n.pool.newOverrideLocked(n.now, id, balance.Override{On: on, By: "ann"}))
	}
	say("app@10.0.0.1", true)
	n.after(time.Second, "10.0.0.2")
	n.after(time.Second, "10.0.0.1", "10.0.0.2")
	n.want("drained, gone and back", "app@10.0.0.1=10.0.0.1:80(draining) app@10.0.0.2=10.0.0.2:80")
	n.after(time.Second, "10.0.0.2")
	say("app@10.0.0.1", false)
	n.want("undrained while the name does not have it", "app@10.0.0.1=10.0.0.1:80(draining) app@10.0.0.2=10.0.0.2:80")
	n.after(time.Second, "10.0.0.1", "10.0.0.2")
	n.want("and back", "app@10.0.0.1=10.0.0.1:80 app@10.0.0.2=10.0.0.2:80")
}

func TestEdgesLookUpWhatIsToBeLookedUpThere(t *testing.T) {
	cfg := fromFile(ResolveOne, balance.ServerSpec{ID: "a", Address: "app.test:80"})
	cfg.ResolveAtEdge = true
	n := newNamed(t, cfg, nil)
	n.after(0, "10.0.0.1")
	n.want("resolve_at: edge", "a=?")
}

// A name leads to no component of ours, whichever peer told it.
func TestNamesLeadToNoComponent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := new(inside.Set)
	in.AddOwn(l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, how := range []Resolve{ResolveOne, ResolveAll} {
		n := newNamed(t, fromFile(how, balance.ServerSpec{ID: "a", Address: "app.test:" + port}), in)
		n.after(0, "127.0.0.1")
		if got := n.servers(); !strings.HasPrefix(got, "a=!") || !strings.Contains(got, "one of our own components") {
			t.Errorf("resolve: %s: got %s", how, got)
		}
		n.after(time.Second, "10.0.0.1")
		if got := n.servers(); strings.Contains(got, "!") {
			t.Errorf("resolve: %s, elsewhere: got %s", how, got)
		}
		n.after(time.Second, "127.0.0.3")
		if got := n.servers(); strings.Contains(got, "=127.0.0.3") {
			t.Errorf("resolve: %s, by another address of loopback: got %s", how, got)
		}
	}
}

func TestWhereAnAgentsNameMayLead(t *testing.T) {
	far, near := inside.Origin{IP: netip.MustParseAddr("10.0.0.7")}, inside.Origin{IP: netip.MustParseAddr("127.0.0.1"), Near: true}
	for _, c := range []struct {
		what      string
		addresses []string
		from      inside.Origin
		to        string
		good      bool
	}{
		{"anywhere", []string{"*.test"}, far, "192.0.2.1", true},
		{"loopback, from afar", []string{"*.test"}, far, "127.0.0.1", false},
		{"loopback, from here", []string{"*.test"}, near, "127.0.0.1", true},
		{"loopback, by IPv6", []string{"*.test"}, far, "::1", false},
		{"the clouds' own", []string{"*.test"}, far, "169.254.169.254", false},
		{"many machines", []string{"*.test"}, far, "224.0.0.1", false},
		{"outside the prefixes", []string{"*.test", "10.1.0.0/16"}, far, "192.0.2.1", false},
		{"inside", []string{"*.test", "10.1.0.0/16"}, far, "10.1.2.3", true},
		{"inside, written as IPv6", []string{"*.test", "10.1.0.0/16"}, far, "::ffff:10.1.2.3", true},
		{"where the agent is", []string{"*.test", "10.1.0.0/16"}, far, "10.0.0.7", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := newNamed(t, PoolConfig{Addresses: c.addresses}, nil)
			n.pool.mu.Lock()
			n.pool.declared.setOrigin("a", c.from)
			if err := n.pool.putServerLocked(n.now, balance.ServerSpec{ID: "a", Address: "app.test:80"}, false); err != nil {
				t.Fatal(err)
			}
			n.pool.mu.Unlock()
			n.want("before it was looked up", "a=!the server's name is being looked up(ejected)")
			n.after(time.Second, c.to)
			if got := n.servers(); strings.Contains(got, "!") == c.good {
				t.Errorf("it leads to %s: got %s", c.to, got)
			}
			n.after(time.Second, "10.0.0.7")
			if c.good && c.from.IP == far.IP && n.servers() != "a=10.0.0.7:80" {
				t.Errorf("it leads to where the agent is: got %s", n.servers())
			}
		})
	}
}

func TestWhichUnixSocketsAgentsMayGive(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", dir+"/own")
	if err != nil {
		t.Skip(err) // the path is too long here
	}
	defer l.Close()
	ours := new(inside.Set)
	ours.AddOwn(l)
	near := inside.Origin{Near: true}
	for _, c := range []struct {
		addresses []string
		socket    string
		good      bool
	}{
		{nil, "unix:/run/app/web.sock", false},
		{[]string{"unix:/run/app/*"}, "unix:/run/app/web.sock", true},
		{[]string{"unix:/run/app/*"}, "unix:/run/app/../docker.sock", false},
		{[]string{"unix:/run/app/*"}, "unix:/run/app/a/b", false},
		{[]string{"unix:/run/app/web.sock"}, "unix:/run/docker.sock", false},
		{[]string{"unix:" + dir + "/*"}, "unix:" + dir + "/own", false},
		{[]string{"unix:" + dir + "/*"}, "unix:" + dir + "/other", true},
	} {
		rules := newAccess(&PoolConfig{Addresses: c.addresses}, func(field, problem string) { t.Error(field, problem) })
		if err := rules.checkAddress("web", c.socket, nil, near, ours); (err == nil) != c.good {
			t.Errorf("%s, of %v: got %v", c.socket, c.addresses, err)
		}
	}
	var bad []string
	newAccess(&PoolConfig{Addresses: []string{"unix:run", "unix:/a[", "unix:/run/*"}}, func(field, _ string) { bad = append(bad, field) })
	if !slices.Equal(bad, []string{"addresses[0]", "addresses[1]"}) {
		t.Errorf("problems: %v", bad)
	}
}

func TestHowNamesAreLookedUpIsJudged(t *testing.T) {
	for field, c := range map[string]PoolConfig{
		"resolve_at":   {Resolve: ResolveAll, ResolveAtEdge: true},
		"resolvers[0]": {Resolvers: []string{"dns.test:53"}},
		"resolvers[1]": {Resolvers: []string{"127.0.0.1:53", "127.0.0.1"}},
		"resolvers":    {Resolvers: slices.Repeat([]string{"127.0.0.1:53"}, 9)},
	} {
		c.Name = "web"
		var got []string
		c.Validate(func(field, _ string) { got = append(got, field) })
		if !slices.Equal(got, []string{field}) {
			t.Errorf("%+v: problems with %v, want %s", c, got, field)
		}
	}
}

func TestSeveralAddressesAreToldOnce(t *testing.T) {
	n := newNamed(t, fromFile(ResolveOne, balance.ServerSpec{ID: "a", Address: "app.test:80"}), nil)
	n.after(0, "10.0.0.1", "10.0.0.2")
	if v := n.view("a"); !v.Location.Several || len(v.Location.All) != 2 {
		t.Errorf("told %+v", v.Location)
	}
	n.after(time.Second, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	if v := n.view("a"); len(v.Location.All) != 3 {
		t.Errorf("another address more: told %+v", v.Location)
	}
	n.after(time.Second, "10.0.0.1")
	if v := n.view("a"); v.Location.Several || v.Location.All != nil {
		t.Errorf("one is left: told %+v", v.Location)
	}
}
