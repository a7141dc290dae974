package scheduler

import (
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// taskOf is the task that the engine means: itself, or the pod whose container it is.
func (s *Scheduler) taskOf(engineID string) *spec.Task {
	if t := s.state.Tasks[engineID]; t != nil && len(t.Containers) == 0 {
		return t
	}
	i := strings.LastIndexByte(engineID, '.')
	if i < 0 {
		return nil
	}
	if t := s.state.Tasks[engineID[:i]]; t != nil && t.Member(engineID) >= 0 {
		return t
	}
	return nil
}

// engineIDs are the ids by which the engine knows what lives of a task: its own, or those of a pod's containers.
func engineIDs(t *spec.Task) []string {
	if len(t.Containers) == 0 {
		return []string{t.ID}
	}
	var out []string
	for _, c := range t.Containers {
		if !spec.TerminalState(c.State) {
			out = append(out, c.TaskID)
		}
	}
	return out
}

// publishStates tells the states that changed: the task's, or those of a pod's containers, each under its own id.
func (s *Scheduler) publishStates(before, after *spec.Task, now time.Time) {
	if len(after.Containers) == 0 {
		if before.VisibleState() != after.VisibleState() || after.Rung == spec.Terminal {
			s.publish(api.StatusUpdate(after, now))
		}
		return
	}
	for i := range after.Containers {
		if b, a := before.MemberTask(i), after.MemberTask(i); b.VisibleState() != a.VisibleState() {
			s.publish(api.StatusUpdate(a, now))
		}
	}
}
