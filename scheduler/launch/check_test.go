package launch

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func TestCheck(t *testing.T) {
	ports := []Port{{HostPort: spec.HostPort{Port: 80}}, {HostPort: spec.HostPort{Port: 81}}}
	times := spec.Probe{Interval: 3 * time.Second, Timeout: 2 * time.Second, Delay: time.Second, Reported: true}
	probe := func(change func(*spec.Probe)) []spec.Probe {
		p := times
		change(&p)
		return []spec.Probe{p}
	}
	for _, c := range []struct {
		check string
		want  []spec.Probe
	}{
		{`{"http":{"scheme":"HTTP"},`, probe(func(p *spec.Probe) { p.Protocol, p.Path, p.Port = "HTTP", "/", 80 })},
		{`{"http":{"scheme":"HTTPS","path":"/x","portIndex":1},`, probe(func(p *spec.Probe) { p.Protocol, p.Path, p.Port = "HTTPS", "/x", 81 })},
		{`{"tcp":{"port":9},`, probe(func(p *spec.Probe) { p.Protocol, p.Port = "TCP", 9 })},
		{`{"exec":{"command":{"shell":"a b"}},`, probe(func(p *spec.Probe) { p.Protocol, p.Command = "COMMAND", "a b" })},
		{`{"exec":{"command":{"argv":["a b","it's"]}},`, probe(func(p *spec.Probe) { p.Protocol, p.Argv = "COMMAND", []string{"a b", "it's"} })},
		{"", nil},
	} {
		app := &spec.App{}
		if c.check != "" {
			check := spec.Check(c.check + `"intervalSeconds":3,"timeoutSeconds":2,"delaySeconds":1}`)
			app.Check = &check
		}
		if d := cmp.Diff(c.want, Checks(app, ports)); d != "" {
			t.Errorf("%s\n%s", c.check, d)
		}
	}
}

// TestDelayIsGrace: what Mesos would not have seen yet does not count.
func TestDelayIsGrace(t *testing.T) {
	var got []time.Duration
	for _, protocol := range []string{"HTTP", "MESOS_HTTP", "COMMAND"} {
		app := &spec.App{HealthChecks: []spec.HealthCheck{{Protocol: protocol, GracePeriod: 2 * time.Second, Delay: 5 * time.Second}}}
		got = append(got, Probes(app, nil)[0].GracePeriod)
	}
	if !slices.Equal(got, []time.Duration{2 * time.Second, 5 * time.Second, 5 * time.Second}) {
		t.Error(got)
	}
}

// TestRunIn: who runs the command, and where.
func TestRunIn(t *testing.T) {
	image := &spec.Container{Type: spec.ContainerDocker, Docker: &spec.Docker{Image: "web:1"}}
	for _, c := range []struct {
		app    spec.App
		args   []string
		params []spec.Parameter
	}{
		{spec.App{Cmd: "run"}, []string{"/bin/sh", "-c", "run"}, []spec.Parameter{{Key: "workdir", Value: "/mnt/mesos/sandbox"}}},
		{spec.App{Cmd: "run", User: "www"}, []string{"s6-setuidgid", "www", "/bin/sh", "-c", "run"}, []spec.Parameter{{Key: "workdir", Value: "/mnt/mesos/sandbox"}}},
		{spec.App{User: "root"}, nil, []spec.Parameter{{Key: "workdir", Value: "/mnt/mesos/sandbox"}}},
		{spec.App{Args: []string{"a"}, User: "www", Container: image}, []string{"a"}, []spec.Parameter{{Key: "user", Value: "www"}}},
		{spec.App{Args: []string{"a"}, Container: image}, []string{"a"}, nil},
	} {
		l := Build(&c.app, spec.Seat{}, &spec.Task{}, spec.Offer{}, nil, Options{BaseImage: "base"})
		var own []spec.Parameter
		for _, p := range l.Parameters {
			if p.Key == "workdir" || p.Key == "user" {
				own = append(own, p)
			}
		}
		if d := cmp.Diff(c.args, l.Args) + cmp.Diff(c.params, own); d != "" {
			t.Errorf("%+v\n%s", c.app, d)
		}
	}
}

// TestPodChecks: an argument vector runs as it is; what probes an endpoint finds its port.
func TestPodChecks(t *testing.T) {
	check := func(text string) *spec.Check {
		c := spec.Check(text + `,"intervalSeconds":3,"timeoutSeconds":2,"delaySeconds":1}`)
		return &c
	}
	command := spec.HealthCheck{Protocol: "COMMAND", Command: "'test' 'a b'", Container: "a", Interval: time.Second}
	shell := spec.HealthCheck{Protocol: "COMMAND", Command: "test -e x", Container: "b"}
	app := &spec.App{ID: "/p", HealthChecks: []spec.HealthCheck{command, shell}, Pod: &spec.Pod{Containers: []spec.PodContainer{
		{Name: "a", HealthCheck: &command, HealthArgv: []string{"test", "a b"}, Check: check(`{"http":{"endpoint":"web","scheme":"HTTPS"}`),
			Endpoints: []spec.PodEndpoint{{Name: "other", ContainerPort: 80}, {Name: "web", ContainerPort: 443}}},
		{Name: "b", HealthCheck: &shell, Check: check(`{"exec":{"command":{"argv":["a b","it's"]}}`)},
		{Name: "c", Check: check(`{"exec":{"command":{"shell":"a | b"}}`)},
		{Name: "d"},
		{Name: "e", Check: check(`{"tcp":{"endpoint":"db"}`), Endpoints: []spec.PodEndpoint{{Name: "db", ContainerPort: 5432}}},
	}}}
	ports := Ports(app, nil)
	want := []spec.Probe{
		{Protocol: "COMMAND", Argv: []string{"test", "a b"}, Container: "a", Interval: time.Second},
		{Protocol: "COMMAND", Command: "test -e x", Container: "b"},
	}
	if d := cmp.Diff(want, Probes(app, ports)); d != "" {
		t.Error(d)
	}
	want = []spec.Probe{
		{Protocol: "HTTPS", Path: "/", Port: 443, Container: "a"},
		{Protocol: "COMMAND", Argv: []string{"a b", "it's"}, Container: "b"},
		{Protocol: "COMMAND", Command: "a | b", Container: "c"},
		{Protocol: "TCP", Port: 5432, Container: "e"},
	}
	for i := range want {
		want[i].Interval, want[i].Timeout, want[i].Delay, want[i].Reported = 3*time.Second, 2*time.Second, time.Second, true
	}
	if d := cmp.Diff(want, Checks(app, ports)); d != "" {
		t.Error(d)
	}
}
