//go:build integration

package standalone

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
)

const (
	testImage = "berth-engine-test:1"
	pool      = "berth-engine-test"
	// patience is for what Docker does at once unless the machine is busy with other things.
	patience = time.Minute
)

// guest is the only program of the test image.
const guest = `package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if len(args) == 2 && args[0] == "exit" {
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	}
	if len(args) == 1 && args[0] == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
}
`

// realWorld is an engine on this machine's Docker.
func realWorld(t *testing.T) *world {
	t.Helper()
	c := realtest.Docker(t)
	realtest.Image(t, testImage, guest)
	ctx, cancel := context.WithCancel(context.Background())
	if err := c.CreateNetwork(ctx, docker.NetworkSpec{
		Name: pool, Driver: "bridge", Subnet: netip.MustParsePrefix("10.231.77.0/24"), Gateway: netip.MustParseAddr("10.231.77.1"),
	}); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.RemoveNetwork(context.Background(), pool); err != nil {
			t.Error(err)
		}
	})
	inventory := docker.NewInventory(c, quiet())
	followed := make(chan struct{})
	go func() { _ = inventory.Run(ctx); close(followed) }()
	w := &world{t: t, whole: t, opts: Options{StateDir: t.TempDir(), Log: quiet(), Hosts: []Host{{
		Docker: c, Inventory: inventory, Hostname: "host1", StateDir: t.TempDir(), CPUs: 2, MemMiB: 4096, DiskMiB: 1000,
	}}}}
	t.Cleanup(func() { cancel(); <-followed })
	w.startReal()
	agent := w.engine.AgentID("host1")
	t.Cleanup(func() {
		w.stop()
		for _, left := range must(c.List(context.Background(), map[string]string{labelAgent: agent})) {
			if err := c.Remove(context.Background(), left.ID, true); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func (w *world) startReal() {
	w.t.Helper()
	e, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, l) }()
	transport := &http.Transport{}
	w.engine, w.url, w.client = e, "http://"+l.Addr().String()+APIPath, &http.Client{Transport: transport}
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.whole.Errorf("run: %v", err)
		}
		transport.CloseIdleConnections()
	})
}

// args makes the task run the guest, on the test's own network: the machine may have no usable default bridge.
func args(words ...string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		no, n, name := false, mesos.ContainerInfo_DockerInfo_USER, pool
		t.Container.Docker.Network = &n
		t.Container.NetworkInfos = []mesos.NetworkInfo{{Name: &name}}
		t.Container.Docker.Image = testImage
		t.Command = &mesos.CommandInfo{Shell: &no, Arguments: words}
	}
}

