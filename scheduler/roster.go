package scheduler

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/spec"
)

// roster is an app's live tasks in the order of their seats. It is brought up to date when it is asked for: tasks keep their
// places, so only those that are new since have to be sorted.
type roster struct {
	tasks  []*spec.Task // never changed, only replaced: readers have it
	joined []string
	stale  bool
}

// bySeat is the order of tasks for people: by seat, then by age.
func bySeat(a, b *spec.Task) int {
	if a.Seat.Index != b.Seat.Index { // nearly always: the rest need not be looked at
		return a.Seat.Index - b.Seat.Index
	}
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// reroll says that a task of an app is another one now, or gone, or one that joined.
func (s *Scheduler) reroll(t *spec.Task, joined bool) {
	r := s.rosters[t.Seat.App]
	if r == nil {
		r = &roster{}
		s.rosters[t.Seat.App] = r
	}
	r.stale = true
	if joined {
		r.joined = append(r.joined, t.ID)
	}
}

// inOrder are the app's live tasks by seat. The slice must not be changed.
func (s *Scheduler) inOrder(app spec.AppID) []*spec.Task {
	r, live := s.rosters[app], s.byApp[app]
	if len(live) == 0 {
		delete(s.rosters, app)
		return nil
	}
	if !r.stale {
		return r.tasks
	}
	joined := make([]*spec.Task, 0, len(r.joined))
	for _, id := range r.joined {
		if t := live[id]; t != nil {
			joined = append(joined, t)
		}
	}
	slices.SortFunc(joined, bySeat)
	out := make([]*spec.Task, 0, len(live))
	for _, old := range r.tasks {
		t := live[old.ID]
		if t == nil {
			continue
		}
		for len(joined) > 0 && bySeat(joined[0], t) < 0 {
			out, joined = append(out, joined[0]), joined[1:]
		}
		out = append(out, t)
	}
	s.rosters[app] = &roster{tasks: append(out, joined...)}
	return s.rosters[app].tasks
}
