package lifecycle

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// podTask has the containers a, b, ... in the given states; "" has not been heard of.
func podTask(states ...string) spec.Task {
	t := spec.Task{ID: "p", Instance: "p", State: "TASK_STAGING", Rung: spec.Launched}
	for i, s := range states {
		name := string(rune('a' + i))
		c := spec.TaskContainer{Name: name, TaskID: "p." + name, State: "TASK_STAGING"}
		if s != "" {
			c.State, c.Since = "TASK_"+s, t0
		}
		t.Containers = append(t.Containers, c)
	}
	return t
}

func member(name, state, message string) Event {
	return Status{spec.TaskStatus{TaskID: "p." + name, State: "TASK_" + state, Message: message, Timestamp: t0}}
}

func TestPodFolds(t *testing.T) {
	const failed = "Container exited with status 3"
	for name, c := range map[string]struct {
		before  []string
		ev      Event
		state   string
		rung    spec.Rung
		ended   bool
		failed  bool
		broken  bool
		message string
	}{
		"one stages":             {[]string{"", ""}, member("a", "STAGING", ""), "TASK_STAGING", spec.Launched, false, false, false, ""},
		"both stage":             {[]string{"STAGING", ""}, member("b", "STAGING", ""), "TASK_STAGING", spec.Staged, false, false, false, ""},
		"all start":              {[]string{"RUNNING", ""}, member("b", "STARTING", ""), "TASK_STARTING", spec.Staged, false, false, false, ""},
		"all run":                {[]string{"RUNNING", "STARTING"}, member("b", "RUNNING", ""), "TASK_RUNNING", spec.Running, false, false, false, ""},
		"one finished, one up":   {[]string{"FINISHED", "STARTING"}, member("b", "RUNNING", ""), "TASK_RUNNING", spec.Running, false, false, false, ""},
		"one finishes":           {[]string{"RUNNING", "RUNNING"}, member("a", "FINISHED", "Container exited with status 0"), "TASK_RUNNING", spec.Running, false, false, false, ""},
		"all finished":           {[]string{"FINISHED", "RUNNING"}, member("b", "FINISHED", ""), "TASK_FINISHED", spec.Terminal, true, true, false, "container a: "},
		"one fails":              {[]string{"RUNNING", "RUNNING"}, member("a", "FAILED", failed), "TASK_RUNNING", spec.Running, false, false, true, "container a: " + failed},
		"one is lost":            {[]string{"RUNNING", "RUNNING"}, member("b", "GONE", ""), "TASK_RUNNING", spec.Running, false, false, true, "container b: "},
		"one fails at the start": {[]string{"", "STARTING"}, member("b", "FAILED", failed), "TASK_STAGING", spec.Launched, false, false, true, "container b: " + failed},
		"the rest is killed":     {[]string{"FAILED", "RUNNING"}, member("b", "KILLED", ""), "TASK_FAILED", spec.Terminal, true, true, false, "container a: "},
		"all killed":             {[]string{"KILLED", "RUNNING"}, member("b", "KILLED", ""), "TASK_KILLED", spec.Terminal, true, false, false, ""},
		"never known":            {[]string{"DROPPED", ""}, member("b", "UNKNOWN", ""), "TASK_DROPPED", spec.Terminal, true, true, false, "container a: "},
		"somebody else's":        {[]string{"", ""}, member("x", "RUNNING", ""), "TASK_STAGING", spec.Launched, false, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := podTask(c.before...)
			if c.before[0] == "RUNNING" && c.before[1] == "RUNNING" || c.ended && c.state != "TASK_DROPPED" {
				before.Rung, before.State, before.StartedAt = spec.Running, "TASK_RUNNING", t0
			}
			after, out := Next(before, c.ev, t0)
			if after.State != c.state || after.Rung != c.rung || out.Ended != c.ended || out.Failed != c.failed || (out.Broken != "") != c.broken {
				t.Errorf("got %s, %s, %+v", after.State, after.Rung, out)
			}
			if !strings.HasPrefix(after.Message, c.message) {
				t.Errorf("message %q", after.Message)
			}
		})
	}
}

