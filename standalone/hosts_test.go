package standalone

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
)

// hosts is a world of two: host1, and host2 of half its size.
func hosts(t *testing.T, f func(t *testing.T, w *world, second *dockertest.Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		second, state := dockertest.New("bb:1"), t.TempDir()
		w.host().Attributes = map[string]string{"rack": "r1"}
		w.opts.Hosts = append(w.opts.Hosts, Host{
			Docker: second, Inventory: second, Hostname: "host2", Attributes: map[string]string{"rack": "r2", "disk": "ssd"},
			StateDir: state, VolumesDir: filepath.Join(state, "volumes"), CPUs: 1, MemMiB: 2048, DiskMiB: 500,
		})
		w.opts.UnreachableAfter = 45 * time.Second
		w.start()
		f(t, w, second)
	})
}

// both are one offer of each host.
func (f *fw) both() (first, second mesos.Offer) {
	f.w.t.Helper()
	first, second = f.offer(), f.offer()
	if first.Hostname == "host2" {
		first, second = second, first
	}
	if first.Hostname != "host1" || second.Hostname != "host2" {
		f.w.t.Fatalf("offers of %s and %s", first.Hostname, second.Hostname)
	}
	return first, second
}

// on makes a task one of the host that an offer is of.
func on(of mesos.Offer) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.AgentID = of.AgentID }
}

// runBoth runs a task on each host, keeping the rest from being offered.
func (f *fw) runBoth() (agents [2]string, names [2]string) {
	f.w.t.Helper()
	first, second := f.both()
	for i, of := range []mesos.Offer{first, second} {
		id := "a." + of.Hostname[4:]
		f.accept(of, 1e7, f.w.task(id, on(of)))
		f.update(id, mesos.TASK_STARTING)
		s := f.update(id, mesos.TASK_RUNNING)
		agents[i], names[i] = of.AgentID.Value, containerName(s.ContainerStatus.ContainerID.Value)
		if s.AgentID.Value != of.AgentID.Value {
			f.w.t.Errorf("%s runs on agent %s, launched on %s", id, s.AgentID.Value, of.AgentID.Value)
		}
	}
	return agents, names
}

// runs says whether a container runs, also while its engine is away.
func runs(t *testing.T, e *dockertest.Engine, name string) bool {
	t.Helper()
	s, _ := e.Get()
	return slices.ContainsFunc(s.Containers, func(c docker.Container) bool { return strings.TrimSuffix(c.Name, endedSuffix) == name && c.Running })
}

func TestHostsAreOfferedApart(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		one, two := f.both()
		if one.AgentID == two.AgentID || cpus(one) != 2 || cpus(two) != 1 {
			t.Errorf("got %v and %v", one, two)
		}
		var attributes []string
		for _, a := range two.Attributes {
			attributes = append(attributes, a.Name+"="+a.Text.Value)
		}
		if !slices.Equal(attributes, []string{"disk=ssd", "rack=r2"}) {
			t.Errorf("attributes %v", attributes)
		}

		f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
			OfferIDs: []mesos.OfferID{one.ID, two.ID}, Filters: &mesos.Filters{RefuseSeconds: new(float64)},
			Operations: []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{w.task("mixed")}}}},
		}})
		if s := f.update("mixed", mesos.TASK_DROPPED); !strings.Contains(s.GetMessage(), "one single agent") {
			t.Errorf("got %v", s)
		}

		_, names := f.runBoth()
		if _, err := w.docker.Spec(names[1]); err == nil {
			t.Error("host1 has host2's container")
		}
		must(w.docker.Spec(names[0]))
		must(second.Spec(names[1]))

		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		one, two = f.both()
		if cpus(one) != 1.9 || cpus(two) != 0.9 {
			t.Errorf("left are %v and %v CPUs", cpus(one), cpus(two))
		}
		f.decline(one, 1e7)
		f.accept(two, 1e7, w.task("a.1", on(two)))
		if s := f.update("a.1", mesos.TASK_ERROR); !strings.Contains(s.GetMessage(), "duplicate") {
			t.Errorf("got %v", s)
		}

		began := time.Now()
		must(0, second.Exit(names[1], 0))
		f.update("a.2", mesos.TASK_FINISHED)
		if of := f.offer(); of.Hostname != "host2" || cpus(of) != 1 || time.Since(began) != 0 {
			t.Errorf("host1's refusal holds back what is free on host2, or the other way round: %v", of)
		}
		f.kill("a.1", 0)
		f.update("a.1", mesos.TASK_KILLED)
	})
}

