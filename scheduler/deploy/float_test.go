package deploy

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func floating(n int, min, over float64) *spec.App {
	return &spec.App{Instances: n, Labels: map[string]string{spec.AppLabelIdentity: spec.IdentityFloat},
		Upgrade: spec.UpgradeStrategy{MinimumHealthCapacity: min, MaximumOverCapacity: over}}
}

// The table of Marathon's upgrade arithmetic: what is killed and started at once when all old tasks are healthy.
func TestFloatArithmetic(t *testing.T) {
	for _, c := range []struct {
		n              int
		min, over      float64
		killed, starts int
	}{
		{4, 1, 1, 0, 4}, {4, 0.5, 0, 2, 0}, {4, 1, 0, 0, 1}, {4, 0, 0, 4, 0}, {5, 0.5, 0.2, 2, 1}, {1, 0.5, 0, 0, 1},
	} {
		var old []Task
		for i := range c.n {
			old = append(old, Task{ID: fmt.Sprint(i), Seat: i, Outdated: true, Healthy: true, Rung: spec.Running})
		}
		r := Advance(Input{App: floating(c.n, c.min, c.over), Mode: Replace, Tasks: old})
		if len(r.Kill) != c.killed || len(r.Launch) != c.starts {
			t.Errorf("n=%d %v/%v: kills %d and starts %d, want %d and %d", c.n, c.min, c.over, len(r.Kill), len(r.Launch), c.killed, c.starts)
		}
	}
}

func TestFloat(t *testing.T) {
	for _, c := range []struct {
		name      string
		n         int
		min, over float64
		mode      Mode
		tasks     string
		want      string
	}{
		{"start", 2, 1, 1, Keep, "", "launch 0, launch 1"},
		{"any seats will do", 2, 1, 1, Keep, "3h 7h", "done"},
		{"the lowest free seat", 3, 1, 1, Keep, "0h 2h", "launch 1"},
		{"one that is being killed still counts", 2, 1, 1, Keep, "0h 1hk", ""},
		{"scaled down: the youngest goes", 2, 1, 1, Keep, "2h 1h 0h", "kill s0#2"},
		{"what is not running goes before", 2, 1, 1, Keep, "0h 1s 2h", "kill s1#1"},
		{"and what cannot be reached before that", 1, 1, 1, Keep, "0h 1s 2u", "kill s2#2, kill s1#1"},
		{"the unhealthy before the healthy", 2, 1, 1, Keep, "0 1h 2h", "kill s0#0"},
		{"groups stay balanced", 4, 1, 1, Keep, "0h@a 1h@a 2h@a 3h@b 4h@b 5h@b", "kill s5#5, kill s2#2"},
		{"the fuller group first", 2, 1, 1, Keep, "0h@a 1h@a 2h@b", "kill s1#1"},
		{"unreachable: wait", 1, 1, 1, Keep, "0u", ""},
		{"given up: replaced in another seat", 1, 1, 1, Keep, "0ug", "launch 1"},
		{"both are there for a while", 1, 1, 1, Keep, "0ug 1h", "done"},
		{"who comes back is too many", 1, 1, 1, Keep, "0hg 1h", "kill s0#0"},
		{"a killed one that is lost is not waited for", 1, 1, 1, Keep, "0uk 1h", "done"},
		{"outdated ones stay between deployments", 2, 1, 1, Keep, "0oh 1oh", "done"},
		{"stop", 2, 1, 1, Stop, "0h 1ug", "kill s1#1, kill s0#0"},
		{"stopping", 2, 1, 1, Stop, "0k", ""},
		{"scaled to none", 0, 1, 1, Keep, "0h 1h", "kill s1#1, kill s0#0"},

		{"update: up to the ceiling", 2, 1, 1, Replace, "0oh 1oh", "launch 2, launch 3"},
		{"each healthy one lets one go", 2, 1, 1, Replace, "0oh 1oh 2h 3", "kill s1#1"},
		{"the last old ones", 2, 1, 1, Replace, "0oh 2h 3h", "kill s0#0"},
		{"waits for their end", 2, 1, 1, Replace, "0ohk 2h 3h", ""},
		{"over", 2, 1, 1, Replace, "2h 3h", "done"},
		{"unhealthy old ones go at once", 2, 1, 0, Replace, "0o 1oh", "launch 2, kill s0#0"},
		{"shrinking", 1, 1, 0, Replace, "0oh 1oh 2oh", "kill s2#2, kill s1#1"},
		{"old ones that cannot be reached are waited for", 1, 1, 1, Replace, "0ou 1h", ""},
		{"until they are given up", 1, 1, 1, Replace, "0oug 1h", "kill s0#0, done"},
		{"a bad version kills nothing", 2, 1, 1, Replace, "0oh 1oh 2 3", ""},
		{"singleton: stop, then start", 1, 0, 0, Replace, "0oh", "kill s0#0"},
		{"singleton: never two", 1, 0, 0, Replace, "0ohk", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Advance(Input{App: floating(c.n, c.min, c.over), Mode: c.mode, Tasks: tasks(c.tasks)})
			if got := render(r); got != c.want {
				t.Errorf("got  %q (%s)\nwant %q", got, r.Waiting, c.want)
			}
			if r.Done == (r.Waiting != "") {
				t.Errorf("done=%v, waiting=%q", r.Done, r.Waiting)
			}
		})
	}
	app := floating(1, 1, 1)
	app.KillSelection = spec.OldestFirst
	if got := render(Advance(Input{App: app, Tasks: tasks("0h 1h")})); got != "kill s0#0" {
		t.Errorf("OLDEST_FIRST: %s", got)
	}
}

