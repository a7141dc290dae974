package sampler

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

// machine is a version 2 host in folders.
type machine struct {
	t          *testing.T
	root, proc string
	s          *Sampler
}

func (m *machine) write(root, name, text string) {
	m.t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  999999      10    0    0    0     0          0         0   999999      10    0    0    0     0       0          0
  eth1:      20       1    0    0    0     0          0         0       50       1    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     3000      11    3    4    0     0       0          0`

// newMachine has the processes 42, 43 (in the host's network) and 44.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), proc: t.TempDir()}
	m.write(m.root, "cgroup.controllers", "cpu memory pids io")
	for name, text := range map[string]string{
		"stat":         "cpu  100 10 200 5000 50 1 2 3 40 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5",
		"loadavg":      "0.50 0.25 0.12 1/234 5678",
		"meminfo":      "MemTotal:       1000 kB\nMemFree:   1 kB\nMemAvailable:    500 kB\nSwapTotal:       20 kB\nSwapFree:     10 kB",
		"uptime":       "12345.67 1234.5",
		"self/statm":   "1000 50 1 1 0 1 0",
		"42/net/dev":   netDev,
		"44/net/dev":   netDev,
		"42/net/snmp":  "",
		"43/net/dev":   netDev,
		"self/net/dev": "",
	} {
		m.write(m.proc, name, text)
	}
	m.write(m.proc, "42/net/sockstat", "sockets: used 5\nTCP: inuse 3 orphan 0 tw 7 alloc 3 mem 0\nUDP: inuse 1 mem 0\nRAW: inuse 9")
	m.write(m.proc, "42/net/sockstat6", "TCP6: inuse 2\nUDP6: inuse 4")
	for pid, ns := range map[string]string{"self": "net:[1]", "42": "net:[2]", "43": "net:[1]", "44": "net:[3]"} {
		if err := os.MkdirAll(filepath.Join(m.proc, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(ns, filepath.Join(m.proc, pid, "ns", "net")); err != nil {
			t.Fatal(err)
		}
	}
	groups, err := cgroup.Open(m.root, m.proc)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m.s, err = New(Options{Groups: groups, Proc: m.proc, Every: time.Second, Window: time.Minute, Host: "h1", Version: "1.2.3", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.s.Close)
	return m
}

// group makes a container's group.
func (m *machine) group(id string, kills int) {
	for name, text := range map[string]string{
		"cpu.max": "20000 100000", "cpu.weight": "39", "memory.current": "60000000", "memory.max": "100000000", "pids.current": "7", "pids.max": "64",
		"cpu.stat":    "usage_usec 2000000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 500000",
		"memory.stat": "anon 1000\nfile 2000\ninactive_file 10000000", "memory.swap.current": "4096", "memory.events": fmt.Sprintf("oom 9\noom_kill %d", kills),
		"io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0",
	} {
		m.write(m.root, "docker/"+id+"/"+name, text)
	}
}

func (m *machine) pass(state spec.HostState, all ...docker.Container) *figures.Snapshot {
	return m.s.Pass(Sources{State: state, Inventory: docker.Snapshot{Connected: true, Containers: all}, DataDir: m.root}, true)
}

// TestEverythingIsMeasured on a clock that stands still, so that nothing is too slow for the sampler's patience.
func TestEverythingIsMeasured(t *testing.T) { synctest.Test(t, testEverything) }

func testEverything(t *testing.T) {
	m := newMachine(t)
	m.group("c1", 2)
	m.services()
	web := spec.HostSeat{
		Seat: spec.SeatID{App: "/prod/web"}, TaskID: "t1", Instance: "prod_web.instance-1", Hostname: "web-0.prod", Pool: "pool", CPUs: 0.1, AppVersion: "v1",
		Address: netip.MustParseAddr("10.9.0.10"), Probes: []spec.Probe{{Protocol: "HTTP", Port: 80, Path: "/ok"}, {Protocol: "COMMAND", Argv: []string{"/bin/true", "-x"}}},
	}
	state := spec.HostState{Document: spec.HostDocument{Version: 7, Seats: []spec.HostSeat{web}}, Health: map[string][]spec.CheckHealth{"t1": {{Known: true, Alive: true}}}}
	c := docker.Container{
		ID: "c1", Running: true, Pid: 42, StartedAt: time.Now().Add(-time.Hour), RestartCount: 3,
		Labels: map[string]string{spec.LabelApp: "/prod/web", spec.LabelSeat: "0", spec.LabelTask: "t1"},
	}
	got := m.s.Pass(Sources{
		State: state, Inventory: docker.Snapshot{Connected: true, Containers: []docker.Container{c}}, DataDir: m.root,
		Usage: map[string]spec.Usage{"t1": {Base: 0.15, Lost: 0.3, Advice: 0.4}},
	}, true)
	if len(got.Instances) != 1 || got.Instances[0].Figures == nil {
		t.Fatalf("got %+v", got.Instances)
	}
	i := got.Instances[0]
	if i.Uptime < 3600 || i.Uptime > 3660 {
		t.Errorf("uptime %v", i.Uptime)
	}
	i.Uptime = 0
	for n := range i.Services {
		if i.Services[n].For < 3600 || i.Services[n].For > 3660 {
			t.Errorf("%s for %v", i.Services[n].Name, i.Services[n].For)
		}
		i.Services[n].For = 0
	}
	want := figures.Instance{
		App: "/prod/web", Instance: "prod_web.instance-1", Hostname: "web-0.prod", Task: "t1", Version: "v1", Pool: "pool", Address: "10.9.0.10", Managed: true,
		State: figures.Running, Health: figures.Unknown, Started: c.StartedAt, Restarts: 3,
		Checks: []figures.Check{{Protocol: "HTTP", Target: ":80/ok", Health: figures.Healthy}, {Protocol: "COMMAND", Target: "/bin/true", Health: figures.Unknown}},
		Figures: &figures.Figures{
			CPU:    figures.CPU{Seconds: 2, Quota: 0.2, Base: 0.15, Weight: 1024, Periods: 10, Throttled: 3, Waited: 0.5, Lost: 0.3, Advice: 0.4},
			Memory: figures.Memory{Used: 50000000, RSS: 1000, Cache: 2000, Swap: 4096, Limit: 100000000, OOMKills: 2},
			IO:     figures.IO{ReadBytes: 11, WriteBytes: 21, Reads: 2, Writes: 3},
			Pids:   figures.Pids{Current: 7, Limit: 64},
			Networks: []figures.Interface{
				{Name: "eth0", RxBytes: 1000, RxPackets: 10, RxErrors: 1, RxDropped: 2, TxBytes: 3000, TxPackets: 11, TxErrors: 3, TxDropped: 4},
				{Name: "eth1", RxBytes: 20, RxPackets: 1, TxBytes: 50, TxPackets: 1},
			},
			Sockets: figures.Sockets{TCP: 5, TimeWait: 7, UDP: 5},
			Services: []figures.Service{
				{Name: "cron", Up: true, Ready: true, Want: true, Pid: 30},
				{Name: "linked", Up: true, Ready: true, Want: true, Pid: 33},
				{Name: "new", Up: true, Ready: true, Want: true, Pid: 34},
				{Name: "sshd", Want: true},
				{Name: "starting", Up: true, Want: true, Pid: 32},
			},
		},
	}
	if d := cmp.Diff(want, i); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	testHost(t, got)
}

func testHost(t *testing.T, got *figures.Snapshot) {
	t.Helper()
	h := got.Host
	if h.DiskTotal <= 0 || h.DiskAvailable <= 0 || h.Agent.CPUSeconds <= 0 || h.Agent.RSS <= 0 || h.Agent.Goroutines <= 0 {
		t.Errorf("got %+v", h)
	}
	h.DiskTotal, h.DiskAvailable, h.Agent = 0, 0, figures.Process{}
	want := figures.Host{
		Name: "h1", Cores: 2, CPUSeconds: 3.16, IdleSeconds: 50.5, Load: [3]float64{0.5, 0.25, 0.12}, MemTotal: 1000 << 10, MemAvailable: 500 << 10,
		SwapTotal: 20 << 10, SwapFree: 10 << 10, Uptime: 12345.67, Quota: 0.2, Containers: 1, DockerConnected: true, Document: 7,
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got.Version != "1.2.3" || got.At.IsZero() {
		t.Errorf("version %q, at %v", got.Version, got.At)
	}
}

// TestWithoutDocument: before there is a host document, containers are instances by their labels.
func TestWithoutDocument(t *testing.T) {
	m := newMachine(t)
	labelled := []docker.Container{
		{ID: "c2", Name: "n2", Running: true, Pid: 43, Labels: map[string]string{spec.LabelApp: "/alone", spec.LabelSeat: "0"}, StartedAt: time.Now()},
		{ID: "c3", Name: "n3", Running: true, Pid: 43, Labels: map[string]string{spec.LabelApp: "/no/number"}, StartedAt: time.Now()},
	}
	first := m.pass(spec.HostState{}, labelled...)
	if first.Host.SampleSeconds <= 0 {
		t.Error("it took no time")
	}
	all := first.Instances
	if len(all) != 1 || all[0].App != "/alone" || all[0].Health != figures.Unknown || all[0].Instance != "c2" || all[0].Hostname != "alone-0" ||
		all[0].Figures != nil || all[0].Trouble != "find the group of process 43: no control group" {
		t.Errorf("got %+v", all)
	}
	if all := m.pass(spec.HostState{Document: spec.HostDocument{Version: 1}}, labelled...).Instances; len(all) != 0 {
		t.Errorf("a document without seats has instances %+v", all)
	}
}

// TestOthersKeepTheirNumbers: containers of another Marathon, and of plain docker run.
func TestOthersKeepTheirNumbers(t *testing.T) {
	m := newMachine(t)
	at := time.Now()
	theirs := func(id string, age time.Duration) docker.Container {
		return docker.Container{
			ID: id, Name: "mesos-" + id, Running: true, Pid: 42, StartedAt: at.Add(-age),
			Env: []string{"PATH=/bin", "MARATHON_APP_ID=/shop", "MARATHON_APP_VERSION=2026-01-01T00:00:00.000Z", "MESOS_TASK_ID=shop.instance-" + id + "._app.1"},
		}
	}
	shop := func(all []figures.Instance) map[string]int {
		seats := map[string]int{}
		for _, i := range all {
			seats[i.App+" "+i.Instance] = i.Seat
		}
		return seats
	}
	check := func(want map[string]int, state spec.HostState, all ...docker.Container) {
		t.Helper()
		if d := cmp.Diff(want, shop(m.pass(state, all...).Instances)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	a, b, c := theirs("a", 3*time.Hour), theirs("b", 2*time.Hour), theirs("c", time.Hour)
	check(map[string]int{"/shop shop.instance-a": 0, "/shop shop.instance-b": 1}, spec.HostState{}, b, a)
	check(map[string]int{"/shop shop.instance-b": 1}, spec.HostState{}, b)
	check(map[string]int{"/shop shop.instance-b": 1, "/shop shop.instance-c": 0}, spec.HostState{}, b, c)
	plain := docker.Container{ID: "p", Name: "redis", Running: true, Pid: 43, StartedAt: at, Env: []string{"MARATHON_APP_ID=../../etc"}}
	check(map[string]int{"/redis redis": 0, "/shop shop.instance-c": 0}, spec.HostState{}, c, plain)
	plain.Name = "cache"
	// A seat of Berth's has the number that the scheduler gave it.
	ours := spec.HostState{Document: spec.HostDocument{Version: 1, Seats: []spec.HostSeat{{Seat: spec.SeatID{App: "/shop"}, Instance: "ours"}}}}
	check(map[string]int{"/cache cache": 0, "/shop shop.instance-c": 1, "/shop ours": 0}, ours, c, plain)
}

// TestRestartsAndKills are counted on when the container's own counters begin anew.
func TestRestartsAndKills(t *testing.T) {
	m := newMachine(t)
	m.group("c1", 0)
	at := time.Now()
	c := docker.Container{ID: "c1", Name: "db", Running: true, Pid: 42, StartedAt: at.Add(-time.Hour)}
	step := func(restarts int, kills uint64, c docker.Container) {
		t.Helper()
		all := m.pass(spec.HostState{}, c).Instances
		if !c.Running {
			if len(all) != 0 {
				t.Errorf("got %+v", all)
			}
			return
		}
		if len(all) != 1 || all[0].Restarts != restarts || all[0].Memory.OOMKills != kills {
			t.Errorf("want %d restarts and %d kills, got %+v", restarts, kills, all)
		}
	}
	step(0, 0, c)
	m.group("c1", 1) // a process in it
	step(0, 1, c)
	dead := c
	dead.Running, dead.Pid = false, 0
	step(0, 0, dead)
	m.group("c1", 0)
	c.Pid, c.StartedAt = 44, at.Add(-time.Minute)
	step(1, 1, c)
	dead.OOMKilled = true // its first process
	step(0, 0, dead)
	c.Pid, c.StartedAt, c.RestartCount = 42, at, 1
	step(2, 2, c)
	c.Pid, c.StartedAt, c.RestartCount = 44, at.Add(time.Second), 4 // while nobody looked
	step(5, 2, c)
	c.ID = "c2"
	m.group("c2", 0)
	step(6, 2, c)
}

// TestObscureContainer: one that the engine lists but cannot describe just now goes on, and what it has lived through counts once.
func TestObscureContainer(t *testing.T) {
	m := newMachine(t)
	m.group("c1", 3)
	c := docker.Container{ID: "c1", Name: "db", State: "running", Running: true, Pid: 42, StartedAt: time.Now().Add(-time.Hour)}
	obscure := c
	obscure.State, obscure.Pid, obscure.Partial = "paused", 0, true
	for n, c := range []docker.Container{c, obscure, c} {
		all := m.pass(spec.HostState{}, c).Instances
		if len(all) != 1 || all[0].Figures == nil || all[0].Restarts != 0 || all[0].Memory.OOMKills != 3 {
			t.Errorf("pass %d: %+v", n, all)
		}
	}
}

// TestCloseLeavesNothingOpen of the containers' files.
func TestCloseLeavesNothingOpen(t *testing.T) {
	m := newMachine(t)
	m.group("c1", 0)
	open := func() (n int) {
		all, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range all {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, m.root) {
				n++
			}
		}
		return n
	}
	m.pass(spec.HostState{}, docker.Container{ID: "c1", Name: "db", Running: true, Pid: 42})
	if n := open(); n == 0 {
		t.Error("nothing is kept open")
	}
	m.s.Close()
	if n := open(); n != 0 {
		t.Errorf("%d files are still open", n)
	}
}

// TestManyInterfaces: a container with more than are looked at has its figures all the same.
func TestManyInterfaces(t *testing.T) {
	m := newMachine(t)
	m.group("c1", 0)
	text := netDev
	for n := range 2000 {
		text += fmt.Sprintf("\nveth%04d: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0", n)
	}
	m.write(m.proc, "42/net/dev", text)
	all := m.pass(spec.HostState{}, docker.Container{ID: "c1", Name: "dind", Running: true, Pid: 42}).Instances
	if len(all) != 1 || all[0].Figures == nil || len(all[0].Networks) != maxInterfaces {
		t.Errorf("got %+v", all)
	}
}

func FuzzNetDev(f *testing.F) {
	f.Add([]byte(netDev))
	f.Fuzz(func(t *testing.T, b []byte) {
		if all := parseNetDev(b); len(all) > maxInterfaces {
			t.Errorf("%d interfaces", len(all))
		}
	})
}

func FuzzSockets(f *testing.F) {
	f.Add([]byte("TCP: inuse 3 orphan 0 tw 7 alloc 3 mem 0\nUDP: inuse 1 mem 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s figures.Sockets
		if addSockets(&s, b); s.TimeWait < 0 && len(b) < 100 {
			t.Errorf("%q: %+v", b, s)
		}
	})
}

func FuzzHost(f *testing.F) {
	f.Add([]byte("cpu  100 10 200 5000 50 1 2 3 40 0\ncpu0 1 1 1 1\n"))
	f.Add([]byte("MemTotal:       1000 kB\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h figures.Host
		parseStat(b, &h)
		if parseMeminfo(b, &h); h.MemTotal < 0 || h.Cores < 0 {
			t.Errorf("%q: %+v", b, h)
		}
	})
}
