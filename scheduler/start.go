package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// start finds an address and a host for each wanted seat and launches what found both. The rest waits, with reasons.
func (s *Scheduler) start(wants []want, now time.Time) need {
	missing := map[spec.AppID]*waiting{}
	if len(wants) == 0 {
		s.queue = missing
		return need{}
	}
	wants, passed, more := s.hopeful(wants, now)
	s.foresee(wants)
	for _, w := range wants {
		q := missing[w.app.ID]
		if q == nil {
			q = &waiting{since: now, refused: place.Refusals{Declined: map[place.Reason]int{}}, attempt: place.Refusals{Declined: map[place.Reason]int{}}}
			if old := s.queue[w.app.ID]; old != nil {
				*q = *old
				q.why, q.count, q.idle = nil, 0, false
			}
			missing[w.app.ID] = q
		}
	}
	var out need
	ready := s.afterDelay(wants, missing, &out, now)
	ready, leases := s.withAddress(ready, missing, now)
	out.offers = len(ready)+len(passed) > 0
	placed := s.match(ready, leases, missing, &out, now)
	for _, q := range missing {
		q.idle, q.looked = q.idle && q.waitsForHosts(), now
	}
	s.settled(wants, placed, missing, now)
	for id, q := range missing {
		if q.count = len(s.launches[id]); q.count == 0 {
			delete(missing, id)
		}
	}
	if more && s.fleet.Len() > 0 {
		s.wakeAt(now) // each finds something, or is hopeless after its turn
	}
	maps.Copy(passed, missing)
	s.queue = passed
	return out
}

// foresee has host keys made for the new seats of this decision, and for as many of the next.
func (s *Scheduler) foresee(wants []want) {
	unseated := 0
	for _, w := range wants {
		if _, ok := s.state.Seats[w.seat]; !ok {
			unseated++
		}
	}
	s.keys.want(2 * unseated)
}

// afterDelay drops the wants of apps whose launch delay runs.
func (s *Scheduler) afterDelay(wants []want, q map[spec.AppID]*waiting, n *need, now time.Time) []want {
	var out []want
	for _, w := range wants {
		d := s.delayOf(w.app)
		if d.Wait == 0 || !now.Before(d.Until) {
			out = append(out, w)
			continue
		}
		s.wakeAt(d.Until)
		n.soon = n.soon || d.Until.Before(now.Add(s.opts.HoldOffers))
		if len(q[w.app.ID].why) == 0 {
			why := fmt.Sprintf("launch delay of %s after failures, until %s", d.Wait.Round(time.Millisecond), spec.FormatTime(d.Until))
			if f := s.lastFailure(w.app.ID, d); f != nil {
				why += fmt.Sprintf("; the last task: %s: %s", f.State, f.Message)
			} else {
				why += "; the last task ended by itself"
			}
			q[w.app.ID].because(api.ReasonBackoff, why)
		}
	}
	return out
}

// lastFailure is the failure that the delay is for; nil: a task ended by itself, which is none.
func (s *Scheduler) lastFailure(id spec.AppID, d lifecycle.Delay) *spec.TaskFailure {
	if f := s.state.Failures[id]; f != nil && !f.Timestamp.Before(d.Grew) {
		return f
	}
	return nil
}

// match places the wants on the offers and launches what was placed. It returns the seats that were.
func (s *Scheduler) match(wants []want, leases map[spec.SeatID]spec.Lease, q map[spec.AppID]*waiting, n *need, now time.Time) map[spec.SeatID]bool {
	placed := map[spec.SeatID]bool{}
	in := place.Input{Tallies: map[spec.AppID]*place.Tally{}, Roles: s.opts.Roles, Now: now, Intents: make([]place.Intent, 0, len(wants)),
		Pace: func(host string) (starting, most int) { return s.pace(host, now) }}
	var app place.Intent // what all instances of an app have in common
	seen := map[spec.AppID]asked{}
	for _, w := range wants {
		if app.App != w.app {
			app = place.Intent{App: w.app, HostPorts: launch.HostPorts(w.app), Disks: launch.SpecialDisks(w.app), Share: s.share(w.app.ID)}
			in.Tallies[w.app.ID] = s.tallyOf(w.app)
		}
		it, seat := app, s.state.Seats[w.seat]
		it.Seat, it.Pool, it.LastHost, it.Pinned = w.seat, leases[w.seat].Pool, seat.LastHost, seat.VolumesHost()
		in.Intents = append(in.Intents, it)
		q[w.app.ID].pool = it.Pool
		a := seen[w.app.ID]
		a.app, a.ready, a.freed = w.app, a.ready+1, in.Tallies[w.app.ID].Removed()
		if it.Pinned != "" {
			a.pinned++
		}
		seen[w.app.ID] = a
	}
	for id, now := range seen {
		was := q[id].seen
		n.fresh = n.fresh || was.app != now.app || was.ready < now.ready || was.pinned > now.pinned || was.freed != now.freed
		q[id].seen, q[id].idle = now, now.pinned == 0
	}
	r := s.fleet.Match(in)
	s.awaitVolumes(in, r, q, now)
	s.freshLeases(in, &r, leases, q, now)
	s.launchAll(in, r, leases, now)
	for _, p := range r.Placements {
		placed[in.Intents[p.Intent].Seat] = true
		q[in.Intents[p.Intent].App.ID].lastUsed, s.launchedAt = now, now
	}
	for id, ref := range r.Refused {
		q[id].refuse(ref, now)
		switch {
		case !s.session.connected:
			q[id].because(api.ReasonEngine, "not connected to the engine")
			q[id].idle = false
		case q[id].refused.Processed == 0 && now.Before(q[id].since.Add(offerPatience)):
			s.wakeAt(q[id].since.Add(offerPatience)) // offers were asked for just now
		case q[id].refused.Processed == 0:
			q[id].because(api.ReasonEngine, "no host has offered resources yet")
		default: // also while no offer is at hand: what the last ones lacked is still the reason
			q[id].because(api.ReasonHosts, q[id].refused.Why...)
		}
		if ref.Declined[place.HostBusy] > 0 {
			n.soon, n.busy = true, true
			s.wakeAt(now.Add(paceWindow / 2))
		}
		n.soon = n.soon || q[id].refused.Declined[place.NetworkNotReady] > 0 && now.Before(q[id].since.Add(networkPatience))
	}
	return placed
}

