package unit

import "slices"

// ReloadsWith lists which of the running units are reloaded when one is: those it propagates its reload to, and those that ask for it.
func (s *Set) ReloadsWith(running []string, name string) []string {
	u := s.Unit(name)
	var also []string
	for _, n := range running {
		other := s.Unit(n)
		if other.Name != u.Name && (s.names(u.PropagatesReloadTo, other.Name) || s.names(other.ReloadPropagatedFrom, u.Name)) {
			also = append(also, other.Name)
		}
	}
	return s.Sort(also)
}

// Conflicting lists which of the running units have to be stopped before some are started: a conflict counts in both directions.
func (s *Set) Conflicting(running []string, names ...string) []string {
	var out []string
	for _, n := range running {
		other := s.Unit(n)
		if slices.ContainsFunc(names, func(name string) bool {
			u := s.Unit(name)
			return u.Name != other.Name && (s.names(u.Conflicts, other.Name) || s.names(other.Conflicts, u.Name))
		}) {
			out = append(out, other.Name)
		}
	}
	order := s.Sort(out)
	slices.Reverse(order)
	return order
}

// names says whether a list has a unit under any of its names.
func (s *Set) names(list []string, unit string) bool {
	return slices.ContainsFunc(list, func(n string) bool { return s.resolve(n) == unit })
}
