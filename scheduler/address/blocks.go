package address

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// Blocks are the parts of pools that are hosts', found by host and by address. It follows the stored ones: who changes it
// stores the same.
//
// Each block has two parts, so that nobody has to ask before an address is given out: the upper quarter is for what is started
// on the host without an address of its own (docker run), the rest for seats. A seat gets an address of the upper quarter only
// where it is leased already, and then the host knows it as long as it has the block.
type Blocks struct {
	by   map[netip.Prefix]spec.Block
	on   map[string][]spec.Block // by host, sorted
	bits map[int]int             // how many there are of each length
	// unused and free are, by pool, below which no block is nobody's: none without leases in it, and none with room for a seat.
	unused, free map[string]netip.Addr
}

// NewBlocks is an index over the stored blocks.
func NewBlocks(stored map[netip.Prefix]spec.Block) *Blocks {
	b := &Blocks{by: map[netip.Prefix]spec.Block{}, on: map[string][]spec.Block{}, bits: map[int]int{}, unused: map[string]netip.Addr{}, free: map[string]netip.Addr{}}
	for _, x := range stored {
		b.Put(x)
	}
	return b
}

// All are the blocks, sorted.
func (b *Blocks) All() []spec.Block {
	return slices.SortedFunc(maps.Values(b.by), compareBlocks)
}

func compareBlocks(x, y spec.Block) int { return x.Prefix.Compare(y.Prefix) }

// On are the blocks of a host, sorted. Nothing in it is to be changed.
func (b *Blocks) On(host string) []spec.Block { return b.on[host] }

// Of is the block that an address is in.
func (b *Blocks) Of(a netip.Addr) (spec.Block, bool) {
	for n := range b.bits {
		if p, err := a.Prefix(n); err == nil {
			if x, ok := b.by[p]; ok {
				return x, true
			}
		}
	}
	return spec.Block{}, false
}

// Put makes a block a host's.
func (b *Blocks) Put(x spec.Block) {
	b.remove(x.Prefix)
	b.by[x.Prefix] = x
	b.bits[x.Prefix.Bits()]++
	at, _ := slices.BinarySearchFunc(b.on[x.Host], x, compareBlocks)
	b.on[x.Host] = slices.Insert(slices.Clone(b.on[x.Host]), at, x)
}

// Delete makes a block nobody's.
func (b *Blocks) Delete(p netip.Prefix) {
	b.remove(p)
	b.Freed()
}

func (b *Blocks) remove(p netip.Prefix) {
	x, ok := b.by[p]
	if !ok {
		return
	}
	delete(b.by, p)
	if b.bits[p.Bits()]--; b.bits[p.Bits()] == 0 {
		delete(b.bits, p.Bits())
	}
	b.on[x.Host] = slices.DeleteFunc(slices.Clone(b.on[x.Host]), func(o spec.Block) bool { return o.Prefix == p })
	if len(b.on[x.Host]) == 0 {
		delete(b.on, x.Host)
	}
}

// Freed says that a lease is gone: blocks may have room that had none.
func (b *Blocks) Freed() {
	clear(b.unused)
	clear(b.free)
}

// Claim makes a block of the pool the host's that is nobody's and has room for a seat: one in which nothing is leased, if there is
// one.
func (b *Blocks) Claim(p spec.Pool, host string, leases map[netip.Addr]spec.Lease, now time.Time) (spec.Block, bool) {
	if p.Disabled {
		return spec.Block{}, false
	}
	prefix, ok := b.next(p, b.unused, func(x netip.Prefix) bool { return roomy(p, x, leases) && !leased(x, leases) })
	if !ok {
		prefix, ok = b.next(p, b.free, func(x netip.Prefix) bool { return roomy(p, x, leases) })
	}
	if !ok {
		return spec.Block{}, false
	}
	x := spec.Block{Prefix: prefix, Pool: p.Name, Host: host, Since: now}
	b.Put(x)
	return x, true
}

// next is the first block of the pool that is nobody's and good. from remembers where it was.
func (b *Blocks) next(p spec.Pool, from map[string]netip.Addr, good func(netip.Prefix) bool) (netip.Prefix, bool) {
	a, ok := from[p.Name]
	if !ok {
		a = p.CIDR.Masked().Addr()
	}
	for p.CIDR.Contains(a) {
		x := netip.PrefixFrom(a, p.BlockBits())
		if !b.touches(x) && good(x) {
			from[p.Name] = a
			return x, true
		}
		a = lastOf(x).Next()
	}
	from[p.Name] = a
	return netip.Prefix{}, false
}

// touches says whether a part of it is somebody's. Blocks of other sizes are from before the pool's was changed.
func (b *Blocks) touches(x netip.Prefix) bool {
	if _, ok := b.Of(x.Addr()); ok {
		return true
	}
	for n := range b.bits {
		if n > x.Bits() {
			for y := range b.by {
				if x.Overlaps(y) {
					return true
				}
			}
			return false
		}
	}
	return false
}

