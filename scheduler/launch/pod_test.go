package launch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func ptr[T any](v T) *T { return &v }

func demo() *spec.App {
	return &spec.App{
		ID: "/shop/pod", User: "nobody", Env: map[string]spec.EnvValue{"A": {Value: "pod"}, "B": {Value: "pod"}},
		Networks: []spec.Network{{Mode: spec.NetworkContainer, Name: "p"}}, ExecutorResources: &spec.ExecutorResources{CPUs: 0.1, Mem: 32, Disk: 10},
		HealthChecks: []spec.HealthCheck{{Protocol: "HTTP", Container: "web", Endpoint: "admin"}, {Protocol: "COMMAND", Container: "side", Command: "true"}},
		Pod: &spec.Pod{
			Volumes: []spec.PodVolume{{Name: "common"}, {Name: "host", HostPath: "/srv/x"}},
			Containers: []spec.PodContainer{
				{Name: "web", Image: &spec.PodImage{ID: "nginx:1"}, CPUs: 0.5, Mem: 64, Argv: []string{"a", "b"}, OverrideEntrypoint: ptr(true), User: "www",
					Endpoints: []spec.PodEndpoint{{Name: "http", ContainerPort: 80, HostPort: ptr(0), Protocols: []string{"tcp", "udp"}}, {Name: "admin", ContainerPort: 8080}},
					Mounts:    []spec.PodMount{{Name: "common", MountPath: "data"}, {Name: "host", MountPath: "/x", ReadOnly: true}},
					Limits:    &spec.ResourceLimits{CPUs: ptr(1.0), Mem: ptr(128.0)}, KillGrace: ptr(3 * time.Second)},
				{Name: "side", CPUs: 0.1, Mem: 32, Shell: "run", Env: map[string]spec.EnvValue{"B": {Value: "own"}}},
				{Name: "more", CPUs: 0.1, Mem: 32},
			},
		},
	}
}

func built(app *spec.App) spec.Launch {
	id, members := Identity(app, "shop_pod.instance-1")
	t := &spec.Task{ID: id, Instance: id, Containers: members, Pool: "p", Address: netip.MustParseAddr("10.0.0.7")}
	seat := spec.Seat{ID: spec.SeatID{App: app.ID, Index: 4}, Hostname: "pod-4.shop"}
	return Build(app, seat, t, spec.Offer{ID: "o", AgentID: "a", Host: "h"}, []int{31005}, Options{BaseImage: "base", SeatsDir: "/seats", KillGrace: 10 * time.Second})
}

func has(l spec.Launch, key, value string) bool {
	return slices.Contains(l.Parameters, spec.Parameter{Key: key, Value: value})
}

func TestPodIsASandboxWithMembers(t *testing.T) {
	l := built(demo())
	if l.TaskID != "shop_pod.instance-1" || l.Image != "base" || l.Network != "p" || l.CPUs != 0.1 || len(l.Members) != 3 {
		t.Fatalf("sandbox: %+v", l)
	}
	for key, value := range map[string]string{"ip": "10.0.0.7", "hostname": "pod-4.shop", "cpu-quota": "10000"} {
		if !has(l, key, value) {
			t.Errorf("the sandbox has no %s=%s: %v", key, value, l.Parameters)
		}
	}
	want := []spec.LaunchPort{{Container: 80, Host: 31005, Protocol: "tcp"}, {Container: 80, Host: 31005, Protocol: "udp"}}
	if d := cmp.Diff(want, l.PortMappings); d != "" {
		t.Error(d)
	}
	web, side, more := l.Members[0], l.Members[1], l.Members[2]
	if web.TaskID != "shop_pod.instance-1.web" || !has(web, "user", "www") || web.KillGrace != 3*time.Second || !has(web, "entrypoint", "a") || !slices.Equal(web.Args, []string{"b"}) {
		t.Errorf("web: %+v", web)
	}
	for _, p := range []spec.Parameter{{Key: "cpu-quota", Value: "100000"}, {Key: "memory", Value: "134217728"}, {Key: "label", Value: "berth.container=web"},
		{Key: "label", Value: "berth.task=shop_pod.instance-1.web"}, {Key: "label", Value: "berth.seat=4"}} {
		if !has(web, p.Key, p.Value) {
			t.Errorf("web has no %v: %v", p, web.Parameters)
		}
	}
	volumes := []spec.LaunchVolume{{ContainerPath: "/mnt/mesos/sandbox/data", Shared: "common"}, {HostPath: "/srv/x", ContainerPath: "/x", ReadOnly: true}}
	if d := cmp.Diff(volumes, web.Volumes); d != "" {
		t.Error(d)
	}
	if side.Image != "base" || !slices.Contains(side.Args, "run") || !slices.Contains(side.Args, "nobody") || side.KillGrace != 10*time.Second {
		t.Errorf("side: %+v", side)
	}
	if web.Env["BERTH_SSHD"] != "off" || side.Env["BERTH_SSHD"] != "" || more.Env["BERTH_SSHD"] != "off" {
		t.Error("not exactly one container has the SSH port")
	}
}