// networkPatience is how long offers are kept for an app because a host's agent may report that its network is ready.
const networkPatience = time.Minute

// offerPatience is how long the wait for offers is nothing to speak of.
const offerPatience = 2 * time.Second

func (q *waiting) refuse(r place.Refusals, now time.Time) {
	if r.Processed == 0 {
		return
	}
	q.refused = r
	q.lastUnused = now
	q.attempt.Processed += r.Processed
	for reason, n := range r.Declined {
		q.attempt.Declined[reason] += n
	}
}

// launchAll stores the tasks and, once they are durable, accepts the offers: one ACCEPT an agent.
func (s *Scheduler) launchAll(in place.Input, r place.Result, leases map[spec.SeatID]spec.Lease, now time.Time) {
	byOffer := map[*spec.Offer][]spec.Launch{}
	for _, p := range r.Placements {
		it, offer := in.Intents[p.Intent], *p.Offer
		seat := s.seat(it.Seat, offer.Host)
		t := &spec.Task{
			Instance: spec.InstanceID(it.App.ID, s.timedUUID(now)), Seat: it.Seat, AppVersion: it.App.Version, ConfigVersion: it.App.LastConfigChange,
			State: "TASK_STAGING", Role: it.App.Role, Host: offer.Host, AgentID: offer.AgentID, Attributes: s.fieldsOf(offer), CreatedAt: now, HostPorts: p.HostPorts,
			Ports: launch.Effective(launch.Ports(it.App, p.HostPorts)),
		}
		t.ID, t.Containers = launch.Identity(it.App, t.Instance)
		t.Pool, t.Address = leases[it.Seat].Pool, leases[it.Seat].Address
		t.Twin = s.twin(t.Pool, t.Address)
		seat, t.Volumes = s.withVolumes(seat, it.App, offer.Host)
		t.ClientHost, t.ClientPorts = launch.ForClients(it.App, t)
		s.put(t)
		s.inFlight[t.ID] = true
		s.publish(api.InstanceChanged(t, "Provisioned", now))
		s.log.WithFields(logrus.Fields{"app": string(it.App.ID), "task": t.ID, "seat": it.Seat.Index, "host": t.Host, "address": t.Address.String()}).Info("launching task")
		o := s.opts.Launch
		o.EnforceGroupRole = marathon.EnforcesRole(s.state.Groups, it.App.ID)
		l := launch.Build(it.App, seat, t, offer, p.HostPorts, o)
		if len(s.opts.Roles) > 0 {
			l = within(it.App.AcceptedResourceRoles, l)
		}
		byOffer[p.Offer] = append(byOffer[p.Offer], l)
	}
	order := func(a, b *spec.Offer) int {
		return cmp.Or(strings.Compare(a.AgentID, b.AgentID), strings.Compare(a.Role, b.Role))
	}
	for _, offer := range slices.SortedFunc(maps.Keys(byOffer), order) {
		launches, ids := byOffer[offer], r.Taken[offer]
		s.counters.TasksLaunched += uint64(len(launches))
		s.counters.OffersUsed += uint64(len(ids))
		s.batch.call(call{
			name: "ACCEPT", free: true,
			// refuse 0: what is left of the host comes back at once, for the next in the queue.
			do:   func(ctx context.Context) error { return s.opts.Engine.Accept(ctx, ids, launches, 0) },
			sent: func() { s.launched(launches) },
			// Nobody knows whether the engine took it, or will yet: the call may still be on its way. So the offers go back first,
			// after which it can launch nothing more, and only then is asked. A task that never was is answered as gone.
			failed: func(error) { s.giveBack(ids, 0, func() { s.askAfter(launches) }) },
		})
	}
}

// fieldsOf are the offer's fields, the same map for all tasks of a host as long as they stay the same.
func (s *Scheduler) fieldsOf(o spec.Offer) map[string]string {
	for _, t := range s.byHost[o.Host] {
		if place.HasFields(o, t.Attributes) {
			return t.Attributes
		}
		break
	}
	return place.Fields(o)
}

// within lets a launch use only what the app accepts of the offer.
func within(roles []string, l spec.Launch) spec.Launch {
	l.Roles = roles
	for i := range l.Members {
		l.Members[i].Roles = roles
	}
	return l
}

// askAfter asks what became of launches.
func (s *Scheduler) askAfter(ls []spec.Launch) {
	var tasks []*spec.Task
	for _, l := range ls {
		s.landed(l)
		if t := s.state.Tasks[l.TaskID]; t != nil {
			tasks = append(tasks, t)
		}
	}
	s.ask(tasks)
}

// landed ends a launch's flight: it may be asked about and killed.
func (s *Scheduler) landed(l spec.Launch) {
	delete(s.inFlight, l.TaskID)
	s.untimed[l.TaskID] = true
}
