package router

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

var samePrefix = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestFound(t *testing.T) {
	a := netip.MustParseAddr("10.1.0.2")
	host := netip.PrefixFrom(a, 32)
	link := func(l linkFacts) facts {
		l.neighbours = map[netip.Addr]string{a: "02:42:0a:01:00:02"}
		return facts{links: map[string]linkFacts{"brt1": l}, routes: map[netip.Prefix]hostnet.Route{host: {Prefix: host, Link: "brt1"}}}
	}
	with := func(f facts, r hostnet.Route) facts {
		f.routes = map[netip.Prefix]hostnet.Route{}
		if r.Prefix.IsValid() {
			f.routes[r.Prefix] = r
		}
		return f
	}
	two := link(linkFacts{up: true})
	two.links["brt0"] = linkFacts{up: true, neighbours: map[netip.Addr]string{a: "02:42:0a:01:00:02"}}
	for _, c := range []struct {
		name string
		have facts
		want hostnet.Found
	}{
		{"in order", link(linkFacts{up: true}), hostnet.Found{Link: "brt1", Route: "brt1"}},
		{"down", link(linkFacts{}), hostnet.Found{Route: "brt1", Fault: "the host's end of its link, brt1, is down"}},
		{"no container", link(linkFacts{up: true, idle: true}), hostnet.Found{Link: "brt1", Route: "brt1", Fault: "the other end of its link brt1 is in no container"}},
		{"no route", with(link(linkFacts{up: true}), hostnet.Route{}), hostnet.Found{Link: "brt1", Fault: "the host has no route to it; it should lead to brt1"}},
		{"over another host", with(link(linkFacts{up: true}), hostnet.Route{Prefix: host, Via: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}),
			hostnet.Found{Link: "brt1", Route: "via 192.0.2.9", Fault: "the host's route to it leads via 192.0.2.9, not to brt1"}},
		{"a route alone", facts{routes: map[netip.Prefix]hostnet.Route{host: {Prefix: host, Link: "brt9"}}},
			hostnet.Found{Route: "brt9", Fault: "the host has no link for it, only a route to brt9"}},
		{"two links, the route leads to one", two, hostnet.Found{Link: "brt1", Route: "brt1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(map[netip.Addr]hostnet.Found{a: c.want}, found(c.have), samePrefix); d != "" {
				t.Error(d)
			}
		})
	}
	if got := found(facts{routes: map[netip.Prefix]hostnet.Route{
		netip.MustParsePrefix("10.1.0.0/26"): {}, host: {Via: []netip.Addr{a.Next()}},
	}}); len(got) != 0 {
		t.Errorf("blocks and learned routes are nobody's addresses here: %v", got)
	}
}

func TestWays(t *testing.T) {
	dst := func(p string) *net.IPNet { return ipNet(netip.MustParsePrefix(p)) }
	ways := waysOf([]netlink.Route{
		{Gw: net.IPv4(192, 0, 2, 1), Type: unix.RTN_UNICAST},
		{Dst: dst("10.1.0.0/16"), LinkIndex: 2, Type: unix.RTN_UNICAST},
		{Dst: dst("10.1.3.0/24"), LinkIndex: 3, Priority: 100, Type: unix.RTN_UNICAST},
		{Dst: dst("10.1.3.0/24"), LinkIndex: 2, Priority: 10, Type: unix.RTN_UNICAST},
		{Dst: dst("10.1.4.0/24"), Type: unix.RTN_UNREACHABLE},
		{Dst: dst("10.1.5.0/24"), MultiPath: []*netlink.NexthopInfo{{Gw: net.IPv4(192, 0, 2, 7)}}, Type: unix.RTN_UNICAST},
	}, map[int]string{2: "br-p", 3: "eth3"})
	for a, want := range map[string]string{"10.1.0.2": "br-p", "10.1.3.2": "br-p", "10.1.4.2": "nowhere", "10.1.5.2": "via 192.0.2.7", "10.2.0.1": "via 192.0.2.1"} {
		if got := wayTo(ways, netip.MustParseAddr(a)); got != want {
			t.Errorf("way to %s: %q, want %q", a, got, want)
		}
	}
	if got := wayTo(nil, netip.MustParseAddr("10.1.0.2")); got != "" {
		t.Errorf("way without routes: %q", got)
	}
}

const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.0.2
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
`

func TestLocalAddresses(t *testing.T) {
	want := map[netip.Addr]bool{netip.MustParseAddr("10.1.0.2"): true, netip.MustParseAddr("127.0.0.1"): true}
	if d := cmp.Diff(want, localAddresses(trie), samePrefix); d != "" {
		t.Error(d)
	}
}

func FuzzLocalAddresses(f *testing.F) {
	f.Add(trie)
	f.Add("|-- x\n/32 host LOCAL")
	f.Fuzz(func(t *testing.T, text string) {
		for a := range localAddresses(text) {
			if !a.IsValid() {
				t.Error("an invalid address")
			}
		}
	})
}
