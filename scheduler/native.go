package scheduler

import (
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/spec"
)

// native is the index of the app's health check that the engine performs; -1: the host's agent performs all.
func (s *Scheduler) native(app *spec.App) int { return launch.Native(app, s.opts.Launch) }

// withNative puts the agent's results, one a probe, into the app's order of checks: nothing is known to the agent of the one
// that the engine performs, so it stays as it was.
func (s *Scheduler) withNative(t *spec.Task, results []spec.CheckHealth) []spec.CheckHealth {
	i := s.native(s.appOf(t))
	if i < 0 || i > len(results) {
		return results
	}
	return slices.Insert(slices.Clone(results), i, spec.CheckHealth{})
}

// nativeResult is the status that Mesos's executor sends at each failure of its check, and at a first success.
const nativeResult = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"

// onNativeHealth takes in the engine's own check, if the status tells its result. A status that was sent again, or answers a
// reconciliation, counts no failure.
func (s *Scheduler) onNativeHealth(st spec.TaskStatus, now time.Time) {
	t := s.taskOf(st.TaskID)
	if t == nil || st.Healthy == nil || spec.TerminalState(st.State) {
		return
	}
	i := s.native(s.appOf(t))
	if i < 0 {
		return
	}
	results := make([]spec.CheckHealth, len(s.appOf(t).HealthChecks))
	h := &results[i]
	if i < len(t.Health) {
		*h = t.Health[i]
	}
	at := st.Timestamp
	if at.IsZero() || at.After(now) {
		at = now
	}
	h.Known, h.Alive = true, *st.Healthy
	switch {
	case h.Alive:
		h.ConsecutiveFailures, h.LastSuccess = 0, at
		if h.FirstSuccess.IsZero() {
			h.FirstSuccess = at
		}
	case st.Reason == nativeResult && at.After(h.LastFailure), h.ConsecutiveFailures == 0:
		h.ConsecutiveFailures, h.LastFailure, h.LastFailureCause = h.ConsecutiveFailures+1, at, st.Message
		if h.LastFailureCause == "" {
			h.LastFailureCause = "Mesos's executor says so; the cause is in the sandbox's stderr"
		}
	}
	if i >= len(t.Health) || t.Health[i].Alive != h.Alive {
		s.staleDocs[t.Host] = true // the host is told of the services only while it passes
	}
	s.onHealth(t, results, now)
}
