// Package address decides which address each seat has. In: pools, all leases, addresses that something else holds, and
// the seats that want one. Out: the leases to store, and for each seat without an address the reason. It never reads a
// clock and never touches the network; the same input gives the same answer.
//
// A lease belongs to a seat and outlives its tasks. Leases of unwanted seats rest (IdleSince) and come back to the same
// seat when it returns; they go to others oldest first, after the rest time, and only when the pool has no unused address.
package address

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// Want is one seat that should have an address.
type Want struct {
	Seat   spec.SeatID
	Pool   string
	Pinned netip.Addr // zero: any
}

// Input is everything the decision depends on. Nothing in it is changed.
type Input struct {
	Pools  []spec.Pool
	Leases map[netip.Addr]spec.Lease
	// Of are the addresses leased to each seat, an index of Leases; nil: Leases is searched.
	Of map[spec.SeatID][]netip.Addr
	// From is where the search for an unused address begins in a pool, by its name: a Result's Next, as long as since then no
	// lease was dropped and nothing ceased to be held. Without it, at the pool's beginning.
	From  map[string]netip.Addr
	Held  []spec.Held
	Wants []Want
	// Blocks are those of hosts; nil: there are none. Where there are, Assign gives nobody an address that is new to him, it only
	// finds out whether there is one (Result.Later): with the seat's host known, Fresh takes it from a block of that host.
	Blocks *Blocks
	Rest   time.Duration // how long a released address rests before another app gets it
	Now    time.Time
}

// Result holds a lease or a reason for every want.
type Result struct {
	Leases  map[spec.SeatID]spec.Lease
	Waiting map[spec.SeatID]string
	// Later are the seats that get their address when their host is known, with their pools.
	Later map[spec.SeatID]string
	// Changed are the leases to store, keyed by address, sorted.
	Changed []spec.Lease
	// Next is where the next search for an unused address may begin, for each pool that was searched.
	Next map[string]netip.Addr
	// Again is when a waiting seat may be served by a resting address; zero when none will.
	Again time.Time
}

func newAssigner(in Input) *assigner {
	a := &assigner{in: in, leases: in.Leases, changed: make(map[netip.Addr]spec.Lease, len(in.Wants)), pools: map[string]spec.Pool{},
		held: map[netip.Addr]string{}, bySeat: map[spec.SeatID][]spec.Lease{}, cursor: map[string]netip.Addr{}, fulls: map[string]*full{},
		out: Result{Leases: make(map[spec.SeatID]spec.Lease, len(in.Wants)), Waiting: map[spec.SeatID]string{}, Later: map[spec.SeatID]string{}}}
	for _, p := range in.Pools {
		a.pools[p.Name] = p
	}
	for _, h := range in.Held {
		a.held[h.Address] = h.By
	}
	return a
}

// Assign serves the wants in order of seat: kept leases first, then pinned addresses, then new ones.
func Assign(in Input) Result {
	a := newAssigner(in)
	for _, w := range in.Wants {
		a.bySeat[w.Seat] = nil
	}
	a.ownLeases()
	for _, ls := range a.bySeat {
		slices.SortFunc(ls, func(x, y spec.Lease) int { return x.Address.Compare(y.Address) })
	}
	wants := slices.Clone(in.Wants)
	slices.SortStableFunc(wants, func(x, y Want) int {
		if x.Seat.Less(y.Seat) {
			return -1
		}
		if y.Seat.Less(x.Seat) {
			return 1
		}
		return 0
	})
	var fresh []Want
	for _, w := range wants {
		if !a.keep(w) {
			fresh = append(fresh, w)
		}
	}
	var free []Want
	for _, w := range fresh {
		if w.Pinned.IsValid() {
			a.pin(w)
		} else {
			free = append(free, w)
		}
	}
	if in.Blocks == nil {
		for _, w := range free {
			a.pick(w)
		}
	} else {
		a.foresee(free)
	}
	return a.result()
}

// result is what was decided, sorted.
func (a *assigner) result() Result {
	for _, l := range a.changed {
		a.out.Changed = append(a.out.Changed, l)
	}
	slices.SortFunc(a.out.Changed, func(x, y spec.Lease) int { return x.Address.Compare(y.Address) })
	a.out.Next = a.cursor
	return a.out
}

// ownLeases finds the leases of the seats that want one.
func (a *assigner) ownLeases() {
	if a.in.Of != nil {
		for seat := range a.bySeat {
			for _, addr := range a.in.Of[seat] {
				a.bySeat[seat] = append(a.bySeat[seat], a.in.Leases[addr])
			}
		}
		return
	}
	for _, l := range a.in.Leases {
		if of, asks := a.bySeat[l.Seat]; asks {
			a.bySeat[l.Seat] = append(of, l)
		}
	}
}

