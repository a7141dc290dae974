package standalone

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

func TestLaunchRunsAndEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    int
		state   mesos.TaskState
		message string
	}{
		{"well", 0, mesos.TASK_FINISHED, "Container exited with status 0"},
		{"badly", 3, mesos.TASK_FAILED, "Container exited with status 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				name := f.run("a.1", parameter("label", "x=y"))
				must(0, w.docker.Exit(name, c.code))
				s := f.update("a.1", c.state)
				if s.GetMessage() != c.message || s.GetSource() != mesos.SOURCE_EXECUTOR || s.Reason != nil {
					t.Errorf("got %v", s)
				}
				synctest.Wait()
				if _, err := w.docker.Spec(name + endedSuffix); err != nil {
					t.Errorf("an acknowledged end is not marked: %v", err)
				}
			})
		})
	}
}

func TestWithholdsAndResends(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		f.auto = false
		begin := time.Now()
		f.accept(f.offer(), 1e7, w.task("b.1"))
		first := f.update("b.1", mesos.TASK_STARTING)
		for _, at := range []time.Duration{10, 30, 70} {
			again := f.update("b.1", mesos.TASK_STARTING)
			if string(again.UUID) != string(first.UUID) {
				t.Error("another uuid")
			}
			if got := time.Since(begin); got != at*time.Second {
				t.Errorf("sent again after %v, want %v s", got, at)
			}
		}
		wrong := first
		wrong.UUID = []byte("0123456789abcdef")
		f.ack(wrong)
		f.quietFor(time.Second)
		f.ack(first)
		running := f.update("b.1", mesos.TASK_RUNNING)
		f.ack(running)
		f.ack(running)
		f.quietFor(time.Hour)
	})
}

func TestOffersAndFilters(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		of := f.offer()
		if cpus(of) != 2 || len(of.Resources) != 4 || of.Hostname != "host1" || of.AllocationInfo.GetRole() != "berth" {
			t.Fatalf("got %v", of)
		}
		began := time.Now()
		f.decline(of, 30)
		of = f.offer()
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("offered again after %v", d)
		}
		f.decline(of, 1e7)
		f.quietFor(time.Minute)
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		began = time.Now()
		of = f.offer()
		if time.Since(began) != 0 {
			t.Error("REVIVE did not act at once")
		}

		f.accept(of, 0, w.task("a.1"))
		f.update("a.1", mesos.TASK_STARTING)
		f.update("a.1", mesos.TASK_RUNNING)
		rest := f.offer()
		if got := cpus(rest); got != 1.9 || time.Since(began) != 0 {
			t.Errorf("refuse 0 offers %v CPUs after %v, want 1.9 at once", got, time.Since(began))
		}
		f.decline(rest, 1e7)
		f.call(&scheduler.Call{Type: scheduler.Call_SUPPRESS, Suppress: &scheduler.Call_Suppress{}})
		for e := f.next(time.Second); e != nil; e = f.next(time.Second) {
			if e.Type == scheduler.Event_OFFERS {
				t.Fatal("offer while suppressed")
			}
		}
		f.kill("a.1", 0)
		f.update("a.1", mesos.TASK_KILLED)
		f.quietFor(time.Hour)
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		if got := cpus(f.offer()); got != 2 {
			t.Errorf("%v CPUs", got)
		}
	})
}

func TestFreedResourcesPassAFilter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		name := f.run("a.1")
		f.quietFor(time.Minute)
		began := time.Now()
		must(0, w.docker.Exit(name, 0))
		if e := f.want(scheduler.Event_UPDATE); e.Update.Status.GetState() != mesos.TASK_FINISHED {
			t.Fatal(brief(e))
		}
		if got := cpus(f.offer()); got != 2 || time.Since(began) != 0 {
			t.Errorf("%v CPUs after %v", got, time.Since(began))
		}
	})
}

func TestDeclineWithoutFilterDoesNotSpin(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		began := time.Now()
		for range 5 {
			f.decline(f.offer(), 0)
		}
		if d := time.Since(began); d < 4*time.Second {
			t.Errorf("5 offers in %v", d)
		}
	})
}

