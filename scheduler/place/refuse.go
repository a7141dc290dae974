package place

import (
	"fmt"
	"slices"
	"strings"
)

// explain says of each slot why the app cannot have it.
func (m *matcher) explain(d *demand) Refusals {
	ref := Refusals{Declined: map[Reason]int{}}
	type example struct {
		slot   *slot
		reason Reason
	}
	var shown, more []example // the first ones, and the first of each reason that is not among them
	simple := m.simple(d)
	for _, b := range d.view.all.blocks {
		if simple && !b.maintained && len(shown) == MaxRefused && ref.Declined[InsufficientCpus] > 0 && b.entries[len(b.entries)-1].cpus+slack < d.want.cpus {
			ref.Processed += len(b.entries)
			ref.Declined[InsufficientCpus] += len(b.entries)
			continue
		}
		for _, e := range b.entries {
			reason := m.reason(d, e.slot)
			d.passes(e.slot, reason)
			ref.Processed++
			ref.Declined[reason]++
			switch x := (example{e.slot, reason}); {
			case len(shown) < MaxRefused:
				shown = append(shown, x)
			case ref.Declined[reason] == 1:
				more = append(more, x)
			}
		}
	}
	// A reason that was shown only once stays; what makes room are the last ones of those shown more than once.
	for k := len(shown) - 1; k >= 0 && len(shown)+len(more) > MaxRefused; k-- {
		if slices.ContainsFunc(shown[:k], func(x example) bool { return x.reason == shown[k].reason }) {
			shown = slices.Delete(shown, k, k+1)
		}
	}
	shown = append(shown, more...)
	slices.SortStableFunc(shown, func(a, b example) int { return strings.Compare(a.slot.merged.Host, b.slot.merged.Host) })
	for _, x := range shown {
		ref.add(x.slot, x.reason, m.why(d, x.slot, x.reason))
	}
	return ref
}

// simple says that nothing but a maintenance or a drain comes before the cpus among the reasons for which a slot may be refused. A crowd that
// waits for a full fleet then need not look at each host to say so.
func (m *matcher) simple(d *demand) bool {
	for role := range m.fleet.roles {
		if d.role != "" && role != "" && role != d.role {
			return false
		}
	}
	for i := range d.rules.list {
		r := &d.rules.list[i]
		switch {
		case r.Operator == "UNIQUE", r.Operator == "GROUP_BY", r.Operator == "MAX_PER" && r.number > 0:
		default:
			return false
		}
		if canonical(r.Field) != hostField && m.fleet.view.by(r.Field).n < m.fleet.view.all.n {
			return false // some have no such attribute
		}
	}
	return d.part == whole
}

func (r *Refusals) add(s *slot, reason Reason, why string) {
	r.Why = append(r.Why, why)
	r.Offers = append(r.Offers, Refused{s.merged, reason, why})
}

// explainPinned says why an intent cannot have the one host that it may run on; the others are only counted.
func (m *matcher) explainPinned(it Intent, d *demand) Refusals {
	ref := Refusals{Declined: map[Reason]int{}, Processed: m.fleet.view.all.n}
	for _, s := range m.fleet.slotsOn(it.Pinned) {
		reason := m.reason(d, s)
		ref.Declined[reason]++
		ref.add(s, reason, m.why(d, s, reason))
	}
	if others := ref.Processed - len(ref.Offers); others > 0 {
		ref.Declined[NoReservation] = others
	}
	var shown []*slot
	m.fleet.view.all.after(entry{cpus: -1}, want{}, func(s *slot) bool {
		if s.merged.Host != it.Pinned {
			shown = append(shown, s)
		}
		return len(ref.Offers)+len(shown) < MaxRefused
	})
	slices.SortStableFunc(shown, func(a, b *slot) int { return strings.Compare(a.merged.Host, b.merged.Host) })
	for _, s := range shown {
		ref.add(s, NoReservation, fmt.Sprintf("%s: the volumes of %s are on %s", s.merged.Host, it.Seat, it.Pinned))
	}
	return ref
}
