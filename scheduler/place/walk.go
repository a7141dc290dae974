package place

import (
	"cmp"
	"math"
	"slices"
)

// lane walks slots in order, the fullest first, and from each takes one instance at a time: those with the least load first,
// then those with the next. Slots only get fuller while a match runs, so what did not fit when the lane came by is not looked
// at again on that level, and an app's instances cost one look each, not one look at each host.
type lane struct {
	order *order
	at    entry // what it looked at last
	level int   // of the load that it takes now
	next  int   // the smallest load above it that was seen on this way
	// moves and own are how many slots had been used by anybody and by this lane when this way began: a slot that somebody else
	// used may have moved behind at, and then the way is gone again.
	moves, own int
	over       bool
	again      *slot // of those that are alike the fullest, as it was used just now
}

func newLane(o *order, w want) *lane {
	l := &lane{order: o}
	l.restart(0, w)
	return l
}

func (l *lane) restart(level int, w want) {
	l.level, l.next, l.at = level, math.MaxInt, entry{cpus: w.cpus - slack, mem: -1}
}

// peek is the slot that is next; nil when none fits any more.
func (l *lane) peek(m *matcher, d *demand) *slot {
	if s := l.again; s != nil && d.load(s) <= l.level && m.reason(d, s) == "" {
		return s
	}
	l.again = nil
	for !l.over {
		var found *slot
		l.order.after(l.at, d.want, func(s *slot) bool {
			if m.reason(d, s) == "" {
				n := d.load(s)
				if n <= l.level {
					found = s
					return false
				}
				l.next = min(l.next, n)
			}
			l.at = s.entry()
			return true
		})
		if found != nil {
			return found
		}
		level := l.level
		switch {
		case m.moves-l.moves != l.own:
		case l.next == math.MaxInt:
			l.over = true
			return nil
		default:
			level = l.next
		}
		l.restart(level, d.want)
		l.moves, l.own = m.moves, 0
	}
	return nil
}

// took tells the lane that the slot it named was used.
func (l *lane) took(m *matcher, d *demand, s *slot) {
	l.own++
	if m.reason(d, s) == "" {
		l.next, l.again = min(l.next, d.load(s)), s
	}
}

// load is what a slot carries of the app: fewer is better, but below the app's share. The groups of further GROUP_BYs weigh more than
// the host itself.
func (d *demand) load(s *slot) int {
	const most = 1<<20 - 1
	n, first := 0, true
	for i := range d.rules.list {
		r := &d.rules.list[i]
		if r.Operator != "GROUP_BY" {
			continue
		}
		if !first {
			n = min(n, 1<<40-1)<<20 | min(r.counts[s.fields[r.Field]], most)
		}
		first = false
	}
	on := d.hosts[s.merged.Host]
	if on < d.share {
		on = 0
	}
	return min(n, 1<<40-1)<<20 | min(on, most)
}

// spread walks the groups of the first GROUP_BY round and round: each gets an instance before any gets another one, as far as
// hosts in it can take them.
type spread struct {
	counts      map[string]int
	list        []*group
	from        int // where a round begins, by the app: not every app begins in the same group
	i           int
	level, next int
	lanes       map[*group]*lane
}

func newSpread(d *demand, r *rule) *spread {
	sp := &spread{counts: r.counts, list: d.view.by(r.Field).groups(), next: math.MaxInt, lanes: map[*group]*lane{}}
	sp.from, _ = slices.BinarySearchFunc(sp.list, digest(string(d.app.ID)), func(g *group, at uint64) int { return cmp.Compare(g.place, at) })
	return sp
}

func (sp *spread) group() *group { return sp.list[(sp.i+sp.from)%len(sp.list)] }

func (sp *spread) peek(m *matcher, d *demand) *slot {
	for {
		for ; sp.i < len(sp.list); sp.i++ {
			g := sp.group()
			if g.n == 0 {
				continue
			}
			l := sp.lanes[g]
			if l != nil && l.over {
				continue
			}
			if n := sp.counts[g.value]; n > sp.level {
				sp.next = min(sp.next, n)
				continue
			}
			if l == nil {
				l = newLane(&g.order, d.want)
				l.moves = m.moves
				sp.lanes[g] = l
			}
			if s := l.peek(m, d); s != nil {
				return s
			}
		}
		if sp.next == math.MaxInt {
			return nil
		}
		sp.level, sp.next, sp.i = sp.next, math.MaxInt, 0
	}
}