func TestTasksNameFoldersOfTheirHost(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		w.stop()
		w.opts.Hosts[1].Elsewhere = map[string]string{"/var/lib/berth": "/h2/berth", "/var/lib": "/h2/lib", filepath.Dir(w.opts.Hosts[1].StateDir): "/wrong"}
		w.start()
		f := w.subscribe(info(""))
		f.runBoth()
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		one, two := f.both()
		volume := func(t *mesos.TaskInfo) {
			for inside, outside := range map[string]string{"/seat": "/var/lib/berth/seats/a.0", "/lib": "/var/lib/other", "/etc": "/etc", "/named": "data"} {
				if inside == "/named" {
					t.Container.Docker.Parameters = append(t.Container.Docker.Parameters, mesos.Parameter{Key: "volume", Value: outside + ":" + inside})
					continue
				}
				ro := mesos.RO
				t.Container.Volumes = append(t.Container.Volumes, mesos.Volume{ContainerPath: inside, HostPath: &outside, Mode: &ro})
			}
		}
		for i, c := range []struct {
			of     mesos.Offer
			engine *dockertest.Engine
			want   []string
		}{
			{one, w.docker, []string{"/etc:/etc:ro", "/var/lib/berth/seats/a.0:/seat:ro", "/var/lib/other:/lib:ro", "data:/named"}},
			{two, second, []string{"/etc:/etc:ro", "/h2/berth/seats/a.0:/seat:ro", "/h2/lib/other:/lib:ro", "data:/named"}},
		} {
			id := "v." + c.of.Hostname
			f.accept(c.of, 1e7, w.task(id, on(c.of), volume))
			f.update(id, mesos.TASK_STARTING)
			s := f.update(id, mesos.TASK_RUNNING)
			binds := must(c.engine.Spec(containerName(s.ContainerStatus.ContainerID.Value))).Binds
			sandbox := func(b string) bool {
				return strings.HasSuffix(b, ":"+sandboxInside) && strings.HasPrefix(b, w.engine.prepared[i].opts.StateDir+"/")
			}
			binds = slices.DeleteFunc(slices.Sorted(slices.Values(binds)), sandbox)
			if !slices.Equal(binds, c.want) {
				t.Errorf("%s: got %q, want %q", c.of.Hostname, binds, c.want)
			}
		}
	})
}

