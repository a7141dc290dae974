package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/health"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// decide asks the deciding packages what follows from the present state and adds it to the batch. It is called after
// every input and when something is due; it may be called at any other time, too.
func (s *Scheduler) decide(now time.Time) {
	s.wake = time.Time{}
	s.timers(now)
	wants := s.advance(now)
	s.rest(now)
	s.start(wants, now)
	s.expireDelays(now)
	s.manageOffers(len(wants) > 0, now)
	s.documents(now)
}

// want is one seat that should get a task now.
type want struct {
	seat spec.SeatID
	app  *spec.App
}

// advance moves every app towards what is wanted and every deployment as far as it goes, and returns the seats to launch.
func (s *Scheduler) advance(now time.Time) []want {
	for { // each finished step may let the next begin
		targets := s.targets()
		var wants []want
		done := map[spec.AppID]bool{}
		why := map[spec.AppID]string{}
		for _, id := range slices.Sorted(maps.Keys(targets)) {
			t := targets[id]
			r := deploy.Advance(deploy.Input{App: t.app, Mode: t.mode, Tasks: s.tasksOf(t.app, now)})
			for _, k := range r.Kill {
				s.kill(s.state.Tasks[k.TaskID], k.Reason, now)
			}
			for _, n := range r.Launch {
				wants = append(wants, want{spec.SeatID{App: id, Index: n}, t.app})
			}
			done[id], why[id] = r.Done, r.Waiting
		}
		if !s.steps(done, now) {
			return wants
		}
	}
}

// target is what an app should be at this moment.
type target struct {
	app  *spec.App
	mode deploy.Mode
}

// targets are all apps that are wanted or still have tasks. An app whose part of a deployment has not begun stays as it
// was before the deployment; one whose part is over is kept as it is wanted.
func (s *Scheduler) targets() map[spec.AppID]target {
	out := map[spec.AppID]target{}
	for id, a := range s.state.Apps {
		out[id] = target{a, deploy.Keep}
	}
	for id, tasks := range s.byApp {
		if s.state.Apps[id] == nil {
			for _, t := range tasks {
				out[id] = target{s.appOf(t), deploy.Stop}
				break
			}
		}
	}
	for _, d := range s.state.Deployments {
		for i, step := range d.Steps {
			for _, a := range step.Actions {
				app := s.state.Apps[a.App]
				switch {
				case a.Kind == spec.StartApplication: // registers the app; its instances come with the scale action
				case i > d.Current && d.Original[a.App] != nil:
					out[a.App] = target{d.Original[a.App], deploy.Keep}
				case i > d.Current:
					delete(out, a.App)
				case i == d.Current && app != nil && a.Kind == spec.RestartApplication:
					out[a.App] = target{app, deploy.Replace}
				}
			}
		}
	}
	return out
}

// tasksOf are the app's live tasks as the rollout sees them.
func (s *Scheduler) tasksOf(app *spec.App, now time.Time) []deploy.Task {
	var out []deploy.Task
	for _, t := range s.byApp[app.ID] {
		out = append(out, deploy.Task{
			ID: t.ID, Seat: t.Seat.Index, Outdated: !t.ConfigVersion.Equal(app.LastConfigChange),
			Healthy: t.Ready && health.Healthy(s.appOf(t), t), Killing: t.Rung == spec.Killing,
			Unreachable: !t.UnreachableSince.IsZero(),
		})
	}
	return out
}

