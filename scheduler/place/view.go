package place

import (
	"cmp"
	"slices"
	"strings"
)

// view is a set of slots in order, as a whole and by the values of those fields that somebody asked for.
type view struct {
	all    order
	fields map[string]*grouping
}

// grouping are the slots by the value of one field. Slots without the field are in none of its groups.
type grouping struct {
	byValue map[string]*group
	list    []*group // by place, once sorted; groups may be empty
	sorted  bool
	empty   int // groups
	n       int // slots
}

type group struct {
	value string
	place uint64 // a digest of the value: where it is on the round of the groups
	order
}

func (v *view) add(s *slot) {
	v.all.add(s)
	for field, g := range v.fields {
		g.add(s, field)
	}
}

func (v *view) remove(s *slot) bool {
	if !v.all.remove(s) {
		return false
	}
	for field, g := range v.fields {
		g.remove(s, field)
	}
	return true
}

// by are the slots by the values of a field; kept up from the first time on.
func (v *view) by(field string) *grouping {
	g := v.fields[field]
	if g == nil {
		g = &grouping{byValue: map[string]*group{}}
		for _, b := range v.all.blocks {
			for _, e := range b.entries {
				g.add(e.slot, field)
			}
		}
		if v.fields == nil {
			v.fields = map[string]*grouping{}
		}
		v.fields[field] = g
	}
	return g
}

func (g *grouping) add(s *slot, field string) {
	value, ok := s.fields[field]
	if !ok {
		return
	}
	x := g.byValue[value]
	switch {
	case x == nil:
		x = &group{value: value, place: digest(value)}
		g.byValue[value] = x
		g.list, g.sorted = append(g.list, x), false
	case x.n == 0:
		g.empty--
	}
	before := x.n
	x.add(s)
	g.n += x.n - before
}

func (g *grouping) remove(s *slot, field string) {
	if x := g.byValue[s.fields[field]]; x != nil && x.remove(s) {
		if g.n--; x.n == 0 {
			g.empty++
		}
	}
}

// groups are the groups by place. The list stays the same while slots only move or leave.
func (g *grouping) groups() []*group {
	if g.empty > len(g.list)/2 {
		g.list = slices.DeleteFunc(slices.Clone(g.list), func(x *group) bool {
			if x.n == 0 {
				delete(g.byValue, x.value)
			}
			return x.n == 0
		})
		g.empty = 0
	}
	if !g.sorted {
		g.list = slices.Clone(g.list)
		slices.SortFunc(g.list, func(a, b *group) int {
			return cmp.Or(cmp.Compare(a.place, b.place), strings.Compare(a.value, b.value))
		})
		g.sorted = true
	}
	return g.list
}
