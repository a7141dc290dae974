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
	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

const (
	// forgotten is how long nobody on a host must have been heard before its blocks may be another's.
	forgotten = time.Hour
	// reclaimAgain is how often blocks are looked for that can be taken back, while a host lacks one.
	reclaimAgain = time.Minute
)

// leasing is what the loop keeps about blocks beside the index.
type leasing struct {
	begun     time.Time            // since when hosts could have been heard
	reclaimed map[string]time.Time // by pool: when blocks to take back were looked for last, and there were none
	waiting   map[string]bool      // hosts that lack a block, and none was left
	retry     time.Time            // when they are looked at again
	selectors map[string]selector  // by pool: those that are for some hosts only
	elsewhere map[[2]string]string // what selectors said, by pool and host
}

type selector struct {
	text string
	calico.Selector
}

// useBlocks finds out whether hosts get blocks: where there is BGP, or a pool names their size. It is called once.
func (s *Scheduler) useBlocks(now time.Time) {
	s.leasing = leasing{begun: now, reclaimed: map[string]time.Time{}, waiting: map[string]bool{}, selectors: map[string]selector{}, elsewhere: map[[2]string]string{}}
	for _, p := range s.opts.Pools {
		if p.NodeSelector != "" {
			// The decoder has refused selectors that cannot be read; one that comes all the same selects nothing.
			parsed, _ := calico.ParseSelector(p.NodeSelector)
			s.leasing.selectors[p.Name] = selector{p.NodeSelector, parsed}
		}
	}
	if len(s.leasing.selectors) > 0 {
		s.fleet.Restrict(s.elsewhere)
	}
	if s.opts.BGP == nil && !slices.ContainsFunc(s.opts.Pools, func(p spec.Pool) bool { return p.BlockSize != 0 }) {
		return
	}
	s.blocks = address.NewBlocks(s.state.Blocks)
	for _, b := range s.blocks.All() {
		inside := func(p spec.Pool) bool {
			return p.Name == b.Pool && p.CIDR.Overlaps(b.Prefix) && p.CIDR.Bits() <= b.Prefix.Bits()
		}
		if !slices.ContainsFunc(s.opts.Pools, inside) {
			s.dropBlock(b) // its pool is gone, or another range now
		}
	}
}

// elsewhere says why a host may not have containers and blocks of a pool: "" when it may.
func (s *Scheduler) elsewhere(pool, host string) string {
	sel, ok := s.leasing.selectors[pool]
	if !ok {
		return ""
	}
	key := [2]string{pool, host}
	why, known := s.leasing.elsewhere[key]
	if !known {
		why = sel.excludes(calico.Labels(s.opts.Hosts, host))
		s.leasing.elsewhere[key] = why
	}
	return why
}

// excludes says why a host with these labels is not selected; "" when it is.
func (sel selector) excludes(labels map[string]string) string {
	if sel.Matches(labels) {
		return ""
	}
	var has []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		has = append(has, k+"="+labels[k])
	}
	return fmt.Sprintf("its nodeSelector is %q, and this one has %s", sel.text, strings.Join(has, ", "))
}

// outside are the hosts with those marked that the pool is not for. Like outlook, it may run beside the loop.
func (s *Scheduler) outside(pool string, known []place.Known) []place.Known {
	sel, ok := s.leasing.selectors[pool]
	if !ok {
		return known
	}
	known = slices.Clone(known)
	for i, h := range known {
		if why := sel.excludes(calico.Labels(s.opts.Hosts, h.Host)); why != "" {
			known[i].Never = "pool " + pool + " is for other hosts: " + why
		}
	}
	return known
}

// provide sees to it that each host has a block of each pool that is for it, and another one when it has no address left
// for containers that name none.
func (s *Scheduler) provide(now time.Time) {
	if s.blocks == nil {
		clear(s.lacking)
		return
	}
	l := &s.leasing
	if len(l.waiting) > 0 && !now.Before(l.retry) {
		maps.Copy(s.lacking, l.waiting)
		clear(l.waiting)
	}
	for _, name := range slices.Sorted(maps.Keys(s.lacking)) {
		waits := false
		if s.goneFrom(name, now) {
			continue // until somebody there asks again
		}
		for _, p := range s.opts.Pools {
			if !s.lacks(name, p) {
				continue
			}
			if _, ok := s.claim(p, name, now); !ok {
				waits = true
			}
		}
		if waits {
			l.waiting[name], l.retry = true, now.Add(reclaimAgain)
		}
	}
	clear(s.lacking)
	if len(l.waiting) > 0 {
		s.wakeAt(l.retry)
	}
}

// lacks says whether the host should have one more block of the pool.
func (s *Scheduler) lacks(host string, p spec.Pool) bool {
	if p.Disabled || s.elsewhere(p.Name, host) != "" {
		return false
	}
	has := slices.ContainsFunc(s.blocks.On(host), func(b spec.Block) bool { return b.Pool == p.Name })
	return !has || s.blocks.Crowded(host, p, s.state.Leases, s.isHeld)
}

// claim gives a host one more block of a pool, if need be one of a host that is forgotten.
func (s *Scheduler) claim(p spec.Pool, host string, now time.Time) (spec.Block, bool) {
	b, ok := s.blocks.Claim(p, host, s.state.Leases, now)
	if !ok && s.reclaim(p, now) {
		b, ok = s.blocks.Claim(p, host, s.state.Leases, now)
	}
	if ok {
		b.Used = s.used(b)
		s.putBlock(b)
		s.stale(b.Host)
		s.log.WithField("host", b.Host).WithField("block", b.Prefix.String()).WithField("pool", b.Pool).Info("block leased to the host")
	}
	return b, ok
}

