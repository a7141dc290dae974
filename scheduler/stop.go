package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/spec"
)

// kill wants a task to end. Where clients may know the task, its host is asked to take it out of discovery first.
func (s *Scheduler) kill(t *spec.Task, reason string, now time.Time) {
	s.killFor(t, lifecycle.KillWanted{Reason: reason}, now)
}

func (s *Scheduler) killFor(t *spec.Task, want lifecycle.KillWanted, now time.Time) {
	if t == nil || t.Rung >= spec.Killing {
		return
	}
	known := t.Rung == spec.Running && s.canDrain(t, func(at time.Time) bool { return !now.Before(at) })
	s.step(t, want, now)
	s.noteWanted(s.state.Tasks[t.ID])
	s.log.WithFields(logrus.Fields{"app": string(t.Seat.App), "task": t.ID, "seat": t.Seat.Index, "reason": want.Reason}).Info("stopping task")
	if !known {
		s.step(s.state.Tasks[t.ID], lifecycle.Drained{}, now)
	}
	s.timer(s.state.Tasks[t.ID], now)
}

// agentReturn is how long a host's agent may take to notice that the scheduler has been started again, and to speak: a few times its
// longest pause between two attempts.
const agentReturn = 15 * time.Second

// canDrain says whether somebody on the task's host can take it out of discovery. A scheduler that has just begun does not know that yet
// of any host: it may be in the middle of a deployment, of instances that clients know since the one before.
func (s *Scheduler) canDrain(t *spec.Task, due func(time.Time) bool) bool {
	if h := s.hosts[t.Host]; h != nil && h.reported {
		return true
	}
	return t.CreatedAt.Before(s.began) && !due(s.began.Add(agentReturn))
}

// killResend is how long a KILL may go unanswered beyond the grace period before it is sent again.
const killResend = 15 * time.Second

// timers looks at the tasks that changed and at those whose time has come, and does what is due: drains that took too long, kills to send, tasks that do not start or are gone for good.
func (s *Scheduler) timers(now time.Time) {
	s.promise(now)
	s.askAround(now)
	s.killStrays(now)
	var look []*spec.Task
	for _, id := range s.taskTimes.due(now) {
		s.untimed[id] = true
		if t := s.state.Tasks[id]; t != nil {
			s.touch(t.Seat.App)
		}
	}
	for id := range s.untimed {
		if t := s.state.Tasks[id]; t != nil {
			look = append(look, t)
		}
	}
	clear(s.untimed)
	for _, t := range sortedTasks(slices.Values(look)) {
		s.taskTimes.set(t.ID, s.asking(func() { s.timer(t, now) }))
	}
	s.ask(s.session.toAsk)
	s.session.toAsk = nil
}

// liveTasks are all live tasks in the order of their seats, so that equal states give equal decisions.
func (s *Scheduler) liveTasks() []*spec.Task {
	return sortedTasks(func(yield func(*spec.Task) bool) {
		for _, tasks := range s.byApp {
			for _, t := range tasks {
				if !yield(t) {
					return
				}
			}
		}
	})
}

func sortedTasks(tasks iter.Seq[*spec.Task]) []*spec.Task {
	return slices.SortedFunc(tasks, func(a, b *spec.Task) int {
		if a.Seat.App != b.Seat.App {
			return cmp.Compare(a.Seat.App, b.Seat.App)
		}
		if a.Seat.Index != b.Seat.Index {
			return a.Seat.Index - b.Seat.Index
		}
		return cmp.Compare(a.ID, b.ID)
	})
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
	if t.UnreachableSince.IsZero() {
		s.restore(t)
	}
	switch {
	case !t.UnreachableSince.IsZero():
		// Forgotten never before the fence time: until then the old container may still answer on the seat's address. If it
		// comes back afterwards it is not in the store, and is killed. A kept seat is replaced in that moment; instances that
		// float have a replacement in another seat as soon as they are inactive.
		at, ever := s.replaceAt(t)
		if !ever {
			return
		}
		if t.Rung != spec.Killing && s.floats(t) && !t.GivenUp && due(t.UnreachableSince.Add(app.Unreachable.InactiveAfter)) && s.stillUnreachable(t, now) {
			s.step(t, lifecycle.GiveUp{}, now)
		}
		if due(at) && s.stillUnreachable(t, now) && s.released(t, now) {
			s.step(s.state.Tasks[t.ID], lifecycle.Expunged{Reason: fmt.Sprintf("unreachable for %s", now.Sub(t.UnreachableSince).Round(time.Second))}, now)
		}
	case t.Rung == spec.Killing:
		if !t.Drained && due(t.KillWanted.Add(s.opts.DrainTimeout+app.DrainFor(s.opts.Launch.DrainFor))) {
			s.log.WithFields(logrus.Fields{"app": string(t.Seat.App), "task": t.ID, "host": t.Host}).Warn("the host did not confirm the drain in time")
			s.drained(t, spec.Drain{Unsure: "the host did not confirm the drain in time"}, now)
			t = s.state.Tasks[t.ID]
		}
		if !t.Drained && !s.canDrain(t, due) {
			s.drained(t, spec.Drain{Unsure: "no agent on the host has spoken since the scheduler began"}, now)
			t = s.state.Tasks[t.ID]
		}
		grace := s.grace(app)
		if t.Drained && s.session.connected && !s.inFlight[t.ID] && (t.KillSent.IsZero() || due(t.KillSent.Add(grace+killResend))) {
			agent := t.AgentID
			if x := s.history.of(t); x.Kill.IsZero() {
				x.Kill = now
			}
			s.step(t, lifecycle.KillSent{}, now)
			for _, id := range engineIDs(t) {
				grace := s.memberGrace(app, t, id, grace)
				s.batch.call(call{name: "KILL", do: func(ctx context.Context) error { return s.opts.Engine.Kill(ctx, id, agent, grace) }})
			}
			s.wakeAt(now.Add(grace + killResend))
		}
	case t.Rung < spec.Running && !s.session.unconfirmed[t.ID]:
		if due(t.CreatedAt.Add(s.opts.StagingTimeout)) {
			reason := fmt.Sprintf("not running after %s", s.opts.StagingTimeout)
			if t.Message != "" {
				reason += ": " + t.Message
			}
			s.killFor(t, lifecycle.KillWanted{Reason: reason, Failure: true}, now)
		}
	}
}

// floats says whether the task's app has interchangeable instances now.
func (s *Scheduler) floats(t *spec.Task) bool {
	if app := s.state.Apps[t.Seat.App]; app != nil {
		return app.Floats()
	}
	return s.appOf(t).Floats()
}

// grace is the time that a task is given to end; that of a pod is the longest of its containers'.
func (s *Scheduler) grace(app *spec.App) time.Duration {
	if app.Pod != nil {
		var longest time.Duration
		for i := range app.Pod.Containers {
			longest = max(longest, launch.MemberGrace(&app.Pod.Containers[i], s.opts.Launch))
		}
		return longest
	}
	if app.KillGrace != nil {
		return *app.KillGrace
	}
	return s.opts.Launch.KillGrace
}

// memberGrace is the time that one container of a pod is given; of is the task's own.
func (s *Scheduler) memberGrace(app *spec.App, t *spec.Task, id string, of time.Duration) time.Duration {
	if i := t.Member(id); i >= 0 && app.Pod != nil {
		for j := range app.Pod.Containers {
			if c := &app.Pod.Containers[j]; c.Name == t.Containers[i].Name {
				return launch.MemberGrace(c, s.opts.Launch)
			}
		}
	}
	return of
}
