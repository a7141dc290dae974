package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		n              int
		min, over      float64
		floor, ceiling int
	}{
		{4, 1, 1, 4, 8}, {4, 0.5, 0, 2, 4}, {4, 1, 0, 4, 5}, {4, 0, 0, 0, 4}, {5, 0.5, 0.2, 3, 6}, {1, 0.5, 0, 1, 2}, {10, 0.3, 0, 3, 10}, {0, 1, 1, 0, 1},
	} {
		f, ceil := Bounds(c.n, spec.UpgradeStrategy{MinimumHealthCapacity: c.min, MaximumOverCapacity: c.over})
		if f != c.floor || ceil != c.ceiling {
			t.Errorf("n=%d %v/%v: got %d and %d, want %d and %d", c.n, c.min, c.over, f, ceil, c.floor, c.ceiling)
		}
	}
}

func render(r Result) string {
	var parts []string
	for _, s := range r.Launch {
		parts = append(parts, fmt.Sprintf("launch %d", s))
	}
	for _, k := range r.Kill {
		parts = append(parts, "kill "+k.TaskID)
	}
	if r.Done {
		parts = append(parts, "done")
	}
	return strings.Join(parts, ", ")
}

// Tasks are written "seat[o][h][k][u][g][s]": outdated, healthy, killing, unreachable, given up, staging; later ones are younger.
func tasks(text string) []Task {
	var out []Task
	for i, f := range strings.Fields(text) {
		var t Task
		fmt.Sscanf(f, "%d", &t.Seat)
		t.ID = fmt.Sprintf("s%d#%d", t.Seat, i)
		t.Outdated, t.Healthy, t.Killing = strings.Contains(f, "o"), strings.Contains(f, "h"), strings.Contains(f, "k")
		t.Unreachable, t.GivenUp = strings.Contains(f, "u"), strings.Contains(f, "g")
		t.Rung, t.Since = spec.Running, time.Unix(int64(i), 0)
		if strings.Contains(f, "s") {
			t.Rung = spec.Staged
		}
		if _, group, ok := strings.Cut(f, "@"); ok {
			t.Groups = []string{group}
		}
		out = append(out, t)
	}
	return out
}