// roomy says whether a seat could newly have an address of it.
func roomy(p spec.Pool, x netip.Prefix, leases map[netip.Addr]spec.Lease) bool {
	share := HostShare(x)
	for a := x.Addr(); x.Contains(a) && !share.Contains(a); a = a.Next() {
		if _, ok := leases[a]; !ok && Usable(p, a) {
			return true
		}
	}
	return false
}

// leased says whether any address in it is leased.
func leased(x netip.Prefix, leases map[netip.Addr]spec.Lease) bool {
	for a := x.Addr(); x.Contains(a); a = a.Next() {
		if _, ok := leases[a]; ok {
			return true
		}
	}
	return false
}

// HostShare is the part of a block from which the host gives addresses to what names none; invalid for a block that is too
// small to be parted.
func HostShare(block netip.Prefix) netip.Prefix {
	if block.Bits() > 30 {
		return netip.Prefix{}
	}
	share, _ := lastOf(block).Prefix(block.Bits() + 2)
	return share
}

// seatShare is the rest of the block.
func seatShare(block netip.Prefix) []netip.Prefix {
	share := HostShare(block)
	if !share.IsValid() {
		return []netip.Prefix{block.Masked()}
	}
	third, _ := share.Addr().Prev().Prefix(share.Bits())
	return []netip.Prefix{netip.PrefixFrom(block.Masked().Addr(), block.Bits()+1), third}
}

// ForHost says whether the address is one that a host may give to what names none.
func (b *Blocks) ForHost(a netip.Addr) bool {
	if b == nil {
		return false
	}
	x, ok := b.Of(a)
	return ok && HostShare(x.Prefix).Contains(a)
}

// keptFor says of an address for which ForHost is true whose it is.
func (b *Blocks) keptFor(a netip.Addr) string {
	x, _ := b.Of(a)
	return fmt.Sprintf("%s is kept for docker run: host %s gives out %s of its block %s by itself; name an address that is in no block, or below %s",
		a, x.Host, HostShare(x.Prefix), x.Prefix, HostShare(x.Prefix).Addr())
}

// shares is how many addresses all hosts may give out together.
func (b *Blocks) shares() int {
	n := 0
	for bits, count := range b.bits {
		if bits <= 30 {
			n += count << (30 - bits)
		}
	}
	return n
}

// forHosts counts the pool's addresses that hosts may give out and that are not taken.
func (b *Blocks) forHosts(p spec.Pool, taken func(netip.Addr) bool) int {
	n := 0
	for _, x := range b.by {
		n += ForHost(p, x, taken)
	}
	return n
}

// ForHost counts the block's addresses of the pool that its host may give out and that are not taken.
func ForHost(p spec.Pool, x spec.Block, taken func(netip.Addr) bool) int {
	n, share := 0, HostShare(x.Prefix)
	for a := share.Addr(); x.Pool == p.Name && share.Contains(a); a = a.Next() {
		if Usable(p, a) && !taken(a) {
			n++
		}
	}
	return n
}

// Taken are the parts of a host's blocks that are seats', sorted, and the addresses that others hold (elsewhere says so): from them
// the host gives out nothing by itself.
func (b *Blocks) Taken(host string, leases map[netip.Addr]spec.Lease, elsewhere func(netip.Addr) bool) []netip.Prefix {
	var out []netip.Prefix
	for _, x := range b.On(host) {
		out = append(out, seatShare(x.Prefix)...)
		share := HostShare(x.Prefix)
		for a := share.Addr(); share.Contains(a); a = a.Next() {
			if _, ok := leases[a]; ok || elsewhere(a) {
				out = append(out, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return out
}

// Crowded says whether the host has no address of the pool left for what names none: all that it may give out is held.
func (b *Blocks) Crowded(host string, p spec.Pool, leases map[netip.Addr]spec.Lease, held func(netip.Addr) bool) bool {
	for _, x := range b.On(host) {
		share := HostShare(x.Prefix)
		if x.Pool != p.Name {
			continue
		}
		for a := share.Addr(); share.Contains(a); a = a.Next() {
			if _, ok := leases[a]; !ok && !held(a) && Usable(p, a) {
				return false
			}
		}
	}
	return true
}

// Returnable are the blocks of the pool that can be taken from their hosts, as nothing of what is known lives in them: gone
// says so of the host, held of an address.
func (b *Blocks) Returnable(pool string, gone func(host string) bool, leases map[netip.Addr]spec.Lease, held func(netip.Addr) bool) []spec.Block {
	var out []spec.Block
	for _, x := range b.All() {
		if x.Pool == pool && !x.Used && gone(x.Host) && !lives(x.Prefix, leases, held) {
			out = append(out, x)
		}
	}
	return out
}

func lives(x netip.Prefix, leases map[netip.Addr]spec.Lease, held func(netip.Addr) bool) bool {
	for a := x.Addr(); x.Contains(a); a = a.Next() {
		if l, ok := leases[a]; ok && l.IdleSince.IsZero() || held(a) {
			return true
		}
	}
	return false
}
