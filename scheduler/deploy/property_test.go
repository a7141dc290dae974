package deploy

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// TestRolloutProperty plays worlds in which tasks fail, turn unhealthy, are killed by people and get lost with their hosts,
// and people change their minds. Whatever happens, for both identities:
//   - nothing healthy is killed when fewer than the floor would remain;
//   - nothing is launched beyond the ceiling, nor into a seat that has a task;
//   - no more tasks leave a host that is drained than others have room for;
//   - it is done, or says what it waits for; once nothing goes wrong any more it is done, and all is as wanted.
func TestRolloutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPretence(t)
		for step := 0; !w.advance(t); step++ {
			if step > 5000 {
				t.Fatalf("no end: %+v", w.live)
			}
			w.happen(t)
		}
		w.over(t)
	})
}

// pretence is an app with its tasks, as far as Advance can see.
type pretence struct {
	app    *spec.App
	mode   Mode
	live   []Task
	next   int
	faults int  // how much may still go wrong
	never  bool // tasks that cannot be reached and are not wanted never come back
	last   Result
	room   int // for tasks that leave their host, elsewhere
}

func newPretence(t *rapid.T) *pretence {
	w := &pretence{mode: rapid.SampledFrom([]Mode{Replace, Replace, Keep}).Draw(t, "mode"), faults: rapid.IntRange(0, 8).Draw(t, "faults"), room: rapid.IntRange(0, 3).Draw(t, "room"),
		never: rapid.Bool().Draw(t, "never")}
	was := &spec.App{Instances: rapid.IntRange(0, 10).Draw(t, "was"), Labels: map[string]string{}}
	if rapid.Bool().Draw(t, "float") {
		was.Labels[spec.AppLabelIdentity] = spec.IdentityFloat
	}
	for i := range was.Instances {
		w.live = append(w.live, Task{ID: fmt.Sprintf("old%d", i), Seat: i, Outdated: w.mode == Replace, Healthy: true, Rung: spec.Running})
	}
	w.app = was
	w.change(t)
	return w
}

// change wants another number of instances within other bounds; seats may be taken away by name.
func (w *pretence) change(t *rapid.T) {
	next := &spec.App{Instances: rapid.IntRange(0, 10).Draw(t, "n"), Labels: w.app.Labels, Upgrade: spec.UpgradeStrategy{
		MinimumHealthCapacity: rapid.SampledFrom([]float64{0, 0.3, 0.5, 0.75, 1}).Draw(t, "min"),
		MaximumOverCapacity:   rapid.SampledFrom([]float64{0, 0.2, 0.5, 1}).Draw(t, "over"),
	}}
	gone := map[int]bool{}
	for range rapid.IntRange(0, max(0, w.app.Instances-next.Instances)).Draw(t, "named") {
		gone[rapid.IntRange(0, 10).Draw(t, "gone")] = true
	}
	next.Holes = Holes(w.app, next, gone)
	w.app = next
}

// occupies says that a task counts for the ceiling.
func (w *pretence) occupies(t Task) bool {
	if !w.app.Floats() {
		return !t.Unreachable || w.app.Instances == 0 || w.app.HasSeat(t.Seat)
	}
	return !t.Unreachable || !t.GivenUp && !t.Killing
}

func (w *pretence) count(of func(Task) bool) (n int) {
	for _, t := range w.live {
		if of(t) {
			n++
		}
	}
	return n
}

func healthy(t Task) bool { return t.Healthy && !t.Killing }

// advance decides and does it, and reports whether all is done.
func (w *pretence) advance(t *rapid.T) bool {
	floor, ceiling := Bounds(w.app.Instances, w.app.Upgrade)
	r := Advance(Input{App: w.app, Mode: w.mode, Tasks: w.live, Room: w.room, NoRoom: "they are full"})
	w.last = r
	w.within(t, r)
	if r.Done == (r.Waiting != "") {
		t.Fatalf("done=%t, waiting=%q", r.Done, r.Waiting)
	}
	hit := 0
	for _, k := range r.Kill {
		i := slices.IndexFunc(w.live, func(x Task) bool { return x.ID == k.TaskID })
		if w.live[i].Killing {
			t.Fatalf("%s is killed twice", k.TaskID)
		}
		if healthy(w.live[i]) {
			hit++
		}
		w.live[i].Killing = true
	}
	if left := w.count(healthy); hit > 0 && left < floor {
		t.Fatalf("%d healthy ones are killed and %d left, floor %d: %+v", hit, left, floor, w.live)
	}
	for _, s := range r.Launch {
		if slices.ContainsFunc(w.live, func(x Task) bool { return x.Seat == s }) {
			t.Fatalf("seat %d is launched twice: %+v", s, w.live)
		}
		w.next++
		w.live = append(w.live, Task{ID: fmt.Sprintf("new%d", w.next), Seat: s, Rung: spec.Staged})
	}
	limit := max(ceiling, w.app.Instances)
	if n := w.count(w.occupies); len(r.Launch) > 0 && w.mode == Replace && n > limit {
		t.Fatalf("%d tasks after launching %d, ceiling %d: %+v", n, len(r.Launch), limit, w.live)
	}
	return r.Done
}