// steps finishes every deployment step whose actions are done, and reports whether any did.
func (s *Scheduler) steps(done map[spec.AppID]bool, now time.Time) bool {
	moved := false
	for _, d := range s.deployments() {
		finished := true
		for _, a := range d.Steps[d.Current].Actions {
			switch a.Kind {
			case spec.StartApplication:
			case spec.StopApplication:
				finished = finished && len(s.byApp[a.App]) == 0
			default:
				finished = finished && (done[a.App] || s.state.Apps[a.App] == nil)
			}
		}
		if !finished {
			continue
		}
		moved = true
		next := *d
		s.publish(api.DeploymentStepSuccess(&next, next.Current, now))
		next.Current, next.StepSince = next.Current+1, now
		if next.Current < len(next.Steps) {
			s.state.Deployments[d.ID] = &next
			s.batch.txn.PutDeployment(&next)
			s.publish(api.DeploymentInfo(&next, next.Current, now))
			continue
		}
		s.finishDeployment(&next, now)
	}
	return moved
}

func (s *Scheduler) finishDeployment(d *spec.Deployment, now time.Time) {
	delete(s.state.Deployments, d.ID)
	s.batch.txn.DeleteDeployment(d.ID)
	s.publish(api.DeploymentSuccess(d, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "version": spec.FormatTime(d.Version)}).Info("deployment finished")
	for _, step := range d.Steps {
		for _, a := range step.Actions {
			s.forgetIfGone(a.App, now)
		}
	}
}

// forgetIfGone ends what is kept for an app that is no longer wanted, once its last task is gone and no deployment waits
// for that.
func (s *Scheduler) forgetIfGone(app spec.AppID, now time.Time) {
	if s.state.Apps[app] != nil || len(s.byApp[app]) > 0 || len(s.state.Versions[app]) == 0 {
		return
	}
	for _, d := range s.state.Deployments {
		if d.Affects(app) {
			return
		}
	}
	s.publish(api.AppTerminated(app, now))
	s.forget(app)
}

// forget drops what is kept for an app beside its seats and leases, which rest in case it comes back.
func (s *Scheduler) forget(app spec.AppID) {
	s.dropDelay(app)
	delete(s.queue, app)
	delete(s.byApp, app)
	if _, ok := s.state.Failures[app]; ok {
		delete(s.state.Failures, app)
		s.batch.txn.DeleteFailure(app)
	}
	delete(s.state.Versions, app)
	s.batch.txn.DeleteApp(app, true)
}

// deployments are the running ones, oldest first.
func (s *Scheduler) deployments() []*spec.Deployment {
	return slices.SortedFunc(maps.Values(s.state.Deployments), func(a, b *spec.Deployment) int {
		return cmp.Or(a.Version.Compare(b.Version), cmp.Compare(a.ID, b.ID))
	})
}

// kill wants a task to end. Where clients may know the task, its host is asked to take it out of discovery first.
func (s *Scheduler) kill(t *spec.Task, reason string, now time.Time) {
	s.killFor(t, lifecycle.KillWanted{Reason: reason}, now)
}

func (s *Scheduler) killFor(t *spec.Task, want lifecycle.KillWanted, now time.Time) {
	if t == nil || t.Rung >= spec.Killing {
		return
	}
	known := t.Rung == spec.Running && s.hosts[t.Host] != nil && s.hosts[t.Host].reported
	s.step(t, want, now)
	s.log.WithFields(logrus.Fields{"app": string(t.Seat.App), "task": t.ID, "seat": t.Seat.Index, "reason": want.Reason}).Info("stopping task")
	if !known {
		s.step(s.state.Tasks[t.ID], lifecycle.Drained{}, now)
	}
	s.timer(s.state.Tasks[t.ID], now)
}

// killResend is how long a KILL may go unanswered beyond the grace period before it is sent again.
const killResend = 15 * time.Second

// timers does what is due: drains that took too long, kills to send, tasks that do not start or are gone for good.
func (s *Scheduler) timers(now time.Time) {
	if s.session.connected {
		if !now.Before(s.session.nextReconcile) {
			s.reconcile(now)
		}
		s.wakeAt(s.session.nextReconcile)
	}
	for _, t := range s.liveTasks() {
		s.timer(t, now)
	}
}

