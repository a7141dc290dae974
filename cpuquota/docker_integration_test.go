//go:build integration

package cpuquota

import (
	"context"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

const (
	busyImage = "berth-it-quota:1"
	busyName  = "berth-it-quota"
)

// busyContainer starts a container that spins on one core with a quota of 0.2, and limits of memory and processes.
func busyContainer(t *testing.T, c *docker.Client) docker.Container {
	t.Helper()
	return startBusy(t, c, docker.CreateSpec{
		CPUQuota: 20000, CPUPeriod: 100000, CPUShares: 300, Memory: 64 << 20, PidsLimit: new(int64(50)),
		Labels: map[string]string{spec.LabelTask: "it-quota", spec.LabelApp: "/it/quota", spec.LabelCPUs: "0.2"},
	})
}

// startBusy starts a container of that kind that spins on one core.
func startBusy(t *testing.T, c *docker.Client, kind docker.CreateSpec) docker.Container {
	t.Helper()
	realtest.Image(t, busyImage, "package main\n\nimport \"runtime\"\n\nfunc main() {\n\truntime.GOMAXPROCS(1)\n\tfor {\n\t}\n}\n")
	ctx := context.Background()
	_ = c.Remove(ctx, busyName, true) // of a test that was killed
	kind.Name, kind.Image, kind.Network = busyName, busyImage, "none"
	id, err := c.Create(ctx, kind)
	t.Cleanup(func() { _ = c.Remove(ctx, busyName, true) })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	container, err := c.Inspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return container
}

// keeping is a Keeper of this machine's containers, with the value through which it is told of the host document.
type keeping struct {
	*Keeper
	groups *cgroup.FS
	state  watch.Value[spec.HostState]
}

func keep(t *testing.T, c *docker.Client) *keeping {
	t.Helper()
	groups, err := cgroup.Open("", "")
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	inventory := docker.NewInventory(c, log)
	k := &keeping{groups: groups}
	if k.Keeper, err = New(Options{State: &k.state, Inventory: inventory, Groups: groups, Log: log, Publish: time.Second}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- inventory.Run(ctx) }()
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; <-done })
	return k
}

// seen waits until the keeper has looked at a container once.
func (k *keeping) seen(key string) {
	for {
		all, changed := k.Usage().Get()
		if _, ok := all[key]; ok {
			return
		}
		<-changed
	}
}

func (k *keeping) group(t *testing.T, c docker.Container) *cgroup.Group {
	t.Helper()
	group, err := k.groups.Find(c.Pid, c.ID, c.CgroupParent)
	if err != nil {
		t.Fatal(err)
	}
	return group
}

func TestRealQuota(t *testing.T) {
	c := realtest.Docker(t)
	container := busyContainer(t, c)
	k := keep(t, c)
	group := k.group(t, container)
	wantQuota(t, group, 20*time.Millisecond)
	k.seen("it-quota")
	for _, h := range []struct {
		what   string
		change func() error
		right  func(cgroup.Settings) bool
	}{
		{"quota", func() error { return group.SetQuota(cgroup.Quota{Time: 90 * time.Millisecond}) }, func(s cgroup.Settings) bool { return s.Quota.Time == 20*time.Millisecond }},
		{"no quota", func() error { return group.SetQuota(cgroup.Quota{}) }, func(s cgroup.Settings) bool { return s.Quota.Time == 20*time.Millisecond }},
		{"another period", func() error {
			return group.SetQuota(cgroup.Quota{Time: 90 * time.Millisecond, Period: 200 * time.Millisecond})
		},
			func(s cgroup.Settings) bool {
				return s.Quota == cgroup.Quota{Time: 20 * time.Millisecond, Period: cgroup.DefaultPeriod}
			}},
		{"weight", func() error { return group.SetWeight(5000) }, func(s cgroup.Settings) bool { return s.HasWeight(300) }},
		{"more memory", func() error { return group.SetMemoryLimit(80 << 20) }, func(s cgroup.Settings) bool { return s.MemoryLimit == 64<<20 }},
		{"less memory", func() error { return group.SetMemoryLimit(32 << 20) }, func(s cgroup.Settings) bool { return s.MemoryLimit == 64<<20 }},
		{"pids limit", func() error { return group.SetPidsLimit(0) }, func(s cgroup.Settings) bool { return s.PidsLimit == 50 }},
	} {
		t.Run("a change by hand is repaired: "+h.what, func(t *testing.T) {
			if err := h.change(); err != nil {
				t.Fatal(err)
			}
			wantSettings(t, group, 2*time.Second, h.right)
		})
	}
	t.Run("the document changes it", func(t *testing.T) {
		set := func(cpus float64) {
			k.state.Set(spec.HostState{Document: spec.HostDocument{Seats: []spec.HostSeat{{TaskID: "it-quota", CPUs: cpus}}}})
		}
		set(0.35)
		wantQuota(t, group, 35*time.Millisecond)
		set(0.2)
		wantQuota(t, group, 20*time.Millisecond)
	})
	t.Run("a busy loop uses its quota", func(t *testing.T) { testBusy(t, k.Keeper) })
}

