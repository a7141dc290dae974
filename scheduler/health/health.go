// Package health decides what probe results mean. In: an app's checks, a task's results and new ones, now. Out: the task
// after it, which results flipped, and whether the task must be killed for it.
package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Change is one check that differs after a report.
type Change struct {
	Index  int
	Failed bool // one more counted failure
	// Flipped: alive changed (it begins as false, so a first failure is no flip); Alive is the new value.
	Flipped, Alive bool
}

// Verdict is what a report means for a task.
type Verdict struct {
	Changes []Change
	// Healthy is the aggregate of the checks after the report; Flipped says that it changed.
	Healthy, Flipped bool
	// Kill is the reason to kill the task; "" to let it live.
	Kill string
}

// Apply takes in the newest results for a task, one a check in the app's order. A result that is not known (the host's
// agent has just started) changes nothing: nobody becomes unhealthy on absent knowledge.
func Apply(app *spec.App, t spec.Task, results []spec.CheckHealth, now time.Time) (spec.Task, Verdict) {
	var v Verdict
	before := Alive(app, &t)
	old := t.Health
	t.Health = slices.Clone(results[:min(len(results), len(app.HealthChecks))])
	for i, r := range t.Health {
		var o spec.CheckHealth
		if i < len(old) {
			o = old[i]
		}
		if !r.Known {
			t.Health[i] = o
			continue
		}
		t.Health[i].Response = spec.ProbeResponse{}
		c := Change{Index: i, Alive: r.Alive, Flipped: o.Alive != r.Alive, Failed: r.ConsecutiveFailures > o.ConsecutiveFailures}
		if c.Failed || c.Flipped {
			v.Changes = append(v.Changes, c)
		}
		if limit := KillAt(app.HealthChecks[i]); c.Failed && limit > 0 && r.ConsecutiveFailures >= limit && v.Kill == "" {
			v.Kill = fmt.Sprintf("health check %d (%s) failed %d times in a row: %s", i, app.HealthChecks[i].Protocol, r.ConsecutiveFailures, r.LastFailureCause)
		}
	}
	// The readiness check's result comes after the health checks'.
	if n := len(app.HealthChecks); len(app.ReadinessChecks) > 0 && len(results) > n {
		t.Ready = t.Ready || results[n].Alive
		if r := results[n].Response; r.Status != 0 && app.ReadinessChecks[0].PreserveLastResponse {
			t.Readiness = bounded(r)
		}
	}
	if n := len(app.HealthChecks) + len(app.ReadinessChecks); len(results) > n {
		t = checked(app, t, results[n:])
	}
	v.Healthy = Alive(app, &t)
	v.Flipped = before != v.Healthy
	t = Settle(app, t, now)
	return t, v
}

// checked takes in the results of the checks that count for nothing: the app's, or those of the pod's containers.
func checked(app *spec.App, t spec.Task, results []spec.CheckHealth) spec.Task {
	t.Containers = slices.Clone(t.Containers)
	for i, c := range marathon.Checks(app) {
		if i >= len(results) || !results[i].Known {
			continue
		}
		if c.Container == "" {
			t.CheckResult = checkResult(c, results[i])
			continue
		}
		for j := range t.Containers {
			if t.Containers[j].Name == c.Container {
				t.Containers[j].CheckResult = checkResult(c, results[i])
			}
		}
	}
	return t
}

func checkResult(c marathon.CheckSpec, r spec.CheckHealth) *spec.CheckResult {
	out := &spec.CheckResult{Protocol: c.Protocol}
	switch c.Protocol {
	case "TCP":
		out.Answered = r.Alive
	case "COMMAND":
		out.Answered, out.Code = r.Response.Exited, r.Response.ExitCode
	default:
		out.Answered, out.Code = r.Response.Status != 0, r.Response.Status
	}
	return out
}

// bounded keeps an agent that sends too much from filling the state.
func bounded(r spec.ProbeResponse) spec.ProbeResponse {
	r.Body = strings.ToValidUTF8(r.Body[:min(len(r.Body), spec.MaxProbeBody)], "?")
	r.ContentType = r.ContentType[:min(len(r.ContentType), 256)]
	return r
}

// KillAt is the number of consecutive failures at which a task is killed; 0: never. Marathon's own checks kill at the
// failure after maxConsecutiveFailures, Mesos-level ones (COMMAND, MESOS_*) at it.
func KillAt(c spec.HealthCheck) int {
	if c.MaxConsecutiveFailures == 0 {
		return 0
	}
	switch c.Protocol {
	case "HTTP", "HTTPS", "TCP":
		return c.MaxConsecutiveFailures + 1
	}
	return c.MaxConsecutiveFailures
}

// Healthy says whether a task counts as healthy: running, and every check alive. Without checks running is enough.
func Healthy(app *spec.App, t *spec.Task) bool {
	return t.Rung == spec.Running && t.UnreachableSince.IsZero() && Alive(app, t)
}

// Alive says whether the last results of all checks are good, whatever becomes of the task.
func Alive(app *spec.App, t *spec.Task) bool {
	for i := range app.HealthChecks {
		if i >= len(t.Health) || !t.Health[i].Alive {
			return false
		}
	}
	return true
}

// Settle keeps HealthySince right after any change of the task.
func Settle(app *spec.App, t spec.Task, now time.Time) spec.Task {
	switch healthy := Healthy(app, &t); {
	case healthy && t.HealthySince.IsZero():
		t.HealthySince = now
	case !healthy:
		t.HealthySince = time.Time{}
	}
	return t
}
