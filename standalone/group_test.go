package standalone

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
)

// podGroup is an executor on Docker's bridge with the tasks a.web and a.side, which share a folder.
func (w *world) podGroup(id string, change ...func(*mesos.Offer_Operation_LaunchGroup)) *mesos.Offer_Operation_LaunchGroup {
	box := w.task(id)
	g := &mesos.Offer_Operation_LaunchGroup{Executor: mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_DEFAULT, ExecutorID: mesos.ExecutorID{Value: id}, Container: box.Container, Resources: box.Resources,
	}}
	for _, name := range []string{"web", "side"} {
		t := w.task(id + "." + name)
		t.Container.Docker.Network = nil
		t.Container.Volumes = []mesos.Volume{{ContainerPath: "/shared", Mode: mesos.RW.Enum(), Source: &mesos.Volume_Source{
			Type: mesos.Volume_Source_SANDBOX_PATH, SandboxPath: &mesos.Volume_Source_SandboxPath{Type: mesos.Volume_Source_SandboxPath_PARENT, Path: "common"},
		}}}
		g.TaskGroup.Tasks = append(g.TaskGroup.Tasks, t)
	}
	for _, c := range change {
		c(g)
	}
	return g
}

func (f *fw) acceptGroup(of mesos.Offer, g *mesos.Offer_Operation_LaunchGroup) {
	f.w.t.Helper()
	refuse := 1e7
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
		OfferIDs: []mesos.OfferID{of.ID}, Filters: &mesos.Filters{RefuseSeconds: &refuse},
		Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH_GROUP, LaunchGroup: g}},
	}})
}

// pod is a running group: the names of its containers.
type pod struct{ box, web, side string }

func (f *fw) runGroup(id string, change ...func(*mesos.Offer_Operation_LaunchGroup)) pod {
	f.w.t.Helper()
	f.acceptGroup(f.offer(), f.w.podGroup(id, change...))
	got := f.until(map[string]mesos.TaskState{id + ".web": mesos.TASK_RUNNING, id + ".side": mesos.TASK_RUNNING})
	web, side := got[id+".web"].ContainerStatus.ContainerID, got[id+".side"].ContainerStatus.ContainerID
	return pod{containerName(web.Parent.Value), containerName(web.Value), containerName(side.Value)}
}

// boxes are the sandboxes that exist, running or not.
func (w *world) boxes() (names []string) {
	for _, c := range must(w.docker.List(context.Background(), nil)) {
		if c.Labels[labelMembers] != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

func (w *world) sharedFolders() []string {
	return must(filepath.Glob(filepath.Join(w.opts.StateDir, sandboxDir, "*", volumesDir, "*")))
}

func TestGroupSharesASandbox(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		f.acceptGroup(f.offer(), w.podGroup("a"))
		got := f.until(map[string]mesos.TaskState{"a.web": mesos.TASK_RUNNING, "a.side": mesos.TASK_RUNNING})
		address := func(id string) string {
			return got[id].ContainerStatus.NetworkInfos[0].IPAddresses[0].GetIPAddress()
		}
		if a := address("a.web"); a != address("a.side") || !strings.HasPrefix(a, "172.17.") || got["a.web"].ExecutorID.GetValue() != "a" {
			t.Errorf("addresses %s and %s, executor %v", a, address("a.side"), got["a.web"].ExecutorID)
		}
		box := containerName(got["a.web"].ContainerStatus.ContainerID.Parent.Value)
		s := must(w.docker.Spec(box))
		if s.Network != "bridge" || s.Entrypoint[0] != "/bin/sleep" || s.Labels[labelTask] != "" {
			t.Errorf("sandbox: %+v", s)
		}
		web := must(w.docker.Spec(containerName(got["a.web"].ContainerStatus.ContainerID.Value)))
		folders := w.sharedFolders()
		if web.Network != "container:"+box || len(folders) != 1 || web.Binds[1] != folders[0]+":/shared" {
			t.Errorf("web: network %s, binds %v, folders %v", web.Network, web.Binds, folders)
		}
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		if got := cpus(f.offer()); got != 1.7 {
			t.Errorf("%v CPUs are left, want 1.7", got)
		}
	})
}

