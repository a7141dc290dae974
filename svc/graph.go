package svc

import (
	"maps"
	"slices"

	"github.com/berth-project/berth/unit"
)

// graph is units and who waits for whom. Everything of it is read before it runs, as a unit.Set is for one goroutine.
type graph struct {
	units   []*unit.Unit
	after   map[string][]string // those of the graph that come before
	resolve func(name string) string
}

// graph makes one of units in an order that has no circles: what would close one is left out.
func (s *Supervisor) graph(order []string) *graph {
	set := s.set()
	g := &graph{after: map[string][]string{}}
	names := map[string]string{}
	at := map[string]int{}
	for _, name := range order {
		u := set.Unit(name)
		u.Passed = set.Passed(u.Name)
		names[name] = u.Name
		for _, alias := range u.Names {
			names[alias] = u.Name
		}
		if _, ok := at[u.Name]; !ok {
			at[u.Name] = len(g.units)
			g.units = append(g.units, u)
		}
	}
	g.resolve = func(name string) string {
		if own, ok := names[name]; ok {
			return own
		}
		return name
	}
	edge := func(later, earlier string) {
		later, earlier = g.resolve(later), g.resolve(earlier)
		l, ok1 := at[later]
		e, ok2 := at[earlier]
		if ok1 && ok2 && e < l && !slices.Contains(g.after[later], earlier) {
			g.after[later] = append(g.after[later], earlier)
		}
	}
	for _, u := range g.units {
		for _, other := range u.After {
			edge(u.Name, other)
		}
		for _, other := range u.Before {
			edge(other, u.Name)
		}
	}
	return g
}

// reversed is the graph for stopping. The order of its units is that of a stop already.
func (g *graph) reversed() *graph {
	out := &graph{units: g.units, after: map[string][]string{}, resolve: g.resolve}
	at := map[string]int{}
	for i, u := range g.units {
		at[u.Name] = i
	}
	edge := func(later, earlier string) {
		l, ok1 := at[later]
		e, ok2 := at[earlier]
		if ok1 && ok2 && e < l && !slices.Contains(out.after[later], earlier) {
			out.after[later] = append(out.after[later], earlier)
		}
	}
	// After a unit has ended come those after which it was started.
	for _, u := range g.units {
		for _, other := range u.After {
			edge(g.resolve(other), u.Name)
		}
		for _, other := range u.Before {
			edge(u.Name, g.resolve(other))
		}
	}
	return out
}

// of gives the errors of some units, by any of their names.
func (g *graph) of(errs map[string]error, names []string) error {
	var out []error
	for _, name := range names {
		out = append(out, errs[g.resolve(name)])
	}
	return together(out)
}

// run does something with each unit when it has been done with those before it, with as many at once as that allows. The errors of those are
// told.
func (g *graph) run(do func(u *unit.Unit, earlier map[string]error) error) map[string]error {
	type result struct {
		name string
		err  error
	}
	results := make(chan result)
	errs := map[string]error{}
	begun := map[string]bool{}
	for len(errs) < len(g.units) {
		for _, u := range g.units {
			ready := !begun[u.Name] && !slices.ContainsFunc(g.after[u.Name], func(name string) bool { _, done := errs[name]; return !done })
			if !ready {
				continue
			}
			begun[u.Name] = true
			earlier := maps.Clone(errs)
			go func() { results <- result{u.Name, do(u, earlier)} }()
		}
		r := <-results
		errs[r.name] = r.err
	}
	return errs
}