// reclaim takes blocks back in which nothing lives: of hosts of which nothing was heard for long, and of those that the pool is
// no longer for.
func (s *Scheduler) reclaim(p spec.Pool, now time.Time) bool {
	if now.Before(s.leasing.reclaimed[p.Name].Add(reclaimAgain)) {
		return false
	}
	gone := func(host string) bool {
		h := s.hosts[host]
		return s.goneFrom(host, now) || s.elsewhere(p.Name, host) != "" && h != nil && h.reported // what it has there is known
	}
	old := s.blocks.Returnable(p.Name, gone, s.state.Leases, s.isHeld)
	for _, b := range old {
		s.dropBlock(b)
	}
	if len(old) == 0 {
		s.leasing.reclaimed[p.Name] = now
	}
	return len(old) > 0
}

// goneFrom says whether a host is forgotten: an operator says that it is dead, or nobody there was heard for long and none of our
// tasks is there.
func (s *Scheduler) goneFrom(host string, now time.Time) bool {
	heard, h := s.leasing.begun, s.hosts[host]
	if h != nil && !h.dead.IsZero() {
		return true
	}
	if h != nil && h.heard.After(heard) {
		heard = h.heard
	}
	return now.Sub(heard) >= forgotten && len(s.byHost[host]) == 0
}

// noteUsed keeps which of a host's blocks have something in them that is not Berth's: a host that is not heard of any more, also not
// by a later scheduler, keeps those.
func (s *Scheduler) noteUsed(host string) {
	if s.blocks == nil {
		return
	}
	for _, b := range s.blocks.On(host) {
		if used := s.used(b); used != b.Used {
			b.Used = used
			s.putBlock(b)
		}
	}
}

// disown lets the blocks of a host go that an operator declared dead: whatever was in them is no more.
func (s *Scheduler) disown(host string) {
	if s.blocks == nil {
		return
	}
	for _, b := range s.blocks.On(host) {
		b.Used = false
		s.putBlock(b)
	}
	clear(s.leasing.reclaimed)
	s.leasing.retry = time.Time{} // a host may wait for them
}

func (s *Scheduler) used(b spec.Block) bool {
	h := s.hosts[b.Host]
	return h == nil || !h.reported || slices.ContainsFunc(h.held, func(h spec.Held) bool { return h.Task == "" && b.Prefix.Contains(h.Address) })
}

func (s *Scheduler) putBlock(b spec.Block) {
	s.blocks.Put(b)
	s.state.Blocks[b.Prefix] = b
	s.batch.txn.PutBlock(b)
}

func (s *Scheduler) dropBlock(b spec.Block) {
	s.blocks.Delete(b.Prefix)
	s.stir()
	clear(s.searched) // what was passed over as the host's may be seats'
	s.leasing.retry = time.Time{}
	delete(s.state.Blocks, b.Prefix)
	s.stale(b.Host)
	s.batch.txn.DeleteBlock(b.Prefix)
	s.log.WithField("host", b.Host).WithField("block", b.Prefix.String()).WithField("pool", b.Pool).Info("block taken back from the host")
}

// freshLeases gives the placed seats their first addresses, where those depend on the host. Without one a seat stays unplaced.
func (s *Scheduler) freshLeases(in place.Input, r *place.Result, leases map[spec.SeatID]spec.Lease, q map[spec.AppID]*waiting, now time.Time) {
	if s.blocks == nil {
		return
	}
	var seats []address.Placed
	for _, p := range r.Placements {
		if l := leases[in.Intents[p.Intent].Seat]; l.Pool != "" && !l.Address.IsValid() {
			seats = append(seats, address.Placed{Seat: l.Seat, Pool: l.Pool, Host: p.Offer.Host})
		}
	}
	if len(seats) == 0 {
		return
	}
	got := address.Fresh(s.addressInput(now), seats, func(p spec.Pool, host string) (spec.Block, bool) { return s.claim(p, host, now) })
	maps.Copy(s.searched, got.Next)
	maps.Copy(leases, got.Leases)
	for _, l := range got.Changed {
		s.putLease(l)
	}
	if !got.Again.IsZero() {
		s.wakeAt(got.Again)
	}
	if len(got.Waiting) == 0 {
		return
	}
	used := map[*spec.Offer]bool{}
	r.Placements = slices.DeleteFunc(r.Placements, func(p place.Placement) bool {
		seat := in.Intents[p.Intent].Seat
		why, waits := got.Waiting[seat]
		if waits { // a block that was leased meanwhile keeps a part for the host
			q[seat.App].because(api.ReasonAddress, seat.String()+": "+why)
		}
		used[p.Offer] = used[p.Offer] || !waits
		return waits
	})
	for offer, ids := range r.Taken {
		if !used[offer] {
			s.giveBack(ids, 0, nil)
			delete(r.Taken, offer)
		}
	}
}

// tellHost has a host told that an address is leased of which it could give out another's.
func (s *Scheduler) tellHost(a netip.Addr) {
	if s.blocks == nil {
		return
	}
	if b, ok := s.blocks.Of(a); ok && address.HostShare(b.Prefix).Contains(a) {
		s.stale(b.Host)
	}
}

// stale has a host's document compiled again, if anybody wants it.
func (s *Scheduler) stale(host string) {
	if s.hosts[host] != nil {
		s.staleDocs[host] = true
	}
}
