package hostnet

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var inVLAN = Options{IPAMDriver: "berth", Mode: L2, Parent: "eth1", Parents: map[string]string{"red": "eth1.20"}}

// part is a pool that is a part of its VLAN's network.
func part(name, cidr, router string) spec.Pool {
	p := pool(name, cidr, false)
	p.Router = netip.MustParsePrefix(router)
	return p
}

func TestCompileL2(t *testing.T) {
	pools := []spec.Pool{
		part("blue", "10.1.64.0/18", "10.1.0.1/16"), pool("red", "10.2.0.0/24", true), pool("third", "10.3.0.0/24", false), part("rust", "10.2.9.0/24", "10.2.0.1/16"),
	}
	o := inVLAN
	o.Parents = map[string]string{"red": "eth1.20", "rust": "eth1.30"}
	d := Compile(pools, o)
	want := []Network{
		{"blue", "macvlan", "berth", netip.MustParsePrefix("10.1.0.0/16"), netip.MustParseAddr("10.1.0.1"),
			map[string]string{"parent": "eth1", "macvlan_mode": "bridge"}, map[string]string{LabelPool: "blue"}},
		{"red", "macvlan", "berth", netip.MustParsePrefix("10.2.0.0/24"), netip.MustParseAddr("10.2.0.1"),
			map[string]string{"parent": "eth1.20", "macvlan_mode": "bridge"}, map[string]string{LabelPool: "red"}},
	}
	if !reflect.DeepEqual(d.Networks, want) {
		t.Errorf("networks %+v", d.Networks)
	}
	if !reflect.DeepEqual(d.Rules, Rules{}) {
		t.Errorf("rules %+v", d.Rules)
	}
	for pool, reason := range map[string]string{"third": "eth1 carries pool blue already", "rust": "10.2.0.0/16, overlaps that of pool red"} {
		if !strings.Contains(d.Refused[pool], reason) {
			t.Errorf("pool %s is refused as %q", pool, d.Refused[pool])
		}
	}
	if d := Compile(pools[:1], Options{Mode: L2}); !strings.Contains(d.Refused["blue"], "no interface is named") {
		t.Errorf("without an interface: %v", d.Refused)
	}
}

func TestCompileVLAN(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.1.64.5"), netip.MustParseAddr("10.1.64.6"), netip.MustParseAddr("10.2.0.7")
	pools := []spec.Pool{part("blue", "10.1.64.0/18", "10.1.0.1/16"), pool("red", "10.2.0.0/24", false)}
	placed := []Placed{
		{"2", "blue", b, "02:00:00:00:00:01"}, {"1", "blue", a, ""}, {"3", "red", c, ""}, {"4", "bridge", netip.MustParseAddr("172.17.0.2"), ""},
		{"5", "blue", netip.MustParseAddr("10.9.9.9"), ""}, // of a pool that was another
	}
	host := map[netip.Prefix]string{
		netip.MustParsePrefix("10.1.0.12/16"): "eth1", netip.MustParsePrefix("10.1.0.11/16"): "eth1", netip.MustParsePrefix("192.0.2.1/24"): "eth1.20",
		netip.MustParsePrefix("10.2.0.9/24"): "eth0",
	}
	v := CompileVLAN(pools, placed, host, inVLAN)
	one, two := Neighbour{a, "02:42:0a:01:40:05"}, Neighbour{b, "02:00:00:00:00:01"}
	want := VLAN{
		Shims:  []Shim{{"bl2-eth1", "eth1", netip.MustParseAddr("10.1.0.11"), []Neighbour{one, two}}},
		Claims: []Claim{{"1", "eth1", one}, {"2", "eth1", two}, {"3", "eth1.20", Neighbour{c, "02:42:0a:02:00:07"}}},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v\nwant %+v", v, want)
	}
	other := inVLAN
	other.IPAMDriver = "other"
	if v := CompileVLAN(pools, nil, host, other); v.Shims[0].Name == "bl2-eth1" || len(v.Shims[0].Name) > 15 {
		t.Errorf("another Berth's shim is %s", v.Shims[0].Name)
	}
}

// The order of the input does not matter.
func TestCompileVLANProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var placed []Placed
		for _, n := range rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "addresses") {
			placed = append(placed, Placed{string(rune('a' + n%7)), rapid.SampledFrom([]string{"blue", "red", "x"}).Draw(t, "network"), netip.AddrFrom4([4]byte{10, 1, 64, n}), ""})
		}
		pools := []spec.Pool{part("blue", "10.1.64.0/18", "10.1.0.1/16"), pool("red", "10.2.0.0/24", false)}
		host := map[netip.Prefix]string{netip.MustParsePrefix("10.1.0.11/16"): "eth1"}
		want := CompileVLAN(pools, placed, host, inVLAN)
		slices.Reverse(pools)
		slices.Reverse(placed)
		if got := CompileVLAN(pools, placed, host, inVLAN); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}
