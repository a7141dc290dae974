package spec

import (
	"net/netip"
	"testing"
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
