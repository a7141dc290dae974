package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// agentOffers merges the offers of each agent: resources that came back at different times come in several offers, and a
// task may need more than one of them.
func (s *Scheduler) agentOffers() []spec.Offer {
	byAgent := map[string]spec.Offer{}
	for _, id := range slices.Sorted(maps.Keys(s.offers)) {
		o := s.offers[id].Offer
		m, ok := byAgent[o.AgentID]
		if !ok {
			m = o
			m.Ports = slices.Clone(o.Ports)
		} else {
			m.CPUs, m.Mem, m.Disk, m.GPUs = m.CPUs+o.CPUs, m.Mem+o.Mem, m.Disk+o.Disk, m.GPUs+o.GPUs
			m.Ports = append(m.Ports, o.Ports...)
		}
		byAgent[o.AgentID] = m
	}
	var out []spec.Offer
	for _, agent := range slices.Sorted(maps.Keys(byAgent)) {
		out = append(out, byAgent[agent])
	}
	return out
}

// takeOffers takes all offers of an agent out of the held ones and returns their ids.
func (s *Scheduler) takeOffers(agent string) []string {
	var ids []string
	for id, o := range s.offers {
		if o.AgentID == agent {
			ids = append(ids, id)
			delete(s.offers, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// manageOffers gives back what nobody uses: at once and for long when nothing waits, otherwise after a bounded time.
func (s *Scheduler) manageOffers(waiting bool, now time.Time) {
	if !s.session.connected {
		return
	}
	waiting = waiting || len(s.state.Deployments) > 0
	if waiting && s.session.suppressed {
		if now.Before(s.session.reviveAfter) {
			s.wakeAt(s.session.reviveAfter)
			return
		}
		s.session.suppressed = false
		s.counters.Revives++
		s.batch.call(call{name: "REVIVE", do: s.opts.Engine.Revive, failed: func(error) {
			s.session.suppressed, s.session.reviveAfter = true, time.Now().Add(callRetry)
		}})
	}
	var decline []string
	for id, o := range s.offers {
		if until := o.since.Add(s.opts.HoldOffers); waiting && now.Before(until) {
			s.wakeAt(until)
			continue
		}
		decline = append(decline, id)
		delete(s.offers, id)
	}
	slices.Sort(decline)
	if len(decline) > 0 {
		s.counters.OffersDeclined += uint64(len(decline))
		refuse := declineFor
		if waiting {
			refuse = 5 * time.Second
		}
		s.batch.call(call{name: "DECLINE", do: func(ctx context.Context) error { return s.opts.Engine.Decline(ctx, decline, refuse) }})
	}
	if !waiting && !s.session.suppressed {
		s.session.suppressed = true
		s.counters.Suppresses++
		s.batch.call(call{name: "SUPPRESS", do: s.opts.Engine.Suppress})
	}
}

// callRetry is the pause after a call that failed although there is a session.
const callRetry = 2 * time.Second
