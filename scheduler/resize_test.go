package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// TestResizesRestartNothing: whatever is changed in whatever order, a change in place neither starts nor ends a task, what a task
// holds of the engine is what the scheduler counts for it as long as it lives, and no host is told of a quota beyond that.
func TestResizesRestartNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"cpus", "cpus", "cpus", "cpus", "held", "weight", "cmd", "instances", "kill", "crash", "wait"}), 1, 12).Draw(rt, "steps")
		values := rapid.SliceOfN(rapid.IntRange(1, 4), len(steps), len(steps)).Draw(rt, "values")
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = playResizes(t, steps, values) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func playResizes(t *testing.T, steps []string, values []int) string {
	p := newPlay(t)
	defer p.stop()
	p.do("host h1 64 65536")
	p.do("auto on")
	app := map[string]any{"cpus": 0.5, "instances": 2, "cmd": "v1", "held": 0.0, "weight": 1}
	put := func() []string {
		labels := fmt.Sprintf(`"BERTH_WEIGHT":"%v"`, app["weight"])
		if held := app["held"].(float64); held >= app["cpus"].(float64) {
			labels += fmt.Sprintf(`,"BERTH_CPU_MAX":"%v"`, held)
		}
		return p.do(fmt.Sprintf(`force {"id":"/web","cmd":"%v","cpus":%v,"instances":%v,"mem":32,"labels":{%s}}`, app["cmd"], app["cpus"], app["instances"], labels))
	}
	put()
	p.do("advance 2m")
	for i, step := range steps {
		before, _ := wantedApp(t, p)
		tasks := p.alive()
		var said []string
		switch step {
		case "cpus", "held":
			app[step] = float64(values[i]) / 2
			said = put()
		case "weight", "instances":
			app[step] = values[i]
			said = put()
		case "cmd":
			app[step] = fmt.Sprintf("v%d", values[i])
			said = put()
		case "kill":
			p.do("kill /web.0")
		case "crash":
			p.do("crash")
		default:
			p.do("advance 20s")
		}
		after, deploying := wantedApp(t, p)
		if said != nil && after.Instances == before.Instances && marathon.InPlace(before, after) && !deploying {
			for _, line := range said {
				if strings.HasPrefix(line, "launch") || strings.HasPrefix(line, "kill") {
					return fmt.Sprintf("step %d (%s) in place: %s", i, step, line)
				}
			}
			if now := p.alive(); !slices.Equal(tasks, now) {
				return fmt.Sprintf("step %d (%s) in place: %v became %v", i, step, tasks, now)
			}
		}
		if fault := overheld(t, p); fault != "" {
			return fmt.Sprintf("step %d (%s): %s", i, step, fault)
		}
	}
	p.do("advance 5m")
	fault := overheld(t, p)
	p.s.stateOf(t, func() {
		want := p.s.state.Apps["/web"]
		for _, t := range p.s.byApp["/web"] {
			if now := p.s.appOf(t); !now.Version.Equal(want.Version) {
				fault = fmt.Sprintf("in the end %s is at %v cpus of %v held, %v of %v are wanted", t.Seat, now.CPUs, now.Held(), want.CPUs, want.Held())
			}
		}
	})
	return fault
}

// wantedApp is the app as it is wanted now, and whether anything is deployed.
func wantedApp(t *testing.T, p *play) (app *spec.App, deploying bool) {
	p.s.stateOf(t, func() { app, deploying = p.s.state.Apps["/web"], len(p.s.state.Deployments) > 0 })
	return app, deploying
}

// alive are the ids of the engine's tasks.
func (p *play) alive() []string {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return slices.Sorted(maps.Keys(p.w.tasks))
}

// overheld finds a task of which the scheduler counts something else than the engine, or whose host is told of more than it holds.
func overheld(t *testing.T, p *play) (fault string) {
	synctest.Wait()
	held := map[string]float64{}
	p.w.mu.Lock()
	for id, t := range p.w.tasks {
		held[id] = t.CPUs
	}
	p.w.mu.Unlock()
	p.s.stateOf(t, func() {
		for id, t := range p.s.state.Tasks {
			app := p.s.appOf(t)
			switch have, ok := held[id]; {
			case !ok || t.Rung == spec.Terminal:
			case app.Held() != have:
				fault = fmt.Sprintf("%s holds %v of the engine, and %v are counted", t.Seat, have, app.Held())
			case app.CPULimit() > have:
				fault = fmt.Sprintf("%s may use %v and holds %v", t.Seat, app.CPULimit(), have)
			}
		}
	})
	return fault
}