func TestGroupLivesAndEndsTogether(t *testing.T) {
	for name, c := range map[string]struct {
		do        func(w *world, f *fw, p pod)
		web, side mesos.TaskState
		runs      bool // the group goes on
	}{
		"one finishes well": {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Exit(p.side, 0)) }, side: mesos.TASK_FINISHED, runs: true},
		"both finish": {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Exit(p.side, 0)); must(0, w.docker.Exit(p.web, 0)) },
			web: mesos.TASK_FINISHED, side: mesos.TASK_FINISHED},
		"one fails":              {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Exit(p.side, 7)) }, web: mesos.TASK_KILLED, side: mesos.TASK_FAILED},
		"one is removed by hand": {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Remove(context.Background(), p.web, true)) }, web: mesos.TASK_FAILED, side: mesos.TASK_KILLED},
		"one is killed":          {do: func(_ *world, f *fw, _ pod) { f.kill("a.web", time.Second) }, web: mesos.TASK_KILLED, side: mesos.TASK_KILLED},
		"both are killed": {do: func(_ *world, f *fw, _ pod) { f.kill("a.web", time.Second); f.kill("a.side", time.Second) },
			web: mesos.TASK_KILLED, side: mesos.TASK_KILLED},
		"the sandbox dies":    {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Exit(p.box, 137)) }, web: mesos.TASK_FAILED, side: mesos.TASK_FAILED},
		"the sandbox is gone": {do: func(w *world, _ *fw, p pod) { must(0, w.docker.Remove(context.Background(), p.box, true)) }, web: mesos.TASK_FAILED, side: mesos.TASK_FAILED},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				p := f.runGroup("a")
				c.do(w, f, p)
				want := map[string]mesos.TaskState{"a.side": c.side}
				if !c.runs {
					want["a.web"] = c.web
				}
				f.until(want)
				if left := w.boxes(); !c.runs && len(left) > 0 {
					t.Errorf("the last end was told while sandboxes are there: %v", left)
				}
				if folders := w.sharedFolders(); !c.runs && len(folders) > 0 {
					t.Errorf("shared folders are left: %v", folders)
				}
				free := 0.0
				f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
				for e := f.next(time.Hour); e != nil; e = f.next(time.Hour) {
					if e.Type != scheduler.Event_OFFERS {
						t.Errorf("after the end: %s", brief(e))
					}
					f.passed = append(f.passed, e.GetOffers().GetOffers()...)
				}
				for _, of := range f.passed {
					free += cpus(of)
				}
				if c.runs {
					if s := must(w.docker.Inspect(context.Background(), p.web)); !s.Running || len(w.boxes()) != 1 {
						t.Errorf("the group did not go on: %v, %v", s.State, w.boxes())
					}
					if _, err := w.docker.Spec(p.side + endedSuffix); err != nil {
						t.Errorf("the ended task of a living group was collected: %v", err)
					}
					return
				}
				if free < 1.999 { // in the offers that are out
					t.Errorf("%v CPUs are free", free)
				}
			})
		})
	}
}

