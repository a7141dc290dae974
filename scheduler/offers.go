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
	fresh  bool // something is wanted that was not when the offers were declined that now are kept from us
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
	// callRetry is the pause after a call that failed although there is a session.
	callRetry = 2 * time.Second
)

// manageOffers asks for offers when something waits for them, and gives back what nobody uses: at once and for long when
// nothing waits; after holdParts what the waiting apps cannot use; after HoldOffers what they may be able to use soon.
func (s *Scheduler) manageOffers(n need, now time.Time) {
	if !s.session.connected {
		return
	}
	if n.fresh {
		s.session.freshAt = now
	}
	n.soon = n.soon || s.rolling(now)
	if !n.offers && !n.soon {
		s.decline(0, declineFor, now)
		if !s.session.suppressed {
			s.session.suppressed = true
			s.counters.Suppresses++
			s.batch.call(call{name: "SUPPRESS", do: s.opts.Engine.Suppress})
		}
		return
	}
	s.askForOffers(n, now)
	hold, refuse := holdParts, min(maxRefuse, max(minRefuse, now.Sub(s.session.freshAt)))
	if n.soon {
		hold, refuse = s.opts.HoldOffers, minRefuse
	}
	s.decline(hold, refuse, now)
}

// askForOffers revives offers that are suppressed, or that were declined when something else was wanted.
func (s *Scheduler) askForOffers(n need, now time.Time) {
	x := &s.session
	wanted := x.suppressed || n.offers && x.refusedAt.Before(x.freshAt) && now.Before(x.refusedUntil)
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
	x.suppressed, x.refusedUntil = false, time.Time{}
	s.counters.Revives++
	s.batch.call(call{name: "REVIVE", do: s.opts.Engine.Revive, failed: func(error) {
		s.session.suppressed, s.session.reviveAfter = true, time.Now().Add(callRetry)
	}})
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
	s.session.refusedAt = now
	if until := now.Add(refuse); until.After(s.session.refusedUntil) {
		s.session.refusedUntil = until
	}
	s.batch.call(call{name: "DECLINE", do: func(ctx context.Context) error { return s.opts.Engine.Decline(ctx, ids, refuse) }})
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