type assigner struct {
	in      Input
	leases  map[netip.Addr]spec.Lease
	changed map[netip.Addr]spec.Lease // overlay over leases
	pools   map[string]spec.Pool
	held    map[netip.Addr]string
	bySeat  map[spec.SeatID][]spec.Lease
	cursor  map[string]netip.Addr // where the search for an unused address goes on
	fulls   map[string]*full
	out     Result
}

func (a *assigner) lease(addr netip.Addr) (spec.Lease, bool) {
	if l, ok := a.changed[addr]; ok {
		return l, true
	}
	l, ok := a.leases[addr]
	return l, ok
}

func (a *assigner) give(w Want, l spec.Lease) {
	l.Seat, l.Pool, l.Pinned, l.IdleSince = w.Seat, w.Pool, w.Pinned.IsValid(), time.Time{}
	if old, ok := a.leases[l.Address]; !ok || old != l {
		a.changed[l.Address] = l
	}
	a.out.Leases[w.Seat] = l
}

func (a *assigner) wait(w Want, format string, args ...any) {
	a.out.Waiting[w.Seat] = fmt.Sprintf(format, args...)
}

// keep serves a want from the seat's own lease: the active one, or a resting one. It reports whether the want is settled.
func (a *assigner) keep(w Want) bool {
	var best *spec.Lease
	for i, l := range a.bySeat[w.Seat] {
		if l.Pool != w.Pool || w.Pinned.IsValid() && l.Address != w.Pinned || !w.Pinned.IsValid() && l.Pinned {
			// The seat asks for something else now: the old address rests, so that nobody takes it over at once.
			if l.IdleSince.IsZero() {
				l.IdleSince, l.Pinned = a.in.Now, false
				a.changed[l.Address] = l
			}
			continue
		}
		if best == nil || best.IdleSince.After(l.IdleSince) && !l.IdleSince.IsZero() || l.IdleSince.IsZero() {
			best = &a.bySeat[w.Seat][i]
		}
	}
	if best == nil {
		return false
	}
	a.give(w, *best)
	if by, ok := a.held[best.Address]; ok {
		delete(a.out.Leases, w.Seat)
		a.wait(w, "its address %s is held by %s", best.Address, by)
	}
	return true
}

func (a *assigner) pin(w Want) {
	p, ok := a.pools[w.Pool]
	switch {
	case !ok:
		a.wait(w, "pool %q does not exist", w.Pool)
		return
	case !Usable(p, w.Pinned):
		a.wait(w, "pinned address %s is no usable address of pool %s (%s)", w.Pinned, p.Name, p.CIDR)
		return
	}
	if _, ok := a.lease(w.Pinned); !ok && a.in.Blocks.ForHost(w.Pinned) {
		a.wait(w, "pinned address %s", a.in.Blocks.keptFor(w.Pinned))
		return
	}
	if l, ok := a.lease(w.Pinned); ok && l.Seat != w.Seat && l.IdleSince.IsZero() {
		a.wait(w, "pinned address %s is leased to %s", w.Pinned, l.Seat)
		return
	}
	a.give(w, spec.Lease{Address: w.Pinned})
	if by, ok := a.held[w.Pinned]; ok {
		delete(a.out.Leases, w.Seat)
		a.wait(w, "its address %s is held by %s", w.Pinned, by)
	}
}

// open is the pool of a want that asks for a new address, if it gives any.
func (a *assigner) open(w Want) (spec.Pool, bool) {
	p, ok := a.pools[w.Pool]
	switch {
	case !ok:
		a.wait(w, "pool %q does not exist", w.Pool)
	case p.Disabled:
		a.wait(w, "pool %s is disabled", p.Name)
	}
	return p, ok && !p.Disabled
}

func (a *assigner) pick(w Want) {
	p, ok := a.open(w)
	if !ok {
		return
	}
	addr, ok := a.cursor[p.Name]
	if !ok {
		if addr = a.in.From[p.Name]; !addr.IsValid() { // just behind the pool when all of it is used
			addr = p.CIDR.Masked().Addr()
		}
	}
	for ; p.CIDR.Contains(addr); addr = addr.Next() {
		if !a.unused(p, addr) {
			continue
		}
		a.cursor[p.Name] = addr.Next()
		a.give(w, spec.Lease{Address: addr})
		return
	}
	a.cursor[p.Name] = addr
	a.reuse(w, p, func(netip.Addr) bool { return false })
}

// unused says whether an address can be anybody's.
func (a *assigner) unused(p spec.Pool, addr netip.Addr) bool {
	if _, leased := a.lease(addr); leased || !Usable(p, addr) {
		return false
	}
	_, held := a.held[addr]
	return !held && !a.in.Blocks.ForHost(addr)
}

