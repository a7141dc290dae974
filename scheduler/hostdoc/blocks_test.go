package hostdoc

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/spec"
)

// TestDocumentHasItsOwnBlocksOnly: with what of them is for seats, and with addresses in the hosts' part that are leased all the same.
func TestDocumentHasItsOwnBlocksOnly(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	stored := map[netip.Prefix]spec.Block{}
	for block, host := range map[string]string{"10.1.0.0/28": "h1", "10.1.0.16/28": "h2", "10.1.0.32/28": "h1"} {
		stored[p(block)] = spec.Block{Prefix: p(block), Pool: "p", Host: host}
	}
	leases := map[netip.Addr]spec.Lease{a("10.1.0.3"): {}, a("10.1.0.13"): {}, a("10.1.0.30"): {}}
	docs := Compile(Input{Hosts: []string{"h1", "h3"}, Blocks: address.NewBlocks(stored), Leases: leases})
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff([]netip.Prefix{p("10.1.0.0/28"), p("10.1.0.32/28")}, docs["h1"].Blocks, same); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]netip.Prefix{p("10.1.0.0/29"), p("10.1.0.8/30"), p("10.1.0.13/32"), p("10.1.0.32/29"), p("10.1.0.40/30")}, docs["h1"].Taken, same); d != "" {
		t.Error(d)
	}
	if d := docs["h3"]; len(d.Blocks) > 0 || len(d.Taken) > 0 {
		t.Errorf("a host without blocks has %v, %v", d.Blocks, d.Taken)
	}
}
