package cpuquota

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/cpuquota/policy"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// host is a version 2 host in a folder, with one container.
type host struct {
	t         *testing.T
	root      string
	state     watch.Value[spec.HostState]
	inventory watch.Value[docker.Snapshot]
}

func newHost(t *testing.T) *host {
	h := &host{t: t, root: t.TempDir()}
	h.write("cgroup.controllers", "cpu memory pids")
	h.counters(0, 0, 0)
	h.write("docker/c1/cpu.max", "max 100000")
	h.write("docker/c1/memory.current", "5000000")
	h.write("docker/c1/memory.stat", "inactive_file 0")
	h.write("docker/c1/memory.max", "max")
	h.write("docker/c1/pids.current", "3")
	h.write("docker/c1/pids.max", "max")
	h.write("docker/c1/cpu.weight", "39")
	h.write("docker/c1/cpu.max.burst", "0")
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) counters(cpu time.Duration, periods, throttled int) {
	h.write("docker/c1/cpu.stat", fmt.Sprintf("usage_usec %d\nnr_periods %d\nnr_throttled %d\nthrottled_usec 0", cpu.Microseconds(), periods, throttled))
}

func (h *host) quota() string { return h.read("cpu.max") }

func (h *host) read(file string) string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.root, "docker/c1", file))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (h *host) container(pid int) {
	h.inventory.Set(docker.Snapshot{Connected: true, Containers: []docker.Container{{
		ID: "c1", Name: "mesos-1", Running: pid > 0, Pid: pid,
		Labels: map[string]string{spec.LabelTask: "t1", spec.LabelApp: "/web", spec.LabelCPUs: "0.2"},
	}}})
}

func (h *host) start() (*Keeper, *logtest.Hook, func()) {
	h.t.Helper()
	return h.startWith(policy.Rules{Floor: 0.01, Ceiling: 2})
}

func (h *host) startWith(r policy.Rules) (*Keeper, *logtest.Hook, func()) {
	h.t.Helper()
	groups, err := cgroup.Open(h.root, h.t.TempDir())
	if err != nil {
		h.t.Fatal(err)
	}
	log, hook := logtest.NewNullLogger()
	k, err := New(Options{State: &h.state, Inventory: &h.inventory, Groups: groups, Rules: r, Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	synctest.Wait()
	return k, hook, func() {
		stop()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestQuotaIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, hook, stop := h.start()
		defer stop()
		h.container(42)
		synctest.Wait()
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q from the label", got)
		}
		h.write("docker/c1/cpu.max", "90000 100000")
		pass(time.Second)
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q a second after a change by hand", got)
		}
		if e := hook.LastEntry(); e.Level != logrus.InfoLevel || e.Data["reason"] != "it had 0.9 CPUs, container label wants 0.2 CPUs" || e.Data["app"] != "/web" {
			t.Errorf("log %v %v", e.Message, e.Data)
		}
		h.state.Set(spec.HostState{Document: spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t1", CPUs: 0.75}}}})
		synctest.Wait()
		if got := h.quota(); got != "75000 100000" {
			t.Errorf("quota %q from the document", got)
		}
		h.state.Set(spec.HostState{Document: spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t1"}}}})
		synctest.Wait()
		h.write("docker/c1/cpu.max", "max 100000")
		pass(5 * time.Second)
		if got := h.quota(); got != "max 100000" {
			t.Errorf("quota %q although none is wanted", got)
		}
		if n := len(hook.AllEntries()); n != 3 {
			t.Errorf("%d log lines, want one a change", n)
		}
	})
}

func TestUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		k, _, stop := h.start()
		defer stop()
		h.container(42)
		synctest.Wait()
		for i := 1; i <= 60; i++ {
			h.counters(time.Duration(i)*200*time.Millisecond, 10*i, 4*i)
			pass(time.Second)
		}
		got, changed := k.Usage().Get()
		u := got["t1"]
		if math.Abs(u.CPU-0.2) > 0.02 || math.Abs(u.ThrottledShare-0.4) > 0.02 || u.MemBytes != 5000000 || u.CPUQuota != 0.2 {
			t.Errorf("usage %+v", u)
		}
		for i := 61; i <= 120; i++ { // nothing moves
			h.counters(time.Duration(i)*200*time.Millisecond, 10*i, 4*i)
			pass(time.Second)
		}
		select {
		case <-changed:
			t.Error("published although nothing moved")
		default:
		}
		h.container(0)
		pass(time.Second)
		if got, _ := k.Usage().Get(); len(got) != 0 {
			t.Errorf("usage of an ended task: %v", got)
		}
	})
}

func TestTroubleIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, hook, stop := h.start()
		defer stop()
		h.write("docker/c1/cpu.max", "nonsense here now")
		h.container(42)
		pass(10 * time.Second)
		if n := len(hook.AllEntries()); n != 1 {
			t.Errorf("%d log lines, want 1", n)
		}
		h.write("docker/c1/cpu.max", "max 100000")
		pass(time.Second)
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q after the trouble", got)
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Every: time.Minute}); err == nil {
		t.Error("empty options were accepted")
	}
	if err := (&Options{Rules: policy.Rules{Floor: 2, Ceiling: 1}}).Validate(); err == nil || !strings.Contains(err.Error(), "at least 2 and at most 1") {
		t.Errorf("a ceiling below the floor: %v", err)
	}
}

// one is the inventory with c1 alone, running since now.
func (h *host) one(c docker.Container) {
	c.ID, c.Name, c.Running, c.Pid, c.StartedAt = "c1", "mesos-1", true, 42, time.Now()
	h.inventory.Set(docker.Snapshot{Connected: true, Containers: []docker.Container{c}})
	synctest.Wait()
}

func TestLimitsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, hook, stop := h.start()
		defer stop()
		h.write("docker/c1/memory.max", "67108864")
		h.write("docker/c1/pids.max", "100")
		h.write("docker/c1/cpu.max", "50000 100000")
		h.one(docker.Container{
			NanoCPUs: 5e8, MemoryLimit: 64<<20 + 1, PidsLimit: 100, CPUShares: 1024,
			Env: []string{"MARATHON_APP_LABEL_BERTH_CPU_BURST=20ms"},
		})
		if n := len(hook.AllEntries()); n != 1 || h.read("cpu.max.burst") != "20000" {
			t.Errorf("%d log lines, want one about the burst, which is %s", n, h.read("cpu.max.burst"))
		}
		h.write("docker/c1/memory.max", "max")
		h.write("docker/c1/pids.max", "7")
		h.write("docker/c1/cpu.weight", "1")
		h.write("docker/c1/cpu.max", "max 100000")
		hook.Reset()
		pass(time.Second)
		if got := []string{h.read("memory.max"), h.read("pids.max"), h.read("cpu.weight"), h.read("cpu.max")}; !slices.Equal(got, []string{"67108864", "100", "39", "50000 100000"}) {
			t.Errorf("a second after changes by hand: %q", got)
		}
		var said []string
		for _, e := range hook.AllEntries() {
			said = append(said, fmt.Sprint(e.Message, ": ", e.Data["reason"]))
		}
		if want := []string{
			"Set the CPU quota: it had no quota, its creation wants 0.5 CPUs", "Set the CPU weight: it was 2, wanted are 1024 shares",
			"Set the memory limit: it was unlimited, the container was created with 64 MiB", "Set the pids limit: it was 7, the container was created with 100",
		}; !slices.Equal(said, want) {
			t.Errorf("log %q", said)
		}
	})
}

// The allowance is there at the start and ends by itself; an agent that comes late counts from the container's start.
func TestStartupAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, _, stop := h.start()
		h.one(docker.Container{
			CPUQuota: 50000, CPUPeriod: 100000,
			Labels: map[string]string{spec.LabelTask: "t1", spec.LabelCPUs: "0.5", spec.AppLabelStartup: "3x30s"},
		})
		if got := h.quota(); got != "150000 100000" {
			t.Errorf("quota %q at the start", got)
		}
		pass(20 * time.Second)
		stop()
		h.write("docker/c1/cpu.max", "50000 100000")
		k, _, stop := h.start()
		defer stop()
		if got := h.quota(); got != "150000 100000" {
			t.Errorf("quota %q of a restarted agent", got)
		}
		if all, _ := k.Usage().Get(); all["t1"].Base != 0.5 || all["t1"].CPUQuota != 1.5 {
			t.Errorf("usage %+v", all["t1"])
		}
		pass(11 * time.Second)
		if got := h.quota(); got != "50000 100000" {
			t.Errorf("quota %q after the start", got)
		}
	})
}

