package hostnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// netips lets go-cmp compare addresses.
var netips = []cmp.Option{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

func blue() spec.Pool {
	return spec.Pool{Name: "blue", CIDR: netip.MustParsePrefix("10.1.0.0/16"), NATOutgoing: true}
}

func TestCompileRouted(t *testing.T) {
	red := spec.Pool{Name: "red", CIDR: netip.MustParsePrefix("10.2.0.0/24")}
	d := Compile([]spec.Pool{red, blue()}, Options{IPAMDriver: "berth", Mode: Routed, Closed: []string{"docker0", "br-0123456789ab"}})
	text := func(rules []Rule) (out []string) {
		for _, r := range rules {
			out = append(out, strings.Replace(strings.Join(r, " "), " -m comment --comment berth", "", 1))
		}
		return out
	}
	for _, c := range []struct {
		name string
		got  []Rule
		want []string
	}{
		{"beside Docker", d.Rules.Filter, []string{
			"-o brt+ -j ACCEPT", "-i brt+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-i brt+ -o br-0123456789ab -j RETURN",
			"-i brt+ -o docker0 -j RETURN", "-i brt+ -j ACCEPT",
		}},
		{"alone", d.Rules.Alone, []string{"-i brt+ -j ACCEPT", "-o brt+ -j ACCEPT"}},
		{"NAT for the pool that wants it", d.Rules.NAT, []string{"-d 10.1.0.0/16 -j RETURN", "-d 10.2.0.0/24 -j RETURN", "-s 10.1.0.0/16 ! -o brt+ -j MASQUERADE"}},
	} {
		if diff := cmp.Diff(c.want, text(c.got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	want := Network{
		Name: "blue", Driver: "berth", IPAMDriver: "berth", Subnet: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1"),
		Labels: map[string]string{LabelPool: "blue"},
	}
	if diff := cmp.Diff(want, d.Networks[0], netips...); diff != "" {
		t.Error(diff)
	}
}

func endpoint(id, address string) Endpoint {
	a := netip.MustParseAddr(address)
	return Endpoint{ID: id, MAC: MAC(a), Addresses: []netip.Addr{a}}
}

func TestCompilePath(t *testing.T) {
	in := PathInput{
		Pools:     []spec.Pool{blue()},
		Endpoints: []Endpoint{endpoint("bbbbbbbbbbbb1111", "10.1.0.9"), endpoint("aaaaaaaaaaaa1111", "10.1.0.5")},
		Learned: []Learned{
			{netip.MustParsePrefix("10.1.64.0/26"), netip.MustParseAddr("192.0.2.3")}, {netip.MustParsePrefix("10.1.64.0/26"), netip.MustParseAddr("192.0.2.2")},
			{netip.MustParsePrefix("10.1.0.5/32"), netip.MustParseAddr("192.0.2.2")}, // ours
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2")}, {netip.MustParsePrefix("10.1.0.0/26"), netip.MustParseAddr("192.0.2.2")},
			{netip.MustParsePrefix("10.1.128.0/26"), netip.MustParseAddr("fe80::9")},
		},
		Blocks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/26")},
	}
	p := CompilePath(in, Options{MTU: 1450})
	routes := []Route{
		{Prefix: netip.MustParsePrefix("10.1.0.0/26")},
		{Prefix: netip.MustParsePrefix("10.1.0.5/32"), Link: "brtaaaaaaaaaaa"},
		{Prefix: netip.MustParsePrefix("10.1.0.9/32"), Link: "brtbbbbbbbbbbb"},
		{Prefix: netip.MustParsePrefix("10.1.64.0/26"), Via: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}},
	}
	if diff := cmp.Diff(routes, p.Routes, netips...); diff != "" {
		t.Error(diff)
	}
	if len(p.Links) != 2 || p.Links[0].Name != "brtaaaaaaaaaaa" || p.Links[0].Peer != "brpaaaaaaaaaaa" || p.Links[0].MTU != 1450 || len(p.Sysctls) > 0 {
		t.Errorf("links %+v, sysctls %v", p.Links, p.Sysctls)
	}
	for what, reason := range map[string]string{"0.0.0.0/0": "outside of all pools", "10.1.0.0/26": "own block", "10.1.128.0/26": "does not fit"} {
		if !strings.Contains(p.Refused[what], reason) {
			t.Errorf("%s: refused because %q", what, p.Refused[what])
		}
	}
}

func TestCompilePathRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints []Endpoint
		reason    string
	}{
		"an address twice":    {[]Endpoint{endpoint("aaaaaaaaaaaa", "10.1.0.5"), endpoint("bbbbbbbbbbbb", "10.1.0.5")}, "is that of endpoint aaaaaaaaaaaa"},
		"a name twice":        {[]Endpoint{endpoint("aaaaaaaaaaaa", "10.1.0.4"), endpoint("aaaaaaaaaaab", "10.1.0.5")}, "is that of endpoint aaaaaaaaaaaa"},
		"an id of other kind": {[]Endpoint{endpoint("../../etc/x/y", "10.1.0.5")}, "hexadecimal"},
		"no address":          {[]Endpoint{{ID: "aaaaaaaaaaaa"}}, "no address"},
		"an address's zone":   {[]Endpoint{endpoint("aaaaaaaaaaaa", "fe80::1%eth0")}, "no valid address"},
	} {
		t.Run(name, func(t *testing.T) {
			p := CompilePath(PathInput{Endpoints: c.endpoints}, Options{})
			if len(p.Refused) != 1 || len(p.Links) != len(c.endpoints)-1 {
				t.Fatalf("links %v, refused %v", p.Links, p.Refused)
			}
			for _, reason := range p.Refused {
				if !strings.Contains(reason, c.reason) {
					t.Errorf("because %q", reason)
				}
			}
		})
	}
}

func TestCompilePathIPv6(t *testing.T) {
	p := CompilePath(PathInput{Endpoints: []Endpoint{{
		ID: "aaaaaaaaaaaa", MAC: "02:42:0a:01:00:05", Addresses: []netip.Addr{netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.1.0.5")},
	}}}, Options{})
	l := p.Links[0]
	if diff := cmp.Diff([]netip.Addr{Gateway4, Gateway6}, l.Gateways, netips...); diff != "" {
		t.Error(diff)
	}
	if want := netip.MustParseAddr("fe80::42:aff:fe01:5"); !slices.Contains(l.Senders, want) || len(p.Sysctls) != 1 {
		t.Errorf("senders %v, sysctls %v", l.Senders, p.Sysctls)
	}
}

// The result does not depend on the order of anything, no address is on two links, and every link has its route.
func TestCompilePathProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in PathInput
		in.Pools = []spec.Pool{blue()}
		for i := range rapid.IntRange(0, 6).Draw(t, "endpoints") {
			a := netip.AddrFrom4([4]byte{10, 1, 0, byte(rapid.IntRange(1, 5).Draw(t, "address"))})
			in.Endpoints = append(in.Endpoints, Endpoint{ID: fmt.Sprintf("%011x%d", rapid.IntRange(0, 3).Draw(t, "name"), i), MAC: MAC(a), Addresses: []netip.Addr{a}})
		}
		for range rapid.IntRange(0, 5).Draw(t, "learned") {
			a := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 1).Draw(t, "net")), 0, byte(rapid.IntRange(0, 5).Draw(t, "host"))})
			in.Learned = append(in.Learned, Learned{netip.PrefixFrom(a, rapid.SampledFrom([]int{24, 26, 32}).Draw(t, "bits")), netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 2).Draw(t, "via"))})})
		}
		if rapid.Bool().Draw(t, "block") {
			in.Blocks = append(in.Blocks, netip.MustParsePrefix("10.1.0.0/26"))
		}
		want := CompilePath(in, Options{})
		seed := rapid.Uint64().Draw(t, "order")
		r := rand.New(rand.NewPCG(seed, seed))
		r.Shuffle(len(in.Endpoints), func(i, j int) { in.Endpoints[i], in.Endpoints[j] = in.Endpoints[j], in.Endpoints[i] })
		r.Shuffle(len(in.Learned), func(i, j int) { in.Learned[i], in.Learned[j] = in.Learned[j], in.Learned[i] })
		got := CompilePath(in, Options{})
		if diff := cmp.Diff(want, got, netips...); diff != "" {
			t.Fatal(diff)
		}
		on, routed := map[netip.Addr]string{}, map[string]bool{}
		for _, l := range got.Links {
			for _, a := range l.Addresses {
				if on[a] != "" {
					t.Fatalf("%v is on %s and %s", a, on[a], l.Name)
				}
				on[a] = l.Name
			}
		}
		for _, route := range got.Routes {
			routed[route.Link] = true
			if route.Link != "" && on[route.Prefix.Addr()] != route.Link {
				t.Fatalf("%v leads to %s", route.Prefix, route.Link)
			}
		}
		for _, l := range got.Links {
			if !routed[l.Name] {
				t.Fatalf("no route to %s", l.Name)
			}
		}
	})
}
