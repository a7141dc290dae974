package monitor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
	"github.com/berth-project/berth/spec"
)

// host is a version 2 host in folders.
type host struct {
	t          *testing.T
	root, proc string
	state      watch.Value[spec.HostState]
	inventory  watch.Value[docker.Snapshot]
}

func write(t testing.TB, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newHost(t *testing.T) *host {
	h := &host{t: t, root: t.TempDir(), proc: t.TempDir()}
	write(t, h.root, "cgroup.controllers", "cpu memory pids")
	h.cpu(0, 0, 0)
	write(t, h.root, "docker/c1/cpu.max", "20000 100000")
	write(t, h.root, "docker/c1/memory.current", "60000000")
	write(t, h.root, "docker/c1/memory.stat", "inactive_file 10000000")
	write(t, h.root, "docker/c1/memory.max", "100000000")
	write(t, h.root, "docker/c1/pids.current", "7")
	write(t, h.proc, "42/net/dev", netDev)
	for pid, ns := range map[string]string{"self": "net:[1]", "42": "net:[2]", "43": "net:[1]"} {
		write(t, h.proc, pid+"/stat", "")
		if err := os.MkdirAll(filepath.Join(h.proc, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(ns, filepath.Join(h.proc, pid, "ns", "net")); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  999999      10    0    0    0     0          0         0   999999      10    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0     3000      10    0    0    0     0       0          0
  eth1:      20       1    0    0    0     0          0         0       50       1    0    0    0     0       0          0`

func (h *host) cpu(used time.Duration, periods, throttled int) {
	write(h.t, h.root, "docker/c1/cpu.stat", fmt.Sprintf("usage_usec %d\nnr_periods %d\nnr_throttled %d", used.Microseconds(), periods, throttled))
}

func (h *host) monitor(socket string) *Monitor {
	h.t.Helper()
	groups, err := cgroup.Open(h.root, h.proc)
	if err != nil {
		h.t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m, err := New(Options{State: &h.state, Inventory: &h.inventory, Groups: groups, Proc: h.proc, Socket: socket, Version: "1.2.3", Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

var web = spec.HostSeat{
	Seat: spec.SeatID{App: "/prod/web"}, TaskID: "t1", Instance: "prod_web.instance-1", Hostname: "web-0.prod", Pool: "pool",
	Address: netip.MustParseAddr("10.9.0.10"), Probes: []spec.Probe{{Protocol: "TCP"}},
}

func TestItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		m := h.monitor("unused")
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); m.sample(ctx) }()
		defer func() { stop(); <-done }()

		db := web
		db.Seat.App, db.TaskID, db.Drain, db.Probes = "/db", "t2", true, nil
		h.state.Set(spec.HostState{
			Document: spec.HostDocument{Version: 1, Seats: []spec.HostSeat{web, db}},
			Health:   map[string][]spec.CheckHealth{"t1": {{Known: true}}},
		})
		labels := func(task, app string) map[string]string {
			return map[string]string{spec.LabelTask: task, spec.LabelApp: app, spec.LabelSeat: "0"}
		}
		h.inventory.Set(docker.Snapshot{Connected: true, Containers: []docker.Container{
			{ID: "c1", Running: true, Pid: 42, Labels: labels("t1", "/prod/web"), StartedAt: time.Now()},
			{ID: "c3", Labels: labels("old", "/prod/web")},
			// Another Berth's on this machine, one with our app and seat.
			{ID: "c4", Running: true, Pid: 43, Labels: labels("theirs", "/prod/web"), StartedAt: time.Now().Add(time.Second)},
			{ID: "c5", Running: true, Pid: 43, Labels: labels("theirs2", "/db"), StartedAt: time.Now().Add(time.Second)},
			{ID: "c6", Running: true, Pid: 43, Labels: labels("theirs3", "/theirs"), StartedAt: time.Now()},
		}})
		for i := 1; i <= 90; i++ {
			h.cpu(time.Duration(i)*200*time.Millisecond, 10*i, 3*i)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for request, want := range map[string]string{
			"berth.ping": "1", "berth.version": "1.2.3",
			"berth.cpu.usage[/prod/web,0]": "0.2", `berth.cpu.quota["/prod/web","0"]`: "0.2", "berth.cpu.throttled[prod/web,0]": "0.3",
			"berth.mem.used[/prod/web,0]": "50000000", "berth.mem.limit[/prod/web,0]": "100000000", "berth.mem.pct[/prod/web,0]": "50",
			"berth.net.in[/prod/web,0]": "1020", "berth.net.out[/prod/web,0]": "3050", "berth.procs[/prod/web, 0]": "7",
			"berth.uptime[/prod/web,0]": "90", "berth.health[/prod/web,0]": "0", "berth.health[/db,0]": "1",
			"berth.procs[/theirs,0]": "! no instance /theirs.0 on this host",
			"berth.cpu.usage[/db,0]": "! /db.0: it has no running container",
			"berth.host.instances":   "2",
			"berth.discovery[/prod]": `[{"{#ID}":"/prod/web.0","{#APP}":"/prod/web","{#SEAT}":"0","{#INSTANCE}":"prod_web.instance-1","{#HOSTNAME}":"web-0.prod","{#IP}":"10.9.0.10","{#POOL}":"pool","{#STATE}":"running"}]`,
		} {
			got, err := m.answer(request, time.Now(), zabbix.LimitSocket)
			if err != nil {
				got = []byte("! " + err.Error())
			}
			if string(got) != want {
				t.Errorf("%s: got %q, want %q", request, got, want)
			}
		}
	})
}

func TestSocket(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "run", "zabbix.sock")
	ask := func(request string) string {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	write(t, filepath.Dir(path), "zabbix.sock", "a leftover")
	for range 2 { // the second time on the place that the first one left
		l, err := listen(t.Context(), path, "")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o660 {
			t.Errorf("mode %v, %v", s.Mode(), err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.monitor(path).serve(ctx, door{Listener: l, name: path, limit: zabbix.LimitSocket}) }()
		if got := ask("berth.version\n"); got != "1.2.3" {
			t.Errorf("got %q", got)
		}
		if got := ask("berth.nothing\r\n"); got != zbxd.NotSupported+"\x00berth.nothing: no sample has been taken yet" {
			t.Errorf("got %q", got)
		}
		if got := ask(strings.Repeat("x", maxLine)); !strings.HasPrefix(got, zbxd.NotSupported+"\x00a request is one line") {
			t.Errorf("got %q", got)
		}
		if _, err := listen(t.Context(), path, ""); err == nil {
			t.Error("a socket that answers was taken over")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := listen(t.Context(), path, "no such group"); err == nil {
		t.Error("an unknown group was accepted")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("empty options were accepted")
	}
}
