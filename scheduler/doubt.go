package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// doubts are what the present session has not told yet. Nothing is stopped, replaced or held for done because of what an
// earlier session said: tasks may have died, or come back, while nobody listened, and a master that has just begun says
// nothing of the tasks whose agents have not come back to it.
type doubts struct {
	unconfirmed   map[string]bool // tasks that the engine has not spoken of in this session
	unconfirmedOf map[spec.AppID]int
	confirmBy     time.Time // none is waited for after it
	nextConfirm   time.Time // when they are asked about again
	confirmPause  time.Duration
	// Of tasks that are unreachable: when the engine last said so, and when it was last asked.
	heard, asked map[string]time.Time
	toAsk        []*spec.Task // now
}

const (
	// confirmWithin bounds the wait for the answers to the first reconciliation of a session. Agents have ten minutes to come
	// back to a new master (its agent_reregister_timeout); from then on it answers for them.
	confirmWithin = 11 * time.Minute
	// The pause between two questions about the same tasks doubles from the one to the other.
	firstConfirm, lastConfirm = 5 * time.Second, time.Minute
	// askAgain is how often tasks are asked after that should have moved on: an update may have been lost with a session.
	askAgain = 30 * time.Second
	// freshWord is how old the engine's word may be that a task is unreachable when something is done because of it. A stream
	// can be dead for three heartbeats before anybody notices.
	freshWord = 20 * time.Second
	// implicitAfter is when a session asks for everything that the engine knows: what nobody here knows shows only there.
	implicitAfter = time.Minute
	// maxAsked bounds the tasks of one RECONCILE.
	maxAsked = 5000
)

// doubt begins a session: nothing is confirmed, everything is asked about.
func (s *Scheduler) doubt(now time.Time) {
	s.session.doubts = doubts{
		unconfirmed: map[string]bool{}, unconfirmedOf: map[spec.AppID]int{}, confirmBy: now.Add(confirmWithin),
		nextConfirm: now.Add(firstConfirm), confirmPause: firstConfirm, heard: map[string]time.Time{}, asked: map[string]time.Time{},
	}
	s.session.nextImplicit = now.Add(implicitAfter)
	for _, t := range s.liveTasks() {
		s.untimed[t.ID] = true // kills wait for a session
		s.session.unconfirmed[t.ID] = true
		s.session.unconfirmedOf[t.Seat.App]++
	}
	s.reconcile(now)
}

// confirm takes note that the engine spoke of a task. A pod is confirmed by any of its containers.
func (s *Scheduler) confirm(t *spec.Task, st spec.TaskStatus, now time.Time) {
	if away(st) {
		s.session.heard[t.ID] = now
		s.untimed[t.ID] = true
	} else {
		delete(s.session.heard, t.ID)
	}
	if s.session.unconfirmed[t.ID] {
		s.forgetDoubt(t)
		s.untimed[t.ID] = true
	}
}

// away says that the engine has no word from the task's agent.
func away(st spec.TaskStatus) bool {
	return st.State == "TASK_UNREACHABLE" || st.State == "TASK_UNKNOWN"
}

// stillAway is for a task that was unreachable when the last session ended, and is in this one. It may have been back in between
// while nobody listened, its host with it; so the time after which its address may go to another one begins anew.
func (s *Scheduler) stillAway(t *spec.Task, now time.Time) *spec.Task {
	if t.UnreachableSince.IsZero() {
		return t
	}
	next := *t
	next.UnreachableSince = now
	s.put(&next)
	return &next
}

// forgetDoubt ends the wait for word of a task.
func (s *Scheduler) forgetDoubt(t *spec.Task) {
	delete(s.session.heard, t.ID)
	delete(s.session.asked, t.ID)
	if !s.session.unconfirmed[t.ID] {
		return
	}
	delete(s.session.unconfirmed, t.ID)
	if s.session.unconfirmedOf[t.Seat.App]--; s.session.unconfirmedOf[t.Seat.App] <= 0 {
		delete(s.session.unconfirmedOf, t.Seat.App)
	}
}

// sure says whether what is known of all the app's tasks is of this session.
func (s *Scheduler) sure(app spec.AppID) bool {
	return s.session.connected && s.session.unconfirmedOf[app] == 0
}

// stillUnreachable says whether the engine said so a moment ago; otherwise it asks.
func (s *Scheduler) stillUnreachable(t *spec.Task, now time.Time) bool {
	if !s.session.connected || s.session.unconfirmed[t.ID] {
		return false // looked at again when it is confirmed
	}
	if at, ok := s.session.heard[t.ID]; ok && now.Sub(at) <= freshWord {
		return true
	}
	if at := s.session.asked[t.ID]; now.Sub(at) >= askAgain {
		s.session.asked[t.ID] = now
		s.session.toAsk = append(s.session.toAsk, t) // a lost rack is one question
	}
	s.wakeAt(s.session.asked[t.ID].Add(askAgain))
	return false
}

