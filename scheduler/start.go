package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
func (s *Scheduler) start(wants []want, now time.Time) {
	missing := map[spec.AppID]*waiting{}
	if len(wants) == 0 {
		s.queue = missing
		return
	}
	for _, w := range wants {
		q := missing[w.app.ID]
		if q == nil {
			q = &waiting{since: now, refused: place.Refusals{Declined: map[place.Reason]int{}}, attempt: place.Refusals{Declined: map[place.Reason]int{}}}
			if old := s.queue[w.app.ID]; old != nil {
				*q = *old
				q.why, q.count = nil, 0
			}
			missing[w.app.ID] = q
		}
	}
	ready := s.afterDelay(wants, missing, now)
	ready, leases := s.withAddress(ready, missing, now)
	placed := s.match(ready, leases, missing, now)
	s.settled(wants, placed, now)
	for id, q := range missing {
		if q.count = len(s.launches[id]); q.count == 0 {
			delete(missing, id)
		}
	}
	s.queue = missing
}

// afterDelay drops the wants of apps whose launch delay runs.
func (s *Scheduler) afterDelay(wants []want, q map[spec.AppID]*waiting, now time.Time) []want {
	var out []want
	for _, w := range wants {
		d := s.delayOf(w.app)
		if d.Wait == 0 || !now.Before(d.Until) {
			out = append(out, w)
			continue
		}
		s.wakeAt(d.Until)
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
func (s *Scheduler) match(wants []want, leases map[spec.SeatID]spec.Lease, q map[spec.AppID]*waiting, now time.Time) map[spec.SeatID]bool {
	placed := map[spec.SeatID]bool{}
	if len(wants) == 0 {
		return placed
	}
	in := place.Input{Hosts: map[string]place.Host{}}
	in.Offers = s.agentOffers()
	starting := s.starting(now)
	for name, h := range s.hosts {
		h.Starting, h.MaxStarting = starting[name], h.pace(now)
		in.Hosts[name] = h.Host
	}
	counted := map[spec.AppID]bool{}
	for _, w := range wants {
		in.Intents = append(in.Intents, place.Intent{Seat: w.seat, App: w.app, Pool: leases[w.seat].Pool, LastHost: s.state.Seats[w.seat].LastHost, HostPorts: launch.HostPorts(w.app),
			Pinned: s.state.Seats[w.seat].VolumesHost(), Disks: launch.SpecialDisks(w.app)})
		if len(w.app.Constraints) == 0 || counted[w.app.ID] {
			continue
		}
		counted[w.app.ID] = true
		for _, t := range s.byApp[w.app.ID] {
			if t.Rung != spec.Killing {
				in.Running = append(in.Running, place.Running{App: w.app.ID, Attributes: t.Attributes})
			}
		}
	}
	r := place.Match(in)
	s.awaitVolumes(in, r, q, now)
	s.launchAll(in, r, leases, now)
	for _, p := range r.Placements {
		placed[in.Intents[p.Intent].Seat] = true
		q[in.Intents[p.Intent].App.ID].lastUsed = now
	}
	for id, ref := range r.Refused {
		q[id].refuse(ref, now)
		switch {
		case !s.session.connected:
			q[id].because(api.ReasonEngine, "not connected to the engine")
		case q[id].refused.Processed == 0 && now.Before(q[id].since.Add(offerPatience)):
			s.wakeAt(q[id].since.Add(offerPatience)) // offers were asked for just now
		case q[id].refused.Processed == 0:
			q[id].because(api.ReasonEngine, "no host has offered resources yet")
		default: // also while no offer is at hand: what the last ones lacked is still the reason
			q[id].because(api.ReasonHosts, q[id].refused.Why...)
		}
		if ref.Declined[place.HostBusy] > 0 {
			s.wakeAt(now.Add(paceWindow / 2))
		}
	}
	return placed
}

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
	byOffer := map[int][]spec.Launch{}
	for _, p := range r.Placements {
		it, offer := in.Intents[p.Intent], in.Offers[p.Offer]
		seat := s.seat(it.Seat, offer.Host)
		t := &spec.Task{
			Instance: spec.InstanceID(it.App.ID, s.uuid()), Seat: it.Seat, AppVersion: it.App.Version, ConfigVersion: it.App.LastConfigChange,
			State: "TASK_STAGING", Role: it.App.Role, Host: offer.Host, AgentID: offer.AgentID, Attributes: place.Fields(offer), CreatedAt: now, HostPorts: p.HostPorts,
			Ports: launch.Effective(launch.Ports(it.App, p.HostPorts)),
		}
		t.ID, t.Containers = launch.Identity(it.App, t.Instance)
		t.Pool, t.Address = leases[it.Seat].Pool, leases[it.Seat].Address
		seat, t.Volumes = s.withVolumes(seat, it.App, offer.Host)
		t.ClientHost, t.ClientPorts = launch.ForClients(it.App, t)
		s.put(t)
		s.publish(api.InstanceChanged(t, "Provisioned", now))
		s.log.WithFields(logrus.Fields{"app": string(it.App.ID), "task": t.ID, "seat": it.Seat.Index, "host": t.Host, "address": t.Address.String()}).Info("launching task")
		o := s.opts.Launch
		o.EnforceGroupRole = marathon.EnforcesRole(s.state.Groups, it.App.ID)
		byOffer[p.Offer] = append(byOffer[p.Offer], launch.Build(it.App, seat, t, offer, p.HostPorts, o))
	}
	for _, i := range slices.Sorted(maps.Keys(byOffer)) {
		launches, ids := byOffer[i], s.takeOffers(in.Offers[i].AgentID)
		s.counters.TasksLaunched += uint64(len(launches))
		s.counters.OffersUsed += uint64(len(ids))
		s.batch.call(call{
			name: "ACCEPT",
			// refuse 0: what is left of the host comes back at once, for the next in the queue.
			do:   func(ctx context.Context) error { return s.opts.Engine.Accept(ctx, ids, launches, 0) },
			sent: func() { s.launched(launches) },
			// Nobody knows whether the engine took it: ask. A task that it never heard of is answered as gone, and the offers,
			// if they were not used, must not stay with us.
			failed: func(error) {
				s.reconcile(time.Now())
				s.batch.call(call{name: "DECLINE", do: func(ctx context.Context) error { return s.opts.Engine.Decline(ctx, ids, 0) }})
			},
		})
	}
}

func (s *Scheduler) launched(ls []spec.Launch) {
	for _, l := range ls {
		if t := s.state.Tasks[l.TaskID]; t != nil {
			s.step(t, lifecycle.Sent{}, time.Now())
		}
	}
}
