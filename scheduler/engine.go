package scheduler

import (
	"maps"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/health"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// onEngine takes in one event of the engine.
func (s *Scheduler) onEngine(ev mesos.Event) {
	now := time.Now()
	if _, update := ev.(mesos.Update); !update {
		s.stir()
	}
	switch e := ev.(type) {
	case mesos.Subscribed:
		s.onSubscribed(e, now)
	case mesos.Disconnected:
		if s.session.connected {
			s.publish(api.SchedulerDisconnected(now))
			s.log.WithError(e.Err).Warn("lost the engine; containers go on, tasks are reconciled when it is back")
		}
		s.session = session{master: s.session.master, serial: s.session.serial}
		s.forgetOffers()
	case mesos.Offers:
		s.counters.OffersReceived += uint64(len(e.Offers))
		s.session.unasked = s.session.unasked || s.session.suppressed
		s.session.offeredAt = now
		s.hold(e.Offers, now)
		s.learnAgents(e.Offers, now)
		s.refuseDead(e.Offers)
	case mesos.Rescinded:
		s.fleet.Drop(e.OfferID)
	case mesos.Update:
		s.onUpdate(e.Status, now)
	case mesos.AgentFailed:
		s.fleet.DropAgent(e.AgentID)
		delete(s.agents, e.AgentID)
		s.log.WithField("agent", e.AgentID).Warn("the engine lost an agent")
	case mesos.FrameworkRemoved:
		s.log.WithField("reason", e.Message).Error("the engine removed the framework: an operator must decide whether to begin a new one")
	}
}

func (s *Scheduler) onSubscribed(e mesos.Subscribed, now time.Time) {
	again := s.state.FrameworkID == e.FrameworkID
	if !again {
		s.state.FrameworkID = e.FrameworkID
		s.batch.txn.SetFrameworkID(e.FrameworkID)
		s.publish(api.SchedulerRegistered(e.FrameworkID, e.Master, now))
	} else {
		s.publish(api.SchedulerReregistered(e.Master, now))
	}
	s.forgetOffers()
	clear(s.agents) // the new session's offers tell what there is now
	s.session = session{connected: true, master: e.Master, serial: s.session.serial + 1, offeredAt: now}
	s.log.WithFields(logrus.Fields{"framework": e.FrameworkID, "engine": e.Master, "version": e.Version}).Info("subscribed to the engine")
	clear(s.inFlight) // calls of an earlier session are refused, however late they come
	s.doubt(now)
	maps.Copy(s.dirty, s.unsure) // what was only in the way of a stop that is certain is over
	for _, t := range s.liveTasks() {
		if t.Rung == spec.Killing && !t.KillSent.IsZero() {
			next := *t
			next.KillSent = time.Time{} // the call may have been lost with the old session
			s.put(&next)
		}
	}
	for id, x := range s.strays {
		x.sent = time.Time{}
		s.strays[id] = x
	}
}

func (s *Scheduler) onUpdate(st spec.TaskStatus, now time.Time) {
	if len(st.UUID) > 0 {
		// In the same batch as what the update changed: acknowledged only once that is durable.
		defer s.batch.call(call{name: "ACKNOWLEDGE", ack: &st})
	}
	t := s.taskOf(st.TaskID)
	if t == nil {
		s.unknownTask(st)
		return
	}
	first := s.session.unconfirmed[t.ID]
	s.confirm(t, st, now)
	if first && away(st) {
		t = s.stillAway(t, now)
	}
	if spec.TerminalState(st.State) {
		delete(s.strays, st.TaskID) // a container of a pod that was over before
	}
	s.step(t, lifecycle.Status{TaskStatus: st}, now)
	s.onNativeHealth(st, now)
}

// step applies one event to a task and does what follows from it.
func (s *Scheduler) step(t *spec.Task, ev lifecycle.Event, now time.Time) {
	next, out := lifecycle.Next(*t, ev, now)
	if out.Contradiction {
		st := spec.TaskStatus{TaskID: t.ID, AgentID: t.AgentID, State: "TASK_RUNNING"}
		if e, ok := ev.(lifecycle.Status); ok {
			st.TaskID = e.TaskID // of a pod: the container that it is about
		}
		s.unknownTask(st)
		return
	}
	if !out.Changed {
		return
	}
	app := s.appOf(&next)
	if out.Ran && len(app.ReadinessChecks) == 0 {
		next.Ready = true
	}
	next = health.Settle(app, next, now)
	s.put(&next)
	log := s.log.WithFields(logrus.Fields{"app": string(next.Seat.App), "task": next.ID, "seat": next.Seat.Index, "state": next.State, "rung": next.Rung.String()})
	s.publishStates(t, &next, now)
	if next.VisibleState() != t.VisibleState() || out.Ended {
		s.publish(api.InstanceChanged(&next, condition(&next), now))
		if next.Message != "" && out.Ended {
			log = log.WithField("message", next.Message)
		}
		log.Info("task changed")
	}
	if out.Ran {
		s.launchedDelay(app, now)
		s.noteRan(next.Host, now)
	}
	switch {
	case out.Ended:
		s.ended(app, &next, out.Failed, now)
	case out.Broken != "" && next.Rung < spec.Killing:
		// The engine ends the rest of the group itself; but clients must be told, and an engine may have lost a container only.
		s.killFor(&next, lifecycle.KillWanted{Reason: out.Broken, Failure: true}, now)
	}
}

// launched notes that the engine took the launches. That is not stored: after a restart a task is asked after in either case, and
// the answer means the same.
func (s *Scheduler) launched(ls []spec.Launch) {
	for _, l := range ls {
		s.landed(l)
		t := s.state.Tasks[l.TaskID]
		if t == nil {
			continue
		}
		if next, out := lifecycle.Next(*t, lifecycle.Sent{}, time.Now()); out.Changed {
			s.state.Tasks[t.ID] = &next
			s.index(&next)
		}
	}
}

// ended removes a task that is over. Its seat, lease and host name stay.
func (s *Scheduler) ended(app *spec.App, t *spec.Task, failed bool, now time.Time) {
	delete(s.state.Tasks, t.ID)
	if x := s.history.stops[t.ID]; x != nil {
		x.Ended, x.State = t.EndedAt, t.State
		delete(s.history.stops, t.ID)
	}
	if r := s.history.resizes[t.Seat.App]; r != nil && r.waiting[t.ID] {
		delete(r.waiting, t.ID)
		s.settleResize(r, now)
	}
	s.unindex(t)
	s.forgetDoubt(t)
	s.batch.txn.DeleteTask(t.ID)
	defer s.forgetIfGone(t.Seat.App, now)
	if !failed {
		return
	}
	if t.State != "TASK_FINISHED" { // it counts for the delay, but Marathon's lastTaskFailure never names it
		s.fail(&spec.TaskFailure{App: t.Seat.App, TaskID: t.ID, Host: t.Host, AgentID: t.AgentID, State: t.State, Message: t.Message, Timestamp: now, AppVersion: t.AppVersion})
	}
	// The delay is that of the definition that would be launched again, which is an older one while the app's part of a
	// deployment has not begun.
	if s.state.Apps[t.Seat.App] == nil {
		return
	}
	if next := s.target(t.Seat.App).app; next != nil && next.LastConfigChange.Equal(t.ConfigVersion) {
		s.putDelay(next, s.delayOf(next).Failed(next, t.CreatedAt, now))
	}
}

// fail stores an app's last failure.
func (s *Scheduler) fail(f *spec.TaskFailure) {
	s.state.Failures[f.App] = f
	s.newFails = true
	s.batch.txn.PutFailure(f)
}

// put stores a task. Tasks are values: readers keep the pointer that they have.
func (s *Scheduler) put(t *spec.Task) {
	s.state.Tasks[t.ID] = t
	s.index(t)
	s.batch.txn.PutTask(t)
}

// appOf is the definition that a task was launched from; when that version is no longer kept, the newest one.
func (s *Scheduler) appOf(t *spec.Task) *spec.App {
	vs := s.state.Versions[t.Seat.App]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].LastConfigChange.Equal(t.ConfigVersion) {
			return vs[i]
		}
	}
	if a := s.state.Apps[t.Seat.App]; a != nil {
		return a
	}
	if len(vs) > 0 {
		return vs[len(vs)-1]
	}
	return &spec.App{ID: t.Seat.App}
}

// condition is Marathon's instance condition of a task.
func condition(t *spec.Task) string {
	switch t.VisibleState() {
	case "TASK_STAGING":
		return "Staging"
	case "TASK_STARTING":
		return "Starting"
	case "TASK_RUNNING":
		return "Running"
	case "TASK_KILLING":
		return "Killing"
	case "TASK_UNREACHABLE":
		return "Unreachable"
	case "TASK_FINISHED":
		return "Finished"
	case "TASK_FAILED":
		return "Failed"
	case "TASK_KILLED":
		return "Killed"
	case "TASK_ERROR":
		return "Error"
	case "TASK_DROPPED", "TASK_LOST":
		return "Dropped"
	case "TASK_GONE", "TASK_GONE_BY_OPERATOR":
		return "Gone"
	}
	return "Unknown"
}