func dockerRun(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command("docker", words...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestRealDocker(t *testing.T) {
	w := realWorld(t)
	client := w.host().Docker.(*docker.Client)
	user := func(ip string) func(*mesos.TaskInfo) { return parameter("ip", ip) }
	f := w.subscribe(info(""))
	// An offer may have come before the update that was waited for (what a task used is free when it ends, but its end may
	// have to wait for an acknowledgement). It still stands, and REVIVE makes no other of the same resources.
	revive := func() { f.call(&scheduler.Call{Type: scheduler.Call_REVIVE}) }

	w.step("exit codes", func(t *testing.T) {
		for _, c := range []struct {
			id, code string
			state    mesos.TaskState
		}{{"zero.1", "0", mesos.TASK_FINISHED}, {"seven.1", "7", mesos.TASK_FAILED}} {
			f.run(c.id, args("exit", c.code))
			if s := f.update(c.id, c.state); s.GetMessage() != "Container exited with status "+c.code {
				t.Errorf("got %q", s.GetMessage())
			}
		}
	})
	revive()
	w.step("address, quota and labels", func(t *testing.T) {
		f.accept(f.offer(), 1e7, w.task("net.1", args("wait"), user("10.231.77.50"), parameter("hostname", "web-0"),
			parameter("label", "berth.app=/web"), parameter("cpu-quota", "30000"), parameter("label", labelTask+"=forged")))
		f.update("net.1", mesos.TASK_STARTING)
		s := f.update("net.1", mesos.TASK_RUNNING)
		n := s.ContainerStatus.NetworkInfos[0]
		if n.GetName() != pool || n.IPAddresses[0].GetIPAddress() != "10.231.77.50" {
			t.Errorf("got %v", n)
		}
		c := must(client.Inspect(context.Background(), containerName(s.ContainerStatus.ContainerID.Value)))
		if c.CPUQuota != 30000 || c.Hostname != "web-0" || c.Labels["berth.app"] != "/web" || c.Labels[labelTask] != "net.1" || c.MemoryLimit != 64<<20 {
			t.Errorf("got %+v", c)
		}
	})
	revive()
	w.step("an address in use", func(t *testing.T) {
		f.accept(f.offer(), 1e7, w.task("twin.1", args("wait"), user("10.231.77.50")))
		f.update("twin.1", mesos.TASK_STARTING)
		s := f.update("twin.1", mesos.TASK_FAILED)
		if !strings.Contains(s.GetMessage(), "125") || !strings.Contains(s.GetMessage(), "Address already in use") {
			t.Errorf("got %q", s.GetMessage())
		}
	})
	revive()
	w.step("no such command", func(t *testing.T) {
		f.accept(f.offer(), 1e7, w.task("cmd.1", args("x"), parameter("entrypoint", "/nosuch")))
		f.update("cmd.1", mesos.TASK_STARTING)
		s := f.update("cmd.1", mesos.TASK_FAILED)
		hasPrefix(t, s.GetMessage(), "Container exited with status 127")
	})
	revive()
	w.step("kill", func(t *testing.T) {
		f.run("kill.1", args("stubborn"))
		began := time.Now()
		f.kill("kill.1", time.Second)
		s := f.update("kill.1", mesos.TASK_KILLED)
		if d := time.Since(began); s.GetMessage() != "Container exited with status 137" || d < time.Second || d > 20*time.Second {
			t.Errorf("got %q after %v", s.GetMessage(), d)
		}
	})
	revive()
	w.step("docker kill by hand", func(t *testing.T) {
		name := f.run("hand.1", args("wait"))
		began := time.Now()
		dockerRun(t, "kill", name)
		if s := f.update("hand.1", mesos.TASK_FAILED); s.GetMessage() != "Container exited with status 137" {
			t.Errorf("got %q", s.GetMessage())
		}
		t.Logf("told %v after the command was given", time.Since(began))
		began = time.Now()
		for !strings.HasSuffix(dockerRun(t, "ps", "-a", "--no-trunc", "--filter", "label="+labelTask+"=hand.1", "--format", "{{.Names}}"), endedSuffix) {
			if time.Since(began) > patience {
				t.Fatal("an acknowledged end is not marked")
			}
		}
		dockerRun(t, "start", name+endedSuffix)
		for began = time.Now(); dockerRun(t, "inspect", "-f", "{{.State.Running}}", name+endedSuffix) != "false"; {
			if time.Since(began) > patience {
				t.Fatal("a container runs on after its task has ended")
			}
		}
	})
	revive()
	w.step("restart by hand ends the task", func(t *testing.T) {
		name := f.run("again.1", args("wait"))
		id := dockerRun(t, "inspect", "-f", "{{.Id}}", name)
		restart := exec.Command("docker", "restart", "-t", "1", name)
		if err := restart.Start(); err != nil {
			t.Fatal(err)
		}
		s := f.next(time.Minute)
		for s != nil && s.Type == scheduler.Event_OFFERS {
			s = f.next(time.Minute)
		}
		if st := s.GetUpdate().GetStatus(); !finished(st.GetState()) {
			t.Errorf("got %s", brief(s))
		}
		_ = restart.Wait() // it may find the container stopped
		for began := time.Now(); dockerRun(t, "inspect", "-f", "{{.State.Running}}", id) != "false"; {
			if time.Since(began) > patience {
				t.Fatal("a container runs on after its task has ended")
			}
		}
	})
	revive()
	w.step("a new engine finds all again", func(t *testing.T) {
		name := f.run("stay.1", args("wait"))
		revive()
		other := f.run("end.1", args("wait"))
		before := dockerRun(t, "inspect", "-f", "{{.State.StartedAt}} {{.State.Pid}}", name)
		w.stop()
		dockerRun(t, "kill", other)
		w.startReal()
		f = w.subscribe(info(f.id))
		told := f.until(map[string]mesos.TaskState{"end.1": mesos.TASK_FAILED, "net.1": mesos.TASK_RUNNING, "stay.1": mesos.TASK_RUNNING})
		s := told["stay.1"]
		if got := s.ContainerStatus.NetworkInfos[0].IPAddresses[0].GetIPAddress(); !strings.HasPrefix(got, "10.231.77.") {
			t.Errorf("address %s", got)
		}
		if after := dockerRun(t, "inspect", "-f", "{{.State.StartedAt}} {{.State.Pid}}", name); after != before {
			t.Errorf("%s became %s", before, after)
		}
		if got := strings.Fields(dockerRun(t, "ps", "-q", "--filter", "label="+labelTask+"=stay.1")); len(got) != 1 {
			t.Errorf("%d containers", len(got))
		}
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE, Reconcile: &scheduler.Call_Reconcile{}})
		f.until(map[string]mesos.TaskState{"net.1": mesos.TASK_RUNNING, "stay.1": mesos.TASK_RUNNING})
		f.kill("stay.1", time.Second)
		f.until(map[string]mesos.TaskState{"stay.1": mesos.TASK_KILLED})
	})
	w.step("teardown", func(t *testing.T) {
		f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN})
		for began := time.Now(); dockerRun(t, "ps", "-q", "--filter", "label="+labelAgent+"="+w.engine.AgentID("host1")) != ""; {
			if time.Since(began) > patience {
				t.Fatal("tasks run on")
			}
		}
	})
}

func finished(s mesos.TaskState) bool { return s == mesos.TASK_FINISHED || s == mesos.TASK_FAILED }

// TestLaunchLatency compares the engine with plain docker run; the engine must not add waiting of its own.
func TestLaunchLatency(t *testing.T) {
	w := realWorld(t)
	f := w.subscribe(info(""))
	var engine, plain time.Duration
	const rounds = 5
	for i := range rounds {
		id := "lat." + string(rune('a'+i))
		of := f.offer()
		began := time.Now()
		f.accept(of, 1e7, w.task(id, args("wait")))
		f.update(id, mesos.TASK_STARTING)
		f.update(id, mesos.TASK_RUNNING)
		engine += time.Since(began)
		f.kill(id, 0)
		f.update(id, mesos.TASK_KILLED)
		f.call(&scheduler.Call{Type: scheduler.Call_REVIVE})

		began = time.Now()
		cmd := exec.Command("docker", "run", "-d", "--rm", "--net", pool, testImage, "wait")
		cmd.Stderr = io.Discard
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		plain += time.Since(began)
		dockerRun(t, "rm", "-f", strings.TrimSpace(string(out)))
	}
	t.Logf("engine %v, docker run -d %v", engine/rounds, plain/rounds)
	if engine > 2*plain {
		t.Errorf("a launch takes %v, docker run -d %v", engine/rounds, plain/rounds)
	}
}