// TestGroupKeepsVolumes: persistent volumes are made before the containers start, are the same folder in all that mount
// them, and outlive the group and what its tasks share.
func TestGroupKeepsVolumes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		dir := filepath.Join(w.host().VolumesDir, "p.0", "data-1")
		mount := func(g *mesos.Offer_Operation_LaunchGroup) {
			for i, mode := range []mesos.Volume_Mode{mesos.RW, mesos.RO} {
				c := g.TaskGroup.Tasks[i].Container
				c.Volumes = append(c.Volumes, mesos.Volume{ContainerPath: "/mnt/mesos/sandbox/data", HostPath: &dir, Mode: mode.Enum()})
			}
		}
		f := w.subscribe(info(""))
		for _, id := range []string{"a", "b"} {
			p := f.runGroup(id, mount)
			for name, bind := range map[string]string{p.web: dir + ":/mnt/mesos/sandbox/data", p.side: dir + ":/mnt/mesos/sandbox/data:ro"} {
				if got := must(w.docker.Spec(name)).Binds; !slices.Contains(got, bind) {
					t.Errorf("%s: %v", name, got)
				}
			}
			if _, err := os.Stat(dir); err != nil {
				t.Error(err)
			}
			if id == "a" { // the second finds what the first left
				must(0, os.WriteFile(filepath.Join(dir, "kept"), nil, 0o600))
			}
			f.kill(id+".web", time.Second)
			f.until(map[string]mesos.TaskState{id + ".web": mesos.TASK_KILLED, id + ".side": mesos.TASK_KILLED})
			if left := w.sharedFolders(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestGroupIsRefusedAsAWhole(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mesos.Offer_Operation_LaunchGroup)
		want   string
	}{
		"too much":     {func(g *mesos.Offer_Operation_LaunchGroup) { g.TaskGroup.Tasks[1].Resources[0].Scalar.Value = 1.9 }, "'a.side' is invalid: Total resources"},
		"own network":  {func(g *mesos.Offer_Operation_LaunchGroup) { parameter("net", "host")(&g.TaskGroup.Tasks[0]) }, "the network of its executor"},
		"own name":     {func(g *mesos.Offer_Operation_LaunchGroup) { parameter("hostname", "x")(&g.TaskGroup.Tasks[0]) }, "the network of its executor"},
		"one id twice": {func(g *mesos.Offer_Operation_LaunchGroup) { g.TaskGroup.Tasks[1].TaskID.Value = "a.web" }, "duplicate ID"},
		"bad executor": {func(g *mesos.Offer_Operation_LaunchGroup) { g.Executor.ExecutorID.Value = "a/b" }, "invalid characters"},
		"no image":     {func(g *mesos.Offer_Operation_LaunchGroup) { g.Executor.Container = nil }, "no Docker container"},
		"custom":       {func(g *mesos.Offer_Operation_LaunchGroup) { g.Executor.Type = mesos.ExecutorInfo_CUSTOM }, "type DEFAULT"},
		"a way outside": {func(g *mesos.Offer_Operation_LaunchGroup) {
			g.TaskGroup.Tasks[0].Container.Volumes[0].Source.SandboxPath.Path = "../x"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				f.acceptGroup(f.offer(), w.podGroup("a", c.change))
				if c.want == "" { // found when it is translated: the task fails, and the group with it
					s := f.until(map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_KILLED})["a.web"]
					if !strings.Contains(s.GetMessage(), "not below the sandbox") {
						t.Errorf("got %q", s.GetMessage())
					}
					return
				}
				for range 2 {
					s := f.want(scheduler.Event_UPDATE).Update.Status
					if s.GetState() != mesos.TASK_ERROR || s.GetReason() != mesos.REASON_TASK_GROUP_INVALID || !strings.Contains(s.GetMessage(), c.want) {
						t.Errorf("got %s %s %q", s.GetState(), s.GetReason(), s.GetMessage())
					}
				}
				if n := w.docker.Calls("create"); n != 0 {
					t.Errorf("%d containers were made", n)
				}
			})
		})
	}
}

