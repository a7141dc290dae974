package place

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// Fleet is what hosts offer now, indexed by what they have free and by the values of the fields that constraints name. It
// follows each offer as it comes and goes, so that a placement looks at few hosts, however many there are. What it answers
// depends on the offers in it, not on their history.
type Fleet struct {
	slots  map[string]*slot // by agent and role
	hosts  map[string]*host // by name: those that offer something or told of their pools
	offers map[string]*slot // by offer id
	roles  map[string]bool  // all that ever were offered to
	view   view

	// changed are the slots that got something since base, in that order: what may fit an app that nothing fitted before.
	changed []*slot
	base    uint64
	memos   map[demandKey]*memo
	glance  matcher // of Hopeless, which a thousand apps ask at once
	// elsewhere says why a host may not have containers of a pool; "": it may. nil: all may. It always answers the same.
	elsewhere func(pool, host string) string
}

// host is what is true of a machine, to whichever role its agent makes offers.
type host struct {
	name  string
	slots []*slot           // by key
	pools map[string]string // as Ready told it; nil: its agent has not spoken yet
	// drained says why the host gets nothing new, as Drain told it; "": it does.
	drained string
	// Of the match that looked last: how many tasks the host is starting, and how many it should at most.
	paced          *matcher
	starting, most int
}

// slot is one agent's offers to one role, merged: a task may need the resources of several.
type slot struct {
	key      string // agent and role
	tie      uint64
	parts    []spec.Offer // by id
	merged   spec.Offer
	fields   map[string]string
	free     spec.Resources // in all
	reserved spec.Resources // of that, what is reserved for the role
	host     *host
}

func (s *slot) entry() entry { return entry{s.free.CPUs, s.free.Mem, s.tie, s} }

// NewFleet is a fleet without offers.
func NewFleet() *Fleet {
	return &Fleet{slots: map[string]*slot{}, hosts: map[string]*host{}, offers: map[string]*slot{}, roles: map[string]bool{}, memos: map[demandKey]*memo{}}
}

// Restrict keeps pools to their hosts: elsewhere says why one may not have containers of a pool, "" when it may, and always
// answers the same.
func (f *Fleet) Restrict(elsewhere func(pool, host string) string) { f.elsewhere = elsewhere }

// Elsewhere says why a host may not have containers of a pool; "" when it may.
func (f *Fleet) Elsewhere(pool, host string) string {
	if f.elsewhere == nil {
		return ""
	}
	return f.elsewhere(pool, host)
}

// Len is how many offers there are.
func (f *Fleet) Len() int { return len(f.offers) }

// Offers says whether a host offers anything.
func (f *Fleet) Offers(host string) bool { return len(f.slotsOn(host)) > 0 }

func (f *Fleet) slotsOn(host string) []*slot {
	if h := f.hosts[host]; h != nil {
		return h.slots
	}
	return nil
}

func (f *Fleet) host(name string) *host {
	h := f.hosts[name]
	if h == nil {
		h = &host{name: name}
		f.hosts[name] = h
	}
	return h
}

// Holds says whether an offer is there.
func (f *Fleet) Holds(id string) bool { return f.offers[id] != nil }

// Of is what an agent offers, merged, to each role.
func (f *Fleet) Of(agent, host string) []spec.Offer {
	var out []spec.Offer
	for _, s := range f.slotsOn(host) {
		if s.merged.AgentID == agent {
			out = append(out, s.merged)
		}
	}
	return out
}

// Add takes in an offer.
func (f *Fleet) Add(o spec.Offer) {
	f.Drop(o.ID)
	key := slotKey(o.AgentID, o.Role)
	s := f.slots[key]
	if s == nil {
		s = &slot{key: key, tie: digest(key)}
		f.slots[key], f.roles[o.Role] = s, true
	} else {
		f.view.remove(s)
	}
	i, _ := slices.BinarySearchFunc(s.parts, o.ID, func(p spec.Offer, id string) int { return strings.Compare(p.ID, id) })
	s.parts = slices.Insert(s.parts, i, o)
	f.offers[o.ID] = s
	f.seat(s)
	f.touch(s)
}

// Drop forgets an offer and says whether it was there.
func (f *Fleet) Drop(id string) bool {
	s := f.offers[id]
	if s == nil {
		return false
	}
	delete(f.offers, id)
	f.view.remove(s)
	s.parts = slices.DeleteFunc(s.parts, func(o spec.Offer) bool { return o.ID == id })
	was := s.merged.Unavailable
	f.seat(s)
	if len(s.parts) > 0 && s.merged.Unavailable != was {
		f.touch(s) // the maintenance that was in the way was this offer's
	}
	return true
}