func TestHoles(t *testing.T) {
	for _, c := range []struct {
		n     int
		holes []int
		gone  []int
		want  int
		out   []int
	}{
		{3, nil, nil, 2, nil},
		{3, nil, []int{1}, 2, []int{1}},
		{3, nil, []int{2}, 2, nil},
		{4, nil, []int{0, 2}, 2, []int{0, 2}},
		{2, []int{1}, nil, 3, nil},
		{2, []int{0, 1}, nil, 3, []int{1}},
		{2, []int{1}, nil, 5, nil},
		{2, []int{1}, nil, 1, nil},
		{2, []int{0, 2}, nil, 1, []int{0}},
		{2, []int{1}, []int{5}, 1, nil}, // a temporary one: the highest goes
		{1, []int{0, 1}, []int{2}, 0, nil},
		{2, []int{1}, nil, 2, []int{1}},
		{3, nil, []int{0}, 3, nil}, // named, but replaced at once: not smaller after all
	} {
		gone := map[int]bool{}
		for _, n := range c.gone {
			gone[n] = true
		}
		if got := Holes(&spec.App{Instances: c.n, Holes: c.holes}, &spec.App{Instances: c.want}, gone); !slices.Equal(got, c.out) {
			t.Errorf("%d without %v, %v gone, %d wanted: holes %v, want %v", c.n, c.holes, c.gone, c.want, got, c.out)
		}
	}
}

// Holes always leave as many seats as are wanted, keep who was there, and end below the highest seat.
func TestHolesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := &spec.App{Instances: rapid.IntRange(0, 6).Draw(t, "start")}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			next := &spec.App{Instances: rapid.IntRange(0, 6).Draw(t, "n")}
			gone := map[int]bool{}
			for _, n := range app.Seats() {
				if len(gone) < app.Instances-next.Instances && rapid.Bool().Draw(t, "gone") {
					gone[n] = true
				}
			}
			next.Holes = Holes(app, next, gone)
			seats := next.Seats()
			if len(seats) != next.Instances || len(seats) > 0 && seats[len(seats)-1] != next.SeatsEnd()-1 {
				t.Fatalf("%v for %d instances with holes %v", seats, next.Instances, next.Holes)
			}
			for _, n := range app.Seats() {
				if stays := next.Instances >= app.Instances; stays && !next.HasSeat(n) || gone[n] && next.HasSeat(n) {
					t.Fatalf("from %v to %v with %v gone", app.Seats(), seats, gone)
				}
			}
			app = next
		}
	})
}