// What goes wrong with the sandbox goes wrong with all; a kill during the launch ends all and leaves nothing.
func TestGroupThatDoesNotStart(t *testing.T) {
	t.Run("no image", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			f.acceptGroup(f.offer(), w.podGroup("a", func(g *mesos.Offer_Operation_LaunchGroup) { g.Executor.Container.Docker.Image = "no:1" }))
			f.until(map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_KILLED})
		})
	})
	t.Run("a container that cannot start", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			f := w.subscribe(info(""))
			f.acceptGroup(f.offer(), w.podGroup("a", func(g *mesos.Offer_Operation_LaunchGroup) {
				g.TaskGroup.Tasks[1].Container.Docker.Image = "no:1"
			}))
			f.until(map[string]mesos.TaskState{"a.web": mesos.TASK_KILLED, "a.side": mesos.TASK_FAILED})
			if left := w.boxes(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	})
	for _, op := range []string{"create", "start"} {
		t.Run("killed during "+op, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				release := w.docker.Hold(op)
				f := w.subscribe(info(""))
				f.acceptGroup(f.offer(), w.podGroup("a"))
				synctest.Wait()
				f.kill("a.side", 0)
				synctest.Wait()
				release()
				f.until(map[string]mesos.TaskState{"a.web": mesos.TASK_KILLED, "a.side": mesos.TASK_KILLED})
				f.quietFor(time.Minute)
				if left := must(w.docker.List(context.Background(), nil)); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		})
	}
}

// The engine dies at each point of a group's launch. Afterwards the group either runs whole or is told to be over, and
// nothing of it is left.
func TestDeathDuringAGroupLaunch(t *testing.T) {
	for _, point := range []string{"before create", "after create", "before start", "after start", "before inspection"} {
		for nth := 1; nth <= 3; nth++ {
			t.Run(point+strings.Repeat("'", nth), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					w.stop()
					bed := &nthDeathbed{deathbed: deathbed{w.docker, point, make(chan struct{}, 1)}, left: make(chan struct{}, 10)}
					for range nth - 1 {
						bed.left <- struct{}{}
					}
					w.host().Docker, w.host().Launches = bed, 1
					w.start()
					f := w.subscribe(info(""))
					f.acceptGroup(f.offer(), w.podGroup("a"))
					<-bed.reached
					w.stop()
					w.host().Docker = w.docker
					w.start()
					f = w.subscribe(info(f.id))
					f.reconcile(w.agentID(), "a.web", "a.side")
					last := map[string]mesos.TaskState{}
					for e := f.next(30 * time.Second); e != nil; e = f.next(30 * time.Second) {
						if e.Type == scheduler.Event_UPDATE {
							last[e.Update.Status.TaskID.Value] = e.Update.Status.GetState()
						}
					}
					runs := last["a.web"] == mesos.TASK_RUNNING && last["a.side"] == mesos.TASK_RUNNING
					if !runs && (!isTerminal(last["a.web"]) || !isTerminal(last["a.side"])) {
						t.Errorf("told at last: %v", last)
					}
					running := 0
					for _, c := range must(w.docker.List(context.Background(), nil)) {
						if c.Running {
							running++
						}
					}
					if want := map[bool]int{true: 3, false: 0}[runs]; running != want || !runs && len(w.boxes()) != 0 {
						t.Errorf("%v: %d containers run, sandboxes %v", last, running, w.boxes())
					}
				})
			})
		}
	}
}

func isTerminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_FINISHED, mesos.TASK_GONE, mesos.TASK_ERROR:
		return true
	}
	return false
}

// nthDeathbed lets some calls pass its point before it strikes.
type nthDeathbed struct {
	deathbed
	left chan struct{}
}

func (d *nthDeathbed) now() deathbed {
	select {
	case <-d.left:
		return deathbed{Engine: d.Engine}
	default:
		return d.deathbed
	}
}

func (d *nthDeathbed) Create(ctx context.Context, s docker.CreateSpec) (string, error) {
	if strings.HasSuffix(d.at, "create") {
		return d.now().Create(ctx, s)
	}
	return d.Engine.Create(ctx, s)
}

func (d *nthDeathbed) Start(ctx context.Context, id string) error {
	if strings.HasSuffix(d.at, "start") {
		return d.now().Start(ctx, id)
	}
	return d.Engine.Start(ctx, id)
}