func TestPodTellsExitCodes(t *testing.T) {
	after, _ := Next(podTask("RUNNING", "RUNNING"), member("a", "FAILED", "Container exited with status 125: no such network"), t0)
	if code := after.Containers[0].ExitCode; code == nil || *code != 125 {
		t.Errorf("exit code %v", code)
	}
}

func TestPodThatIsUnreachableComesBack(t *testing.T) {
	task := podTask("RUNNING", "FINISHED")
	task.Rung, task.State, task.StartedAt = spec.Running, "TASK_RUNNING", t0
	task, _ = Next(task, member("a", "UNREACHABLE", ""), t0)
	if task.UnreachableSince.IsZero() {
		t.Fatal("not noticed")
	}
	task, out := Next(task, member("a", "RUNNING", ""), t0.Add(time.Second))
	if !task.UnreachableSince.IsZero() || task.State != "TASK_RUNNING" || out.Ran {
		t.Errorf("%+v, %+v", task, out)
	}
}

func TestPodContradiction(t *testing.T) {
	if _, out := Next(podTask("FINISHED", "RUNNING"), member("a", "RUNNING", ""), t0); !out.Contradiction || out.Changed {
		t.Errorf("a container that lives after its end: %+v", out)
	}
	if _, out := Next(podTask("FINISHED", "RUNNING"), member("a", "GONE", ""), t0); out.Contradiction || out.Changed {
		t.Errorf("an end that is told twice: %+v", out)
	}
}

func TestExpungedPodEndsAllItsContainers(t *testing.T) {
	task, _ := Next(podTask("FINISHED", "RUNNING"), Expunged{"unreachable for 5m"}, t0)
	if task.Containers[0].State != "TASK_FINISHED" || task.Containers[1].State != "TASK_GONE" {
		t.Errorf("%+v", task.Containers)
	}
}

// Whatever is told in whatever order: a pod never goes back, changes only when it says so, is over exactly when all its
// containers are, has failed if one of them has, and leaves the task that was passed in alone.
func TestPodProperties(t *testing.T) {
	states := []string{"STAGING", "STARTING", "RUNNING", "KILLING", "UNREACHABLE", "UNKNOWN", "FAILED", "KILLED", "FINISHED", "GONE", "ERROR"}
	rapid.Check(t, func(t *rapid.T) {
		task := podTask(make([]string, rapid.IntRange(1, 3).Draw(t, "containers"))...)
		for range rapid.IntRange(1, 25).Draw(t, "n") {
			var ev Event
			switch rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0:
				ev = Sent{}
			case 1:
				ev = KillWanted{Reason: "x"}
			case 2:
				ev = Drained{}
			default:
				name := string(rune('a' + rapid.IntRange(0, len(task.Containers)-1).Draw(t, "container")))
				ev = member(name, rapid.SampledFrom(states).Draw(t, "state"), "")
			}
			before := fmt.Sprint(task)
			next, out := Next(task, ev, t0)
			if fmt.Sprint(task) != before {
				t.Fatalf("%+v changed the task that was passed in", ev)
			}
			if next.Rung < task.Rung {
				t.Fatalf("%+v took %s back to %s", ev, task.Rung, next.Rung)
			}
			if !out.Changed && !reflect.DeepEqual(next, task) {
				t.Fatalf("%+v changed the task without saying so:\n%+v\n%+v", ev, task, next)
			}
			over, bad := 0, false
			for i, c := range next.Containers {
				if was := task.Containers[i]; spec.TerminalState(was.State) && c != was {
					t.Fatalf("%+v changed a container that had ended: %+v, %+v", ev, was, c)
				}
				if spec.TerminalState(c.State) {
					over++
				}
				bad = bad || c.State == "TASK_FAILED"
			}
			if (over == len(next.Containers)) != (next.Rung == spec.Terminal) || out.Ended != (next.Rung == spec.Terminal && task.Rung != spec.Terminal) {
				t.Fatalf("%d of %d are over, and the pod is %s (%+v)", over, len(next.Containers), next.Rung, out)
			}
			if next.Rung == spec.Terminal && bad && next.State != "TASK_FAILED" {
				t.Fatalf("a container failed, and the pod is %s", next.State)
			}
			task = next
		}
	})
}
