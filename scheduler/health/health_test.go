package health

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestApply(t *testing.T) {
	bad := func(n int) spec.CheckHealth {
		return spec.CheckHealth{Known: true, ConsecutiveFailures: n, LastFailure: t0, LastFailureCause: "HTTP 503"}
	}
	good := spec.CheckHealth{Known: true, Alive: true, FirstSuccess: t0, LastSuccess: t0}
	for _, c := range []struct {
		name     string
		protocol string
		max      int
		rung     spec.Rung
		old, new spec.CheckHealth
		healthy  bool
		flipped  bool
		kill     bool
	}{
		{"first success", "HTTP", 3, spec.Running, spec.CheckHealth{}, good, true, true, false},
		{"success while staged is a success, but not healthy yet", "HTTP", 3, spec.Staged, spec.CheckHealth{}, good, true, true, false},
		{"failure 3 of 3 on the server side lives", "HTTP", 3, spec.Running, bad(2), bad(3), false, false, false},
		{"failure 4 of 3 on the server side is killed", "HTTP", 3, spec.Running, bad(3), bad(4), false, false, true},
		{"failure 3 of 3 of a command is killed", "COMMAND", 3, spec.Running, bad(2), bad(3), false, false, true},
		{"the same failure again kills no second time", "COMMAND", 3, spec.Running, bad(3), bad(3), false, false, false},
		{"0 never kills", "TCP", 0, spec.Running, bad(98), bad(99), false, false, false},
		{"nothing known yet after an agent's restart", "HTTP", 3, spec.Running, good, spec.CheckHealth{}, true, false, false},
		{"turning bad", "HTTP", 3, spec.Running, good, bad(1), false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := &spec.App{HealthChecks: []spec.HealthCheck{{Protocol: c.protocol, MaxConsecutiveFailures: c.max}}}
			task := spec.Task{Rung: c.rung, Health: []spec.CheckHealth{c.old}}
			after, v := Apply(app, task, []spec.CheckHealth{c.new}, t0)
			if v.Healthy != c.healthy || v.Flipped != c.flipped || (v.Kill != "") != c.kill {
				t.Errorf("got %+v", v)
			}
			if v.Kill != "" && !strings.Contains(v.Kill, "HTTP 503") {
				t.Errorf("the reason does not name the cause: %s", v.Kill)
			}
			if c.new.Known && after.HealthySince.IsZero() == (c.healthy && c.rung == spec.Running) {
				t.Errorf("HealthySince is %v", after.HealthySince)
			}
			if task.Health[0] != c.old {
				t.Error("the input was changed")
			}
		})
	}
}

func TestWithoutChecksRunningIsHealthy(t *testing.T) {
	app := &spec.App{}
	if !Healthy(app, &spec.Task{Rung: spec.Running}) || Healthy(app, &spec.Task{Rung: spec.Staged}) || Healthy(app, &spec.Task{Rung: spec.Running, UnreachableSince: t0}) {
		t.Error("wrong")
	}
}

func TestReadinessIsTheResultAfterTheHealthChecks(t *testing.T) {
	app := &spec.App{HealthChecks: []spec.HealthCheck{{Protocol: "TCP"}}, ReadinessChecks: []spec.ReadinessCheck{{}}}
	ok, bad := spec.CheckHealth{Known: true, Alive: true}, spec.CheckHealth{Known: true}
	task, _ := Apply(app, spec.Task{Rung: spec.Running}, []spec.CheckHealth{ok, bad}, t0)
	if task.Ready || len(task.Health) != 1 {
		t.Fatalf("not ready yet: %+v", task)
	}
	if task, _ = Apply(app, task, []spec.CheckHealth{ok, ok}, t0); !task.Ready {
		t.Fatal("ready after its first success")
	}
	if task, _ = Apply(app, task, []spec.CheckHealth{ok, bad}, t0); !task.Ready {
		t.Fatal("ready stays")
	}
}

func TestReadinessAnswerIsKeptWhenAskedFor(t *testing.T) {
	app := &spec.App{HealthChecks: []spec.HealthCheck{{Protocol: "TCP"}}, ReadinessChecks: []spec.ReadinessCheck{{PreserveLastResponse: true}}}
	answer := spec.ProbeResponse{Status: 503, ContentType: "text/plain", Body: "warming up"}
	results := []spec.CheckHealth{{Known: true, Alive: true, Response: answer}, {Response: answer}}
	task, _ := Apply(app, spec.Task{Rung: spec.Running}, results, t0)
	if task.Ready || task.Readiness != answer || task.Health[0].Response != (spec.ProbeResponse{}) {
		t.Fatalf("got %+v", task)
	}
	if task, _ = Apply(app, task, []spec.CheckHealth{{}, {}}, t0); task.Readiness != answer {
		t.Fatal("an agent that has just started knows nothing; what was known stays")
	}
	results[1].Response.Body = strings.Repeat("ä", spec.MaxProbeBody)
	if task, _ = Apply(app, task, results, t0); len(task.Readiness.Body) > spec.MaxProbeBody {
		t.Fatalf("%d bytes kept", len(task.Readiness.Body))
	}
	app.ReadinessChecks[0].PreserveLastResponse = false
	if task, _ = Apply(app, spec.Task{Rung: spec.Running}, results, t0); task.Readiness != (spec.ProbeResponse{}) {
		t.Fatal("kept although the definition does not ask for it")
	}
}
