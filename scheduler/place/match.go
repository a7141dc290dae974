package place

import (
	"slices"

	"github.com/berth-project/berth/spec"
)

// Match places the intents one after the other: on the only host that it may run on; otherwise on the seat's last host if it
// fits; otherwise, among the hosts that can take it, where the app's GROUP_BYs have the fewest instances, there on a host with
// the fewest instances of the app, and of those on the one with the least free (best fit: large holes stay usable). A last host
// is not preferred to a group that has fewer instances. No offer is ever overspent. The offers that placements use leave the
// fleet with all that their agents offered.
func (f *Fleet) Match(in Input) Result {
	m := &matcher{fleet: f, in: in, demands: map[demandKey]*demand{}, used: map[*slot]bool{},
		out: Result{Taken: map[*spec.Offer][]string{}, Refused: map[spec.AppID]Refusals{}}}
	for i := range in.Intents {
		m.place(i)
	}
	for _, u := range m.undo { // they count again when they are tasks
		u.tally.add(u.fields, -1)
	}
	for s := range m.used {
		f.view.remove(s)
		ids := make([]string, 0, len(s.parts))
		for _, o := range s.parts {
			ids = append(ids, o.ID)
			delete(f.offers, o.ID)
		}
		m.out.Taken[&s.merged] = ids
		s.parts = nil
		f.seat(s)
	}
	for _, d := range m.demands {
		f.remember(d)
	}
	return m.out
}

type matcher struct {
	fleet   *Fleet
	in      Input
	demands map[demandKey]*demand
	used    map[*slot]bool
	moves   int  // placements so far
	stays   bool // the intent in hand is bound to its host, also to one that is drained
	undo    []counted
	views   []*view // beside the fleet's own
	out     Result
}

type counted struct {
	tally  *Tally
	fields map[string]string
}

func (m *matcher) place(i int) {
	it := m.in.Intents[i]
	key := demandKey{it.App.ID, it.Pool}
	d := m.demands[key]
	if d == nil {
		d = m.newDemand(it)
		m.demands[key] = d
	}
	if it.Pinned != "" {
		m.pinned(i, d)
		return
	}
	if d.exhausted {
		return
	}
	if s := m.last(it, d); s != nil {
		m.take(i, d, s)
		return
	}
	if s := m.peek(d); s != nil {
		m.take(i, d, s)
		m.took(d, s)
		return
	}
	d.exhausted = true
	m.out.Refused[d.app.ID] = m.explain(d)
}

// pinned places an intent on the one host that it may run on. What is bound to a host that is drained stays there.
func (m *matcher) pinned(i int, d *demand) {
	it := m.in.Intents[i]
	m.stays = true
	defer func() { m.stays = false }()
	for _, s := range m.fleet.slotsOn(it.Pinned) {
		if m.reason(d, s) == "" {
			m.take(i, d, s)
			return
		}
	}
	if _, told := m.out.Refused[it.App.ID]; !told {
		m.out.Refused[it.App.ID] = m.explainPinned(it, d)
	}
}

// last is the seat's last host if it can take it without a GROUP_BY becoming less even than it need be.
func (m *matcher) last(it Intent, d *demand) *slot {
	if it.LastHost == "" {
		return nil
	}
	for _, s := range m.fleet.slotsOn(it.LastHost) {
		if m.reason(d, s) != "" {
			continue
		}
		if !slices.ContainsFunc(d.rules.list, func(r rule) bool { return r.Operator == "GROUP_BY" }) {
			return s
		}
		if best := m.peek(d); best != nil && d.even(s, best) {
			return s
		}
	}
	return nil
}

// even says that the groups of a have no more instances than those of b.
func (d *demand) even(a, b *slot) bool {
	for i := range d.rules.list {
		if r := &d.rules.list[i]; r.Operator == "GROUP_BY" && r.counts[a.fields[r.Field]] > r.counts[b.fields[r.Field]] {
			return false
		}
	}
	return true
}

// peek is the best slot for one more instance; nil when none can take it.
func (m *matcher) peek(d *demand) *slot {
	if len(d.disks) > 0 {
		return nil
	}
	if d.spread == nil && d.lane == nil {
		for i := range d.rules.list {
			if r := &d.rules.list[i]; r.Operator == "GROUP_BY" {
				d.spread = newSpread(d, r)
				break
			}
		}
	}
	if d.spread != nil {
		return d.spread.peek(m, d)
	}
	m.choose(d)
	return d.lane.peek(m, d)
}

// choose keeps to the slots of one value once a CLUSTER says which.
func (m *matcher) choose(d *demand) {
	o := &d.view.all
	for i := range d.rules.list {
		r := &d.rules.list[i]
		if r.Operator != "CLUSTER" {
			continue
		}
		value, set := r.Value, r.Value != ""
		if !set && len(r.counts) == 1 {
			for v := range r.counts {
				value, set = v, true
			}
		}
		if g := d.view.by(r.Field).byValue[value]; set && g != nil {
			o = &g.order
			break
		}
	}
	if d.lane == nil || d.lane.order != o {
		d.lane = newLane(o, d.want)
		d.lane.moves = m.moves
	}
}

func (m *matcher) took(d *demand, s *slot) {
	if d.spread != nil {
		d.spread.lanes[d.spread.group()].took(m, d, s)
		return
	}
	d.lane.took(m, d, s)
}

func (m *matcher) take(i int, d *demand, s *slot) {
	var ports []int
	if len(d.ports) > 0 {
		ports, _ = takePorts(s.usablePorts(d.part), d.ports)
	}
	in := make([]bool, len(m.views))
	for k, v := range m.views {
		in[k] = v.remove(s)
	}
	m.fleet.view.remove(s)
	s.take(d, ports)
	m.fleet.view.add(s)
	for k, v := range m.views {
		if in[k] {
			v.add(s)
		}
	}
	m.used[s] = true
	m.moves++
	d.tally.add(s.fields, 1)
	m.undo = append(m.undo, counted{d.tally, s.fields})
	m.out.Placements = append(m.out.Placements, Placement{Intent: i, Offer: &s.merged, HostPorts: ports})
}