// A container of docker run has an allowance by its label, and a burst where the kernel has one; then docker update is
// another creation.
func TestRealAllowance(t *testing.T) {
	c := realtest.Docker(t)
	container := startBusy(t, c, docker.CreateSpec{NanoCPUs: 2e8, Labels: map[string]string{spec.AppLabelStartup: "1.5x4s", spec.AppLabelBurst: "10ms"}})
	k := keep(t, c)
	group := k.group(t, container)
	if !time.Now().After(container.StartedAt.Add(3 * time.Second)) { // a machine that was too busy has missed the allowance
		wantSettings(t, group, time.Second, func(s cgroup.Settings) bool { return s.Quota.Time == 30*time.Millisecond })
	}
	wantSettings(t, group, 8*time.Second, func(s cgroup.Settings) bool {
		return s.Quota.Time == 20*time.Millisecond && (s.Burst == 10*time.Millisecond || !s.CanBurst)
	})
	if since := time.Since(container.StartedAt); since < 4*time.Second {
		t.Errorf("the allowance ended after %v", since)
	}
	realtest.Run(t, nil, "docker", "update", "--cpus", "0.1", container.ID)
	k.seen(container.ID)
	wantSettings(t, group, 3*time.Second, func(s cgroup.Settings) bool {
		return s.Quota.Time == 10*time.Millisecond && (s.Burst == 10*time.Millisecond || !s.CanBurst)
	})
}

// wantSettings waits until the kernel has what is right.
func wantSettings(t *testing.T, g *cgroup.Group, limit time.Duration, right func(cgroup.Settings) bool) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		got, err := new(cgroup.Reader).Settings(g, cgroup.AllParts())
		took := time.Since(began)
		if err == nil && right(got) {
			t.Logf("after %v", took.Round(time.Millisecond))
			return
		}
		if took > limit {
			t.Fatalf("%+v, %v after %v", got, err, took)
		}
	}
}

// wantQuota waits until the kernel has the quota; a pass comes each second.
func wantQuota(t *testing.T, g *cgroup.Group, want time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := g.Quota()
		if err == nil && got.Time == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("quota %+v, %v; want %v", got, err, want)
		}
	}
}

// testBusy waits for a window of 0.200 cores. The loop can use its quota only while a core is free for it, so on a busy
// machine it waits for quieter times, and says so.
func testBusy(t *testing.T, k *Keeper) {
	const want, tolerance = 0.200, 0.02
	var last spec.Usage
	for range 4 {
		time.Sleep(12 * time.Second) // a whole window under the final quota
		all, _ := k.Usage().Get()
		last = all["it-quota"]
		if math.Abs(last.CPU-want) <= want*tolerance {
			if last.ThrottledShare < 0.5 || last.CPUQuota != want {
				t.Errorf("usage %+v of a busy loop at its quota", last)
			}
			return
		}
		t.Logf("%.4f cores, load %s on %d cores; trying again", last.CPU, load(), runtime.NumCPU())
	}
	if n, err := strconv.ParseFloat(load(), 64); err == nil && n > float64(runtime.NumCPU())+1 && last.CPU < want {
		t.Skipf("SKIPPED: the machine is too busy to measure: load %.1f on %d cores, %.4f cores left for the loop", n, runtime.NumCPU(), last.CPU)
	}
	t.Errorf("%.4f cores, want %.3f +- 2 %%", last.CPU, want)
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}