func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		name      string
		n         int
		min, over float64
		mode      Mode
		tasks     string
		want      string
	}{
		{"start", 3, 1, 1, Keep, "", "launch 0, launch 1, launch 2"},
		{"holes fill first", 3, 1, 1, Keep, "0h 2h", "launch 1"},
		{"scaled down: the highest go", 1, 1, 1, Keep, "0h 1h 2h", "kill s2#2, kill s1#1"},
		{"a cancelled rollout: the helper carries the floor", 1, 1, 1, Keep, "0 1h", ""},
		{"and goes when its seat is well", 1, 1, 1, Keep, "0h 1h", "kill s1#1"},
		{"shrinking while a low seat is down", 2, 1, 1, Keep, "0h 2h 3h", "launch 1, kill s3#2"},
		{"unhealthy surplus is missed by nobody", 2, 1, 1, Keep, "0h 1 2", "kill s2#2"},
		{"outdated ones stay between deployments", 2, 1, 1, Keep, "0oh 1oh", "done"},
		{"unhealthy is not done", 1, 1, 1, Keep, "0", ""},
		{"an unreachable task keeps its seat", 1, 1, 1, Keep, "0u", ""},
		{"one in no wanted seat may yet get it back", 1, 1, 1, Keep, "0h 1u", "done"},
		{"but not an outdated one", 1, 1, 1, Keep, "0h 1ou", "kill s1#1, done"},
		{"as long as it exists", 1, 1, 1, Keep, "0ug", ""},
		{"stop", 2, 1, 1, Stop, "0h 1h", "kill s1#1, kill s0#0"},
		{"stopped", 2, 1, 1, Stop, "", "done"},

		{"update: one helper when all must stay healthy", 4, 1, 1, Replace, "0oh 1oh 2oh 3oh", "launch 4"},
		{"wait for the helper", 4, 1, 1, Replace, "0oh 1oh 2oh 3oh 4", ""},
		{"helper healthy: replace seat 0", 4, 1, 1, Replace, "0oh 1oh 2oh 3oh 4h", "kill s0#0"},
		{"seat 0 dying", 4, 1, 1, Replace, "0okh 1oh 2oh 3oh 4h", ""},
		{"seat 0 gone: launch it", 4, 1, 1, Replace, "1oh 2oh 3oh 4h", "launch 0"},
		{"seat 0 new: next", 4, 1, 1, Replace, "0h 1oh 2oh 3oh 4h", "kill s1#1"},
		{"all new: the helper goes", 4, 1, 1, Replace, "0h 1h 2h 3h 4h", "kill s4#4"},
		{"helper dying", 4, 1, 1, Replace, "0h 1h 2h 3h 4hk", ""},
		{"over", 4, 1, 1, Replace, "0h 1h 2h 3h", "done"},
		{"no helper below the floor's room", 4, 0.5, 1, Replace, "0oh 1oh 2oh 3oh", "kill s0#0, kill s1#1"},
		{"min 0: all at once", 3, 0, 0, Replace, "0oh 1oh 2oh", "kill s0#0, kill s1#1, kill s2#2"},
		{"1 and 0: the +1 rule", 2, 1, 0, Replace, "0oh 1oh", "launch 2"},
		{"unhealthy old ones go at once", 2, 1, 1, Replace, "0o 1oh", "launch 2, kill s0#0"},
		{"single instance", 1, 1, 1, Replace, "0oh", "launch 1"},
		{"shrinking update uses the surplus as helper", 2, 1, 1, Replace, "0oh 1oh 2oh", "kill s0#0"},
		{"nothing healthy needs no helper", 2, 1, 1, Replace, "0o 1o", "kill s0#0, kill s1#1"},
		{"growing update starts the new seats first", 3, 1, 0, Replace, "0oh", "launch 1, launch 2, launch 3"},
		{"a bad version kills nothing", 2, 1, 1, Replace, "0oh 1oh 2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := &spec.App{Instances: c.n, Upgrade: spec.UpgradeStrategy{MinimumHealthCapacity: c.min, MaximumOverCapacity: c.over}}
			r := Advance(Input{App: app, Mode: c.mode, Tasks: tasks(c.tasks)})
			if got := render(r); got != c.want {
				t.Errorf("got  %q (%s)\nwant %q", got, r.Waiting, c.want)
			}
			if r.Done == (r.Waiting != "") {
				t.Errorf("done=%v, waiting=%q", r.Done, r.Waiting)
			}
		})
	}
}

// TestResidentNeverHasHelpers is the last row of Marathon's table of upgrade arithmetic, and what follows for other shares.
func TestResidentNeverHasHelpers(t *testing.T) {
	for _, c := range []struct {
		n         int
		min, over float64
		tasks     string
		want      string
	}{
		{1, 0.5, 0, "0oh", "kill s0#0"},
		{1, 1, 0, "0oh", "kill s0#0"},
		{4, 0.5, 0, "0oh 1oh 2oh 3oh", "kill s0#0, kill s1#1"},
		{4, 1, 0, "0oh 1oh 2oh 3oh", "kill s0#0"},
		{4, 1, 0, "0 1oh 2oh 3oh", ""},
		{4, 1, 0, "0h 1oh 2oh 3oh", "kill s1#1"},
		// One beyond the wanted that cannot be reached takes nobody's place: it may never come back.
		{2, 0.5, 0, "0oh 1oh 2ou", "kill s0#0, kill s2#2"},
		{2, 0.5, 0, "1oh 2ou", "launch 0, kill s2#1"},
		{2, 0.5, 0, "1oh 2ouk", "launch 0"},
	} {
		app := &spec.App{ID: "/db", Instances: c.n, Upgrade: spec.UpgradeStrategy{MinimumHealthCapacity: c.min, MaximumOverCapacity: c.over},
			Container: &spec.Container{Volumes: []spec.Volume{{ContainerPath: "d", Persistent: []byte(`{"type":"root","size":1}`)}}}}
		if got := render(Advance(Input{App: app, Mode: Replace, Tasks: tasks(c.tasks)})); got != c.want {
			t.Errorf("n=%d %v/%v %s: got %q, want %q", c.n, c.min, c.over, c.tasks, got, c.want)
		}
	}
}
