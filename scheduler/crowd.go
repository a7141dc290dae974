package scheduler

import (
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// Where many apps wait for hosts, each event would cost a search for every one of them. Those that certainly still find none are
// passed over, and searched for in turns, so that what is told of them is never old.
const (
	// crowd is how many waiting apps are many.
	crowd = 32
	// lookAgain is how old the reasons of an app may be that is passed over.
	lookAgain = time.Second
	// looksAtOnce is how many of those whose reasons are old are searched for in one decision.
	looksAtOnce = 32
)

// hopeful takes the wants out for which no host can be found now. What is known of their apps stays in the queue.
func (s *Scheduler) hopeful(wants []want, now time.Time) (rest []want, passed map[spec.AppID]*waiting) {
	if len(s.launches) < crowd || !s.session.connected {
		return wants, nil
	}
	passed = map[spec.AppID]*waiting{}
	var due [][]want // of those passed over, the ones to search for again
	for i, n := 0, 0; i < len(wants); i += n {
		app := wants[i].app
		for n = 1; i+n < len(wants) && wants[i+n].app == app; n++ {
		}
		q := s.queue[app.ID]
		if q == nil || !q.idle || q.seen.app != app || q.count != n || n != len(s.launches[app.ID]) ||
			!s.fleet.Hopeless(app, q.pool, s.tallies[app.ID], now) {
			rest = append(rest, wants[i:i+n]...)
			continue
		}
		passed[app.ID] = q
		if now.Sub(q.looked) >= lookAgain {
			due = append(due, wants[i:i+n])
		}
	}
	// The longest ago first, or the same ones would always be due again before the others' turn.
	slices.SortStableFunc(due, func(a, b []want) int { return passed[a[0].app.ID].looked.Compare(passed[b[0].app.ID].looked) })
	for _, of := range due[:min(looksAtOnce, len(due))] {
		rest = append(rest, of...)
		delete(passed, of[0].app.ID)
	}
	return rest, passed
}

// waitsForHosts says that nothing but hosts keeps an app waiting, and nothing of what they lack passes by itself.
func (q *waiting) waitsForHosts() bool {
	other := func(r api.Reason) bool { return r.Kind != api.ReasonHosts }
	return len(q.why) > 0 && !slices.ContainsFunc(q.why, other) && q.refused.Declined[place.HostBusy]+q.refused.Declined[place.NetworkNotReady] == 0
}
