package spec

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestTwin(t *testing.T) {
	four, six := netip.MustParsePrefix("10.88.0.0/15"), netip.MustParsePrefix("2001:db8:0:1::/64")
	pool := Pool{CIDR: four, CIDR6: six}
	for _, c := range []struct {
		pool    Pool
		a, want string
	}{
		{pool, "10.88.0.0", "2001:db8:0:1::"},
		{pool, "10.89.2.3", "2001:db8:0:1::1:203"},
		{pool, "10.90.0.0", "invalid IP"},
		{pool, "2001:db8:0:1::", "invalid IP"},
		{Pool{CIDR: four}, "10.88.0.1", "invalid IP"},
		{Pool{CIDR: four, CIDR6: netip.MustParsePrefix("2001:db8::/111")}, "10.89.0.1", "2001:db8::1:1"},
		{Pool{CIDR: four, CIDR6: netip.MustParsePrefix("2001:db8::/112")}, "10.88.0.1", "invalid IP"},
		{Pool{CIDR: four, CIDR6: netip.MustParsePrefix("10.0.0.0/8")}, "10.88.0.1", "invalid IP"},
	} {
		if got := c.pool.Twin(netip.MustParseAddr(c.a)).String(); got != c.want {
			t.Errorf("twin of %s in %v: %s, want %s", c.a, c.pool.CIDR6, got, c.want)
		}
	}
	if got := pool.TwinBlock(netip.MustParsePrefix("10.88.4.0/26")); got != netip.MustParsePrefix("2001:db8:0:1::400/122") {
		t.Errorf("twin of a block: %v", got)
	}
	if got := pool.TwinBlock(netip.MustParsePrefix("10.0.0.0/8")); got.IsValid() {
		t.Errorf("twin of more than the pool: %v", got)
	}
}

// TestTwinsAreUnique: two addresses have two twins, in the order of the addresses, and a block's twins are those of its addresses.
func TestTwinsAreUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := func(label string) netip.Addr {
			n := rapid.Uint16().Draw(t, label)
			return netip.AddrFrom4([4]byte{10, 88, byte(n >> 8), byte(n)})
		}
		bits := rapid.IntRange(16, 30).Draw(t, "bits")
		a, b := addr("a"), addr("b")
		p := Pool{CIDR: netip.PrefixFrom(a, bits).Masked(), CIDR6: netip.PrefixFrom(netip.MustParseAddr("fd00:1:2:3:4:5:6:7"), rapid.IntRange(8, bits+TwinBits).Draw(t, "bits6")).Masked()}
		if !p.CIDR6.Contains(p.Twin(a)) {
			t.Fatalf("%s: the twin of %s is %s", p.CIDR6, a, p.Twin(a))
		}
		if p.CIDR.Contains(b) && a.Compare(b) != p.Twin(a).Compare(p.Twin(b)) {
			t.Fatalf("%s, %s: %s, %s", a, b, p.Twin(a), p.Twin(b))
		}
		block := netip.PrefixFrom(a, rapid.IntRange(bits, 32).Draw(t, "block")).Masked()
		if twin := p.TwinBlock(block); twin != twin.Masked() || p.CIDR.Contains(b) && block.Contains(b) != twin.Contains(p.Twin(b)) {
			t.Fatalf("%s has %s: %s", block, twin, b)
		}
	})
}