func TestKill(t *testing.T) {
	t.Run("obeys", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			f.run("a.1")
			f.kill("a.1", 5*time.Second)
			if s := f.update("a.1", mesos.TASK_KILLED); s.GetMessage() != "Container exited with status 143" {
				t.Errorf("got %q", s.GetMessage())
			}
		})
	})
	t.Run("a shorter grace wins", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			must(0, w.docker.IgnoreTerm(f.run("a.1")))
			began := time.Now()
			f.kill("a.1", 100*time.Second)
			f.kill("a.1", 200*time.Second)
			f.kill("a.1", 3*time.Second)
			if s := f.update("a.1", mesos.TASK_KILLED); s.GetMessage() != "Container exited with status 137" || time.Since(began) != 3*time.Second {
				t.Errorf("got %q after %v", s.GetMessage(), time.Since(began))
			}
		})
	})
	t.Run("default grace and killing state", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			i := info("")
			i.Capabilities = append(i.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE})
			f := w.subscribe(i)
			must(0, w.docker.IgnoreTerm(f.run("a.1")))
			began := time.Now()
			f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "a.1"}}})
			f.update("a.1", mesos.TASK_KILLING)
			f.update("a.1", mesos.TASK_KILLED)
			if d := time.Since(began); d != 5*time.Second {
				t.Errorf("killed after %v", d)
			}
		})
	})
	t.Run("during the launch", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			release := w.docker.Hold("create")
			f := w.subscribe(info(""))
			f.accept(f.offer(), 1e7, w.task("a.1"))
			synctest.Wait() // in the middle of the creation
			f.kill("a.1", 0)
			synctest.Wait()
			release()
			f.update("a.1", mesos.TASK_STARTING)
			s := f.update("a.1", mesos.TASK_KILLED)
			if s.GetReason() != mesos.REASON_TASK_KILLED_DURING_LAUNCH || s.Reason == nil {
				t.Errorf("got %v", s)
			}
			if left := must(w.docker.List(context.Background(), nil)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	})
	t.Run("unknown", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			f.offer()
			f.kill("nobody", 0)
			if s := f.update("nobody", mesos.TASK_GONE); s.GetReason() != mesos.REASON_RECONCILIATION || len(s.UUID) != 0 {
				t.Errorf("got %v", s)
			}
		})
	})
}

func TestLaunchRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*mesos.TaskInfo)
		message string
	}{
		{"too much", func(t *mesos.TaskInfo) { t.Resources[0].Scalar.Value = 1000 }, "Total resources cpus(allocated: berth):1000; mem(allocated: berth):64 required by task and its executor is more than available ports(allocated: berth):[31000-32000]; cpus(allocated: berth):2; mem(allocated: berth):4096; disk(allocated: berth):1000"},
		{"slash", func(t *mesos.TaskInfo) { t.TaskID.Value = "a/slash" }, "'a/slash' contains invalid characters"},
		{"nothing", func(t *mesos.TaskInfo) { t.Resources = nil }, "Task uses no resources"},
		{"name", parameter("name", "x"), "Parameter in DockerInfo must not be 'name'"},
		{"foreign port", func(t *mesos.TaskInfo) {
			k := mesos.RANGES
			t.Resources = append(t.Resources, mesos.Resource{Name: "ports", Type: &k, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 80, End: 80}}}})
		}, "Total resources ports"},
		{"other agent", func(t *mesos.TaskInfo) { t.AgentID.Value = "x" }, "Task uses invalid agent x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				task := w.task("a.1", c.change)
				f.accept(f.offer(), 0, task)
				s := f.update(task.TaskID.Value, mesos.TASK_ERROR)
				if s.GetReason() != mesos.REASON_TASK_INVALID || s.GetSource() != mesos.SOURCE_MASTER || len(s.UUID) != 0 {
					t.Errorf("got %v", s)
				}
				hasPrefix(t, s.GetMessage(), c.message)
			})
		})
	}
	t.Run("duplicate and stale", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			of := f.offer()
			f.accept(of, 0, w.task("a.1"))
			f.update("a.1", mesos.TASK_STARTING)
			f.update("a.1", mesos.TASK_RUNNING)
			f.accept(of, 0, w.task("a.2"))
			s := f.update("a.2", mesos.TASK_DROPPED)
			if s.GetReason() != mesos.REASON_INVALID_OFFERS || s.GetMessage() != "Task launched with invalid offers: Offer "+of.ID.Value+" is no longer valid" {
				t.Errorf("got %v", s)
			}
			f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		})
	})
}

