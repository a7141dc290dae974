package lifecycle

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// podStatus takes in a status of one container of a pod, and folds the containers' states into the task's: it is staged or
// running when all of them are (one that finished counts, too), and over when all are over.
func podStatus(t spec.Task, s spec.TaskStatus, now time.Time) (spec.Task, Outcome) {
	at := s.Timestamp
	if at.IsZero() || at.After(now) {
		at = now
	}
	i := t.Member(s.TaskID)
	if i < 0 {
		return t, Outcome{}
	}
	before := t
	t.Containers = slices.Clone(t.Containers)
	c := &t.Containers[i]
	switch {
	case spec.TerminalState(c.State):
		return before, Outcome{Contradiction: alive(s.State)}
	case s.State == "TASK_UNKNOWN" && c.Since.IsZero():
		endMember(c, "TASK_DROPPED", "the engine does not know this task", at)
	case s.State == "TASK_UNKNOWN" || s.State == "TASK_UNREACHABLE":
		return unreachable(before, now)
	case spec.TerminalState(s.State):
		endMember(c, s.State, s.Message, at)
	case alive(s.State):
		t.UnreachableSince = time.Time{}
		memberLives(c, s, at)
	default:
		return before, Outcome{}
	}
	if s.AgentID != "" {
		t.AgentID = s.AgentID
	}
	t, out := fold(t, at)
	if out.Ended {
		t.Reason = s.Reason
		return t, out
	}
	out.Changed = t.Containers[i] != before.Containers[i] || t.State != before.State || t.Rung != before.Rung ||
		t.AgentID != before.AgentID || t.UnreachableSince != before.UnreachableSince
	return t, out
}

func memberLives(c *spec.TaskContainer, s spec.TaskStatus, at time.Time) {
	if s.ContainerID != "" {
		c.ContainerID = s.ContainerID
	}
	if s.Message != "" && s.Reason != "REASON_RECONCILIATION" {
		c.Message = s.Message
	}
	if s.State == c.State && !c.Since.IsZero() || ran(c.State) && !ran(s.State) {
		return // nothing new; or a late STARTING, which does not take a running container back
	}
	c.State, c.Since = s.State, at
	if ran(s.State) && c.StartedAt.IsZero() {
		c.StartedAt = at
	}
}

func ran(state string) bool { return state == "TASK_RUNNING" || state == "TASK_KILLING" }

func endMember(c *spec.TaskContainer, state, message string, at time.Time) {
	c.State, c.Since = state, at
	if message != "" {
		c.Message = message
	}
	var code int
	if _, err := fmt.Sscanf(message, "Container exited with status %d", &code); err == nil {
		c.ExitCode = &code
	}
}

// fold makes the task's state of its containers'.
func fold(t spec.Task, at time.Time) (spec.Task, Outcome) {
	over, up, heard, starting := 0, 0, 0, 0
	for _, c := range t.Containers {
		switch {
		case spec.TerminalState(c.State):
			over++
		case ran(c.State):
			up++
		case c.State == "TASK_STARTING":
			starting++
		}
		if !c.Since.IsZero() {
			heard++
		}
	}
	n := len(t.Containers)
	if over == n {
		return endPod(t, at)
	}
	var out Outcome
	rung, state := spec.Created, "TASK_STAGING"
	switch {
	case up > 0 && up+over == n:
		rung, state = spec.Running, "TASK_RUNNING"
	case starting+up+over == n:
		rung, state = spec.Staged, "TASK_STARTING"
	case heard == n:
		rung = spec.Staged
	}
	t.State = state
	if rung >= spec.Staged && t.StagedAt.IsZero() {
		t.StagedAt = at
	}
	if rung == spec.Running && t.StartedAt.IsZero() {
		t.StartedAt, out.Ran = at, true
	}
	t.Rung = max(t.Rung, rung)
	if b := worst(t.Containers); b != nil && b.State != "TASK_FINISHED" {
		t.Message = fmt.Sprintf("container %s: %s", b.Name, said(b))
		out.Broken = t.Message
	}
	return t, out
}

// badness orders the states that a container can end in; a pod ends in the worst of its containers'.
var badness = [...]string{"TASK_FINISHED", "TASK_KILLED", "TASK_LOST", "TASK_GONE_BY_OPERATOR", "TASK_GONE", "TASK_DROPPED", "TASK_ERROR", "TASK_FAILED"}

// worst is the container that ended worst; of equals the one that ended first. nil: none has ended.
func worst(cs []spec.TaskContainer) *spec.TaskContainer {
	var out *spec.TaskContainer
	for i := range cs {
		c := &cs[i]
		if !spec.TerminalState(c.State) {
			continue
		}
		if out == nil || rank(c) > rank(out) || rank(c) == rank(out) && c.Since.Before(out.Since) {
			out = c
		}
	}
	return out
}

func rank(c *spec.TaskContainer) int { return slices.Index(badness[:], c.State) }

func said(c *spec.TaskContainer) string {
	if c.Message != "" {
		return c.Message
	}
	return c.State
}

// endPod is the end of a pod whose containers are all over.
func endPod(t spec.Task, at time.Time) (spec.Task, Outcome) {
	wanted := t.Rung == spec.Killing
	b := worst(t.Containers)
	t, out := end(t, b.State, fmt.Sprintf("container %s: %s", b.Name, said(b)), at)
	out.Failed = !wanted && b.State != "TASK_KILLED" && b.State != "TASK_LOST"
	if wanted && t.KillIsFailure {
		out.Failed, t.Message = true, t.KillReason
	}
	return t, out
}
