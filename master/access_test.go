package master

import (
	"net/netip"
	"os"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

func peerNamed(role trust.Role, name string, pools []string, addresses ...string) *trust.Peer {
	p := &trust.Peer{Subject: trust.Subject{Identity: trust.Identity{Role: role, Name: name}, Bounds: trust.Bounds{Pools: pools}}}
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, netip.MustParsePrefix(a))
	}
	return p
}

func TestWhoMaySpeakInAPool(t *testing.T) {
	for _, c := range []struct {
		what         string
		pools        []string // of the certificate of r1
		bare         bool     // there are no certificates
		file         []string
		named        bool // the file names server r1
		agent, edges bool // whether agent r1, and edge r1, may speak in pool pay
	}{
		{"nothing says where", nil, false, nil, false, false, true},
		{"the certificate names the pool", []string{"web", "pay"}, false, nil, false, true, true},
		{"the certificate names all", []string{"*"}, false, nil, false, true, true},
		{"the certificate names another", []string{"web"}, false, nil, false, false, false},
		{"and the file lists it", []string{"web"}, false, []string{"r1"}, false, false, false},
		{"the file lists it", nil, false, []string{"x", "r*"}, false, true, true},
		{"the file lists others", []string{"pay"}, false, []string{"p*"}, false, false, false},
		{"the file names its server", nil, false, nil, true, true, true},
		{"no certificates", nil, true, nil, false, true, true},
		{"no certificates, and the file lists others", nil, true, []string{"p*"}, false, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			rules := newAccess(&PoolConfig{Agents: c.file, Edges: c.file}, func(field, problem string) { t.Error(field, problem) })
			agent, edge := peerNamed(trust.Agent, "r1", c.pools), peerNamed(trust.Edge, "r1", c.pools)
			if c.bare {
				agent, edge = nil, nil
			}
			if err := rules.checkAgent("pay", "r1", agent, c.named); (err == nil) != c.agent {
				t.Errorf("agent: got %v", err)
			}
			if got := rules.allowsEdge("pay", "r1", edge); got != c.edges {
				t.Errorf("edge: got %v", got)
			}
		})
	}
}

func TestWhereAnAgentsServerMayBe(t *testing.T) {
	var ours inside.Set
	ours.Learn([]string{"127.0.0.1:7480"}, inside.Origin{Near: true})
	ours.Learn([]string{"10.0.0.7:7482"}, inside.Origin{IP: netip.MustParseAddr("10.0.0.7")})
	far, loop, unix := inside.Origin{IP: netip.MustParseAddr("10.0.0.7")}, inside.Origin{IP: netip.MustParseAddr("127.0.0.1"), Near: true}, inside.Origin{Near: true}
	own, _ := os.Hostname()
	for _, c := range []struct {
		address string
		from    inside.Origin
		listed  []string
		bound   []string // addresses of the certificate
		ok      bool
	}{
		{"10.0.0.7:80", far, nil, nil, true},
		{"https://10.0.0.7:443", far, nil, nil, true},
		{"[::ffff:10.0.0.7]:80", far, nil, nil, true},
		{"10.0.0.8:80", far, nil, nil, false},
		{"10.0.0.8:80", far, []string{"10.0.0.0/24"}, nil, true},
		{"10.0.0.8:80", far, []string{"10.0.0.8"}, nil, true},
		{"10.0.1.8:80", far, []string{"10.0.0.0/24"}, nil, false},
		{"10.0.0.7:80", far, nil, []string{"10.0.1.0/24"}, false},
		{"10.0.1.9:80", far, nil, []string{"10.0.1.0/24"}, true},
		{"10.0.1.9:80", far, []string{"10.0.1.0/24"}, []string{"10.0.2.0/24"}, false},
		{"127.0.0.1:80", far, nil, nil, false},
		{"127.0.0.1:80", far, []string{"127.0.0.0/8"}, nil, false},
		{"[::1]:80", far, []string{"::/0"}, nil, false},
		{"[::ffff:127.0.0.1]:80", far, []string{"::/0", "0.0.0.0/0"}, nil, false},
		{"0.0.0.0:80", far, []string{"0.0.0.0/0"}, nil, false},
		{"localhost:80", far, []string{"localhost"}, nil, false},
		{"127.0.0.1:80", loop, nil, nil, true},
		{"localhost:80", unix, nil, nil, true},
		{"127.0.0.1:7480", loop, nil, nil, false},
		{"127.0.0.2:7480", unix, nil, nil, false},
		{"localhost:7480", loop, nil, nil, false},
		{"[::1]:7480", loop, nil, nil, false},
		{"10.0.0.7:7482", far, []string{"10.0.0.0/8"}, nil, false},
		{"a.render.example:80", far, nil, nil, false},
		{"a.render.example:80", far, []string{"*.render.example"}, nil, true},
		{"A.render.example.:80", far, []string{"*.Render.example"}, nil, true},
		{"a.render.example:80", far, []string{"*.render.example"}, []string{"10.0.0.0/8"}, false},
		{own + ":80", loop, nil, nil, true},
		{own + ":80", far, nil, nil, false},
		{"224.0.0.1:80", far, []string{"0.0.0.0/0"}, nil, false},
	} {
		rules := newAccess(&PoolConfig{Addresses: c.listed}, func(field, problem string) { t.Error(field, problem) })
		peer := peerNamed(trust.Agent, "r1", []string{"web"}, c.bound...)
		if err := rules.checkAddress("web", c.address, peer, c.from, &ours); (err == nil) != c.ok {
			t.Errorf("%s from %s, with addresses %v and %v of the certificate: got %v", c.address, c.from, c.listed, c.bound, err)
		}
	}
	for _, ip := range inside.Interfaces() {
		rules := newAccess(&PoolConfig{}, ignore)
		if err := rules.checkAddress("web", netip.AddrPortFrom(ip, 80).String(), nil, loop, &ours); err != nil && !ip.IsLinkLocalUnicast() {
			t.Errorf("an address of this machine, by loopback: %v", err)
		}
	}
}

func TestAccessThatMakesNoSense(t *testing.T) {
	got := make(map[string]string)
	newAccess(&PoolConfig{Agents: []string{"", "[a"}, Edges: []string{"[-"}, Addresses: []string{"10.0.0.0/33", "a b", "10.0.0", "fe80::1"}}, func(field, problem string) { got[field] = problem })
	for _, field := range []string{"agents[0]", "agents[1]", "edges[0]", "addresses[0]", "addresses[1]", "addresses[2]"} {
		if got[field] == "" {
			t.Errorf("%s is taken", field)
		}
	}
	if len(got) != 6 {
		t.Errorf("got %v", got)
	}
}