func TestPodEnvironment(t *testing.T) {
	env := built(demo()).Members[1].Env
	for name, want := range map[string]string{
		"A": "pod", "B": "own", "ENDPOINT_HTTP": "80", "EP_CONTAINER_HTTP": "80", "EP_HOST_HTTP": "31005", "ENDPOINT_ADMIN": "8080", "EP_HOST_ADMIN": "",
		"MARATHON_APP_ID": "/shop/pod", "MARATHON_CONTAINER_ID": "side", "MARATHON_CONTAINER_RESOURCE_CPUS": "0.1", "MARATHON_CONTAINER_RESOURCE_MEM": "32.0",
		"MESOS_TASK_ID": "shop_pod.instance-1.side", "MESOS_EXECUTOR_ID": "shop_pod.instance-1", "HOST": "10.0.0.7", "BERTH_STOP_GRACE": "10",
	} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
}

func TestPodProbesAndPorts(t *testing.T) {
	app := demo()
	if got := HostPorts(app); !slices.Equal(got, []int{0}) {
		t.Errorf("host ports %v", got)
	}
	probes := Probes(app, Ports(app, []int{31005}))
	if probes[0].Port != 8080 || probes[0].Path != "/" || probes[1].Container != "side" {
		t.Errorf("got %+v", probes)
	}
	app.Networks = []spec.Network{{Mode: spec.NetworkHost}}
	app.Pod.Containers[0].Endpoints = []spec.PodEndpoint{{Name: "a", HostPort: ptr(10000)}, {Name: "b", HostPort: ptr(0)}, {Name: "c"}}
	if got := HostPorts(app); got != nil {
		t.Errorf("host mode publishes %v", got)
	}
	if got := Effective(Ports(app, nil)); !slices.Equal(got, []int{10000, 10001, 10002}) {
		t.Errorf("host mode's ports: %v", got)
	}
}

// TestPodProtocols: hosts publish tcp and udp, whatever the endpoint calls it.
func TestPodProtocols(t *testing.T) {
	for _, c := range []struct {
		protocols []string
		want      []spec.LaunchPort
	}{
		{[]string{"tcp"}, []spec.LaunchPort{{Container: 80, Host: 31000, Protocol: "tcp"}}},
		{[]string{"http", "https"}, []spec.LaunchPort{{Container: 80, Host: 31000, Protocol: "tcp"}}},
		{[]string{"udp", "http"}, []spec.LaunchPort{{Container: 80, Host: 31000, Protocol: "udp"}, {Container: 80, Host: 31000, Protocol: "tcp"}}},
	} {
		app := &spec.App{ID: "/p", Pod: &spec.Pod{Containers: []spec.PodContainer{
			{Name: "c", Endpoints: []spec.PodEndpoint{{Name: "e", ContainerPort: 80, HostPort: new(int), Protocols: c.protocols}}},
		}}}
		l := Build(app, spec.Seat{}, &spec.Task{}, spec.Offer{}, []int{31000}, Options{})
		if d := cmp.Diff(c.want, l.PortMappings); d != "" {
			t.Errorf("%v\n%s", c.protocols, d)
		}
	}
}
