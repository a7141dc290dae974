// Package lifecycle is the only place where a task changes state. In: a task, what happened to it, and now. Out: the task
// after it, and what must follow. Rungs never go back; reachability and health are flags beside the rung.
package lifecycle

import (
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// Event is something that happened to a task: one of the types below.
type Event interface{ isEvent() }

type (
	// Sent: the ACCEPT that launches it was taken by the engine.
	Sent struct{}
	// Status: the engine's update or its answer to reconciliation.
	Status struct{ spec.TaskStatus }
	// KillWanted: somebody decided that the task must end. Failure: its end counts for the launch delay as if it were the
	// task's own (it never started), with the reason as its message.
	KillWanted struct {
		Reason  string
		Failure bool
	}
	// Drained: its host confirmed that clients no longer come, or the time for that is over.
	Drained struct{}
	// KillSent: a KILL call went out.
	KillSent struct{}
	// GiveUp: it is unreachable for so long that a replacement may start beside it.
	GiveUp struct{}
	// Expunged: the engine will never speak of it again (its agent is gone for good, or an unreachable task's time is over).
	Expunged struct{ Reason string }
)

func (Sent) isEvent()       {}
func (Status) isEvent()     {}
func (KillWanted) isEvent() {}
func (Drained) isEvent()    {}
func (KillSent) isEvent()   {}
func (GiveUp) isEvent()     {}
func (Expunged) isEvent()   {}

// Outcome says what a step meant.
type Outcome struct {
	Changed bool // the task differs and must be stored
	Ended   bool // it became terminal with this step
	Failed  bool // it ended in a way that counts for the launch delay: failed, finished, error, gone, dropped
	Ran     bool // it became running with this step
	// Contradiction: the engine says that a task lives which we hold for ended: it must be killed.
	Contradiction bool
	// Broken is why a pod must end although containers of it still live: one of them has failed or was killed.
	Broken string
}

// Next is the task after the event. The task passed in is not changed.
func Next(t spec.Task, ev Event, now time.Time) (spec.Task, Outcome) {
	if t.Rung == spec.Terminal {
		s, ok := ev.(Status)
		return t, Outcome{Contradiction: ok && alive(s.State)}
	}
	var out Outcome
	switch e := ev.(type) {
	case Sent:
		if t.Rung == spec.Created {
			t.Rung, out.Changed = spec.Launched, true
		}
	case Status:
		if len(t.Containers) > 0 {
			t, out = podStatus(t, e.TaskStatus, now)
		} else {
			t, out = status(t, e.TaskStatus, now)
		}
	case KillWanted:
		if t.KillWanted.IsZero() {
			t.KillWanted, t.KillReason, t.KillIsFailure, out.Changed = now, e.Reason, e.Failure, true
			t.Rung = spec.Killing
		}
	case Drained:
		if t.Rung == spec.Killing && !t.Drained {
			t.Drained, out.Changed = true, true
		}
	case KillSent:
		if t.Rung == spec.Killing {
			t.KillSent, out.Changed = now, true
		}
	case GiveUp:
		if !t.UnreachableSince.IsZero() && !t.GivenUp {
			t.GivenUp, out.Changed = true, true
		}
	case Expunged:
		t, out = end(t, "TASK_GONE", e.Reason, now)
		out.Failed = false
		t.Containers = slices.Clone(t.Containers)
		for i := range t.Containers {
			if c := &t.Containers[i]; !spec.TerminalState(c.State) {
				endMember(c, t.State, e.Reason, now)
			}
		}
	}
	return t, out
}

func alive(state string) bool {
	switch state {
	case "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING":
		return true
	}
	return false
}

func status(t spec.Task, s spec.TaskStatus, now time.Time) (spec.Task, Outcome) {
	var out Outcome
	at := s.Timestamp
	if at.IsZero() || at.After(now) {
		at = now
	}
	switch {
	case spec.TerminalState(s.State):
		wanted := t.Rung == spec.Killing
		t, out = end(t, s.State, s.Message, at)
		t.Reason = s.Reason
		// A task that we killed ends as it likes (TASK_FAILED "status 143" too); only ends of its own count.
		// An offer that went stale on the way says nothing about the task.
		out.Failed = !wanted && s.State != "TASK_KILLED" && s.State != "TASK_LOST" && s.Reason != "REASON_INVALID_OFFERS"
		if wanted && t.KillIsFailure {
			out.Failed, t.Message = true, t.KillReason
		}
		return t, out
	case s.State == "TASK_UNKNOWN":
		// Asked with its agent's id, a master that has never seen the task answers so. Before any status the launch was lost.
		if t.Rung <= spec.Launched {
			t, out = end(t, s.State, "the engine does not know this task", at)
			return t, out
		}
		return unreachable(t, now)
	case s.State == "TASK_UNREACHABLE":
		return unreachable(t, now)
	case alive(s.State):
		before := t
		t.UnreachableSince = time.Time{}
		if s.AgentID != "" {
			t.AgentID = s.AgentID
		}
		if s.ContainerID != "" {
			t.ContainerID = s.ContainerID
		}
		t.State, t.Reason = s.State, ""
		if s.Message != "" && s.Reason != "REASON_RECONCILIATION" {
			t.Message = s.Message
		}
		rung := spec.Staged
		if s.State == "TASK_RUNNING" || s.State == "TASK_KILLING" {
			rung = spec.Running
		}
		if t.StagedAt.IsZero() {
			t.StagedAt = at
		}
		if rung == spec.Running && t.StartedAt.IsZero() {
			t.StartedAt, out.Ran = at, true
			t.Message = s.Message // what it waited for is over
		}
		if rung > t.Rung {
			t.Rung = rung
		} else if t.Rung == spec.Running && rung == spec.Staged {
			t.State = before.State // a late STARTING does not take a running task back
		}
		out.Changed = t.State != before.State || t.Message != before.Message || t.Rung != before.Rung || t.UnreachableSince != before.UnreachableSince ||
			t.AgentID != before.AgentID || t.ContainerID != before.ContainerID || t.StagedAt != before.StagedAt || t.StartedAt != before.StartedAt
	}
	return t, out
}

// unreachable counts from the moment of the news, by our own clock: the engine's may be wrong, and much hangs on the time.
func unreachable(t spec.Task, at time.Time) (spec.Task, Outcome) {
	if !t.UnreachableSince.IsZero() {
		return t, Outcome{}
	}
	t.UnreachableSince, t.GivenUp, t.State = at, false, "TASK_UNREACHABLE"
	return t, Outcome{Changed: true}
}

func end(t spec.Task, state, message string, at time.Time) (spec.Task, Outcome) {
	t.Rung, t.State, t.EndedAt, t.HealthySince = spec.Terminal, state, at, time.Time{}
	if message != "" {
		t.Message = message
	}
	t.UnreachableSince = time.Time{}
	return t, Outcome{Changed: true, Ended: true, Failed: true}
}
