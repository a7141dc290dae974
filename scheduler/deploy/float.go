package deploy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/spec"
)

// floaters are the tasks of an app whose instances are interchangeable, by what they are good for.
type floaters struct {
	fresh []Task // count for the wanted number, newest version or (outside of rollouts) any
	old   []Task // to be replaced by the rollout
	dying int    // on their way out, and their end is waited for
	live  int    // occupy capacity
}

// float decides for interchangeable instances, Marathon's plain way: new tasks start up to the ceiling, each that is
// healthy lets an old one go, and whoever is unreachable for too long is replaced at once, in another seat.
func (d *decider) float() {
	f := d.sort()
	room := d.n - f.live
	if d.rolling {
		room = min(d.n-len(f.fresh), d.ceiling-f.live)
	}
	if lacking := max(0, d.n-f.live); !d.replace && room > lacking { // beyond it are successors of those that leave their host
		more := max(0, min(room-lacking, d.room))
		d.held += room - lacking - more
		room = lacking + more
		d.room -= more
	}
	for range max(0, room) {
		d.launch(d.freeSeat())
	}
	d.room += max(0, len(f.fresh)+len(f.old)-d.n) // successors that run already need no room any more
	d.retire(f.old)
	surplus := len(f.fresh) - d.n
	gone := map[string]bool{}
	for _, t := range d.selection(f.fresh, surplus) {
		d.kill(t, "%d instances are wanted, %d run", d.n, len(f.fresh))
		gone[t.ID] = true
	}
	kept := slices.DeleteFunc(slices.Clone(f.fresh), func(t Task) bool { return gone[t.ID] })
	d.floatVerdict(f, kept)
}

// sort tells the tasks apart. Given up ones are replaced, and count for nothing; if they come back they are surplus. Old
// ones that are given up end: they must not come back in the place of their successors.
func (d *decider) sort() floaters {
	var f floaters
	for _, t := range d.tasks {
		switch {
		case t.Killing && t.Unreachable:
			if d.n == 0 {
				f.dying++
			}
		case t.Killing:
			f.dying++
			f.live++
		case t.Unreachable && t.GivenUp && (d.n == 0 || d.replace && t.Outdated):
			d.kill(t, "unreachable for too long, and no longer wanted")
			if d.n == 0 {
				f.dying++
			}
		case t.Unreachable && t.GivenUp:
		case d.stale(t):
			f.old = append(f.old, t)
			f.live++
		default:
			f.fresh = append(f.fresh, t)
			f.live++
		}
	}
	return f
}

// freeSeat is the lowest number without any task, also of those decided here.
func (d *decider) freeSeat() int {
	for seat := d.free; ; seat++ {
		if len(d.in(seat)) == 0 {
			d.free = seat + 1
			return seat
		}
	}
}

// retire kills old tasks: unhealthy ones carry nothing and go at once, healthy ones as long as the floor holds. Those that
// are unreachable may come back healthy, so they are left alone until they are given up.
func (d *decider) retire(old []Task) {
	old = slices.DeleteFunc(slices.Clone(old), func(t Task) bool { return t.Unreachable })
	for _, t := range d.selection(old, len(old)) {
		d.makeWay(t)
	}
}

// selection picks at most count tasks that can go, first those that go first, and none that the floor needs. Marathon's
// order is the fullest group of each GROUP_BY constraint, then how far a task has come, then killSelection. Berth
// takes those that were given up and came back before all that run, and the unhealthy ones before killSelection.
func (d *decider) selection(tasks []Task, count int) []Task {
	left := slices.Clone(tasks)
	slices.SortFunc(left, d.goesFirst)
	size := map[string]int{}
	for _, t := range left {
		for _, g := range t.Groups {
			size[g]++
		}
	}
	var out []Task
	healthy, picked := d.healthy, make([]bool, len(left))
	first := 0 // all before are picked, or needed for good
	for len(out) < count {
		best := -1
		for i := first; i < len(left); i++ {
			needed := left[i].Healthy && d.n > 0 && healthy-1 < d.floor // and the floor is not left again
			if i == first && (picked[i] || needed) {
				first++
			}
			if picked[i] || needed || best >= 0 && compareGroups(size, left[best], left[i]) >= 0 {
				continue
			}
			if best = i; len(size) == 0 {
				break // in order already
			}
		}
		if best < 0 {
			break
		}
		if left[best].Healthy {
			healthy--
		}
		for _, g := range left[best].Groups {
			size[g]--
		}
		picked[best] = true
		out = append(out, left[best])
	}
	return out
}

// compareGroups compares how full the groups of two tasks are, constraint by constraint.
func compareGroups(size map[string]int, a, b Task) int {
	for i := range min(len(a.Groups), len(b.Groups)) {
		if c := cmp.Compare(size[a.Groups[i]], size[b.Groups[i]]); c != 0 {
			return c
		}
	}
	return 0
}

func (d *decider) goesFirst(a, b Task) int {
	order := a.Since.Compare(b.Since)
	if d.app.KillSelection != spec.OldestFirst {
		order = -order
	}
	return cmp.Or(no(a.Unreachable, b.Unreachable), no(a.GivenUp, b.GivenUp), cmp.Compare(a.Rung, b.Rung), -no(a.Healthy, b.Healthy), order, cmp.Compare(b.Seat, a.Seat), cmp.Compare(a.ID, b.ID))
}

// no orders true before false.
func no(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// floatVerdict says whether the mode is fulfilled.
func (d *decider) floatVerdict(f floaters, kept []Task) {
	lost, unhealthy, oldLost, leaving := 0, 0, 0, 0
	for _, t := range kept {
		switch {
		case t.Unreachable:
			lost++
		case !t.Healthy:
			unhealthy++
		}
	}
	for _, t := range f.old {
		switch {
		case t.Unreachable:
			oldLost++
		case !d.replace || !t.Outdated:
			leaving++
		}
	}
	missing := d.n - len(kept)
	going := f.dying + len(f.fresh) - len(kept)
	switch {
	case leaving > 0 && leaving+oldLost == len(f.old):
		d.out.Waiting = d.leavingText(leaving)
	case missing > 0 && going > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not started, %d are being stopped", missing, d.n, going)
	case missing > 0 && oldLost > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not started, %d of the old version cannot be reached", missing, d.n, oldLost)
	case missing > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not started", missing, d.n)
	case lost > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances cannot be reached", lost, d.n)
	case unhealthy > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not healthy yet", unhealthy, d.n)
	case len(f.old) > 0 && len(f.old) == oldLost:
		d.out.Waiting = fmt.Sprintf("%d instances of the old version cannot be reached", oldLost)
	case len(f.old) > 0:
		d.out.Waiting = fmt.Sprintf("%d instances still run the old version; %d healthy, %d must stay healthy", len(f.old), d.healthy, d.floor)
	case going > 0:
		d.out.Waiting = fmt.Sprintf("%d tasks are being stopped", going)
	default:
		d.out.Done = true
	}
}
