package standalone

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
)

// deathbed is a Docker whose caller dies at one point of a call: before it, or after it was carried out and before the
// answer arrived.
type deathbed struct {
	*dockertest.Engine
	at      string
	reached chan struct{} // holds one token once somebody died
}

func (d deathbed) pass(ctx context.Context, point string) error {
	if d.at != point {
		return nil
	}
	select {
	case d.reached <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

func (d deathbed) Create(ctx context.Context, s docker.CreateSpec) (string, error) {
	if err := d.pass(ctx, "before create"); err != nil {
		return "", err
	}
	id, err := d.Engine.Create(ctx, s)
	if err == nil {
		err = d.pass(ctx, "after create")
	}
	return id, err
}

func (d deathbed) Start(ctx context.Context, id string) error {
	err := d.pass(ctx, "before start")
	if err == nil {
		err = d.Engine.Start(ctx, id)
	}
	if err == nil {
		err = d.pass(ctx, "after start")
	}
	return err
}

func (d deathbed) Inspect(ctx context.Context, id string) (docker.Container, error) {
	if err := d.pass(ctx, "before inspection"); err != nil {
		return docker.Container{}, err
	}
	return d.Engine.Inspect(ctx, id)
}

func (f *fw) reconcile(agent string, tasks ...string) {
	f.w.t.Helper()
	r := &scheduler.Call_Reconcile{}
	for _, id := range tasks {
		r.Tasks = append(r.Tasks, scheduler.Call_Reconcile_Task{TaskID: mesos.TaskID{Value: id}, AgentID: &mesos.AgentID{Value: agent}})
	}
	f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: r})
}

// learns says whether a state of the task is told within d, and is the last that is.
func (f *fw) learns(id string, state mesos.TaskState, d time.Duration) []mesos.TaskState {
	f.w.t.Helper()
	var told []mesos.TaskState
	for e := f.next(d); e != nil; e = f.next(d) {
		if s := e.GetUpdate().GetStatus(); e.Type == scheduler.Event_UPDATE && s.TaskID.Value == id {
			told = append(told, s.GetState())
		}
	}
	if len(told) == 0 || told[len(told)-1] != state {
		f.w.t.Errorf("told %v of %s, want %v at last", told, id, state)
	}
	return told
}

// The engine dies at each point of a launch. A scheduler that subscribes again learns that the task runs, whether it asks
// or not and whether the engine knows its containers already; the container is neither doubled nor restarted.
func TestDeathDuringALaunch(t *testing.T) {
	const soon = 3 * time.Second // before anything is sent a second time
	points := []string{
		"before create", "after create", "before start", "after start", "before inspection",
		"STARTING unacknowledged", "RUNNING unacknowledged", "RUNNING acknowledged",
	}
	for _, point := range points {
		for _, how := range []string{"asks", "asks before docker answers", "asks nothing", "asks and acknowledges nothing"} {
			t.Run(point+"/"+how, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					f := dieAt(w, point)
					early := how == "asks before docker answers"
					if early {
						w.docker.Leave()
					}
					w.start()
					f = w.subscribe(info(f.id))
					f.auto = how != "asks and acknowledges nothing"
					if how != "asks nothing" {
						f.reconcile(w.agentID(), "a.1")
					}
					if early {
						f.quietFor(soon)
						w.docker.Return()
					}
					made := 1
					switch {
					case point != "before create":
						f.learns("a.1", mesos.TASK_RUNNING, soon)
					case how != "asks nothing":
						f.learns("a.1", mesos.TASK_GONE, soon)
						made = 0
					default:
						f.quietFor(0)
						made = 0
					}
					left := must(w.docker.List(context.Background(), nil))
					if len(left) != made || w.docker.Calls("create") != made {
						t.Errorf("%d containers of %d creations", len(left), w.docker.Calls("create"))
					}
					for _, c := range left {
						if !c.Running {
							t.Errorf("got %+v", c)
						}
					}
				})
			})
		}
	}
}

// dieAt launches a.1 and ends the engine at the point.
func dieAt(w *world, point string) *fw {
	w.t.Helper()
	w.stop()
	bed := deathbed{w.docker, point, make(chan struct{}, 1)}
	w.host().Docker = bed
	w.start()
	f := w.subscribe(info(""))
	f.auto = false
	f.accept(f.offer(), 1e7, w.task("a.1"))
	switch point {
	case "STARTING unacknowledged":
		f.update("a.1", mesos.TASK_STARTING)
		synctest.Wait()
	case "RUNNING unacknowledged", "RUNNING acknowledged":
		f.ack(f.update("a.1", mesos.TASK_STARTING))
		s := f.update("a.1", mesos.TASK_RUNNING)
		if point == "RUNNING acknowledged" {
			f.ack(s)
		}
	default:
		<-bed.reached
	}
	w.stop()
	w.host().Docker = w.docker
	return f
}

// Twenty deaths at odd moments while tasks are launched: all that were launched run at the end, each once, and the framework
// has been told of each by the last engine.
func TestManyDeaths(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		points := []string{"after create", "STARTING unacknowledged", "after start", "RUNNING unacknowledged", "before start"}
		f := w.subscribe(info(""))
		id := f.id
		var tasks []string
		for i := range 20 {
			w.stop()
			w.host().Docker = deathbed{w.docker, points[i%len(points)], make(chan struct{}, 1)}
			w.start()
			f = w.subscribe(info(id))
			f.auto = i%2 == 0
			f.reconcile(w.agentID(), tasks...)
			if i%4 == 0 {
				task := fmt.Sprintf("a.%d", i)
				f.accept(f.offerAmong(), 0, w.task(task))
				tasks = append(tasks, task)
			}
			synctest.Wait()
			time.Sleep(time.Duration(i) * 300 * time.Millisecond)
		}
		w.stop()
		w.host().Docker = w.docker
		w.start()
		f = w.subscribe(info(id))
		told := map[string]mesos.TaskState{}
		for e := f.next(3 * time.Second); e != nil; e = f.next(3 * time.Second) {
			if s := e.GetUpdate().GetStatus(); e.Type == scheduler.Event_UPDATE {
				told[s.TaskID.Value] = s.GetState()
			}
		}
		for _, task := range tasks {
			if state, ok := told[task]; !ok || state != mesos.TASK_RUNNING {
				t.Errorf("%s: told %v %v", task, ok, state)
			}
		}
		if left := must(w.docker.List(context.Background(), nil)); len(left) != len(tasks) {
			t.Errorf("%d containers for %d tasks", len(left), len(tasks))
		}
	})
}

