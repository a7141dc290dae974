package hostnet

import (
	"net/netip"
	"slices"

	"github.com/berth-project/berth/spec"
)

// Blocks are the parts of pools that are the host's, each followed by its IPv6 twin. What is in no pool is left out.
func Blocks(pools []spec.Pool, blocks []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, b := range blocks {
		for _, p := range pools {
			if covers(p.CIDR, b) {
				if out = append(out, b); p.TwinBlock(b).IsValid() {
					out = append(out, p.TwinBlock(b))
				}
			}
		}
	}
	return out
}

// Announce decides what the host tells its BGP peers: its own blocks, as few prefixes as say the same, and on top each seat that is
// outside of them as a single address. A single address is longer than the block that it was borrowed from, so it wins over the
// announcement of the block's host.
//
// Borrowed addresses are never put together: one that moves away must not touch its neighbours' route. The result is
// sorted and depends on no order. Exactly the addresses of blocks and seats are in it.
func Announce(blocks []netip.Prefix, seats []netip.Addr) []netip.Prefix {
	out := aggregate(blocks)
	own := len(out)
	for _, a := range seats {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !slices.ContainsFunc(out[:own], func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// aggregate gives the fewest prefixes with the same addresses, sorted.
func aggregate(blocks []netip.Prefix) []netip.Prefix {
	var sorted, out []netip.Prefix
	for _, b := range blocks {
		if b.IsValid() {
			sorted = append(sorted, b.Masked())
		}
	}
	slices.SortFunc(sorted, netip.Prefix.Compare)
	for _, b := range sorted {
		if n := len(out); n > 0 && out[n-1].Contains(b.Addr()) { // the order puts a prefix before what it contains
			continue
		}
		for n := len(out); n > 0 && b.Bits() > 0 && out[n-1].Bits() == b.Bits(); n = len(out) {
			both := netip.PrefixFrom(b.Addr(), b.Bits()-1).Masked()
			if !both.Contains(out[n-1].Addr()) {
				break
			}
			out, b = out[:n-1], both
		}
		out = append(out, b)
	}
	return out
}