// While the engine is away, as live-restore lets it be, quotas are kept all the same; when it comes back with a container that
// began anew meanwhile, that one's are,
// also if its first process has got the number of the last one.
func TestEngineRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, _, stop := h.start()
		defer stop()
		c := docker.Container{Labels: map[string]string{spec.LabelTask: "t1", spec.LabelCPUs: "0.2"}}
		h.one(c)
		snapshot, _ := h.inventory.Get()
		snapshot.Connected = false
		h.inventory.Set(snapshot)
		h.write("docker/c1/cpu.max", "max 100000")
		pass(time.Second)
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q while the engine is away", got)
		}
		if err := os.RemoveAll(filepath.Join(h.root, "docker/c1")); err != nil {
			t.Fatal(err)
		}
		fresh := newHost(t)
		if err := os.Rename(filepath.Join(fresh.root, "docker/c1"), filepath.Join(h.root, "docker/c1")); err != nil {
			t.Fatal(err)
		}
		h.one(c)
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q of the container that began anew", got)
		}
	})
}

// One that the engine lists and cannot describe just now is kept as it was last described.
func TestObscureContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		k, _, stop := h.start()
		defer stop()
		h.one(docker.Container{Labels: map[string]string{spec.LabelTask: "t1"}, NanoCPUs: 2e8})
		h.inventory.Set(docker.Snapshot{Connected: true, Containers: []docker.Container{{
			ID: "c1", Name: "mesos-1", State: "paused", Running: true, Partial: true, Labels: map[string]string{spec.LabelTask: "t1"},
		}}})
		h.write("docker/c1/cpu.max", "max 100000")
		pass(time.Second)
		if got := h.quota(); got != "20000 100000" {
			t.Errorf("quota %q", got)
		}
		if all, _ := k.Usage().Get(); all["t1"].Base != 0.2 {
			t.Errorf("usage %+v", all)
		}
	})
}

func TestAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		k, _, stop := h.start()
		defer stop()
		h.write("docker/c1/cpu.max", "50000 100000")
		throttled := func(seconds int) {
			h.write("docker/c1/cpu.stat", fmt.Sprintf("usage_usec %d\nnr_periods %d\nnr_throttled %d\nthrottled_usec %d",
				seconds*500_000, seconds*10, seconds*4, seconds*4*50_000))
		}
		throttled(0)
		h.one(docker.Container{Labels: map[string]string{spec.LabelTask: "t1", spec.LabelCPUs: "0.5"}})
		for i := 1; i <= 130; i++ {
			throttled(i)
			pass(time.Second)
		}
		all, _ := k.Usage().Get()
		if u := all["t1"]; math.Abs(u.Lost-0.4) > 0.001 || u.Advice != 1 || u.Weight != 1024 {
			t.Errorf("usage %+v, want 40 %% lost, and advice of one core", u)
		}
		h.state.Set(spec.HostState{Document: spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "t1", CPUs: 1}}}})
		synctest.Wait()
		if all, _ = k.Usage().Get(); all["t1"].Base != 1 || all["t1"].CPUQuota != 1 {
			t.Errorf("usage %+v at once after a change of the quota", all["t1"])
		}
		pass(10 * time.Second)
		all, _ = k.Usage().Get()
		if u := all["t1"]; u.Lost != 0 || u.Advice != 0 || u.Base != 1 {
			t.Errorf("usage %+v under a new quota", u)
		}
	})
}

// BenchmarkPass is the comparison of 300 containers that have what they should, on files instead of a kernel.
func BenchmarkPass(b *testing.B) {
	root := b.TempDir()
	var all []docker.Container
	for i := range 300 {
		id := fmt.Sprintf("c%d", i)
		dir := filepath.Join(root, "docker", id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for name, text := range map[string]string{
			"cpu.max": "20000 100000", "cpu.max.burst": "0", "cpu.weight": "39", "memory.max": "67108864", "pids.max": "100",
			"cpu.stat": "usage_usec 1", "memory.current": "1", "memory.stat": "inactive_file 0", "pids.current": "1",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, docker.Container{
			ID: id, Name: id, Running: true, Pid: 1000 + i, NanoCPUs: 2e8, MemoryLimit: 64 << 20, PidsLimit: 100, CPUShares: 1024,
			Labels: map[string]string{spec.LabelTask: id}, Env: []string{"PATH=/bin", "MARATHON_APP_RESOURCE_CPUS=0.2"},
		})
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), nil, 0o644); err != nil {
		b.Fatal(err)
	}
	groups, err := cgroup.Open(root, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	o := Options{Groups: groups, Log: log}
	_ = o.Validate() // for the defaults
	l := newLoop(o, &watch.Value[map[string]spec.Usage]{})
	defer l.close()
	l.decide(time.Now(), spec.HostDocument{}, docker.Snapshot{Containers: all})
	l.pass(time.Now(), true)
	for b.Loop() {
		l.pass(time.Now(), false)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(all)), "µs/container")
}
