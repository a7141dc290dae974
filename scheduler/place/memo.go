package place

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// memo is that nothing fitted an app when the fleet was at a certain point: until something changes, nothing does. With a thousand
// apps that wait, an offer is looked at a thousand times, not every offer.
type memo struct {
	*demand
	dropped uint64 // of the tally
	at      uint64 // of the fleet
	checked uint64 // of the fleet: nothing that changed from at until then can take the app
}

// remember keeps that nothing fitted a demand.
func (f *Fleet) remember(d *demand) {
	if !d.exhausted {
		delete(f.memos, d.demandKey)
		return
	}
	d.view, d.lane, d.spread = nil, nil, nil // of this match
	f.memos[d.demandKey] = &memo{d, d.tally.dropped, f.now(), f.now()}
}

// holds says that whatever did not change since the memo still cannot take the app, whose tasks are in the tally now.
func (m *memo) holds(f *Fleet, app *spec.App, t *Tally, now time.Time) bool {
	return m.app == app && m.tally == t && m.dropped == t.dropped && m.at >= f.base && (m.until.IsZero() || now.Before(m.until))
}

// recall narrows what a demand looks at to what changed since nothing fitted it.
func (m *matcher) recall(d *demand) {
	f, old := m.fleet, m.fleet.memos[d.demandKey]
	if old == nil || old.app != d.app || old.tally != d.tally {
		return
	}
	d.rules = old.rules // they remember what patterns said
	if !old.holds(f, d.app, d.tally, m.in.Now) {
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

// fewChanges is how many changes Hopeless looks at; more are for Match, which sorts them.
const fewChanges = 100

// Hopeless says that Match, which found no host for an app, would find none now either. It is far cheaper, as it gives no reasons:
// those for what changed meanwhile come with the next Match. t is the app's tally.
func (f *Fleet) Hopeless(app *spec.App, pool string, t *Tally, now time.Time) bool {
	old := f.memos[demandKey{app.ID, pool}]
	if old == nil || t == nil || len(old.busy) > 0 || !old.holds(f, app, t, now) {
		return false
	}
	changed := f.changed[max(old.checked, f.base)-f.base:]
	if len(changed) > fewChanges {
		return false
	}
	m := &f.glance
	m.fleet, m.in.Now = f, now
	for _, s := range changed {
		if len(s.parts) == 0 {
			continue
		}
		reason := m.reason(old.demand, s)
		if reason == "" {
			return false
		}
		old.passes(s, reason)
	}
	old.checked = f.now()
	return true
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