// reconcile asks for the state of every live task. Explicit, with agent ids: an implicit answer leaves out tasks on
// unreachable agents, and a task that the engine never heard of is only then reported as gone.
func (s *Scheduler) reconcile(now time.Time) {
	s.session.nextReconcile = now.Add(s.opts.ReconcileInterval)
	s.session.nextAsk = now.Add(askAgain)
	s.ask(s.liveTasks())
}

// ask reconciles some tasks. A question that could not be put is put again soon.
func (s *Scheduler) ask(tasks []*spec.Task) {
	var refs []mesos.TaskRef
	for _, t := range tasks {
		if s.inFlight[t.ID] {
			continue // the answer would be that it is gone, and it might come alive after that
		}
		for _, id := range engineIDs(t) {
			refs = append(refs, mesos.TaskRef{TaskID: id, AgentID: t.AgentID})
		}
		if len(refs) >= maxAsked {
			s.putQuestion(refs)
			refs = nil
		}
	}
	if len(refs) > 0 {
		s.putQuestion(refs)
	}
}

func (s *Scheduler) putQuestion(refs []mesos.TaskRef) {
	s.batch.call(call{
		name:   "RECONCILE",
		do:     func(ctx context.Context) error { return s.opts.Engine.Reconcile(ctx, refs) },
		failed: func(error) { s.session.nextReconcile = time.Now().Add(callRetry) },
	})
}

// askAround asks what is due: everything, what the engine knows, what is on its way, what is not confirmed.
func (s *Scheduler) askAround(now time.Time) {
	if !s.session.connected {
		return
	}
	if !now.Before(s.session.nextReconcile) {
		s.reconcile(now)
	}
	s.wakeAt(s.session.nextReconcile)
	if !now.Before(s.session.nextImplicit) {
		s.session.nextImplicit = now.Add(s.opts.ReconcileInterval)
		s.putQuestion(nil)
	}
	s.wakeAt(s.session.nextImplicit)
	if len(s.underway) > 0 {
		if !now.Before(s.session.nextAsk) {
			s.session.nextAsk = now.Add(askAgain)
			s.ask(sortedTasks(maps.Values(s.underway))) // not running yet, or being stopped
		}
		s.wakeAt(s.session.nextAsk)
	}
	s.askUnconfirmed(now)
}

func (s *Scheduler) askUnconfirmed(now time.Time) {
	if len(s.session.unconfirmed) == 0 {
		return
	}
	due := !now.Before(s.session.nextConfirm)
	over := !now.Before(s.session.confirmBy)
	if due || over {
		var tasks []*spec.Task
		for id := range s.session.unconfirmed {
			tasks = append(tasks, s.state.Tasks[id])
		}
		s.session.confirmPause = min(2*s.session.confirmPause, lastConfirm)
		s.session.nextConfirm = now.Add(s.session.confirmPause)
		s.ask(sortedTasks(slices.Values(tasks)))
		if over {
			s.log.WithField("tasks", len(tasks)).Warn("the engine does not say what became of some tasks; they are believed to be as they were")
			for _, t := range tasks {
				s.forgetDoubt(t)
				s.untimed[t.ID] = true
			}
			return
		}
	}
	s.wakeAt(s.session.nextConfirm)
	s.wakeAt(s.session.confirmBy)
}

// stray is a task that lives although nobody here knows it.
type stray struct {
	agent string
	sent  time.Time // the last KILL; zero: one is due
}

// unknownTask: a live task that the store does not know is ours only by the framework id; it was given up while its agent
// was away, or is left over from a state that was lost, so nobody else would ever stop it.
func (s *Scheduler) unknownTask(st spec.TaskStatus) {
	switch st.State {
	case "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING":
		if _, known := s.strays[st.TaskID]; !known {
			s.log.WithFields(logrus.Fields{"task": st.TaskID, "state": st.State}).Warn("killing a task that is not in the store")
			s.strays[st.TaskID] = stray{agent: st.AgentID}
		}
	case "TASK_KILLING":
	default: // over, or told again when it can be reached
		delete(s.strays, st.TaskID)
	}
}

// killStrays sends the kills that are due, again and again: nobody waits for these tasks' ends.
func (s *Scheduler) killStrays(now time.Time) {
	if !s.session.connected {
		return
	}
	grace := s.opts.Launch.KillGrace
	for id, x := range s.strays {
		if next := x.sent.Add(grace + killResend); x.sent.IsZero() || !now.Before(next) {
			x.sent = now
			s.strays[id] = x
			s.batch.call(call{name: "KILL", do: func(ctx context.Context) error { return s.opts.Engine.Kill(ctx, id, x.agent, grace) }})
		}
		s.wakeAt(x.sent.Add(grace + killResend))
	}
}
