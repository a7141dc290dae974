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
	slots  map[string]*slot             // by agent and role
	byHost map[string][]*slot           // by host name
	offers map[string]*slot             // by offer id
	pools  map[string]map[string]string // by host name: as Ready told it
	view   view

	// changed are the slots that got something since base, in that order: what may fit an app that nothing fitted before.
	changed []*slot
	base    uint64
	memos   map[demandKey]memo
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
	// Of the match that looked last: how many tasks the host is starting, and how many it should at most.
	paced          *matcher
	starting, most int
}

func (s *slot) entry() entry { return entry{s.free.CPUs, s.free.Mem, s.tie, s} }

// NewFleet is a fleet without offers.
func NewFleet() *Fleet {
	return &Fleet{slots: map[string]*slot{}, byHost: map[string][]*slot{}, offers: map[string]*slot{}, pools: map[string]map[string]string{}, memos: map[demandKey]memo{}}
}

// Len is how many offers there are.
func (f *Fleet) Len() int { return len(f.offers) }

// Offers says whether a host offers anything.
func (f *Fleet) Offers(host string) bool { return len(f.byHost[host]) > 0 }

// Holds says whether an offer is there.
func (f *Fleet) Holds(id string) bool { return f.offers[id] != nil }

// Of is what an agent offers, merged, to each role.
func (f *Fleet) Of(agent, host string) []spec.Offer {
	var out []spec.Offer
	for _, s := range f.byHost[host] {
		if s.merged.AgentID == agent {
			out = append(out, s.merged)
		}
	}
	return out
}

// Add takes in an offer.
func (f *Fleet) Add(o spec.Offer) {
	f.Drop(o.ID)
	key := o.AgentID + "\x00" + o.Role
	s := f.slots[key]
	if s == nil {
		s = &slot{key: key, tie: digest(key)}
		f.slots[key] = s
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
	f.seat(s)
	return true
}

// DropAgent forgets all offers of an agent and returns their ids.
func (f *Fleet) DropAgent(agent string) []string {
	var ids []string
	for id, s := range f.offers {
		if s.merged.AgentID == agent {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		f.Drop(id)
	}
	return ids
}

// Clear forgets all offers.
func (f *Fleet) Clear() {
	pools := f.pools
	*f = *NewFleet()
	f.pools = pools
}

// Ready tells which pools a host can attach containers to: "" when it can, otherwise why not. A pool that is missing is not
// ready: the host's agent has not spoken of it yet.
func (f *Fleet) Ready(host string, pools map[string]string) {
	if maps.Equal(f.pools[host], pools) {
		return
	}
	f.pools[host] = pools
	for _, s := range f.byHost[host] {
		f.touch(s)
	}
}

// seat puts a slot where its parts say, and forgets it without any.
func (f *Fleet) seat(s *slot) {
	host := s.merged.Host
	if len(s.parts) == 0 {
		delete(f.slots, s.key)
		f.byHost[host] = slices.DeleteFunc(f.byHost[host], func(x *slot) bool { return x == s })
		if len(f.byHost[host]) == 0 {
			delete(f.byHost, host)
		}
		return
	}
	s.merge()
	if !slices.Contains(f.byHost[s.merged.Host], s) {
		f.byHost[s.merged.Host] = append(f.byHost[s.merged.Host], s)
		slices.SortFunc(f.byHost[s.merged.Host], func(a, b *slot) int { return strings.Compare(a.key, b.key) })
	}
	f.view.add(s)
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

// touch notes that a slot may fit now what it did not fit before.
func (f *Fleet) touch(s *slot) {
	if len(f.changed) > 4*len(f.slots)+1024 {
		f.base += uint64(len(f.changed))
		f.changed = nil
		clear(f.memos)
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