func TestLaunchFails(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*mesos.TaskInfo)
		starting bool
		reason   mesos.TaskStatus_Reason
		message  string
	}{
		{"no such image", func(t *mesos.TaskInfo) { t.Container.Docker.Image = "nosuch/img:1" }, false, mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: failed to pull image 'nosuch/img:1': pull access denied"},
		{"bad option", parameter("nosuchflag", "1"), true, -1, "Container exited with status 125: unknown flag: --nosuchflag"},
		{"no such network", parameter("net", "nosuchnet"), true, -1, "Container exited with status 125: network nosuchnet not found"},
		{"two networks", func(t *mesos.TaskInfo) { parameter("net", "a")(t); parameter("network", "b")(t) }, true, -1, "Container exited with status 125: conflicting options"},
		{"user network without a name", func(t *mesos.TaskInfo) {
			n := mesos.ContainerInfo_DockerInfo_USER
			t.Container.Docker.Network = &n
		}, true, -1, "Container exited with status 125: No network info"},
		{"fetch", func(t *mesos.TaskInfo) { t.Command.URIs = []mesos.CommandInfo_URI{{Value: "hdfs://x/y"}} }, false, mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: failed to fetch 'hdfs://x/y': scheme hdfs is not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				f.accept(f.offer(), 1e7, w.task("a.1", c.change))
				if c.starting {
					f.update("a.1", mesos.TASK_STARTING)
				}
				s := f.update("a.1", mesos.TASK_FAILED)
				hasPrefix(t, s.GetMessage(), c.message)
				if (s.Reason == nil) != (c.reason == -1) || s.Reason != nil && *s.Reason != c.reason {
					t.Errorf("reason %v", s.Reason)
				}
				if got := cpus(f.offer()); got != 2 {
					t.Errorf("%v CPUs are free again", got)
				}
			})
		})
	}
	t.Run("address in use", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			w.docker.Fail("start", dockerError("Error response from daemon: Address already in use"))
			f.accept(f.offer(), 1e7, w.task("a.1"))
			f.update("a.1", mesos.TASK_STARTING)
			if s := f.update("a.1", mesos.TASK_FAILED); s.GetMessage() != "Container exited with status 125: Error response from daemon: Address already in use" {
				t.Errorf("got %q", s.GetMessage())
			}
			if left := must(w.docker.List(context.Background(), nil)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	})
}

type dockerError string

func (e dockerError) Error() string { return string(e) }

func TestPulls(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.docker.AddRemoteImage("far/away:1")
		f := w.subscribe(info(""))
		f.run("a.1", func(t *mesos.TaskInfo) { t.Container.Docker.Image = "far/away:1" })
		if n := w.docker.Calls("pull"); n != 1 {
			t.Errorf("%d pulls", n)
		}
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		f.run("a.2", func(t *mesos.TaskInfo) { t.Container.Docker.Image = "far/away:1" })
		if n, looked := w.docker.Calls("pull"), w.docker.Calls("image"); n != 1 || looked != 1 {
			t.Errorf("%d pulls, %d looks", n, looked)
		}
	})
}

