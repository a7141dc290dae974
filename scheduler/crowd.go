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
	// looksAtOnce is how many of those whose reasons are old are searched for in one decision; fewLooks when there is hope for
	// others, whose hosts should not wait for that.
	looksAtOnce, fewLooks = 32, 4
	// hopesAtOnce is how many of those are searched for in one decision that what came may be for, and hopesAnOffer how many for each offer
	// that there is. One host is hope for a thousand apps, and the first takes it.
	hopesAtOnce, hopesAnOffer = 64, 4
)

// hopeful takes the wants out for which no host can be found now, or others' turn comes first; then there is more to search for what is
// offered. What is known of their apps stays in the queue.
func (s *Scheduler) hopeful(wants []want, now time.Time) (rest []want, passed map[spec.AppID]*waiting, more bool) {
	if len(s.launches) < crowd || !s.session.connected {
		return wants, map[spec.AppID]*waiting{}, false
	}
	passed = make(map[spec.AppID]*waiting, len(s.queue))
	var due, hope [][]want // of those passed over, the ones to search for again, and those that may find something now
	for i, n := 0, 0; i < len(wants); i += n {
		app := wants[i].app
		for n = 1; i+n < len(wants) && wants[i+n].app == app; n++ {
		}
		q := s.queue[app.ID]
		if q == nil || !q.idle || q.seen.app != app || q.count != n || n != len(s.launches[app.ID]) {
			rest = append(rest, wants[i:i+n]...)
			continue
		}
		passed[app.ID] = q
		switch {
		case !s.fleet.Hopeless(app, q.pool, s.tallies[app.ID], now):
			hope = append(hope, wants[i:i+n])
		case now.Sub(q.looked) >= lookAgain:
			due = append(due, wants[i:i+n])
		}
	}
	looks := looksAtOnce
	if len(hope) > 0 {
		looks = fewLooks
	}
	hopes := min(hopesAtOnce, hopesAnOffer*s.fleet.Len())
	return slices.Concat(rest, nextTurn(hope, passed, hopes), nextTurn(due, passed, looks)), passed, len(hope) > hopes
}

// nextTurn takes the wants of some apps out of those that are passed over: of those that were looked at longest ago, or the same ones
// would always be due again before the others' turn.
func nextTurn(of [][]want, passed map[spec.AppID]*waiting, most int) (out []want) {
	slices.SortStableFunc(of, func(a, b []want) int { return passed[a[0].app.ID].looked.Compare(passed[b[0].app.ID].looked) })
	for _, app := range of[:min(most, len(of))] {
		out = append(out, app...)
		delete(passed, app[0].app.ID)
	}
	return out
}

// waitsForHosts says that nothing but hosts keeps an app waiting, and nothing of what they lack passes by itself. That none has
// offered anything (the engine's reason) ends with an offer.
func (q *waiting) waitsForHosts() bool {
	other := func(r api.Reason) bool { return r.Kind != api.ReasonHosts && r.Kind != api.ReasonEngine }
	return len(q.why) > 0 && !slices.ContainsFunc(q.why, other) && q.refused.Declined[place.HostBusy]+q.refused.Declined[place.NetworkNotReady] == 0
}