// offerAmong is the next offer, whatever comes before it.
func (f *fw) offerAmong() mesos.Offer {
	f.w.t.Helper()
	for {
		e := f.next(time.Minute)
		if e == nil {
			f.w.t.Fatal("no offer")
		}
		if e.Type == scheduler.Event_OFFERS {
			return e.Offers.Offers[0]
		}
	}
}

// followed gives the world's engine a real inventory, over the same double, from its next start on.
func (w *world) followed() {
	ctx, cancel := context.WithCancel(context.Background())
	i := docker.NewInventory(w.docker, quiet())
	done := make(chan struct{})
	go func() { _ = i.Run(ctx); close(done) }()
	w.t.Cleanup(func() { cancel(); <-done })
	w.host().Inventory = i
}

// Docker is slow to describe containers, or cannot; no task is declared ended, stopped or started anew for that.
func TestRecoversWhatDockerDoesNotDescribe(t *testing.T) {
	obscure := fmt.Errorf("RWLayer of container x is unexpectedly nil: %w", cerrdefs.ErrInternal)
	begin := func(w *world) (f *fw, name, id string) {
		f = w.subscribe(info(""))
		name = f.run("a.1")
		w.stop()
		return f, name, must(w.docker.Inspect(context.Background(), name)).ID
	}
	runs := func(t *testing.T, w *world, id string, since time.Time) {
		t.Helper()
		if c := must(w.docker.Inspect(context.Background(), id)); !c.Running || !c.StartedAt.Equal(since) {
			t.Errorf("got %+v", c)
		}
	}
	t.Run("slow, and runs", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f, name, id := begin(w)
			since := must(w.docker.Inspect(context.Background(), id)).StartedAt
			release := w.docker.Hold("inspect " + id)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			began := time.Now()
			s := f.update("a.1", mesos.TASK_RUNNING)
			if d := time.Since(began); d > 3*time.Second || s.ContainerStatus.NetworkInfos[0].IPAddresses[0].GetIPAddress() != "172.17.0.2" {
				t.Errorf("after %v: %v", d, s)
			}
			time.Sleep(12 * time.Second)
			release()
			time.Sleep(time.Minute)
			runs(t, w, id, since)
			must(0, w.docker.Exit(name, 3))
			for e := f.next(time.Minute); ; e = f.next(time.Minute) {
				if e == nil {
					t.Fatal("its end is not told")
				}
				if e.GetUpdate().GetStatus().State != nil {
					if s := e.Update.Status; s.GetState() != mesos.TASK_FAILED || s.GetMessage() != "Container exited with status 3" {
						t.Errorf("got %s", brief(e))
					}
					break
				}
			}
		})
	})
	t.Run("slow, and has ended", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f, name, id := begin(w)
			must(0, w.docker.Exit(name, 7))
			release := w.docker.Hold("inspect " + id)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			f.reconcile(w.agentID(), "a.1")
			f.update("a.1", mesos.TASK_STARTING)
			time.Sleep(time.Minute)
			release()
			if s := f.update("a.1", mesos.TASK_FAILED); s.GetMessage() != "Container exited with status 7" {
				t.Errorf("got %q", s.GetMessage())
			}
		})
	})
	t.Run("slow, and was only created", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := dieAt(w, "before start")
			id := must(w.docker.List(context.Background(), nil))[0].ID
			release := w.docker.Hold("inspect " + id)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			time.Sleep(time.Minute)
			release()
			f.update("a.1", mesos.TASK_RUNNING)
		})
	})
	t.Run("cannot, and runs", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f, _, id := begin(w)
			since := must(w.docker.Inspect(context.Background(), id)).StartedAt
			w.docker.Fail("inspect "+id, obscure)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			if told := f.learns("a.1", mesos.TASK_RUNNING, 10*time.Minute); len(slices.Compact(told)) != 1 {
				t.Errorf("told %v", told)
			}
			w.docker.Fail("inspect "+id, nil)
			time.Sleep(time.Minute)
			runs(t, w, id, since)
			f.kill("a.1", time.Second)
			f.update("a.1", mesos.TASK_KILLED)
		})
	})
	t.Run("cannot, and has ended", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f, name, id := begin(w)
			must(0, w.docker.Exit(name, 7))
			w.docker.Fail("inspect "+id, obscure)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			s := f.update("a.1", mesos.TASK_FAILED)
			hasPrefix(t, s.GetMessage(), "Container exited with status 137: docker cannot describe the container")
		})
	})
	t.Run("cannot any more, and ends", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f, name, id := begin(w)
			w.followed()
			w.start()
			f = w.subscribe(info(f.id))
			f.update("a.1", mesos.TASK_RUNNING)
			w.docker.Fail("inspect "+id, obscure)
			must(0, w.docker.Exit(name, 7))
			if s := f.update("a.1", mesos.TASK_FAILED); s.ContainerStatus == nil {
				t.Errorf("got %v", s)
			}
		})
	})
}