func (d *nthDeathbed) Inspect(ctx context.Context, id string) (docker.Container, error) {
	if d.at == "before inspection" {
		return d.now().Inspect(ctx, id)
	}
	return d.Engine.Inspect(ctx, id)
}

// What happens while the engine is away is found out afterwards.
func TestGroupIsFoundAgain(t *testing.T) {
	for name, c := range map[string]struct {
		away func(w *world, p pod)
		want map[string]mesos.TaskState
		runs bool
	}{
		"nothing":         {func(*world, pod) {}, map[string]mesos.TaskState{"a.web": mesos.TASK_RUNNING, "a.side": mesos.TASK_RUNNING}, true},
		"one finished":    {func(w *world, p pod) { must(0, w.docker.Exit(p.side, 0)) }, map[string]mesos.TaskState{"a.web": mesos.TASK_RUNNING, "a.side": mesos.TASK_FINISHED}, true},
		"one failed":      {func(w *world, p pod) { must(0, w.docker.Exit(p.side, 3)) }, map[string]mesos.TaskState{"a.web": mesos.TASK_KILLED, "a.side": mesos.TASK_FAILED}, false},
		"one removed":     {func(w *world, p pod) { must(0, w.docker.Remove(context.Background(), p.web, true)) }, map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_FAILED}, false},
		"sandbox dead":    {func(w *world, p pod) { must(0, w.docker.Exit(p.box, 137)) }, map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_FAILED}, false},
		"sandbox removed": {func(w *world, p pod) { must(0, w.docker.Remove(context.Background(), p.box, true)) }, map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_FAILED}, false},
		"machine rebooted": {func(w *world, p pod) {
			for _, n := range []string{p.box, p.web, p.side} {
				must(0, w.docker.Exit(n, 137))
			}
		}, map[string]mesos.TaskState{"a.web": mesos.TASK_FAILED, "a.side": mesos.TASK_KILLED}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				f := w.subscribe(info(""))
				p := f.runGroup("a")
				synctest.Wait()
				w.stop()
				c.away(w, p)
				w.start()
				f = w.subscribe(info(f.id))
				last := map[string]mesos.TaskState{}
				for e := f.next(30 * time.Second); e != nil; e = f.next(30 * time.Second) {
					if e.Type == scheduler.Event_UPDATE {
						last[e.Update.Status.TaskID.Value] = e.Update.Status.GetState()
					}
				}
				for id, want := range c.want {
					if name == "machine rebooted" && isTerminal(last[id]) {
						continue // which of them is found first is open
					}
					if last[id] != want {
						t.Errorf("%s: %v, want %v", id, last[id], want)
					}
				}
				if left := w.boxes(); (len(left) == 1) != c.runs {
					t.Errorf("sandboxes: %v", left)
				}
				for _, s := range must(w.docker.List(context.Background(), nil)) {
					if s.Running && !c.runs {
						t.Errorf("%s runs on", s.Name)
					}
				}
				// The state of the ended one decides about the group once more.
				w.stop()
				w.start()
				f = w.subscribe(info(f.id))
				for e := f.next(30 * time.Second); e != nil; e = f.next(30 * time.Second) {
					if s := e.GetUpdate().GetStatus(); c.runs && e.Type == scheduler.Event_UPDATE && s.GetState() != mesos.TASK_RUNNING {
						t.Errorf("after a quiet restart: %v is %v", s.TaskID.Value, s.GetState())
					}
				}
			})
		})
	}
}

func TestGroupOfARemovedFramework(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		f := w.subscribe(info(""))
		f.runGroup("a")
		f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN})
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := w.boxes(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if _, err := os.Stat(filepath.Join(w.opts.StateDir, sandboxDir)); err != nil || len(w.sharedFolders()) > 0 {
			t.Errorf("folders are left: %v %v", w.sharedFolders(), err)
		}
	})
}
