package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// A decision about an app, and what readers see of it, cost what the app has. A large one is therefore looked at no more often
// than a small share of the time allows while only its tasks change: otherwise each of its hundred thousand updates would cost
// a walk over a hundred thousand tasks. A change of its definition never waits.
const (
	// largeApp is how many tasks and seats to launch make an app large.
	largeApp = 1000
	// pausePerTask makes the pause between two looks: a second for 100,000.
	pausePerTask = 10 * time.Microsecond
)

// paced remembers when large apps were looked at.
type paced struct {
	last map[spec.AppID]time.Time
}

// wait says how long to leave an app of this size alone; 0: it is its turn now.
func (p *paced) wait(id spec.AppID, size int, now time.Time) time.Duration {
	if size < largeApp {
		delete(p.last, id)
		return 0
	}
	if at, ok := p.last[id]; ok {
		if left := at.Add(time.Duration(size) * pausePerTask).Sub(now); left > 0 {
			return left
		}
	}
	if p.last == nil {
		p.last = map[spec.AppID]time.Time{}
	}
	p.last[id] = now
	return 0
}

// forget lets the next look come at once.
func (p *paced) forget(id spec.AppID) { delete(p.last, id) }

// sizeOf is how much there is to look at of an app.
func (s *Scheduler) sizeOf(id spec.AppID) int { return len(s.byApp[id]) + len(s.launches[id]) }

// window bounds the seats for which one decision seeks addresses and hosts, over all apps. What is beyond it is sought for in the
// next decisions, which follow at once as long as hosts are found.
const window = 2000

// search is when hosts were sought for what waits, and when to do so again. A search costs what waits, and most of what comes in, such as
// updates of tasks that begin to run and reports of their hosts, lets nothing more start.
type search struct {
	ids     []spec.AppID // of the apps that wait, sorted: kept for its memory
	wants   []want       // what wants gave last, likewise
	stirred bool         // something happened that may
	last    time.Time    // when it was done
	next    time.Time    // what it asked for; zero: nothing
}

// searchAgain is after which time everything that happens is taken for something that may.
const searchAgain = 250 * time.Millisecond

// mostInFlight is how many launches may be on their way to the engine. More would not be there earlier, and what waits has to be held and
// looked over by the collector: with a hundred thousand to launch that costs more than the launching.
const mostInFlight = 4000

// stir says that something may start now that could not before.
func (s *Scheduler) stir() { s.search.stirred = true }

// stirHeld is stir for what only offers that are there could be used for: where there are none, the next one that comes stirs.
func (s *Scheduler) stirHeld() {
	if s.fleet.Len() > 0 {
		s.stir()
	}
}

// seek starts what can be started, if that may be more than at the last time. A batch that is full leaves first, and launches land before
// there are too many on their way; without a session they cannot, and people want to know what waits.
func (s *Scheduler) seek(now time.Time) {
	s.needed.fresh = false
	x := &s.search
	switch due := x.stirred || !x.next.IsZero() && !now.Before(x.next) || now.Sub(x.last) >= searchAgain; {
	case s.batch.full(), s.session.connected && len(s.inFlight) > mostInFlight:
		x.stirred = true
		return
	case due:
		x.stirred, x.last = false, now
		x.next = s.asking(func() { s.needed = s.start(s.wants(), now) })
	case len(s.launches) > 0:
		s.wakeAt(x.last.Add(searchAgain))
	}
	if !x.next.IsZero() {
		s.wakeAt(x.next)
	}
}

// wants are the seats to launch that this decision is about: of every app in turn, an equal share of the window. An app whose
// last share found no host goes on behind it, as its other seats may be able to use what these could not. They are good until the next call.
func (s *Scheduler) wants() []want {
	if len(s.launches) == 0 {
		clear(s.skip)
		return nil
	}
	share := max(1, window/len(s.launches))
	ids, out := slices.AppendSeq(s.search.ids[:0], maps.Keys(s.launches)), s.search.wants[:0]
	slices.Sort(ids)
	for _, id := range ids {
		seats := s.launches[id]
		from := 0
		if len(seats) > share {
			from = s.skip[id] % len(seats)
		}
		for n := range min(share, len(seats)) {
			out = append(out, want{spec.SeatID{App: id, Index: seats[(from+n)%len(seats)]}, s.targeted[id].app})
		}
	}
	s.search.ids, s.search.wants = ids, out
	return out
}

// share is how many instances of an app each host gets at once. Of an app beyond the window each host will have about as many as every
// other in the end: all but the last of those go there together, with one ACCEPT and not one for each.
func (s *Scheduler) share(id spec.AppID) int {
	waiting := len(s.launches[id])
	if waiting <= window || len(s.agents) == 0 {
		return 0
	}
	return max(0, (len(s.byApp[id])+waiting)/len(s.agents)-1)
}

// settled takes the seats that were placed out of those to launch, and sees to it that the rest of large apps gets its turn.
func (s *Scheduler) settled(wants []want, placed map[spec.SeatID]bool, missing map[spec.AppID]*waiting, now time.Time) {
	tried, found := map[spec.AppID]int{}, map[spec.AppID]int{}
	for _, w := range wants {
		tried[w.app.ID]++
		if placed[w.seat] {
			found[w.app.ID]++
		}
	}
	for id, n := range tried {
		beyond := len(s.launches[id]) > n
		switch {
		case found[id] > 0:
			s.dropLaunches(id, placed)
			if beyond && found[id] == n {
				s.wakeAt(now)
			} else if beyond {
				s.skip[id] += n - found[id]
				s.wakeAt(now.Add(turnPause))
			}
		case beyond && s.fleet.Len() > 0:
			s.skip[id] += n
			if !missing[id].idle { // otherwise the others could not use either what these could not
				s.wakeAt(now.Add(turnPause))
			}
		}
	}
}

// turnPause is before the next share of an app is tried of which some found no host.
const turnPause = 50 * time.Millisecond

// dropLaunches takes seats that have a task now out of those to launch.
func (s *Scheduler) dropLaunches(id spec.AppID, placed map[spec.SeatID]bool) {
	left := make([]int, 0, len(s.launches[id]))
	for _, n := range s.launches[id] {
		if !placed[spec.SeatID{App: id, Index: n}] {
			left = append(left, n)
		}
	}
	if len(left) == 0 {
		delete(s.launches, id)
		delete(s.skip, id)
		return
	}
	s.launches[id] = left
}