func TestFrameworkComesAndGoes(t *testing.T) {
	t.Run("takeover", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			f.run("a.1")
			g := w.subscribe(info(f.id))
			if e := f.want(scheduler.Event_ERROR); e.Error.Message != "Framework failed over" {
				t.Errorf("got %s", brief(e))
			}
			if e := f.next(time.Minute); e != nil {
				t.Errorf("the old stream goes on: %s", brief(e))
			}
			if code := f.post(&scheduler.Call{Type: scheduler.Call_REVIVE}); code != http.StatusBadRequest {
				t.Errorf("old stream id: %d", code)
			}
			if cpus(g.offer()) != 1.9 {
				t.Error("no offer of the rest")
			}
		})
	})
	t.Run("teardown", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			name := f.run("a.1")
			f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN})
			if e := f.next(time.Minute); e != nil {
				t.Errorf("got %s", brief(e))
			}
			synctest.Wait()
			if c, err := w.docker.Inspect(context.Background(), name+endedSuffix); err != nil || c.Running {
				t.Errorf("the task runs on: %v %v", c, err)
			}
			removed := func() {
				g := w.open(info(f.id))
				if e := g.want(scheduler.Event_ERROR); e.Error.Message != "Framework has been removed" {
					t.Errorf("got %s", brief(e))
				}
			}
			removed()
			w.stop()
			w.start()
			removed()
		})
	})
	t.Run("no failover time", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			i := info("")
			i.FailoverTimeout = nil
			f := w.subscribe(i)
			name := f.run("a.1")
			must(0, w.docker.IgnoreTerm(name))
			f.hangUp()
			time.Sleep(4 * time.Second) // fake time
			if c, err := w.docker.Inspect(context.Background(), name+endedSuffix); err != nil || c.Running {
				t.Errorf("the task runs on: %v %v", c, err)
			}
		})
	})
	t.Run("back in time", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			name := f.run("a.1")
			f.hangUp()
			time.Sleep(59 * time.Minute)
			must(0, w.docker.Exit(name, 1))
			f = w.subscribe(info(f.id))
			f.update("a.1", mesos.TASK_FAILED)
			f.hangUp()
			time.Sleep(61 * time.Minute)
			f = w.open(info(f.id))
			f.want(scheduler.Event_ERROR)
		})
	})
	t.Run("unknown id", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			if f := w.subscribe(info("never-heard-of")); f.id != "never-heard-of" {
				t.Errorf("got %s", f.id)
			}
		})
	})
}

func TestReconcile(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		f.run("a.1")
		agent := &mesos.AgentID{Value: w.agentID()}
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
		s := f.update("a.1", mesos.TASK_RUNNING)
		if s.GetMessage() != "Reconciliation: Latest task state" || s.GetReason() != mesos.REASON_RECONCILIATION || len(s.UUID) != 0 || s.GetSource() != mesos.SOURCE_MASTER {
			t.Errorf("got %v", s)
		}
		if got := s.ContainerStatus.NetworkInfos[0].IPAddresses[0].GetIPAddress(); got != "172.17.0.2" {
			t.Errorf("address %s", got)
		}
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{Tasks: []scheduler.Call_Reconcile_Task{
			{TaskID: mesos.TaskID{Value: "a.1"}, AgentID: agent}, {TaskID: mesos.TaskID{Value: "ghost.1"}, AgentID: agent}, {TaskID: mesos.TaskID{Value: "ghost.2"}},
		}}})
		f.update("a.1", mesos.TASK_RUNNING)
		f.update("ghost.1", mesos.TASK_GONE)
		if s := f.update("ghost.2", mesos.TASK_UNKNOWN); s.AgentID != nil {
			t.Errorf("got %v", s)
		}
	})
}

func TestRecovery(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		net := mesos.ContainerInfo_DockerInfo_HOST
		run, end, host := f.run("run.1", parameter("label", "berth.app=/x")), "", ""
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
		end = f.run("end.1")
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
		host = f.run("host.1", func(t *mesos.TaskInfo) { t.Container.Docker.Network = &net })
		agent := w.agentID()
		w.stop()
		must(0, w.docker.Exit(end, 4))
		w.start()
		if w.agentID() != agent {
			t.Fatal("another agent id")
		}
		f = w.subscribe(info(f.id))
		s := f.update("end.1", mesos.TASK_FAILED)
		if s.GetMessage() != "Container exited with status 4" {
			t.Errorf("got %q", s.GetMessage())
		}
		for _, id := range []string{"host.1", "run.1"} { // the engine cannot know whether they were acknowledged
			if s := f.update(id, mesos.TASK_RUNNING); len(s.UUID) == 0 || s.Reason != nil {
				t.Errorf("got %v", s)
			}
		}
		synctest.Wait()
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
		if a := f.update("host.1", mesos.TASK_RUNNING).ContainerStatus.NetworkInfos[0].IPAddresses[0].GetIPAddress(); a != "127.0.0.1" {
			t.Errorf("host network: %s", a)
		}
		f.update("run.1", mesos.TASK_RUNNING)
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
		for _, n := range []string{run, host} {
			if c := must(w.docker.Inspect(context.Background(), n)); !c.Running {
				t.Errorf("%s does not run", n)
			}
		}
		if n := w.docker.Calls("create"); n != 3 {
			t.Errorf("%d containers were created", n)
		}
		// The second restart owes nothing any more of the one that ended.
		w.stop()
		w.start()
		f = w.subscribe(info(f.id))
		f.update("host.1", mesos.TASK_RUNNING)
		f.update("run.1", mesos.TASK_RUNNING)
		if e := f.want(scheduler.Event_OFFERS); cpus(e.Offers.Offers[0]) != 1.8 {
			t.Errorf("got %s", brief(e))
		}
		f.quietFor(time.Minute)
	})
}