// TestOneHostAway: what a master says of an agent that does not answer is said of that host, and nothing of the other.
func TestOneHostAway(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		agents, names := f.runBoth()
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		one, two := f.both()
		f.accept(two, 0, w.task("b.2", on(two)))
		f.update("b.2", mesos.TASK_STARTING)
		ending := containerName(f.update("b.2", mesos.TASK_RUNNING).ContainerStatus.ContainerID.Value)
		two = f.offer()

		began := time.Now()
		second.Leave()
		if e := f.want(scheduler.Event_RESCIND); e.Rescind.OfferID != two.ID || time.Since(began) != 0 {
			t.Errorf("got %s after %v", brief(e), time.Since(began))
		}
		for _, id := range []string{"a.2", "b.2"} {
			s := f.update(id, mesos.TASK_UNREACHABLE)
			if len(s.UUID) > 0 || s.GetSource() != mesos.SOURCE_MASTER || s.GetReason() != mesos.REASON_AGENT_REMOVED || s.AgentID.Value != agents[1] {
				t.Errorf("got %v", s)
			}
		}
		if e := f.want(scheduler.Event_FAILURE); e.Failure.AgentID.Value != agents[1] || time.Since(began) != 45*time.Second {
			t.Errorf("got %s after %v", brief(e), time.Since(began))
		}

		// The other host goes on, and what is asked of this one is answered as by a master.
		f.reconcile(agents[1], "a.2")
		f.update("a.2", mesos.TASK_UNREACHABLE)
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{Tasks: []scheduler.Call_Reconcile_Task{{TaskID: mesos.TaskID{Value: "a.2"}}}}})
		f.update("a.2", mesos.TASK_UNKNOWN)
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
		f.update("a.1", mesos.TASK_RUNNING)
		f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "a.2"}, AgentID: &mesos.AgentID{Value: agents[1]}}})
		f.update("a.2", mesos.TASK_UNREACHABLE)
		f.accept(one, 1e7, w.task("c.1"))
		f.update("c.1", mesos.TASK_STARTING)
		f.update("c.1", mesos.TASK_RUNNING)
		must(0, second.Exit(ending, 3))
		f.quietFor(time.Hour)

		second.Return()
		for range 2 { // b.2 has ended, but that is heard only after the host is
			e := f.want(scheduler.Event_UPDATE)
			s := e.Update.Status
			if s.GetState() != mesos.TASK_RUNNING || s.GetReason() != mesos.REASON_AGENT_REREGISTERED || len(s.UUID) > 0 {
				t.Errorf("got %s", brief(e))
			}
		}
		if s := f.update("b.2", mesos.TASK_FAILED); len(s.UUID) == 0 || s.GetMessage() != "Container exited with status 3" {
			t.Errorf("got %v", s)
		}
		if of := f.offer(); of.AgentID.Value != agents[1] || cpus(of) != 0.8 { // offered before b.2's end was known
			t.Errorf("got %v", of)
		}
		if !runs(t, second, names[1]) {
			t.Error("the task ended with the loss of its host")
		}
	})
}

func TestAHostThatIsBackInTimeIsOnlyRescinded(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		f.runBoth()
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
		f.both()
		second.Leave()
		f.want(scheduler.Event_RESCIND)
		f.quietFor(44 * time.Second)
		second.Return()
		if of := f.offer(); of.Hostname != "host2" {
			t.Errorf("got %v", of)
		}
		f.quietFor(time.Hour)
	})
}

// TestLaunchesOnAHostThatGoes: neither an end nor a start is told of a host of which nothing is known, and both are made up for.
func TestLaunchesOnAHostThatGoes(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		_, two := f.both()
		release := second.Hold("start")
		f.accept(two, 1e7, w.task("a.2", on(two)))
		f.update("a.2", mesos.TASK_STARTING)
		second.Leave()
		release()
		f.update("a.2", mesos.TASK_UNREACHABLE)
		f.want(scheduler.Event_FAILURE)
		f.quietFor(10 * time.Minute)
		second.Return()
		if s := f.update("a.2", mesos.TASK_STARTING); s.GetReason() != mesos.REASON_AGENT_REREGISTERED {
			t.Errorf("got %v", s)
		}
		f.until(map[string]mesos.TaskState{"a.2": mesos.TASK_FAILED}) // docker had refused
	})
}

