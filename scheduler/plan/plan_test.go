package plan

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func apps(as ...*spec.App) map[spec.AppID]*spec.App {
	m := map[spec.AppID]*spec.App{}
	for _, a := range as {
		m[a.ID] = a
	}
	return m
}

func app(id string, n int, cmd string, deps ...spec.AppID) *spec.App {
	return &spec.App{ID: spec.AppID(id), Instances: n, Cmd: cmd, Dependencies: deps}
}

func same(a, b *spec.App) bool {
	return a.Cmd == b.Cmd && fmt.Sprint(a.Dependencies) == fmt.Sprint(b.Dependencies)
}

func render(steps []spec.Step) string {
	var out []string
	for _, s := range steps {
		var line []string
		for _, a := range s.Actions {
			line = append(line, strings.TrimSuffix(string(a.Kind), "Application")+" "+string(a.App))
		}
		out = append(out, strings.Join(line, ", "))
	}
	return strings.Join(out, " | ")
}

// TestPods: an action says that its run spec is a pod, also when that is gone.
func TestPods(t *testing.T) {
	pod, other := app("/p", 1, "x"), app("/q", 1, "x")
	pod.Pod, other.Pod = &spec.Pod{}, &spec.Pod{}
	for _, s := range Compute(Input{Current: apps(pod, app("/a", 1, "x")), Wanted: apps(other, app("/a", 2, "x")), SameConfig: same}) {
		for _, a := range s.Actions {
			if a.Pod != (a.App != "/a") {
				t.Errorf("%s of %s: pod %v", a.Kind, a.App, a.Pod)
			}
		}
	}
}

func TestCompute(t *testing.T) {
	for _, c := range []struct {
		name         string
		current, now map[spec.AppID]*spec.App
		restart      []spec.AppID
		want         string
	}{
		{"new app", nil, apps(app("/a", 2, "x")), nil, "Start /a | Scale /a"},
		{"scale", apps(app("/a", 2, "x")), apps(app("/a", 3, "x")), nil, "Scale /a"},
		{"update", apps(app("/a", 2, "x")), apps(app("/a", 2, "y")), nil, "Restart /a"},
		{"update and scale is a restart", apps(app("/a", 2, "x")), apps(app("/a", 5, "y")), nil, "Restart /a"},
		{"update to none is a scale", apps(app("/a", 2, "x")), apps(app("/a", 0, "y")), nil, "Scale /a"},
		{"nothing changed", apps(app("/a", 2, "x")), apps(app("/a", 2, "x")), nil, ""},
		{"asked restart", apps(app("/a", 2, "x")), apps(app("/a", 2, "x")), []spec.AppID{"/a"}, "Restart /a"},
		{"a restart of none is a scale", apps(app("/a", 0, "x")), apps(app("/a", 0, "x")), []spec.AppID{"/a"}, "Scale /a"},
		{"scale to none", apps(app("/a", 2, "x")), apps(app("/a", 0, "x")), nil, "Scale /a"},
		{"all stops first and side by side, whoever depends on whom", apps(app("/a", 1, "x"), app("/b", 1, "x", "/a"), app("/c", 1, "x")), apps(app("/c", 2, "x"), app("/d", 1, "x", "/c")), nil,
			"Stop /a, Stop /b | Start /d | Scale /c | Scale /d"},
		{"depths are those of the wanted tree", apps(app("/a", 1, "x"), app("/b", 1, "x")), apps(app("/a", 1, "y", "/b"), app("/b", 1, "y")), nil, "Restart /b | Restart /a"},
		{"who did not change does not wait, nor is waited for", apps(app("/a", 1, "x"), app("/b", 1, "x", "/a"), app("/c", 1, "x", "/b")), apps(app("/a", 1, "y"), app("/b", 1, "x", "/a"), app("/c", 1, "y", "/b")), nil, "Restart /a | Restart /c"},
		{"delete", apps(app("/a", 2, "x"), app("/b", 1, "x")), apps(app("/b", 1, "x")), nil, "Stop /a"},
		{"dependencies first, groups count for all below", nil,
			apps(app("/front", 1, "x", "/back"), app("/back/db", 1, "x"), app("/back/api", 1, "x", "/back/db")), nil,
			"Start /back/api, Start /back/db, Start /front | Scale /back/db | Scale /back/api | Scale /front"},
		{"unknown dependencies are ignored", nil, apps(app("/a", 1, "x", "/nowhere")), nil, "Start /a | Scale /a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Current: c.current, Wanted: c.now, Restart: map[spec.AppID]bool{}, SameConfig: same}
			for _, id := range c.restart {
				in.Restart[id] = true
			}
			if got := render(Compute(in)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What lies in a group depends on what the group depends on, at any depth, the root's dependencies included.
func TestGroupDependencies(t *testing.T) {
	all := apps(app("/base", 1, "x"), app("/back/db", 1, "x"), app("/front/web/ui", 1, "x"), app("/front/api", 1, "x", "/front/web"))
	groups := map[spec.AppID]*spec.Group{
		"/front": {ID: "/front", Dependencies: []spec.AppID{"/back", "/nowhere"}},
		"/back":  {ID: "/back", Dependencies: []spec.AppID{"/base"}},
	}
	want := "Start /back/db, Start /base, Start /front/api, Start /front/web/ui | Scale /base | Scale /back/db | Scale /front/web/ui | Scale /front/api"
	if got := render(Compute(Input{Wanted: all, Groups: groups, SameConfig: same})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// An app never starts in a step before one that it depends on.
func TestDependenciesComeFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		all := map[spec.AppID]*spec.App{}
		for i := range n {
			a := app(fmt.Sprintf("/a%d", i), 1, "x")
			for j := range i {
				if rapid.Bool().Draw(t, "dep") {
					a.Dependencies = append(a.Dependencies, spec.AppID(fmt.Sprintf("/a%d", j)))
				}
			}
			all[a.ID] = a
		}
		at := map[spec.AppID]int{}
		for i, s := range Compute(Input{Wanted: all, SameConfig: same}) {
			for _, a := range s.Actions {
				if a.Kind == spec.ScaleApplication {
					at[a.App] = i
				}
			}
		}
		for id, a := range all {
			for _, d := range a.Dependencies {
				if at[d] >= at[id] {
					t.Fatalf("%s in step %d, its dependency %s in step %d", id, at[id], d, at[d])
				}
			}
		}
	})
}
