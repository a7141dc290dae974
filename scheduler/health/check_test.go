package health

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

// TestCheckOnlyReports: the check's result comes after those of the health and readiness checks, and changes nothing else.
func TestCheckOnlyReports(t *testing.T) {
	failed := spec.CheckHealth{Known: true, ConsecutiveFailures: 100, LastFailureCause: "x"}
	for _, c := range []struct {
		check string
		got   spec.CheckHealth
		want  *spec.CheckResult
	}{
		{`{"http":{"scheme":"HTTP"}}`, spec.CheckHealth{}, nil},
		{`{"http":{"scheme":"HTTP"}}`, failed, &spec.CheckResult{Protocol: "HTTP"}},
		{`{"http":{"scheme":"HTTP"}}`, spec.CheckHealth{Known: true, Response: spec.ProbeResponse{Status: 503}}, &spec.CheckResult{Protocol: "HTTP", Answered: true, Code: 503}},
		{`{"tcp":{}}`, spec.CheckHealth{Known: true, Alive: true}, &spec.CheckResult{Protocol: "TCP", Answered: true}},
		{`{"tcp":{}}`, failed, &spec.CheckResult{Protocol: "TCP"}},
		{`{"exec":{"command":{"shell":"x"}}}`, spec.CheckHealth{Known: true, Response: spec.ProbeResponse{Exited: true, ExitCode: 3}}, &spec.CheckResult{Protocol: "COMMAND", Answered: true, Code: 3}},
	} {
		check := spec.Check(c.check)
		app := &spec.App{Check: &check, HealthChecks: []spec.HealthCheck{{Protocol: "TCP", MaxConsecutiveFailures: 1}}, ReadinessChecks: []spec.ReadinessCheck{{}}}
		good := spec.CheckHealth{Known: true, Alive: true}
		now := time.Unix(1, 0)
		next, v := Apply(app, spec.Task{Rung: spec.Running, Health: []spec.CheckHealth{good}}, []spec.CheckHealth{good, good, c.got}, now)
		if d := cmp.Diff(c.want, next.CheckResult); d != "" || v.Kill != "" || !v.Healthy || !next.Ready || len(next.Health) != 1 {
			t.Errorf("%s: %+v %s", c.check, v, d)
		}
	}
}

// TestPodChecksOnlyReport: each result goes to its container, in the order of those that have a check.
func TestPodChecksOnlyReport(t *testing.T) {
	http, exec := spec.Check(`{"http":{"endpoint":"e","scheme":"HTTP"}}`), spec.Check(`{"exec":{"command":{"argv":["x"]}}}`)
	app := &spec.App{HealthChecks: []spec.HealthCheck{{Protocol: "TCP"}}, Pod: &spec.Pod{Containers: []spec.PodContainer{
		{Name: "a", Check: &http}, {Name: "b"}, {Name: "c", Check: &exec},
	}}}
	good := spec.CheckHealth{Known: true, Alive: true}
	before := spec.Task{Rung: spec.Running, Health: []spec.CheckHealth{good}, Containers: []spec.TaskContainer{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	next, v := Apply(app, before, []spec.CheckHealth{good, {Known: true, Response: spec.ProbeResponse{Status: 503}}, {}}, time.Unix(1, 0))
	want := []spec.TaskContainer{{Name: "a", CheckResult: &spec.CheckResult{Protocol: "HTTP", Answered: true, Code: 503}}, {Name: "b"}, {Name: "c"}}
	if d := cmp.Diff(want, next.Containers); d != "" || !v.Healthy || v.Kill != "" || before.Containers[0].CheckResult != nil {
		t.Errorf("%+v %s", v, d)
	}
	ended := spec.CheckHealth{Known: true, Response: spec.ProbeResponse{Exited: true, ExitCode: 2}}
	next, _ = Apply(app, next, []spec.CheckHealth{good, {}, ended}, time.Unix(2, 0))
	want[2].CheckResult = &spec.CheckResult{Protocol: "COMMAND", Answered: true, Code: 2}
	if d := cmp.Diff(want, next.Containers); d != "" || next.CheckResult != nil {
		t.Error(d)
	}
}
