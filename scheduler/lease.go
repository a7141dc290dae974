package scheduler

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/spec"
)

// rest lets the leases rest whose seats nobody wants and whose tasks are gone: those of apps of which something changed.
func (s *Scheduler) rest(now time.Time) {
	if len(s.restless) == 0 {
		return
	}
	taken, leases, looked := map[spec.SeatID]bool{}, map[netip.Addr]spec.Lease{}, []spec.AppID{}
	for id := range s.restless {
		if wait := s.rests.wait(id, s.sizeOf(id)+len(s.leasesOf[id]), now); wait > 0 {
			s.wakeAt(now.Add(wait))
			continue
		}
		delete(s.restless, id)
		looked = append(looked, id)
		for _, n := range s.launches[id] { // about to start: floating instances take free seats
			taken[spec.SeatID{App: id, Index: n}] = true
		}
		for _, t := range s.byApp[id] {
			taken[t.Seat] = true
		}
		for addr := range s.leasesOf[id] {
			leases[addr] = s.state.Leases[addr]
		}
	}
	wanted := func(seat spec.SeatID) bool { return s.keeps(seat) || taken[seat] }
	for _, id := range looked {
		s.endTraffic(id, wanted)
	}
	pinned := func(l spec.Lease) bool {
		app := s.state.Apps[l.Seat.App]
		if app == nil {
			return false
		}
		pins, err := address.Pins(app)
		return err != nil || l.Seat.Index < len(pins) && pins[l.Seat.Index] == l.Address
	}
	for _, l := range address.Release(leases, wanted, pinned, now) {
		s.putLease(l)
	}
}

// keeps says whether an app, as it is now, has the seat and keeps what belongs to it.
func (s *Scheduler) keeps(seat spec.SeatID) bool {
	app := s.state.Apps[seat.App]
	return app != nil && !app.Floats() && app.HasSeat(seat.Index)
}

func (s *Scheduler) seatTaken(seat spec.SeatID) bool {
	for _, t := range s.byApp[seat.App] {
		if t.Seat == seat {
			return true
		}
	}
	return false
}

// putLease stores a lease. A seat whose last address goes to another one, and whose app is gone, is forgotten.
func (s *Scheduler) putLease(l spec.Lease) {
	old, ok := s.state.Leases[l.Address]
	if ok && old.Seat != l.Seat && s.state.Apps[old.Seat.App] == nil && !s.seatTaken(old.Seat) {
		s.forgetSeat(old.Seat)
	}
	s.state.Leases[l.Address] = l
	s.indexLease(old, l)
	s.tellHost(l.Address)
	s.batch.txn.PutLease(l)
}

// forgetSeat keeps a seat that has volumes: without the record nobody would ever remove their data.
func (s *Scheduler) forgetSeat(id spec.SeatID) {
	if seat, ok := s.state.Seats[id]; ok && len(seat.Volumes) == 0 {
		delete(s.state.Seats, id)
		s.unindexSeat(seat)
		s.batch.txn.DeleteSeat(id)
	}
}

// withAddress leases an address for every want that needs one; the others wait. A seat on the host's network has none in leases;
// one whose address depends on its host has only the pool there.
func (s *Scheduler) withAddress(wants []want, q map[spec.AppID]*waiting, now time.Time) (ready []want, leases map[spec.SeatID]spec.Lease) {
	in := s.addressInput(now)
	for _, w := range wants {
		if launch.HostNetwork(w.app) {
			continue
		}
		in.Wants = append(in.Wants, s.addressWant(w.app, w.seat))
	}
	r := address.Assign(in)
	maps.Copy(s.searched, r.Next)
	for _, l := range r.Changed {
		s.putLease(l)
	}
	if !r.Again.IsZero() {
		s.wakeAt(r.Again)
	}
	for seat, pool := range r.Later {
		r.Leases[seat] = spec.Lease{Seat: seat, Pool: pool}
	}
	type group struct {
		app spec.AppID
		why string
	}
	first := map[group]spec.SeatID{}
	more := map[group]int{}
	for _, w := range wants {
		why, waits := r.Waiting[w.seat]
		if !waits {
			ready = append(ready, w)
			continue
		}
		g := group{w.app.ID, why}
		if _, seen := first[g]; seen {
			more[g]++
			continue
		}
		first[g] = w.seat
	}
	for g, seat := range first {
		text := seat.String()
		if n := more[g]; n > 0 {
			text = fmt.Sprintf("%s and %d more", text, n)
		}
		q[g.app].because(api.ReasonAddress, text+": "+g.why)
	}
	for _, g := range q {
		slices.SortStableFunc(g.why, func(a, b api.Reason) int { return strings.Compare(a.Text, b.Text) })
	}
	return ready, r.Leases
}

func (s *Scheduler) addressInput(now time.Time) address.Input {
	return address.Input{Pools: s.opts.Pools, Leases: s.state.Leases, Of: s.leasesOn, From: s.searched, Held: s.held(), Rest: s.opts.AddressRest, Now: now, Blocks: s.blocks}
}

// addressWant is what a seat asks of the pools. Temporary seats are beyond the pinned addresses and take any.
func (s *Scheduler) addressWant(app *spec.App, seat spec.SeatID) address.Want {
	w := address.Want{Seat: seat}
	w.Pool, _ = address.PoolOf(app, s.opts.Pools)
	if pins, err := address.Pins(app); err == nil && seat.Index < len(pins) {
		w.Pinned = pins[seat.Index]
	}
	return w
}

// twin is the IPv6 address that belongs to a pool's address; zero: none.
func (s *Scheduler) twin(pool string, a netip.Addr) netip.Addr {
	for _, p := range s.opts.Pools {
		if p.Name == pool {
			return p.Twin(a)
		}
	}
	return netip.Addr{}
}

// held are the addresses that something else holds, on any host.
func (s *Scheduler) held() []spec.Held {
	var out []spec.Held
	for _, name := range slices.Sorted(maps.Keys(s.holding)) {
		out = append(out, s.hosts[name].held...)
	}
	return out
}