// full is a pool without an unused address: who has them, and those that rest, the longest first.
type full struct {
	active, held int
	hosts        int // that hosts may give out, and have not
	resting      []spec.Lease
}

// full is worked out once a pool and call: when addresses are picked, nothing else changes any more.
func (a *assigner) full(p spec.Pool) *full {
	if f := a.fulls[p.Name]; f != nil {
		return f
	}
	f := &full{}
	a.fulls[p.Name] = f
	for addr := range a.leases {
		l, _ := a.lease(addr)
		switch {
		case l.Pool != p.Name:
		case a.held[l.Address] != "":
			f.held++
		case l.IdleSince.IsZero() || l.Pinned:
			f.active++
		default:
			f.resting = append(f.resting, l)
		}
	}
	for addr, l := range a.changed {
		if _, old := a.leases[addr]; !old && l.Pool == p.Name {
			f.active++
		}
	}
	for addr := range a.held {
		if _, leased := a.lease(addr); !leased && Usable(p, addr) {
			f.held++
		}
	}
	if a.in.Blocks != nil {
		f.hosts = a.in.Blocks.forHosts(p, func(addr netip.Addr) bool {
			_, leased := a.lease(addr)
			return leased || a.held[addr] != ""
		})
	}
	slices.SortFunc(f.resting, func(x, y spec.Lease) int {
		return cmp.Or(x.IdleSince.Compare(y.IdleSince), x.Address.Compare(y.Address))
	})
	return f
}

// reuse takes the address that has rested longest, of those near the seat if there is one.
func (a *assigner) reuse(w Want, p spec.Pool, near func(netip.Addr) bool) {
	f := a.full(p)
	others := fmt.Sprintf("%d held by others", f.held)
	if f.hosts > 0 {
		others += fmt.Sprintf(", %d kept for docker run on the hosts", f.hosts)
	}
	if len(f.resting) == 0 {
		a.wait(w, "pool %s (%s) has no free address: %d leased, %s", p.Name, p.CIDR, f.active, others)
		return
	}
	ready := f.resting[0].IdleSince.Add(a.in.Rest)
	if !ready.After(a.in.Now) {
		i := max(0, slices.IndexFunc(f.resting, func(l spec.Lease) bool {
			return near(l.Address) && !l.IdleSince.Add(a.in.Rest).After(a.in.Now)
		}))
		a.give(w, spec.Lease{Address: f.resting[i].Address})
		f.resting = slices.Delete(f.resting, i, i+1)
		f.active++
		return
	}
	if a.out.Again.IsZero() || ready.Before(a.out.Again) {
		a.out.Again = ready
	}
	a.wait(w, "pool %s (%s) has no free address: %d leased, %s, %d resting (the first until %s)",
		p.Name, p.CIDR, f.active, others, len(f.resting), ready.UTC().Format(time.RFC3339))
}

// Usable says whether an address of the pool can be given to a container: not the network's, the gateway's, its VLAN's router's or, in IPv4,
// the broadcast address.
func Usable(p spec.Pool, addr netip.Addr) bool {
	return p.CIDR.Contains(addr) && addr != p.CIDR.Masked().Addr() && addr != p.Gateway() && addr != p.VLAN().Addr() &&
		(!addr.Is4() || p.CIDR.Contains(addr.Next()))
}

// Release lets all leases rest since now whose seats are no longer wanted, and returns what changed. A seat counts as
// wanted as long as its task may live: a lease in use never rests. pinned says whether the seat's app still names the
// address; one that nobody names any more is free for others when it has rested.
func Release(leases map[netip.Addr]spec.Lease, wanted func(spec.SeatID) bool, pinned func(spec.Lease) bool, now time.Time) []spec.Lease {
	var out []spec.Lease
	for _, l := range leases {
		was := l
		if l.IdleSince.IsZero() && !wanted(l.Seat) {
			l.IdleSince = now
		}
		if !l.IdleSince.IsZero() && l.Pinned && !pinned(l) {
			l.Pinned = false
		}
		if l != was {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(x, y spec.Lease) int { return x.Address.Compare(y.Address) })
	return out
}

// Size is how many addresses of the pool can be given to containers, at most math.MaxInt32.
func Size(p spec.Pool) int {
	bits := p.CIDR.Addr().BitLen() - p.CIDR.Bits()
	if bits >= 31 {
		return math.MaxInt32
	}
	n := 1 << bits
	addr := p.CIDR.Masked().Addr()
	reserved := map[netip.Addr]bool{addr: true, p.Gateway(): true, p.VLAN().Addr(): true}
	if addr.Is4() {
		reserved[lastOf(p.CIDR)] = true
	}
	for a := range reserved {
		if p.CIDR.Contains(a) {
			n--
		}
	}
	return max(0, n)
}

// lastOf is the highest address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
