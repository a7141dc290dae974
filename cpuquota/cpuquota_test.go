package cpuquota

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

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

func (h *host) quota() string {
	b, err := os.ReadFile(filepath.Join(h.root, "docker/c1/cpu.max"))
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
	groups, err := cgroup.Open(h.root, h.t.TempDir())
	if err != nil {
		h.t.Fatal(err)
	}
	log, hook := logtest.NewNullLogger()
	k, err := New(Options{State: &h.state, Inventory: &h.inventory, Groups: groups, Log: log})
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

func TestWindowForgetsTheOld(t *testing.T) {
	var w window
	start := time.Unix(0, 0)
	for i := range 100 {
		cpu := time.Duration(0)
		if i > 50 {
			cpu = time.Duration(i-50) * time.Second
		}
		w.add(sample{at: start.Add(time.Duration(i) * time.Second), stats: cgroup.Stats{CPU: cpu}}, 10*time.Second, time.Second)
	}
	if u := w.usage(cgroup.Quota{}); u.CPU != 1 || len(w.samples) != 11 {
		t.Errorf("%v cores from %d samples", u.CPU, len(w.samples))
	}
	if _, err := New(Options{Every: time.Minute}); err == nil {
		t.Error("empty options were accepted")
	}
}
