package api

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// TestLeasable: who names the IPv6 address of an instance means the lease of the IPv4 address that it belongs to.
func TestLeasable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint16().Draw(t, "address")
		a := netip.AddrFrom4([4]byte{10, 88, byte(n >> 8), byte(n)})
		bits := rapid.IntRange(8, 32).Draw(t, "bits")
		p := spec.Pool{CIDR: netip.PrefixFrom(a, bits).Masked()}
		p.CIDR6 = netip.PrefixFrom(netip.MustParseAddr("fd00:1:2:3:4:5:6:7"), rapid.IntRange(8, bits+spec.TwinBits).Draw(t, "bits6")).Masked()
		pools := []spec.Pool{{CIDR: netip.MustParsePrefix("192.0.2.0/24")}, p}
		for _, asked := range []netip.Addr{a, p.Twin(a)} {
			if got := leasable(pools, asked); got != a {
				t.Fatalf("%s in %s and %s: %s, want %s", asked, p.CIDR, p.CIDR6, got, a)
			}
		}
		if other := netip.MustParseAddr("2001:db8::1"); leasable(pools, other) != other {
			t.Fatal("an address of no pool became another")
		}
	})
}
