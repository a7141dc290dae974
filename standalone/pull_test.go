package standalone

import (
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func image(ref string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.Container.Docker.Image = ref }
}

func forced(t *mesos.TaskInfo) {
	yes := true
	t.Container.Docker.ForcePullImage = &yes
}

// launch sends tasks without waiting for them.
func (f *fw) launch(tasks ...mesos.TaskInfo) {
	f.w.t.Helper()
	if len(f.passed) == 0 {
		f.passed = []mesos.Offer{f.offerAmong()}
	}
	f.accept(f.offer(), 0, tasks...)
	synctest.Wait()
}

// states collects the updates that come until nothing has for d.
func (f *fw) states(d time.Duration) map[string]mesos.TaskStatus {
	f.w.t.Helper()
	last := map[string]mesos.TaskStatus{}
	for e := f.next(d); e != nil; e = f.next(d) {
		switch e.Type {
		case scheduler.Event_OFFERS:
			f.passed = append(f.passed, e.Offers.Offers...)
		case scheduler.Event_UPDATE:
			last[e.Update.Status.TaskID.Value] = e.Update.Status
		}
	}
	return last
}

func state(s map[string]mesos.TaskStatus, id string) string {
	found, ok := s[id]
	if !ok {
		return "none"
	}
	return found.GetState().String()
}

func TestPullsAreShared(t *testing.T) {
	t.Run("one for all that wait", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.docker.AddRemoteImage("far/away:1")
			release := w.docker.Hold("pull far/away:1")
			f := w.subscribe(info(""))
			f.launch(w.task("a.1", image("far/away:1")), w.task("a.2", image("far/away:1")), w.task("a.3", image("far/away:1"), forced))
			if n := w.docker.Calls("pull"); n != 1 {
				t.Errorf("%d pulls", n)
			}
			release()
			got := f.states(time.Second)
			for _, id := range []string{"a.1", "a.2", "a.3"} {
				if s := state(got, id); s != "TASK_RUNNING" {
					t.Errorf("%s: %s", id, s)
				}
			}
			if n := w.docker.Calls("pull"); n != 1 {
				t.Errorf("%d pulls", n)
			}
		})
	})
	t.Run("the killed one leaves the others waiting", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.docker.AddRemoteImage("far/away:1")
			release := w.docker.Hold("pull far/away:1")
			f := w.subscribe(info(""))
			f.launch(w.task("a.1", image("far/away:1")), w.task("a.2", image("far/away:1")))
			f.kill("a.1", time.Hour)
			began := time.Now()
			s := f.update("a.1", mesos.TASK_KILLED)
			if s.GetReason() != mesos.REASON_TASK_KILLED_DURING_LAUNCH || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), s.GetMessage())
			}
			release()
			if got := state(f.states(time.Second), "a.2"); got != "TASK_RUNNING" || w.docker.Calls("pull") != 1 {
				t.Errorf("%s after %d pulls", got, w.docker.Calls("pull"))
			}
		})
	})
	t.Run("the last one ends it", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.docker.AddRemoteImage("far/away:1")
			release := w.docker.Hold("pull far/away:1")
			f := w.subscribe(info(""))
			f.launch(w.task("a.1", image("far/away:1")))
			f.kill("a.1", 0)
			f.update("a.1", mesos.TASK_KILLED)
			synctest.Wait()
			release()
			f.launch(w.task("a.2", image("far/away:1")))
			if got := state(f.states(time.Second), "a.2"); got != "TASK_RUNNING" || w.docker.Calls("pull") != 2 {
				t.Errorf("%s after %d pulls", got, w.docker.Calls("pull"))
			}
		})
	})
	t.Run("a hanging one holds no other image, and fails by name", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.docker.AddRemoteImage("near/by:1")
			defer w.docker.Hold("pull hangs/for-ever:1")()
			f := w.subscribe(info(""))
			f.launch(w.task("a.1", image("hangs/for-ever:1")), w.task("a.2", image("hangs/for-ever:1")), w.task("a.3", image("hangs/for-ever:1")))
			f.launch(w.task("b.1", image("near/by:1")))
			if got := f.states(time.Second); state(got, "b.1") != "TASK_RUNNING" || len(got) != 1 {
				t.Errorf("got %v", got)
			}
			began := time.Now()
			f.launch(w.task("a.4", image("hangs/for-ever:1")))
			s := f.states(pullTimeout)["a.4"]
			want := "Failed to launch container: failed to pull image 'hangs/for-ever:1': not done after 15m0s"
			if s.GetState() != mesos.TASK_FAILED || s.GetMessage() != want || s.GetReason() != mesos.REASON_CONTAINER_LAUNCH_FAILED {
				t.Errorf("got %v", s)
			}
			if d := time.Since(began); d > 2*pullTimeout {
				t.Errorf("after %v", d)
			}
		})
	})
}
