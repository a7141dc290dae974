package hostdoc

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/berth-project/berth/spec"
)

// largeFleet is one of ten thousand hosts that told of their addresses, of which three reflect the routes of all.
func largeFleet() (*spec.BGP, map[string]spec.HostAddress) {
	fleet := &spec.BGP{AS: 64512, ListenPort: 179, Peers: []spec.BGPPeer{{Name: "reflectors", NodeSelector: "all()", PeerSelector: "has(reflector)"}}}
	told := map[string]spec.HostAddress{}
	for i := range 10_000 {
		name := fmt.Sprintf("h%05d", i)
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if i < 3 {
			fleet.Hosts = append(fleet.Hosts, spec.BGPHost{Name: name, Labels: map[string]string{"reflector": "yes"}, IPv4: a, ClusterID: netip.MustParseAddr("10.255.0.1")})
		}
		told[name] = spec.HostAddress{Host: name, IPv4: a}
	}
	return fleet, told
}

func TestReflectorsOfALargeFleet(t *testing.T) {
	fleet, told := largeFleet()
	r := NewRouting(fleet, told)
	if n := len(r.Of("h00000").Peers); n != 9999 {
		t.Errorf("a reflector has %d peers", n)
	}
	if n := len(r.Of("h05000").Peers); n != 3 {
		t.Errorf("a host has %d peers", n)
	}
}

// BenchmarkRoutingOfALargeFleet is what one host more costs that tells of its address: who peers with whom is decided anew for all.
func BenchmarkRoutingOfALargeFleet(b *testing.B) {
	fleet, told := largeFleet()
	for b.Loop() {
		r := NewRouting(fleet, told)
		for name := range told {
			if r.Of(name) == nil {
				b.Fatal(name)
			}
		}
	}
}
