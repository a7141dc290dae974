package unit

import (
	"fmt"
	"slices"
	"strings"
)

// OrderError is why units cannot be started together.
type OrderError struct {
	Unit string    // the one that is in the way
	By   string    // who needs it; empty: it was asked for itself
	Load LoadState // of Unit
	Text string    // in systemd's words
}

func (e *OrderError) Error() string { return e.Text }

// StartOrder lists what has to be started for some units, they themselves included: what they require and want, each after what it comes after.
// What is only wanted and cannot be started is left out. It is an error if one of the names, or what it requires, cannot be loaded.
func (s *Set) StartOrder(names ...string) ([]string, error) {
	t := transaction{set: s, in: map[string]bool{}}
	for _, name := range names {
		if err := t.add(name, "", true); err != nil {
			return nil, err
		}
	}
	return s.Sort(t.names), nil
}

// StopOrder lists what has to be stopped for some units: they themselves and those of running that cannot be without them, each before what it
// comes after.
func (s *Set) StopOrder(running []string, names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, s.resolve(name))
	}
	for i := 0; i < len(all); i++ {
		for _, other := range running {
			u := s.Unit(other)
			needs := slices.Concat(u.Requires, u.BindsTo, u.Requisite, u.PartOf)
			if !slices.Contains(all, u.Name) && slices.ContainsFunc(needs, func(n string) bool { return s.resolve(n) == all[i] }) {
				all = append(all, u.Name)
			}
		}
	}
	order := s.Sort(unique(all))
	slices.Reverse(order)
	return order
}

type transaction struct {
	set   *Set
	names []string
	in    map[string]bool
}

func (t *transaction) add(name, by string, must bool) error {
	u := t.set.Unit(name)
	if t.in[u.Name] {
		return nil
	}
	if by != "" && (slices.Contains(reachedTargets, u.Name) || !possible(u)) {
		// The machine is past such a target: what it wants has had its time when the container started. Mounts and their like are nothing that a
		// container could have, so nobody waits for them.
		return nil
	}
	if u.Load != Loaded {
		return refusal(u, by)
	}
	t.in[u.Name] = true
	t.names = append(t.names, u.Name)
	before := len(t.names)
	for _, need := range slices.Concat(u.Requires, u.BindsTo) {
		if err := t.add(need, u.Name, must); err != nil {
			if must {
				return err
			}
			t.drop(before - 1)
			return err
		}
	}
	for _, need := range u.Wants {
		_ = t.add(need, u.Name, false)
	}
	if u.Socket != nil && u.Socket.Refused == "" {
		_ = t.add(u.Socket.Service, u.Name, false)
	}
	return nil
}

// possible says whether a container can have a unit of this kind, as far as is known without its conditions.
func possible(u *Unit) bool {
	switch u.Kind {
	case KindService, KindTarget, KindTimer:
		return true
	case KindSocket:
		return u.Load == Loaded && u.Socket.Refused == ""
	}
	return false
}

// drop takes back what a wanted unit brought along that cannot be started itself.
func (t *transaction) drop(from int) {
	for _, name := range t.names[from:] {
		delete(t.in, name)
	}
	t.names = t.names[:from]
}

func refusal(u *Unit, by string) error {
	e := &OrderError{Unit: u.Name, By: by, Load: u.Load, Text: u.Problem}
	switch u.Load {
	case BadSetting:
		e.Text = fmt.Sprintf("Unit %s has a bad unit file setting.", u.Name)
	case NotFound:
		e.Text = fmt.Sprintf("Unit %s not found.", u.Name)
	case Masked:
		e.Text = fmt.Sprintf("Unit %s is masked.", u.Name)
	}
	return e
}

// Sort orders units so that each comes after what its After= and the others' Before= name, and otherwise by name, so that the same units have
// the same order always. A circle is cut where it was met: a container that starts beats one that does not.
func (s *Set) Sort(names []string) []string {
	after := map[string][]string{}
	var all []string
	for _, name := range names {
		all = append(all, s.resolve(name))
	}
	all = unique(all)
	slices.Sort(all)
	for _, name := range all {
		u := s.Unit(name)
		for _, a := range u.After {
			after[name] = append(after[name], s.resolve(a))
		}
		for _, b := range u.Before {
			after[s.resolve(b)] = append(after[s.resolve(b)], name)
		}
	}
	var out []string
	state := map[string]int{} // 1: under way, 2: done
	var visit func(string)
	visit = func(name string) {
		if state[name] != 0 {
			return
		}
		state[name] = 1
		first := slices.Clone(after[name])
		slices.Sort(first)
		for _, a := range slices.Compact(first) {
			if slices.Contains(all, a) {
				visit(a)
			}
		}
		state[name] = 2
		out = append(out, name)
	}
	for _, name := range all {
		visit(name)
	}
	return out
}

// WantedBy lists what a target asks for, directly and by other targets that it asks for, in the order of start. Units that cannot be loaded and
// those of the machine's own init (OfInit) are left out.
func (s *Set) WantedBy(target string) []string {
	var found, queue []string
	queue = []string{target}
	seen := map[string]bool{}
	for len(queue) > 0 {
		u := s.Unit(queue[0])
		queue = queue[1:]
		if seen[u.Name] || u.Load != Loaded {
			continue
		}
		seen[u.Name] = true
		if u.Kind == KindTarget {
			queue = append(queue, u.Requires...)
			queue = append(queue, u.Wants...)
		}
		if u.Name != s.resolve(target) && !u.OfInit() {
			found = append(found, u.Name)
		}
	}
	return s.Sort(found)
}

// OfInit says whether a unit is a part of systemd itself: its program is one of systemd's, which does the machine's work for PID 1. In a container
// that work is done, or is not there to do.
func (u *Unit) OfInit() bool {
	if u.Service == nil {
		return false
	}
	return slices.ContainsFunc(slices.Concat(u.Service.ExecStart, u.Service.ExecStop), func(c Command) bool {
		return strings.HasPrefix(c.Path, "/lib/systemd/") || strings.HasPrefix(c.Path, "/usr/lib/systemd/")
	})
}
