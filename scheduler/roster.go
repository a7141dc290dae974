package scheduler

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/spec"
)

// roster is an app's live tasks in the order of their seats. It is brought up to date when it is asked for: tasks keep their
// places, so only those that changed since are looked for.
type roster struct {
	tasks   []*spec.Task // never changed, only replaced: readers have it
	changed []*spec.Task // as they were or became, some of them several times
}

// bySeat is the order of tasks for people: by seat, then by age.
func bySeat(a, b *spec.Task) int {
	if a.Seat.Index != b.Seat.Index { // nearly always: the rest need not be looked at
		return a.Seat.Index - b.Seat.Index
	}
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// reroll says that a task of an app is another one now, or gone, or one that joined.
func (s *Scheduler) reroll(t *spec.Task) {
	r := s.rosters[t.Seat.App]
	if r == nil {
		r = &roster{}
		s.rosters[t.Seat.App] = r
	}
	r.changed = append(r.changed, t)
}

// inOrder are the app's live tasks by seat. The slice must not be changed.
func (s *Scheduler) inOrder(app spec.AppID) []*spec.Task {
	r, live := s.rosters[app], s.byApp[app]
	if len(live) == 0 {
		delete(s.rosters, app)
		return nil
	}
	if len(r.changed) == 0 {
		return r.tasks
	}
	out, gone := append(make([]*spec.Task, 0, max(len(live), len(r.tasks))), r.tasks...), false
	var joined []*spec.Task
	for _, c := range r.changed {
		t := live[c.ID]
		i, known := slices.BinarySearchFunc(r.tasks, c, bySeat)
		switch {
		case known:
			out[i], gone = t, gone || t == nil
		case t != nil:
			joined = append(joined, t)
		}
	}
	if gone {
		out = slices.DeleteFunc(out, func(t *spec.Task) bool { return t == nil })
	}
	slices.SortFunc(joined, bySeat)
	out = merge(out, slices.Compact(joined))
	s.rosters[app] = &roster{tasks: out}
	return out
}

// merge puts tasks that joined to their places, from the end, where there is room.
func merge(tasks, joined []*spec.Task) []*spec.Task {
	i, j := len(tasks)-1, len(joined)-1
	tasks = append(tasks, joined...)
	for k := len(tasks) - 1; j >= 0; k-- {
		if i >= 0 && bySeat(tasks[i], joined[j]) > 0 {
			tasks[k] = tasks[i]
			i--
		} else {
			tasks[k] = joined[j]
			j--
		}
	}
	return tasks
}
