package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-project/berth/agent/drain"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

var (
	blue     = spec.Pool{Name: "blue", CIDR: netip.MustParsePrefix("10.1.0.0/24")}
	compared = []cmp.Option{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()}
)

func prefix(p string) netip.Prefix { return netip.MustParsePrefix(p) }

func addr(a string) netip.Addr { return netip.MustParseAddr(a) }

func box(id, name, network, a string, running bool, task string, since time.Time) docker.Container {
	c := docker.Container{ID: id, Name: name, Running: running, StartedAt: since, Labels: map[string]string{}}
	if a != "" {
		c.Addresses = map[string]netip.Addr{network: addr(a)}
	}
	if task != "" {
		c.Labels[spec.LabelTask] = task
	}
	return c
}

func TestHeld(t *testing.T) {
	now := time.Unix(1e9, 0)
	old := now.Add(-time.Minute)
	doc := &spec.HostDocument{Pools: []spec.Pool{blue}, Seats: []spec.HostSeat{{TaskID: "t1", Address: addr("10.1.0.10")}}}
	for name, c := range map[string]struct {
		box  docker.Container
		host map[netip.Prefix]string
		want []spec.Held
	}{
		"a task of the document":     {box: box("1", "mesos-1", "blue", "10.1.0.10", true, "t1", old)},
		"a container by hand":        {box: box("1", "debug", "blue", "10.1.0.11", true, "", now), want: []spec.Held{{Address: addr("10.1.0.11"), By: `container "debug"`}}},
		"one outside the pools":      {box: box("1", "debug", "bridge", "172.17.0.2", true, "", old)},
		"a stopped one":              {box: box("1", "debug", "blue", "10.1.0.11", false, "", old)},
		"a task nobody knows":        {box: box("1", "mesos-2", "blue", "10.1.0.12", true, "t2", old), want: []spec.Held{{Address: addr("10.1.0.12"), By: `task t2 (container "mesos-2")`}}},
		"a task just launched":       {box: box("1", "mesos-2", "blue", "10.1.0.12", true, "t2", now.Add(-time.Second))},
		"a stopped task":             {box: box("1", "mesos-2", "blue", "10.1.0.12", false, "t2", old)},
		"the host itself":            {host: map[netip.Prefix]string{prefix("10.1.0.20/32"): "eth0"}, want: []spec.Held{{Address: addr("10.1.0.20"), By: "this host's own interface eth0"}}},
		"the gateway":                {host: map[netip.Prefix]string{prefix("10.1.0.1/24"): "br-blue"}},
		"the gateway elsewhere":      {host: map[netip.Prefix]string{prefix("10.1.0.1/24"): "cni0"}, want: []spec.Held{{Address: addr("10.1.0.1"), By: "this host's own interface cni0"}}},
		"the host outside the pools": {host: map[netip.Prefix]string{prefix("192.168.1.1/24"): "eth0"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := held(doc, docker.Snapshot{Connected: true, Containers: []docker.Container{c.box}}, hostHeld(doc.Pools, c.host), now)
			if d := cmp.Diff(c.want, got, compared...); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClashes(t *testing.T) {
	for name, c := range map[string]struct {
		host map[netip.Prefix]string
		want []clash
	}{
		"its bridge":       {map[netip.Prefix]string{prefix("10.1.0.1/24"): "br-blue"}, nil},
		"the same network": {map[netip.Prefix]string{prefix("10.1.0.1/24"): "cni0"}, []clash{{"cni0", prefix("10.1.0.0/24")}}},
		"a part":           {map[netip.Prefix]string{prefix("10.1.0.129/25"): "eth1"}, []clash{{"eth1", prefix("10.1.0.128/25")}}},
		"set aside in it":  {map[netip.Prefix]string{prefix("10.9.9.9/8"): "eth0"}, nil},
		"the host in it":   {map[netip.Prefix]string{prefix("10.1.0.9/8"): "eth0"}, []clash{{"eth0", prefix("10.0.0.0/8")}}},
		"several":          {map[netip.Prefix]string{prefix("10.1.0.9/8"): "b", prefix("10.1.0.3/24"): "a"}, []clash{{"a", prefix("10.1.0.0/24")}, {"b", prefix("10.0.0.0/8")}}},
		"an address":       {map[netip.Prefix]string{prefix("10.1.0.9/32"): "lo"}, nil},
		"elsewhere":        {map[netip.Prefix]string{prefix("192.168.1.1/16"): "eth0"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := clashes([]spec.Pool{blue}, c.host, spec.Pool.Bridge)["blue"]; !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestTargets(t *testing.T) {
	now := time.Unix(1e9, 0)
	probes := []spec.Probe{{Protocol: "TCP", Port: 22}}
	doc := &spec.HostDocument{Seats: []spec.HostSeat{
		{TaskID: "runs", Address: addr("10.1.0.10"), Probes: probes}, {TaskID: "bare"}, {TaskID: "stopped", Probes: probes}, {TaskID: "absent", Probes: probes},
	}}
	snap := docker.Snapshot{Containers: []docker.Container{
		box("1", "a", "blue", "10.1.0.10", true, "runs", now), box("2", "b", "blue", "", true, "bare", now), box("3", "c", "blue", "", false, "stopped", now),
	}}
	got := targets(doc, running(snap))
	if len(got) != 1 || got[0].TaskID != "runs" || got[0].Container != "1" || !got[0].Since.Equal(now) || got[0].Address != addr("10.1.0.10") {
		t.Errorf("got %+v", got)
	}
}

func TestDraining(t *testing.T) {
	ports := []spec.HostPort{{Port: 443}, {Port: 80}}
	doc := &spec.HostDocument{Seats: []spec.HostSeat{
		{TaskID: "stays", Ports: ports},
		{TaskID: "goes", Drain: true, DrainFor: time.Minute, Ports: ports, Services: []spec.Service{{Port: 80}, {Port: 8080}}, Probes: []spec.Probe{{Protocol: "TCP", Port: 80}}},
		{TaskID: "gone", Drain: true, Ports: ports},
		{TaskID: "obscure", Drain: true, Ports: ports},
	}}
	goes := box("1", "a", "blue", "10.1.0.10", true, "goes", time.Unix(1e9, 0))
	goes.Pid, goes.NetworkMode = 42, "host"
	obscure := box("2", "b", "blue", "10.1.0.11", true, "obscure", time.Unix(1e9, 0)) // listed only
	byTask := running(docker.Snapshot{Containers: []docker.Container{goes, obscure}})
	got := draining(doc, byTask, func(task string) (spec.Drain, bool) { return spec.Drain{Left: 1}, task == "gone" })
	want := []drain.Task{
		{ID: "goes", Pid: 42, Ports: []int{80, 443, 8080}, Shared: true, For: time.Minute},
		{ID: "gone", Ports: []int{80, 443}, Out: &spec.Drain{Left: 1}},
		{ID: "obscure", Pid: drain.Unknown, Ports: []int{80, 443}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := targets(doc, byTask); len(got) > 0 {
		t.Errorf("a draining task is probed: %v", got)
	}
}

func TestReport(t *testing.T) {
	doc := &spec.HostDocument{Host: "h", Version: 7, Pools: []spec.Pool{blue, {Name: "red"}, {Name: "green"}}, Seats: []spec.HostSeat{
		{TaskID: "b", Drain: true}, {TaskID: "a", Drain: true}, {TaskID: "c"},
	}}
	f := found{
		doc: doc, applied: 6, snap: docker.Snapshot{Connected: true}, refused: map[string]string{"red": "too red"}, networks: map[string]string{"blue": ""},
		health:  map[string][]spec.CheckHealth{"c": {{Alive: true}}, "gone": {{}}},
		drained: map[string]spec.Drain{"b": {Left: 2}, "c": {}, "gone": {}}, usage: map[string]spec.Usage{"a": {CPUQuota: 1}, "gone": {}},
		metrics: ":9109",
	}
	want := spec.HostReport{
		Host: "h", DocumentVersion: 6, Networks: map[string]string{"blue": "", "red": "too red", "green": "its Docker network is not created yet"},
		Health: map[string][]spec.CheckHealth{"c": {{Alive: true}}}, Drained: []string{"b"}, Drains: map[string]spec.Drain{"b": {Left: 2}}, Usage: map[string]spec.Usage{"a": {CPUQuota: 1}},
		Metrics: ":9109",
	}
	if d := cmp.Diff(want, report(f), compared...); d != "" {
		t.Error(d)
	}
	t.Run("without Docker nothing is ready", func(t *testing.T) {
		f.snap.Connected = false
		if got := report(f).Networks["blue"]; got != "the Docker Engine does not answer" {
			t.Errorf("got %q", got)
		}
	})
}

func TestProbesOfAPod(t *testing.T) {
	since := time.Unix(1e9, 0)
	doc := &spec.HostDocument{Seats: []spec.HostSeat{{
		TaskID: "p", Address: addr("10.1.0.10"), Probes: []spec.Probe{{Protocol: "COMMAND", Container: "web"}},
		Containers: []spec.SeatContainer{{Name: "web", TaskID: "p.web"}, {Name: "side", TaskID: "p.side"}},
	}}}
	snap := docker.Snapshot{Containers: []docker.Container{
		box("1", "sandbox", "blue", "10.1.0.10", true, "p", since), box("2", "web", "", "", true, "p.web", since), box("3", "side", "", "", false, "p.side", since),
	}}
	got := targets(doc, running(snap))
	if len(got) != 1 || got[0].Container != "1" || len(got[0].Members) != 1 || got[0].Members["web"] != "2" {
		t.Errorf("got %+v", got)
	}
}