// DropAgent forgets all offers of an agent and returns their ids.
func (f *Fleet) DropAgent(agent string) []string {
	var ids []string
	for role := range f.roles {
		if s := f.slots[slotKey(agent, role)]; s != nil {
			for _, o := range s.parts {
				ids = append(ids, o.ID)
			}
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		f.Drop(id)
	}
	return ids
}

func slotKey(agent, role string) string { return agent + "\x00" + role }

// Clear forgets all offers. What hosts told of their pools stays.
func (f *Fleet) Clear() {
	was, elsewhere := f.hosts, f.elsewhere
	*f = *NewFleet()
	f.elsewhere = elsewhere
	for name, h := range was {
		if h.kept() {
			f.hosts[name] = &host{name: name, pools: h.pools, drained: h.drained}
		}
	}
}

// Ready tells which pools a host can attach containers to: "" when it can, otherwise why not. A pool that is missing is not
// ready: the host's agent has not spoken of it yet. The map is kept.
func (f *Fleet) Ready(host string, pools map[string]string) {
	h := f.host(host)
	if maps.Equal(h.pools, pools) {
		return
	}
	h.pools = pools
	for _, s := range h.slots {
		f.touch(s)
	}
}

// Drain has a host get nothing new, for a reason to tell people; "" ends it.
func (f *Fleet) Drain(host, why string) {
	h := f.host(host)
	if h.drained == why {
		return
	}
	slots := slices.Clone(h.slots)
	for _, s := range slots {
		f.view.remove(s)
	}
	h.drained = why
	for _, s := range slots {
		f.view.add(s)
		f.touch(s)
	}
	if len(h.slots) == 0 && !h.kept() {
		delete(f.hosts, host)
	}
}

// kept says that more is known of a host than what it offers.
func (h *host) kept() bool { return h.pools != nil || h.drained != "" }

// seat puts a slot where its parts say, and forgets it without any.
func (f *Fleet) seat(s *slot) {
	if len(s.parts) == 0 {
		delete(f.slots, s.key)
		f.leave(s)
		return
	}
	s.merge()
	if h := f.host(s.merged.Host); s.host != h {
		f.leave(s)
		s.host = h
		i, _ := slices.BinarySearchFunc(h.slots, s.key, func(x *slot, key string) int { return strings.Compare(x.key, key) })
		h.slots = slices.Insert(h.slots, i, s)
	}
	f.view.add(s)
}

// leave takes a slot from its host, if it has one.
func (f *Fleet) leave(s *slot) {
	h := s.host
	if h == nil {
		return
	}
	s.host = nil
	if h.slots = slices.DeleteFunc(h.slots, func(x *slot) bool { return x == s }); len(h.slots) == 0 && !h.kept() {
		delete(f.hosts, h.name)
	}
}

// merge adds up the parts. What an agent is and where does not differ between them.
func (s *slot) merge() {
	m := s.parts[0]
	m.Ports, m.Reserved.Ports = slices.Clip(m.Ports), slices.Clip(m.Reserved.Ports) // appending must not write into the offer
	for _, o := range s.parts[1:] {
		m.CPUs, m.Mem, m.Disk, m.GPUs = m.CPUs+o.CPUs, m.Mem+o.Mem, m.Disk+o.Disk, m.GPUs+o.GPUs
		m.Ports = append(m.Ports, o.Ports...)
		r := &m.Reserved
		r.CPUs, r.Mem, r.Disk, r.GPUs = r.CPUs+o.Reserved.CPUs, r.Mem+o.Reserved.Mem, r.Disk+o.Reserved.Disk, r.GPUs+o.Reserved.GPUs
		r.Ports = append(r.Ports, o.Reserved.Ports...)
		if o.Unavailable.From.After(m.Unavailable.From) {
			m.Unavailable = o.Unavailable
		}
	}
	s.merged = m
	if s.fields == nil {
		s.fields = Fields(m)
	}
	s.free = spec.Resources{CPUs: m.CPUs, Mem: m.Mem, Disk: m.Disk, GPUs: m.GPUs, Ports: m.Ports}
	s.reserved = m.Reserved
}

// touch notes that a slot may fit now what it did not fit before. Of what was noted, the older half is forgotten when it has
// become much: only apps that nobody asked about for as long lose what is remembered of them.
func (f *Fleet) touch(s *slot) {
	if most := 4*len(f.slots) + 1024; len(f.changed) > most {
		f.base += uint64(most / 2)
		f.changed = slices.Clone(f.changed[most/2:])
		maps.DeleteFunc(f.memos, func(_ demandKey, m *memo) bool { return m.at < f.base })
	}
	f.changed = append(f.changed, s)
}

func (f *Fleet) now() uint64 { return f.base + uint64(len(f.changed)) }

// unavailable says whether a host should get nothing new: its maintenance is on, or so near that a task would hardly have
// started. An end that is not known does not come.
func unavailable(o *spec.Offer, now time.Time) bool {
	u := o.Unavailable
	return !u.From.IsZero() && !now.Before(u.From.Add(-beforeMaintenance)) && (u.Until.IsZero() || now.Before(u.Until))
}

// beforeMaintenance is how long before a maintenance a host gets no more tasks.
const beforeMaintenance = 10 * time.Minute

// digest is FNV-1a.
func digest(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