// liveTasks are all live tasks in the order of their seats, so that equal states give equal decisions.
func (s *Scheduler) liveTasks() []*spec.Task {
	var out []*spec.Task
	for _, tasks := range s.byApp {
		out = slices.AppendSeq(out, maps.Values(tasks))
	}
	slices.SortFunc(out, func(a, b *spec.Task) int {
		return cmp.Or(cmp.Compare(a.Seat.App, b.Seat.App), cmp.Compare(a.Seat.Index, b.Seat.Index), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (s *Scheduler) timer(t *spec.Task, now time.Time) {
	due := func(at time.Time) bool {
		if !now.Before(at) {
			return true
		}
		s.wakeAt(at)
		return false
	}
	app := s.appOf(t)
	switch {
	case !t.UnreachableSince.IsZero():
		// Replaced and forgotten in one step, never before the fence time: until then the old container may still answer on
		// the seat's address. If it comes back afterwards it is not in the store, and is killed.
		wait := s.opts.FenceAfter
		if t.Rung != spec.Killing {
			if app.Unreachable.Disabled {
				return
			}
			wait = max(wait, app.Unreachable.InactiveAfter)
		}
		if due(t.UnreachableSince.Add(wait)) {
			s.step(t, lifecycle.Expunged{Reason: fmt.Sprintf("unreachable for %s", now.Sub(t.UnreachableSince).Round(time.Second))}, now)
		}
	case t.Rung == spec.Killing:
		if !t.Drained && due(t.KillWanted.Add(s.opts.DrainTimeout)) {
			s.log.WithFields(logrus.Fields{"app": string(t.Seat.App), "task": t.ID, "host": t.Host}).Warn("the host did not confirm the drain in time")
			s.step(t, lifecycle.Drained{}, now)
			t = s.state.Tasks[t.ID]
		}
		grace := s.grace(app)
		if t.Drained && s.session.connected && (t.KillSent.IsZero() || due(t.KillSent.Add(grace+killResend))) {
			id, agent := t.ID, t.AgentID
			s.step(t, lifecycle.KillSent{}, now)
			s.batch.call(call{name: "KILL", do: func(ctx context.Context) error { return s.opts.Engine.Kill(ctx, id, agent, grace) }})
			s.wakeAt(now.Add(grace + killResend))
		}
	case t.Rung < spec.Running:
		if due(t.CreatedAt.Add(s.opts.StagingTimeout)) {
			s.killFor(t, lifecycle.KillWanted{Reason: fmt.Sprintf("not running after %s", s.opts.StagingTimeout), Failure: true}, now)
		}
	}
}

func (s *Scheduler) grace(app *spec.App) time.Duration {
	if app.KillGrace != nil {
		return *app.KillGrace
	}
	return s.opts.Launch.KillGrace
}

// rest lets the leases rest whose seats nobody wants and whose tasks are gone.
func (s *Scheduler) rest(now time.Time) {
	wanted := func(seat spec.SeatID) bool {
		app := s.state.Apps[seat.App]
		return app != nil && seat.Index < app.Instances || s.seatTaken(seat)
	}
	pinned := func(id spec.AppID) bool { return s.state.Apps[id] != nil }
	for _, l := range address.Release(s.state.Leases, wanted, pinned, now) {
		s.putLease(l)
	}
}

func (s *Scheduler) seatTaken(seat spec.SeatID) bool {
	for _, t := range s.byApp[seat.App] {
		if t.Seat == seat {
			return true
		}
	}
	return false
}

// putLease stores a lease. A seat whose last address goes to another one, and whose app is gone, is forgotten.
func (s *Scheduler) putLease(l spec.Lease) {
	if old, ok := s.state.Leases[l.Address]; ok {
		if s.leaseOf[old.Seat] == l.Address {
			delete(s.leaseOf, old.Seat)
		}
		if old.Seat != l.Seat && s.state.Apps[old.Seat.App] == nil && !s.seatTaken(old.Seat) {
			s.forgetSeat(old.Seat)
		}
	}
	s.state.Leases[l.Address] = l
	if l.IdleSince.IsZero() {
		s.leaseOf[l.Seat] = l.Address
	}
	s.batch.txn.PutLease(l)
}

func (s *Scheduler) forgetSeat(id spec.SeatID) {
	if seat, ok := s.state.Seats[id]; ok {
		delete(s.state.Seats, id)
		delete(s.hostnames, seat.Hostname)
		s.batch.txn.DeleteSeat(id)
	}
}

// start finds an address and a host for each wanted seat and launches what found both. The rest waits, with reasons.
func (s *Scheduler) start(wants []want, now time.Time) {
	missing := map[spec.AppID]*waiting{}
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
		q.count++
	}
	ready := s.afterDelay(wants, missing, now)
	ready, pools := s.withAddress(ready, missing, now)
	placed := s.match(ready, pools, missing, now)
	for id, q := range missing {
		if q.count -= placed[id]; q.count <= 0 {
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
			if f := s.state.Failures[w.app.ID]; f != nil {
				why += fmt.Sprintf("; the last task: %s: %s", f.State, f.Message)
			}
			q[w.app.ID].why = append(q[w.app.ID].why, why)
		}
	}
	return out
}

// withAddress leases an address for every want that needs one; the others wait. pools names each want's pool, "" with the
// host's network.
func (s *Scheduler) withAddress(wants []want, q map[spec.AppID]*waiting, now time.Time) (ready []want, pools map[spec.SeatID]string) {
	pools = map[spec.SeatID]string{}
	in := address.Input{Pools: s.opts.Pools, Leases: s.state.Leases, Held: s.held(), Rest: s.opts.AddressRest, Now: now}
	for _, w := range wants {
		if launch.HostNetwork(w.app) {
			continue
		}
		in.Wants = append(in.Wants, s.addressWant(w.app, w.seat))
		pools[w.seat] = in.Wants[len(in.Wants)-1].Pool
	}
	r := address.Assign(in)
	for _, l := range r.Changed {
		s.putLease(l)
	}
	if !r.Again.IsZero() {
		s.wakeAt(r.Again)
	}
	for _, w := range wants {
		if why, waits := r.Waiting[w.seat]; waits {
			q[w.app.ID].why = append(q[w.app.ID].why, fmt.Sprintf("%s: %s", w.seat, why))
			continue
		}
		ready = append(ready, w)
	}
	return ready, pools
}

// addressWant is what a seat asks of the pools. Temporary seats are beyond the pinned addresses and take any.
func (s *Scheduler) addressWant(app *spec.App, seat spec.SeatID) address.Want {
	w := address.Want{Seat: seat}
	w.Pool, _ = address.PoolOf(app, s.opts.Pools)
	if pins, err := address.Pins(app); err == nil && seat.Index < len(pins) {
		w.Pinned = pins[seat.Index]
	}
	return w
}

// held are the addresses that something else holds, on any host.
func (s *Scheduler) held() []spec.Held {
	var out []spec.Held
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		out = append(out, s.hosts[name].held...)
	}
	return out
}

// match places the wants on the offers and launches what was placed. It returns how many of each app were.
func (s *Scheduler) match(wants []want, pools map[spec.SeatID]string, q map[spec.AppID]*waiting, now time.Time) map[spec.AppID]int {
	placed := map[spec.AppID]int{}
	if len(wants) == 0 {
		return placed
	}
	in := place.Input{Hosts: map[string]place.Host{}}
	in.Offers = s.agentOffers()
	for name, h := range s.hosts {
		in.Hosts[name] = h.Host
	}
	for _, w := range wants {
		in.Intents = append(in.Intents, place.Intent{Seat: w.seat, App: w.app, Pool: pools[w.seat], LastHost: s.state.Seats[w.seat].LastHost, HostPorts: launch.HostPorts(w.app)})
		for _, t := range s.byApp[w.app.ID] {
			if len(w.app.Constraints) > 0 && t.Rung != spec.Killing {
				in.Running = append(in.Running, place.Running{App: w.app.ID, Host: t.Host})
			}
		}
	}
	r := place.Match(in)
	s.launchAll(in, r, pools, now)
	for _, p := range r.Placements {
		id := in.Intents[p.Intent].App.ID
		placed[id]++
		q[id].lastUsed = now
	}
	for id, ref := range r.Refused {
		q[id].refuse(ref, now)
		switch {
		case !s.session.connected:
			q[id].why = append(q[id].why, "not connected to the engine")
		case q[id].refused.Processed == 0 && now.Before(q[id].since.Add(offerPatience)):
			s.wakeAt(q[id].since.Add(offerPatience)) // offers were asked for just now
		case q[id].refused.Processed == 0:
			q[id].why = append(q[id].why, "no host has offered resources yet")
		default: // also while no offer is at hand: what the last ones lacked is still the reason
			q[id].why = append(q[id].why, q[id].refused.Why...)
		}
	}
	return placed
}

// offerPatience is how long the wait for offers is nothing to speak of.
const offerPatience = 2 * time.Second

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
func (s *Scheduler) launchAll(in place.Input, r place.Result, pools map[spec.SeatID]string, now time.Time) {
	byOffer := map[int][]spec.Launch{}
	for _, p := range r.Placements {
		it, offer := in.Intents[p.Intent], in.Offers[p.Offer]
		seat := s.seat(it.Seat, offer.Host)
		t := &spec.Task{
			Instance: spec.InstanceID(it.App.ID, s.uuid()), Seat: it.Seat, AppVersion: it.App.Version, ConfigVersion: it.App.LastConfigChange,
			State: "TASK_STAGING", Host: offer.Host, AgentID: offer.AgentID, CreatedAt: now, HostPorts: p.HostPorts,
			Ports: launch.Effective(launch.Ports(it.App, p.HostPorts)),
		}
		t.ID = spec.TaskID(t.Instance, 1)
		if t.Pool = pools[it.Seat]; t.Pool != "" {
			t.Address = s.leaseOf[it.Seat]
		}
		s.put(t)
		s.publish(api.InstanceChanged(t, "Provisioned", now))
		s.log.WithFields(logrus.Fields{"app": string(it.App.ID), "task": t.ID, "seat": it.Seat.Index, "host": t.Host, "address": t.Address.String()}).Info("launching task")
		byOffer[p.Offer] = append(byOffer[p.Offer], launch.Build(it.App, seat, t, offer, p.HostPorts, s.opts.Launch))
	}
	for _, i := range slices.Sorted(maps.Keys(byOffer)) {
		launches, ids := byOffer[i], s.takeOffers(in.Offers[i].AgentID)
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
		s.batch.call(call{name: "REVIVE", do: s.opts.Engine.Revive, failed: func(error) {
			s.session.suppressed, s.session.reviveAfter = true, time.Now().Add(reviveRetry)
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
		refuse := declineFor
		if waiting {
			refuse = 5 * time.Second
		}
		s.batch.call(call{name: "DECLINE", do: func(ctx context.Context) error { return s.opts.Engine.Decline(ctx, decline, refuse) }})
	}
	if !waiting && !s.session.suppressed {
		s.session.suppressed = true
		s.batch.call(call{name: "SUPPRESS", do: s.opts.Engine.Suppress})
	}
}

// reviveRetry is the pause after a REVIVE that failed.
const reviveRetry = 2 * time.Second

// expireDelays forgets failures that are long over.
func (s *Scheduler) expireDelays(now time.Time) {
	for id, d := range s.state.Delays {
		app := s.state.Apps[id]
		if app == nil {
			s.dropDelay(id)
			continue
		}
		if at := delayFrom(d).Expires(app); !now.Before(at) {
			s.dropDelay(id)
		} else {
			s.wakeAt(at)
		}
	}
}
