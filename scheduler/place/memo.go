package place

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// memo is that nothing fitted an app when the fleet was at a certain point: until something changes, nothing does. With a thousand
// apps that wait, an offer is looked at a thousand times, not every offer.
type memo struct {
	app     *spec.App
	tally   *Tally
	dropped uint64 // of the tally
	at      uint64 // of the fleet
	rules   *rules
	// What passes by itself: the slots whose hosts were busy, and the time at which the first maintenance ends; zero: none does.
	busy  []*slot
	until time.Time
}

// remember keeps that nothing fitted a demand.
func (f *Fleet) remember(d *demand) {
	if !d.exhausted {
		delete(f.memos, d.demandKey)
		return
	}
	f.memos[d.demandKey] = &memo{d.app, d.tally, d.tally.dropped, f.now(), d.rules, d.busy, d.until}
}

// recall narrows what a demand looks at to what changed since nothing fitted it.
func (m *matcher) recall(d *demand) {
	f, old := m.fleet, m.fleet.memos[d.demandKey]
	if old == nil || old.app != d.app || old.tally != d.tally {
		return
	}
	d.rules = old.rules // they remember what patterns said
	if old.dropped != d.tally.dropped || old.at < f.base || !old.until.IsZero() && !m.in.Now.Before(old.until) {
		return
	}
	changed := f.changed[old.at-f.base:]
	if len(changed)+len(old.busy) > len(f.slots)/2 {
		return
	}
	d.view, d.until = &view{}, old.until
	for _, list := range [][]*slot{changed, old.busy} {
		for _, s := range list {
			if len(s.parts) > 0 {
				d.view.all.add(s)
			}
		}
	}
	m.views = append(m.views, d.view)
}

// passes notes what may let the demand have a slot although nobody tells of it.
func (d *demand) passes(s *slot, reason Reason) {
	switch end := s.merged.Unavailable.Until; {
	case reason == HostBusy:
		d.busy = append(d.busy, s)
	case reason == AgentMaintenance && !end.IsZero() && (d.until.IsZero() || end.Before(d.until)):
		d.until = end
	}
}
