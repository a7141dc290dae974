package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/health"
	"github.com/berth-project/berth/spec"
)

// decide asks the deciding packages what follows from the present state and adds it to the batch. It is called after
// every input and when something is due; it may be called at any other time, too.
func (s *Scheduler) decide(now time.Time) {
	s.wake = time.Time{}
	s.spare = nil // of the decision before
	s.timers(now)
	s.advance(now)
	s.rest(now)
	s.provide(now)
	s.seek(now)
	s.expireDelays(now)
	s.manageOffers(s.needed.with(len(s.cramped) > 0), now)
	s.documents(now)
	for _, at := range []time.Time{s.taskTimes.next, s.appTimes.next} {
		if !at.IsZero() {
			s.wakeAt(at)
		}
	}
	if len(s.dirty) > 0 || len(s.untimed) > 0 {
		s.wakeAt(now) // what was decided may let more follow
	}
}

// want is one seat that should get a task now.
type want struct {
	seat spec.SeatID
	app  *spec.App
}

// advance moves every app of which something changed towards what is wanted and every deployment as far as it goes; the seats
// to launch are in launches then.
func (s *Scheduler) advance(now time.Time) {
	s.uncramp(now)
	for _, id := range s.appTimes.due(now) {
		s.dirty[id] = true
	}
	for id := range s.unsure {
		if s.sure(id) {
			s.dirty[id] = true
			delete(s.unsure, id)
		}
	}
	for id := range s.deferred {
		s.dirty[id] = true
	}
	clear(s.deferred)
	for { // each finished step may let the next begin
		s.aim()
		ids := slices.Sorted(maps.Keys(s.dirty))
		clear(s.dirty)
		for _, id := range ids {
			for _, d := range s.deploysOf[id] {
				s.unstepped[d] = true
			}
			if wait := s.looks.wait(id, s.sizeOf(id), now); wait > 0 {
				s.deferred[id] = true
				delete(s.done, id) // something changed: it is not known to be done
				s.wakeAt(now.Add(wait))
				continue
			}
			s.appTimes.set(id, s.asking(func() { s.advanceApp(id, now) }))
		}
		if !s.steps(now) {
			break
		}
	}
}

// advanceApp decides about one app. What it decides holds until something of the app's changes.
func (s *Scheduler) advanceApp(id spec.AppID, now time.Time) {
	had := s.launches[id]
	delete(s.launches, id)
	defer func() {
		same := slices.Equal(had, s.launches[id])
		if !same {
			s.stir()
		}
		if len(had) > 0 && !same {
			s.restless[id] = true // a floating instance's address was kept for a launch that may be off now
		}
	}()
	delete(s.done, id)
	delete(s.waits, id)
	delete(s.cramped, id)
	t, ok := s.targeted[id]
	if !ok {
		return
	}
	s.rollout = s.tasksOf(t.app, s.rollout[:0])
	in := deploy.Input{App: t.app, Mode: t.mode, Tasks: s.rollout}
	// What hosts have left is asked only for those who leave one: a host may stay drained for days.
	moves := len(s.state.Drains) > 0 && t.mode != deploy.Stop && slices.ContainsFunc(s.rollout, func(x deploy.Task) bool { return x.Leaving != "" })
	if moves && s.spare == nil {
		s.spare = s.spareNow(id, had)
	}
	in.Room, in.NoRoom = s.roomElsewhere(t, s.rollout, now)
	r := deploy.Advance(in)
	for _, k := range r.Kill {
		if !s.session.connected || t.mode != deploy.Stop && !s.sure(id) {
			s.unsure[id] = true // looked at again when more is known
			break
		}
		task := s.state.Tasks[k.TaskID]
		if moves && s.leaving(task) != "" {
			s.spare.Take(t.app, 1)
		}
		s.kill(task, k.Reason, now)
	}
	if len(r.Launch) > 0 {
		s.launches[id] = r.Launch
	}
	if moves {
		s.spare.Reserve(t.app, s.reservation(t.app, r.Launch))
	}
	s.done[id] = r.Done
	if !r.Done {
		s.waits[id] = r.Waiting
	}
}

