package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func st(state string) Event { return Status{spec.TaskStatus{TaskID: "t", State: state, Timestamp: t0}} }

// Every (rung, event) pair, also those that must change nothing.
func TestNext(t *testing.T) {
	events := []struct {
		name string
		ev   Event
		want [6]spec.Rung // the rung after it, by the rung before: created launched staged running killing terminal
	}{
		{"sent", Sent{}, [6]spec.Rung{spec.Launched, spec.Launched, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"staging", st("TASK_STAGING"), [6]spec.Rung{spec.Staged, spec.Staged, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"starting", st("TASK_STARTING"), [6]spec.Rung{spec.Staged, spec.Staged, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"running", st("TASK_RUNNING"), [6]spec.Rung{spec.Running, spec.Running, spec.Running, spec.Running, spec.Killing, spec.Terminal}},
		{"killing", st("TASK_KILLING"), [6]spec.Rung{spec.Running, spec.Running, spec.Running, spec.Running, spec.Killing, spec.Terminal}},
		{"unreachable", st("TASK_UNREACHABLE"), [6]spec.Rung{spec.Created, spec.Launched, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"unknown", st("TASK_UNKNOWN"), [6]spec.Rung{spec.Terminal, spec.Terminal, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"a state of the future", st("TASK_DREAMING"), [6]spec.Rung{spec.Created, spec.Launched, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"kill wanted", KillWanted{Reason: "test"}, [6]spec.Rung{spec.Killing, spec.Killing, spec.Killing, spec.Killing, spec.Killing, spec.Terminal}},
		{"drained", Drained{}, [6]spec.Rung{spec.Created, spec.Launched, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"kill sent", KillSent{}, [6]spec.Rung{spec.Created, spec.Launched, spec.Staged, spec.Running, spec.Killing, spec.Terminal}},
		{"expunged", Expunged{"test"}, [6]spec.Rung{spec.Terminal, spec.Terminal, spec.Terminal, spec.Terminal, spec.Terminal, spec.Terminal}},
	}
	for _, s := range []string{"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR"} {
		e := events[len(events)-1]
		e.name, e.ev = s, st(s)
		events = append(events, e)
	}
	for _, e := range events {
		for rung := spec.Created; rung <= spec.Terminal; rung++ {
			t.Run(fmt.Sprintf("%s/%s", e.name, rung), func(t *testing.T) {
				before := spec.Task{ID: "t", Rung: rung, State: "TASK_STAGING"}
				if rung >= spec.Running {
					before.State = "TASK_RUNNING"
				}
				if rung == spec.Killing {
					before.KillWanted = t0
				}
				after, out := Next(before, e.ev, t0)
				if after.Rung != e.want[rung] {
					t.Fatalf("got %s, want %s", after.Rung, e.want[rung])
				}
				if out.Ended != (after.Rung == spec.Terminal && rung != spec.Terminal) {
					t.Errorf("ended: %v", out.Ended)
				}
				if rung == spec.Terminal && (out.Changed || fmt.Sprint(after) != fmt.Sprint(before)) {
					t.Errorf("an ended task changed: %+v", after)
				}
			})
		}
	}
}

func TestWhatCountsAsFailure(t *testing.T) {
	for _, c := range []struct {
		rung  spec.Rung
		state string
		want  bool
	}{
		{spec.Running, "TASK_FAILED", true}, {spec.Running, "TASK_FINISHED", true}, {spec.Staged, "TASK_ERROR", true},
		{spec.Running, "TASK_GONE", true}, {spec.Launched, "TASK_DROPPED", true},
		{spec.Running, "TASK_KILLED", false}, {spec.Killing, "TASK_FAILED", false}, {spec.Killing, "TASK_KILLED", false},
	} {
		_, out := Next(spec.Task{Rung: c.rung}, st(c.state), t0)
		if out.Failed != c.want {
			t.Errorf("%s when %s: got %v", c.state, c.rung, out.Failed)
		}
	}
}

func TestKillForNotStartingCountsAsFailure(t *testing.T) {
	task, _ := Next(spec.Task{Rung: spec.Staged}, KillWanted{Reason: "not running after 5m", Failure: true}, t0)
	task, out := Next(task, st("TASK_KILLED"), t0)
	if !out.Failed || task.Message != "not running after 5m" {
		t.Errorf("failed=%v, message %q", out.Failed, task.Message)
	}
}

func TestEndedTaskThatLivesIsAContradiction(t *testing.T) {
	if _, out := Next(spec.Task{Rung: spec.Terminal}, st("TASK_RUNNING"), t0); !out.Contradiction {
		t.Error("not noticed")
	}
}

func TestRungsNeverGoBack(t *testing.T) {
	states := []string{"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE", "TASK_UNKNOWN", "TASK_FAILED", "TASK_KILLED"}
	rapid.Check(t, func(t *rapid.T) {
		task := spec.Task{ID: "t"}
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			var ev Event
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				ev = Sent{}
			case 1:
				ev = KillWanted{Reason: "x"}
			case 2:
				ev = Drained{}
			case 3:
				ev = KillSent{}
			default:
				ev = st(rapid.SampledFrom(states).Draw(t, "state"))
			}
			next, out := Next(task, ev, t0)
			if next.Rung < task.Rung {
				t.Fatalf("%T took %s back to %s", ev, task.Rung, next.Rung)
			}
			if !out.Changed && fmt.Sprint(next) != fmt.Sprint(task) {
				t.Fatalf("%T changed the task without saying so:\n%+v\n%+v", ev, task, next)
			}
			task = next
		}
	})
}

func TestDelay(t *testing.T) {
	app := &spec.App{Backoff: time.Second, BackoffFactor: 2, MaxLaunchDelay: 5 * time.Second}
	var d Delay
	now := t0
	for i, want := range []time.Duration{1, 2, 4, 5, 5} {
		launched := now
		now = now.Add(time.Millisecond) // every task fails at once after its start
		d = d.Failed(app, launched, now)
		if d.Wait != want*time.Second || !d.Until.Equal(now.Add(d.Wait)) {
			t.Fatalf("failure %d: %+v, want %ds", i+1, d, want)
		}
		if again := d.Failed(app, launched, now.Add(time.Millisecond)); again != d {
			t.Fatalf("a task of the same launch counted again: %+v", again)
		}
		now = d.Until
		d = d.Launched(now)
	}
	if d.Wait != 5*time.Second || !d.Until.Equal(now.Add(5*time.Second)) {
		t.Errorf("after a launch: %+v", d)
	}
	if got := d.Expires(app); !got.Equal(now.Add(5 * time.Second)) {
		t.Errorf("expires %s, want maxLaunchDelay after the last start", got.Sub(now))
	}
}