func TestHostsAreFoundAgain(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		agents, names := f.runBoth()
		id := f.id

		w.stop()
		w.start()
		f = w.subscribe(info(id))
		f.until(map[string]mesos.TaskState{"a.1": mesos.TASK_RUNNING, "a.2": mesos.TASK_RUNNING})
		one, two := f.both()
		if one.AgentID.Value != agents[0] || two.AgentID.Value != agents[1] || cpus(one) != 1.9 || cpus(two) != 0.9 {
			t.Errorf("got %v and %v", one, two)
		}

		// One is away at the start: nothing is known of its tasks, until its time is over.
		w.stop()
		second.Leave()
		w.start()
		f = w.subscribe(info(id))
		f.until(map[string]mesos.TaskState{"a.1": mesos.TASK_RUNNING})
		f.decline(f.offer(), 1e7)
		began := time.Now()
		f.reconcile(agents[1], "a.2")
		f.reconcile(agents[0], "a.1")
		f.update("a.1", mesos.TASK_RUNNING)
		f.want(scheduler.Event_FAILURE)
		f.update("a.2", mesos.TASK_UNREACHABLE)
		if d := time.Since(began); d > 45*time.Second || d < 40*time.Second {
			t.Errorf("unreachable after %v", d)
		}
		second.Return()
		f.until(map[string]mesos.TaskState{"a.2": mesos.TASK_RUNNING})
		if of := f.offer(); of.AgentID.Value != agents[1] || cpus(of) != 0.9 {
			t.Errorf("got %v", of)
		}
		if !runs(t, w.docker, names[0]) || !runs(t, second, names[1]) {
			t.Error("a task was ended")
		}
	})
}

// TestAPodOnTheOtherHost: a group is found again, cut off and ended on whichever host it is.
func TestAPodOnTheOtherHost(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		_, two := f.both()
		agent := two.AgentID
		f.acceptGroup(two, w.podGroup("p", func(g *mesos.Offer_Operation_LaunchGroup) {
			for i := range g.TaskGroup.Tasks {
				g.TaskGroup.Tasks[i].AgentID = agent
			}
		}))
		runs := map[string]mesos.TaskState{"p.web": mesos.TASK_RUNNING, "p.side": mesos.TASK_RUNNING}
		f.until(runs)
		if len(must(second.List(t.Context(), nil))) != 3 || len(must(w.docker.List(t.Context(), nil))) != 0 {
			t.Error("the group is not on its host")
		}
		w.stop()
		w.start()
		f = w.subscribe(info(f.id))
		f.until(runs)
		second.Leave()
		for ended := false; !ended; {
			ended = f.next(time.Minute).GetFailure() != nil
		}
		second.Return()
		for id, s := range f.until(runs) {
			if s.GetReason() != mesos.REASON_AGENT_REREGISTERED {
				t.Errorf("%s: got %v", id, s)
			}
		}
		f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{TaskID: mesos.TaskID{Value: "p.web"}, AgentID: &agent}})
		f.until(map[string]mesos.TaskState{"p.web": mesos.TASK_KILLED, "p.side": mesos.TASK_KILLED})
		for _, c := range must(second.List(t.Context(), nil)) {
			if c.Labels[labelMembers] != "" || c.Running {
				t.Errorf("%s is left", c.Name)
			}
		}
	})
}

// TestRemovalReachesEveryHost, also one that is away meanwhile.
func TestRemovalReachesEveryHost(t *testing.T) {
	hosts(t, func(t *testing.T, w *world, second *dockertest.Engine) {
		f := w.subscribe(info(""))
		_, names := f.runBoth()
		second.Leave()
		f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN})
		time.Sleep(10 * time.Minute) // of fake time
		if runs(t, w.docker, names[0]) {
			t.Error("host1's task runs on")
		}
		w.stop()
		if !runs(t, second, names[1]) {
			t.Error("host2's task ended while nobody could have ended it")
		}
		second.Return()
		w.start()
		time.Sleep(time.Minute)
		if runs(t, second, names[1]) {
			t.Error("host2's task runs on")
		}
	})
}

func TestHostsMustDiffer(t *testing.T) {
	w := Options{StateDir: "/s", Log: quiet(), Hosts: []Host{{Hostname: "a", StateDir: "/s/x"}, {Hostname: "a", StateDir: "/s/x/"}}}
	_, err := New(w)
	for _, want := range []string{`host "a": no docker`, `two hosts are named "a"`, `two hosts have the state folder "/s/x/"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