// target is what an app should be at this moment.
type target struct {
	app  *spec.App
	mode deploy.Mode
}

// target is what the app should be at this moment; without an app when it is none.
func (s *Scheduler) target(id spec.AppID) target {
	s.aim()
	return s.targeted[id]
}

// aim brings the targets up to date. Apps whose target is another one now are looked at again.
func (s *Scheduler) aim() {
	if len(s.retarget) == 0 {
		return
	}
	now := s.targets(s.retarget)
	for id := range s.retarget {
		before, was := s.targeted[id]
		switch t, is := now[id]; {
		case is && (!was || before != t):
			s.targeted[id] = t
			s.looks.forget(id)
			s.dirty[id] = true
		case was && !is:
			delete(s.targeted, id)
			s.dirty[id] = true
			delete(s.tallies, id)
		}
	}
	clear(s.retarget)
}

// targets are those of the apps that are wanted or still have tasks. An app whose part of a deployment has not begun stays as it
// was before the deployment; one whose part is over is kept as it is wanted.
func (s *Scheduler) targets(of map[spec.AppID]bool) map[spec.AppID]target {
	out, touching := map[spec.AppID]target{}, map[string]bool{}
	for id := range of {
		for _, d := range s.deploysOf[id] {
			touching[d] = true
		}
		if a := s.state.Apps[id]; a != nil {
			out[id] = target{a, deploy.Keep}
			continue
		}
		for _, t := range s.byApp[id] {
			out[id] = target{s.appOf(t), deploy.Stop}
			break
		}
	}
	for id := range touching {
		d := s.state.Deployments[id]
		for i, step := range d.Steps {
			for _, a := range step.Actions {
				app := s.state.Apps[a.App]
				switch {
				case !of[a.App]:
				case a.Kind == spec.StartApplication: // registers the app; its instances come with the scale action
				case i > d.Current && d.Original[a.App] != nil:
					out[a.App] = target{d.Original[a.App], deploy.Keep}
				case i > d.Current:
					delete(out, a.App)
				case i == d.Current && app != nil && (a.Kind == spec.RestartApplication || d.Original[a.App] == nil):
					// Tasks of a new app that are older than it are of one that was removed a moment ago.
					out[a.App] = target{app, deploy.Replace}
				}
			}
		}
	}
	return out
}

// tasksOf adds the app's live tasks, as the rollout sees them, to out.
func (s *Scheduler) tasksOf(app *spec.App, out []deploy.Task) []deploy.Task {
	out = slices.Grow(out, len(s.byApp[app.ID]))
	for _, t := range s.inOrder(app.ID) {
		x := deploy.Task{
			ID: t.ID, Seat: t.Seat.Index, Outdated: !t.ConfigVersion.Equal(app.LastConfigChange),
			Healthy: t.Ready && health.Healthy(s.appOf(t), t), Killing: t.Rung == spec.Killing,
			Leaving:     s.leaving(t),
			Unreachable: !t.UnreachableSince.IsZero(), GivenUp: t.GivenUp, Rung: t.Rung, Since: t.StartedAt,
		}
		if x.Since.IsZero() {
			x.Since = t.CreatedAt
		}
		if app.Floats() {
			x.Groups = groupsOf(app, t)
		}
		out = append(out, x)
	}
	return out
}

// groupsOf are the groups of a task in the app's GROUP_BY constraints.
func groupsOf(app *spec.App, t *spec.Task) []string {
	var out []string
	for i, c := range app.Constraints {
		if c.Operator == "GROUP_BY" {
			out = append(out, fmt.Sprintf("%d=%s", i, t.Attributes[c.Field]))
		}
	}
	return out
}
