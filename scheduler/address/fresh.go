package address

import (
	"maps"
	"net/netip"

	"github.com/berth-project/berth/spec"
)

// foresee finds out whether there is an address for each of the wants, without giving any away.
func (a *assigner) foresee(wants []Want) {
	of := map[string][]Want{}
	for _, w := range wants {
		if _, ok := a.open(w); ok {
			of[w.Pool] = append(of[w.Pool], w)
		}
	}
	for _, p := range a.in.Pools {
		if n := len(of[p.Name]); n > 0 && a.surely(p) < n {
			a.rehearse(p, of[p.Name])
			continue
		}
		for _, w := range of[p.Name] {
			a.out.Later[w.Seat] = w.Pool
		}
	}
}

// surely is how many addresses the pool has left at least, found without looking at them.
func (a *assigner) surely(p spec.Pool) int {
	return Size(p) - len(a.leases) - len(a.changed) - len(a.held) - a.in.Blocks.shares()
}

// rehearse tries out who would get an address.
func (a *assigner) rehearse(p spec.Pool, wants []Want) {
	before, first := maps.Clone(a.changed), netip.Addr{}
	for _, w := range wants {
		a.pick(w)
		l, ok := a.out.Leases[w.Seat]
		if !first.IsValid() { // that is where the next search begins: what is tried out stays unused
			first = a.cursor[p.Name]
			if ok && p.CIDR.Contains(first.Prev()) && l.Address == first.Prev() {
				first = l.Address
			}
		}
		if ok {
			a.out.Later[w.Seat] = w.Pool
			delete(a.out.Leases, w.Seat)
		}
	}
	a.changed, a.cursor[p.Name] = before, first
}

// Placed is a seat that has a host, and no address yet.
type Placed struct {
	Seat spec.SeatID
	Pool string
	Host string
}

// Fresh gives the seats their first addresses, in their order: unused ones of their hosts' blocks, which can be announced as a
// whole; of one more block when those are full; when no block is left, any that is unused; and at last such as have rested. claim
// gives a host one more block of a pool, and puts it into in.Blocks. in.Wants is not looked at.
func Fresh(in Input, seats []Placed, claim func(p spec.Pool, host string) (spec.Block, bool)) Result {
	a := newAssigner(in)
	at := map[netip.Prefix]netip.Addr{} // where the search in a block goes on
	for _, s := range seats {
		w := Want{Seat: s.Seat, Pool: s.Pool}
		p, ok := a.open(w)
		if !ok || a.inBlocks(w, p, in.Blocks.On(s.Host), at) {
			continue
		}
		if b, ok := claim(p, s.Host); ok && a.inBlocks(w, p, []spec.Block{b}, at) {
			continue
		}
		a.beyond(w, p, s.Host)
	}
	return a.result()
}

// inBlocks gives a seat the first unused address of the blocks.
func (a *assigner) inBlocks(w Want, p spec.Pool, blocks []spec.Block, at map[netip.Prefix]netip.Addr) bool {
	for _, b := range blocks {
		if b.Pool != p.Name {
			continue
		}
		addr, ok := at[b.Prefix]
		if !ok {
			addr = b.Prefix.Addr()
		}
		for ; b.Prefix.Contains(addr); addr = addr.Next() {
			if a.unused(p, addr) {
				at[b.Prefix] = addr.Next()
				a.give(w, spec.Lease{Address: addr})
				return true
			}
		}
		at[b.Prefix] = addr
	}
	return false
}

// beyond gives a seat an address outside its host's blocks, or one that has rested.
func (a *assigner) beyond(w Want, p spec.Pool, host string) {
	addr, ok := a.cursor[p.Name]
	if !ok {
		if addr = a.in.From[p.Name]; !addr.IsValid() {
			addr = p.CIDR.Masked().Addr()
		}
	}
	for ; p.CIDR.Contains(addr); addr = addr.Next() {
		if a.unused(p, addr) {
			break
		}
	}
	a.cursor[p.Name] = addr
	if p.CIDR.Contains(addr) {
		a.give(w, spec.Lease{Address: addr})
		return
	}
	a.reuse(w, p, func(addr netip.Addr) bool {
		b, ok := a.in.Blocks.Of(addr)
		return ok && b.Host == host
	})
}
