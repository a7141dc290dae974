package scheduler

import (
	"context"
	"time"

	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// offers are those that we hold. Each leaves within a bounded time: used, declined or rescinded.
type offers struct {
	fleet   *place.Fleet
	arrived []arrival // the oldest first; some may be gone from the fleet
}

type arrival struct {
	id string
	at time.Time
}

func newOffers() offers { return offers{fleet: place.NewFleet()} }

// hold takes in new offers.
func (o *offers) hold(list []spec.Offer, now time.Time) {
	for i := range list {
		o.fleet.Add(list[i])
		o.arrived = append(o.arrived, arrival{list[i].ID, now})
	}
}

// forgetOffers is for offers that are no longer ours to give back.
func (o *offers) forgetOffers() {
	o.fleet.Clear()
	o.arrived = nil
}

// older takes out the offers that are held since before t, and says when the next one came; zero: there is none.
func (o *offers) older(t time.Time) (ids []string, next time.Time) {
	n := 0
	for ; n < len(o.arrived); n++ {
		a := o.arrived[n]
		if !o.fleet.Holds(a.id) {
			continue // used, or rescinded
		}
		if a.at.After(t) {
			next = a.at
			break
		}
		o.fleet.Drop(a.id)
		ids = append(ids, a.id)
	}
	o.arrived = o.arrived[n:]
	return ids, next
}

// need is what the wanted seats need of the engine.
type need struct {
	offers bool // something could be launched if there were the right offers
	soon   bool // what is held may be of use within HoldOffers: something passes by itself
	busy   bool // a host with an offer is starting as much as it may
	fresh  bool // something is wanted that was not when the offers were declined that now are kept from us
}

// with adds that offers are of use although nothing can be launched: they tell what hosts have left.
func (n need) with(offers bool) need {
	n.offers = n.offers || offers
	return n
}

const (
	// holdParts is how long an offer that nobody can use is kept although nothing else speaks for it: more of the same agent
	// may be under way. What is declined comes back in one piece.
	holdParts = time.Second
	// A declined offer is not made again for as long as the wants have been the same, within these bounds; more than the
	// declined resources are offered all the same, and REVIVE ends it when something else is wanted.
	minRefuse, maxRefuse = 5 * time.Second, 5 * time.Minute
	// reviveEvery bounds how often a REVIVE ends the refusals; each makes the master offer everything again.
	reviveEvery = time.Second
	// offersLate is how long wanted offers may be missing before they are asked for again.
	offersLate = time.Minute
	// callRetry is the pause after a call that failed although there is a session.
	callRetry = 2 * time.Second
	// lateCall is how long after it was given up a call may still arrive.
	lateCall = 30 * time.Second
)

// manageOffers asks for offers when something waits for them, and gives back what nobody uses: at once and for long when
// nothing waits; after holdParts what the waiting apps cannot use; after HoldOffers what they may be able to use soon.
func (s *Scheduler) manageOffers(n need, now time.Time) {
	if !s.session.connected {
		return
	}
	s.returnAgain(now)
	if n.fresh {
		s.wantAnew(now)
	}
	n.soon = n.soon || s.rolling(now)
	if !n.offers && !n.soon {
		s.decline(0, declineFor, now)
		s.suppress(now)
		return
	}
	s.askForOffers(n, now)
	hold, refuse := holdParts, min(maxRefuse, max(minRefuse, now.Sub(s.session.freshAt)))
	if n.soon {
		hold, refuse = s.opts.HoldOffers, minRefuse
	}
	s.decline(hold, refuse, now)
}

// wantAnew says that offers could be of use now that were not when they were declined.
func (s *Scheduler) wantAnew(now time.Time) {
	s.stir()
	s.session.freshAt = now
	s.session.missed = now.Before(s.session.refusedUntil)
}

// suppress asks for no offers, unless that was done.
func (s *Scheduler) suppress(now time.Time) {
	x := &s.session
	if x.suppressed && !x.unasked {
		return
	}
	after := x.suppressAfter
	if x.suppressed {
		after = x.suppressedAt.Add(callRetry) // more of the offers that were on their way then may come
	}
	if now.Before(after) {
		s.wakeAt(after)
		return
	}
	x.suppressed, x.unasked, x.suppressedAt = true, false, now
	s.counters.Suppresses++
	s.batch.call(call{name: "SUPPRESS", do: s.opts.Engine.Suppress, failed: s.inSession(func() {
		s.session.suppressed, s.session.suppressAfter = false, time.Now().Add(callRetry)
	})})
}

// inSession is for what a failed call means, which it does only to the session that it was made in.
func (s *Scheduler) inSession(f func()) func(error) {
	serial := s.session.serial
	return func(error) {
		if s.session.connected && s.session.serial == serial {
			f()
		}
	}
}

// askForOffers revives offers that are suppressed, or that were declined when something else was wanted, or that do not come:
// a SUPPRESS that was given up as failed may have overtaken the last REVIVE.
func (s *Scheduler) askForOffers(n need, now time.Time) {
	x := &s.session
	wanted := x.suppressed || n.offers && x.missed && now.Before(x.refusedUntil)
	if late := s.lateOffers(); !wanted && n.offers && !late.IsZero() {
		if wanted = !now.Before(late); !wanted {
			s.wakeAt(late)
		}
	}
	if !wanted {
		return
	}
	if now.Before(x.reviveAfter) {
		s.wakeAt(x.reviveAfter)
		return
	}
	if !x.suppressed {
		x.reviveAfter = now.Add(reviveEvery)
	}
	x.suppressed, x.unasked, x.missed, x.refusedUntil, x.offeredAt = false, false, false, time.Time{}, now
	s.counters.Revives++
	s.batch.call(call{name: "REVIVE", do: s.opts.Engine.Revive, failed: s.inSession(func() {
		s.session.suppressed, s.session.reviveAfter = true, time.Now().Add(callRetry)
		// It may have been heard, or will yet be. If nothing is wanted any more, it is taken back when it must have come.
		s.session.unasked, s.session.suppressedAt = true, time.Now().Add(lateCall)
	})})
}

// lateOffers is when offers that are wanted should have come; zero: some are held.
func (s *Scheduler) lateOffers() time.Time {
	if s.fleet.Len() > 0 {
		return time.Time{}
	}
	at := s.session.offeredAt
	if s.session.refusedUntil.After(at) {
		at = s.session.refusedUntil
	}
	return at.Add(offersLate)
}

// decline gives back the offers that were held for some time.
func (s *Scheduler) decline(hold, refuse time.Duration, now time.Time) {
	ids, next := s.older(now.Add(-hold))
	if !next.IsZero() {
		s.wakeAt(next.Add(hold))
	}
	if len(ids) == 0 {
		return
	}
	s.counters.OffersDeclined += uint64(len(ids))
	if until := now.Add(refuse); until.After(s.session.refusedUntil) {
		s.session.refusedUntil = until
	}
	s.giveBack(ids, refuse, nil)
}

// rolling says whether a deployment is likely to want offers soon: it began a step or launched something a moment ago. One
// that waits for something else does not keep offers from others.
func (s *Scheduler) rolling(now time.Time) bool {
	last := time.Time{}
	for _, d := range s.state.Deployments {
		if last = d.StepSince; s.launchedAt.After(last) {
			last = s.launchedAt
		}
		if until := last.Add(s.opts.HoldOffers); now.Before(until) {
			s.wakeAt(until)
			return true
		}
	}
	return false
}

// unreturned are offers whose DECLINE failed: the engine may hold them for ours until the session ends.
type unreturned struct {
	ids    []string
	refuse time.Duration
	then   func()
	at     time.Time // of the next try
}

// giveBack declines offers, again and again while their session lasts. then runs in the loop once the engine has the call.
func (s *Scheduler) giveBack(ids []string, refuse time.Duration, then func()) {
	s.batch.call(call{
		name: "DECLINE",
		do:   func(ctx context.Context) error { return s.opts.Engine.Decline(ctx, ids, refuse) },
		sent: then,
		failed: s.inSession(func() { // a session takes its offers along, and the next one asks
			s.session.unreturned = append(s.session.unreturned, unreturned{ids, refuse, then, time.Now().Add(callRetry)})
		}),
	})
}

func (s *Scheduler) returnAgain(now time.Time) {
	var later []unreturned
	for _, u := range s.session.unreturned {
		if now.Before(u.at) {
			s.wakeAt(u.at)
			later = append(later, u)
			continue
		}
		s.giveBack(u.ids, u.refuse, u.then)
	}
	s.session.unreturned = later
}