// within holds those that leave their host against what others have room for.
func (w *pretence) within(t *rapid.T, r Result) {
	left, spare := 0, 0
	for _, x := range w.live {
		killed := slices.ContainsFunc(r.Kill, func(k Kill) bool { return k.TaskID == x.ID })
		switch {
		case x.Leaving != "" && killed && (w.app.Floats() || w.app.HasSeat(x.Seat)) && !x.Unreachable:
			left++
		}
		if w.app.Floats() && !x.Killing && !(x.Unreachable && x.GivenUp) {
			spare++
		}
	}
	if spare = max(0, spare-w.app.Instances); w.app.Instances > 0 && left > w.room+spare {
		t.Fatalf("%d tasks end that leave their host, others have room for %d, and %d are too many anyway: %+v", left, w.room, spare, w.live)
	}
}

// happen lets one thing happen to one task.
func (w *pretence) happen(t *rapid.T) {
	if len(w.live) == 0 {
		return
	}
	if w.faults > 0 && rapid.IntRange(0, 2).Draw(t, "fault") == 0 {
		w.faults--
		w.wrong(t, rapid.IntRange(0, len(w.live)-1).Draw(t, "whom"))
		return
	}
	var choices []int
	for i, x := range w.live {
		if w.never && !w.app.Floats() && !w.occupies(x) {
			continue
		}
		if x.Killing || !x.Healthy {
			choices = append(choices, i)
		}
	}
	if len(choices) == 0 {
		if w.room < 2 && slices.ContainsFunc(w.live, func(x Task) bool { return x.Leaving != "" }) {
			w.room++
			return
		}
		if len(w.last.Kill)+len(w.last.Launch) == 0 {
			t.Fatalf("stuck (%s): %+v", w.last.Waiting, w.live)
		}
		return
	}
	i := rapid.SampledFrom(choices).Draw(t, "whom")
	x := &w.live[i]
	switch {
	case x.Unreachable && rapid.Bool().Draw(t, "returns"):
		x.Unreachable, x.Healthy = false, x.Rung == spec.Running
	case x.Unreachable && !x.Killing && !x.GivenUp && w.app.Floats():
		x.GivenUp = true
	case x.Unreachable || x.Killing:
		w.live = slices.Delete(w.live, i, i+1)
	default:
		x.Healthy, x.Rung = true, spec.Running
	}
}

func (w *pretence) wrong(t *rapid.T, i int) {
	x := &w.live[i]
	switch rapid.SampledFrom([]string{"fails", "sick", "killed", "lost", "new version", "scaled", "drained", "undrained"}).Draw(t, "what") {
	case "fails":
		w.live = slices.Delete(w.live, i, i+1)
	case "sick":
		x.Healthy = false
	case "killed":
		x.Killing = true
	case "lost":
		x.Unreachable, x.Healthy, x.GivenUp = true, false, false
	case "new version":
		for i := range w.live {
			w.live[i].Outdated = true
		}
		w.mode = Replace
		w.change(t)
	case "scaled":
		w.change(t)
	case "drained":
		for i := range w.live {
			if rapid.Bool().Draw(t, "leaves") {
				w.live[i].Leaving = "h1"
			}
		}
		w.room = rapid.IntRange(0, 3).Draw(t, "room")
	case "undrained":
		for i := range w.live {
			w.live[i].Leaving = ""
		}
	}
}

// over holds the end against what was wanted. Tasks that cannot be reached and are not wanted may be left.
func (w *pretence) over(t *rapid.T) {
	n := 0
	for _, x := range w.live {
		if x.Unreachable {
			continue
		}
		if !x.Healthy || x.Killing || w.mode == Replace && x.Outdated || x.Leaving != "" || Temporary(w.app, x.Seat) {
			t.Fatalf("left over: %+v", x)
		}
		n++
	}
	if n != w.app.Instances {
		t.Fatalf("%d tasks for %d instances: %+v", n, w.app.Instances, w.live)
	}
}