// Without checkpoints nothing survives an agent's restart, seen on a real one. Here the master restarts with it.
func TestNothingSurvivesWithoutCheckpoints(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		i := info("")
		i.Checkpoint = nil
		f := w.subscribe(i)
		name, agent := f.run("a.1"), &mesos.AgentID{Value: w.agentID()}
		w.stop()
		w.start()
		f = w.subscribe(info(f.id))
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{
			Tasks: []scheduler.Call_Reconcile_Task{{TaskID: mesos.TaskID{Value: "a.1"}, AgentID: agent}},
		}})
		f.update("a.1", mesos.TASK_GONE)
		synctest.Wait()
		if c := must(w.docker.Inspect(context.Background(), name)); c.Running {
			t.Error("the container lives")
		}
	})
}

// Calls about tasks are answered when the inventory is there: the framework's process starts with the engine's.
func TestAskedTooEarly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		f.run("a.1")
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
		f.run("a.2")
		w.stop()
		w.docker.Leave()
		w.start()
		f = w.subscribe(info(f.id))
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
		f.kill("a.2", 0)
		f.quietFor(10 * time.Second)
		w.docker.Return()
		for range 2 { // once by the recovery, once as the answer
			f.update("a.1", mesos.TASK_RUNNING)
			f.update("a.2", mesos.TASK_RUNNING)
		}
		f.update("a.2", mesos.TASK_KILLED)
	})
}

func TestRecoveryStartsWhatWasCreated(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		release := w.docker.Hold("start")
		f.accept(f.offer(), 1e7, w.task("a.1"))
		f.update("a.1", mesos.TASK_STARTING)
		w.stop()
		release()
		w.start()
		f = w.subscribe(info(f.id))
		f.update("a.1", mesos.TASK_RUNNING)
		if n := w.docker.Calls("create"); n != 1 {
			t.Errorf("%d containers were created", n)
		}
	})
}

func TestDockerGoesAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		one := must(w.docker.Inspect(context.Background(), f.run("a.1"))).ID
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})
		of := f.offer()
		w.docker.Leave()
		if e := f.want(scheduler.Event_RESCIND); e.Rescind.OfferID.Value != of.ID.Value {
			t.Errorf("got %s", brief(e))
		}
		f.quietFor(time.Hour)
		w.docker.Return()
		f.offer()
		f.quietFor(time.Minute)
		w.docker.Leave()
		f.want(scheduler.Event_RESCIND)
		f.kill("a.1", time.Second)
		f.quietFor(time.Minute)
		w.docker.Return()
		f.update("a.1", mesos.TASK_KILLED)
		if c := must(w.docker.Inspect(context.Background(), one)); c.Running {
			t.Error("it runs")
		}
	})
}

func TestStartedAgainByHand(t *testing.T) {
	t.Run("after its end", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			name := f.run("a.1")
			must(0, w.docker.Exit(name, 1))
			f.update("a.1", mesos.TASK_FAILED)
			synctest.Wait()
			must(0, w.docker.Start(context.Background(), name+endedSuffix))
			synctest.Wait()
			if c := must(w.docker.Inspect(context.Background(), name+endedSuffix)); c.Running {
				t.Error("two lives of one task")
			}
		})
	})
	t.Run("before it was noticed", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			name := f.run("a.1")
			w.docker.Leave()
			synctest.Wait()
			time.Sleep(time.Second)
			w.docker.Return()
			must(0, w.docker.Exit(name, 1))
			must(0, w.docker.Start(context.Background(), name))
			id := must(w.docker.Inspect(context.Background(), name)).ID
			f.update("a.1", mesos.TASK_FAILED)
			if c := must(w.docker.Inspect(context.Background(), id)); c.Running {
				t.Error("declared ended while it runs")
			}
		})
	})
	t.Run("removed", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			must(0, w.docker.Remove(context.Background(), f.run("a.1"), true))
			s := f.update("a.1", mesos.TASK_FAILED)
			hasPrefix(t, s.GetMessage(), "Container exited with status 137")
		})
	})
}

func TestCollects(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		seat := func(t *mesos.TaskInfo) {
			parameter("label", "berth.app=/x")(t)
			parameter("label", "berth.seat=0")(t)
		}
		var names []string
		for _, id := range []string{"a.1", "a.2", "a.3"} {
			name := f.run(id, seat)
			names = append(names, name+endedSuffix)
			time.Sleep(time.Second)
			must(0, w.docker.Exit(name, 1))
			f.update(id, mesos.TASK_FAILED)
			time.Sleep(time.Minute)
		}
		left := must(w.docker.List(context.Background(), nil))
		if len(left) != 1 || left[0].Name != names[2] {
			t.Errorf("left: %v", left)
		}
		time.Sleep(7 * time.Hour)
		if left := must(w.docker.List(context.Background(), nil)); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestHTTP(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		for _, c := range []struct {
			name, body, media, stream string
			code                      int
		}{
			{"no json", "{", mediaJSON, f.stream, 400},
			{"no type", "{}", mediaJSON, f.stream, 400},
			{"unknown media", "{}", "text/plain", f.stream, 415},
			{"no user", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"x"}}}`, mediaJSON, "", 400},
			{"no name", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"x"}}}`, mediaJSON, "", 400},
			{"subscribe with a stream id", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"x","name":"x"}}}`, mediaJSON, "x", 400},
			{"no framework id", `{"type":"REVIVE"}`, mediaJSON, f.stream, 400},
			{"no such framework", `{"type":"REVIVE","framework_id":{"value":"x"}}`, mediaJSON, f.stream, 400},
			{"no stream id", `{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, mediaJSON, "", 400},
			{"wrong stream id", `{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, mediaJSON, "x", 400},
			{"no body of the call", `{"type":"ACCEPT","framework_id":{"value":"` + f.id + `"}}`, mediaJSON, f.stream, 400},
			{"bad protobuf", "\xff\xff\xff", mediaProtobuf, f.stream, 400},
			{"unknown fields", `{"type":"REVIVE","new":{"a":[1]},"framework_id":{"value":"` + f.id + `","b":1}}`, mediaJSON, f.stream, 202},
		} {
			r, err := w.post(context.Background(), []byte(c.body), c.media, c.stream)
			if err != nil {
				t.Fatal(err)
			}
			text := must(io.ReadAll(r.Body))
			if r.Body.Close(); r.StatusCode != c.code || (c.code == 202) != (len(text) == 0) {
				t.Errorf("%s: %d %q, want %d", c.name, r.StatusCode, text, c.code)
			}
		}
	})
}

func TestRolesMisused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		i := info("")
		i.Capabilities = nil
		if e := w.open(i).want(scheduler.Event_ERROR); !strings.Contains(e.Error.Message, "roles") {
			t.Errorf("got %s", brief(e))
		}
	})
}

func TestAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.opts.Principal, w.opts.Secret = "berth", "s3cret"
		w.start()
		for _, c := range []struct {
			user, secret string
			code         int
		}{{"", "", 401}, {"berth", "wrong", 401}, {"bert", "hs3cret", 401}, {"berth", "s3cret", 400}} {
			w.user, w.secret = c.user, c.secret
			r, err := w.post(context.Background(), []byte("{}"), mediaJSON, "")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != c.code {
				t.Errorf("%s:%s got %d, want %d", c.user, c.secret, r.StatusCode, c.code)
			}
		}
	})
}

func TestHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.open(info(""))
		var kinds []string
		began := time.Now()
		for time.Since(began) < 31*time.Second {
			select {
			case e := <-f.events:
				kinds = append(kinds, e.Type.String())
			case <-time.After(time.Second):
			}
		}
		want := "SUBSCRIBED HEARTBEAT OFFERS HEARTBEAT HEARTBEAT"
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("got %s", got)
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Hosts: make([]Host, 1)}); err == nil || strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("got %v, want all faults", err)
	}
}
