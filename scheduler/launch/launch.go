// Package launch says what the engine is told about one task. In: the app, its seat, the task with its address, and what
// the host gave. Out: a spec.Launch with identity, address, host name, quota and mounts stamped on it.
package launch

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Options are the scheduler's settings that every launch carries.
type Options struct {
	BaseImage string
	// SeatsDir is the folder on every host below which each seat has its own (SSH host keys, authorized_keys, motd).
	SeatsDir string
	// VolumesDir is the folder on every host below which the seats' persistent volumes are.
	VolumesDir string
	// PullConfigDir is the folder on every host below which docker configurations are that pullConfig may name; "" for none.
	PullConfigDir string
	// KillGrace is the time between TERM and KILL for apps that name none.
	KillGrace time.Duration
	// DrainFor is the longest wait for an instance's connections when it stops, for apps that name none.
	DrainFor  time.Duration
	EnvPrefix string
	// NativeChecks leaves an app's Mesos-level health check (COMMAND, MESOS_*) to the engine. Without it, as where the engine
	// has none, the host's agent probes it like the others.
	NativeChecks bool
	// EnforceGroupRole is the setting of the app's top-level group, which its tasks are told.
	EnforceGroupRole bool
}

// cfsPeriod is the quota's period in microseconds: the kernel's default.
const cfsPeriod = 100_000

// minQuota is the kernel's smallest quota in microseconds, 0.01 of a core.
const minQuota = 1_000

// HostNetwork says that the definition asks for the host's own network stack by docker parameter (refused at the door
// unless the configuration allows it). Marathon's network mode "host" does not: such an app gets an address of its own.
func HostNetwork(app *spec.App) bool {
	if app.Container == nil || app.Container.Docker == nil {
		return false
	}
	return slices.ContainsFunc(app.Container.Docker.Parameters, func(p spec.Parameter) bool {
		return (p.Key == "net" || p.Key == "network") && p.Value == "host"
	})
}

// HostPorts are the ports that the app wants published on the host: 0 for any, one an entry. Only port mappings with a
// host port are published; an app in Marathon's host mode listens on its own address instead.
func HostPorts(app *spec.App) []int {
	if app.Pod != nil {
		return podHostPorts(app)
	}
	var out []int
	if app.Container == nil || HostNetwork(app) {
		return nil
	}
	for _, m := range app.Container.PortMappings {
		if m.HostPort != nil {
			out = append(out, *m.HostPort)
		}
	}
	return out
}

// Port is one port of a task: where it listens on its own address, and where the host publishes it (0: nowhere).
type Port struct {
	spec.HostPort
	Host int
}

// Ports are the app's ports in the order of its definitions or mappings, given the host ports that were taken for
// HostPorts. A mapping without a container port uses its host port, or its service port where there is none.
func Ports(app *spec.App, taken []int) []Port {
	if app.Pod != nil {
		return podPorts(app, taken)
	}
	var out []Port
	if app.Container == nil || app.Container.PortMappings == nil {
		for _, d := range app.PortDefinitions {
			out = append(out, Port{HostPort: spec.HostPort{Name: d.Name, Port: d.Port, Protocol: d.Protocol, Labels: d.Labels}})
		}
		return out
	}
	next := 0
	for _, m := range app.Container.PortMappings {
		p := Port{HostPort: spec.HostPort{Name: m.Name, Port: m.ContainerPort, Protocol: m.Protocol, Labels: m.Labels}}
		if m.HostPort != nil && next < len(taken) {
			p.Host = taken[next]
			next++
		}
		if p.Port == 0 {
			if p.Port = p.Host; p.Port == 0 {
				p.Port = m.ServicePort
			}
		}
		out = append(out, p)
	}
	return out
}

// Effective are Marathon's task ports: the host's where it publishes one, otherwise the container's own.
func Effective(ports []Port) []int {
	out := []int{}
	for _, p := range ports {
		if p.Host != 0 {
			out = append(out, p.Host)
		} else {
			out = append(out, p.Port)
		}
	}
	return out
}

// ForClients is what clients of Marathon are told as the task's host and ports. They join the two in mode "host", where the
// app listens on its own address, and in bridge mode, where the host publishes; on container networks they take the
// task's address and the mapping's container port, and only published ports belong here. host "": the agent's name.
func ForClients(app *spec.App, t *spec.Task) (host string, ports []int) {
	for _, n := range app.Networks {
		if n.Mode == spec.NetworkHost {
			if t.Address.IsValid() {
				host = t.Address.String()
			}
			return host, t.Ports
		}
	}
	return "", t.HostPorts
}

// Build makes the launch of a task. taken are the host ports given for HostPorts(app).
func Build(app *spec.App, seat spec.Seat, t *spec.Task, offer spec.Offer, taken []int, o Options) spec.Launch {
	ports := Ports(app, taken)
	if app.Pod != nil {
		return buildPod(app, seat, t, offer, ports, o)
	}
	l := spec.Launch{
		TaskID: t.ID, Name: strings.Join(reversed(app.ID.Segments()), "."), AgentID: offer.AgentID, OfferID: offer.ID,
		CPUs: app.Held(), Mem: app.Mem, Disk: app.Disk,
		Network: t.Pool, HostNet: HostNetwork(app), Fetch: app.Fetch,
		KillGrace: o.KillGrace, Labels: app.Labels,
	}
	if app.KillGrace != nil {
		l.KillGrace = *app.KillGrace
	}
	publish(&l, ports)
	command(&l, app, o)
	host := offer.Host
	if t.Address.IsValid() {
		host = t.Address.String() // what an app that binds $HOST:$PORT0 needs
	}
	l.Env = marathon.TaskEnv(app, marathon.EnvInput{TaskID: t.ID, Host: host, Ports: containerPorts(ports), EnvPrefix: o.EnvPrefix, EnforceGroupRole: o.EnforceGroupRole})
	l.Volumes = mounts(app, t.Volumes, o)
	// The base image's init ends its services within this time.
	l.Env["BERTH_STOP_GRACE"] = strconv.Itoa(int(l.KillGrace.Seconds()))
	drainEnv(l.Env, app, o)
	// A program that has read it cannot learn of more later, so it is told of what it can be resized to.
	runtimeDefaults(l.Env, app, max(app.CPULimit(), app.Held()), app.MemLimit())
	l.Parameters = parameters(app, seat, t, o)
	l.Parameters = append(l.Parameters, stopTimeout(app, l.Parameters, l.KillGrace, o)...)
	l.Parameters = append(l.Parameters, views(app, offer, l.Parameters)...)
	l.Check = nativeCheck(app, ports, o)
	runIn(&l, app.User, inBaseImage(app))
	return l
}

// drainEnv tells the base image's init how long it may wait for clients when somebody else stops the container.
func drainEnv(env map[string]string, app *spec.App, o Options) {
	if d := app.DrainFor(o.DrainFor); d > 0 {
		env["BERTH_DRAIN_SECONDS"] = strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
}

// stopTimeout lets "docker stop" by hand have as much patience as Berth has, where the init is to wait for clients.
func stopTimeout(app *spec.App, given []spec.Parameter, grace time.Duration, o Options) []spec.Parameter {
	own := slices.ContainsFunc(given, func(p spec.Parameter) bool { return p.Key == "stop-timeout" })
	if own || app.DrainFor(o.DrainFor) == 0 {
		return nil
	}
	return []spec.Parameter{{Key: "stop-timeout", Value: strconv.Itoa(int(math.Ceil(grace.Seconds())))}}
}

// runIn sets the command's working folder and user. In the base image, which stands for Mesos's own containerizer, the
// command works in the sandbox, and its init stays root whoever runs the command; another image keeps its folder, and a
// user is a user of the image: Mesos would take one of the host, who means nothing in there.
func runIn(l *spec.Launch, user string, base bool) {
	if !base {
		if user != "" {
			l.Parameters = append(l.Parameters, spec.Parameter{Key: "user", Value: user})
		}
		return
	}
	l.Parameters = append(l.Parameters, spec.Parameter{Key: "workdir", Value: spec.SandboxMount})
	if user != "" && user != "root" && len(l.Args) > 0 {
		l.Args = append([]string{"s6-setuidgid", user}, l.Args...)
	}
}

// publish takes the host ports, and maps them.
func publish(l *spec.Launch, ports []Port) {
	for _, p := range ports {
		if p.Host == 0 {
			continue
		}
		l.HostPorts = append(l.HostPorts, spec.PortRange{Begin: p.Host, End: p.Host})
		for _, proto := range strings.Split(p.Protocol, ",") {
			l.PortMappings = append(l.PortMappings, spec.LaunchPort{Container: p.Port, Host: p.Host, Protocol: proto})
		}
	}
}

func inBaseImage(app *spec.App) bool {
	return app.Container == nil || app.Container.Docker == nil || app.Container.Docker.Image == ""
}

// command: an app without an image runs in the base image, as a service beside sshd: its command goes to the image's init
// as arguments. With an image the command replaces the entrypoint, as Mesos does it.
func command(l *spec.Launch, app *spec.App, o Options) {
	if inBaseImage(app) {
		l.Image = o.BaseImage
		l.Args = app.Args
		if app.Cmd != "" {
			l.Args = []string{"/bin/sh", "-c", app.Cmd}
		}
		return
	}
	d := app.Container.Docker
	l.Image, l.ForcePull, l.Privileged = d.Image, d.ForcePullImage, d.Privileged
	l.Fetch = slices.Concat(l.Fetch, pullConfig(app, d.PullConfig, o))
	l.Shell, l.Command, l.Args = app.Cmd != "", app.Cmd, app.Args
}

// parameters puts Berth's own options last: docker takes the last of a key, so a definition cannot override them.
func parameters(app *spec.App, seat spec.Seat, t *spec.Task, o Options) []spec.Parameter {
	var out []spec.Parameter
	if app.Container != nil && app.Container.Docker != nil {
		for _, p := range app.Container.Docker.Parameters {
			if p.Key != "net" && p.Key != "network" { // said by Launch.HostNet already; docker refuses a second one
				out = append(out, p)
			}
		}
	}
	out = append(out, identity(app, seat, t.ID, app.CPULimit())...)
	own := func(k, v string) { out = append(out, spec.Parameter{Key: k, Value: v}) }
	for _, p := range memory(app) {
		own(p.Key, p.Value)
	}
	if app.TTY != nil && *app.TTY {
		own("tty", "true")
	}
	own("volume", seatVolume(seat, o))
	if !HostNetwork(app) {
		own("hostname", seat.Hostname)
		own("ip", t.Address.String())
	}
	return out
}

// minMem is Mesos's least memory of a Docker task, in MiB: what asks for less gets this.
const minMem = 32

// memory are the options for what the engine does not set by itself: it limits a task to the memory that was asked for, and
// one that asked for none not at all.
func memory(app *spec.App) []spec.Parameter {
	limit, asked := max(app.MemLimit(), minMem), max(app.Mem, minMem)
	mib := func(key string, v float64) spec.Parameter {
		return spec.Parameter{Key: key, Value: strconv.FormatInt(int64(v*(1<<20)), 10)}
	}
	switch {
	case limit > asked:
		return []spec.Parameter{mib("memory", limit), mib("memory-reservation", asked)}
	case app.Mem <= 0:
		return []spec.Parameter{mib("memory", limit)}
	}
	return nil
}

// identity are a container's labels, which say whose it is, and its hard quota and weight. The quota is the base, without a
// start-up allowance: the host's agent gives that, so that without an agent there is none rather than one without end.
func identity(app *spec.App, seat spec.Seat, task string, cpus float64) []spec.Parameter {
	var out []spec.Parameter
	for _, kv := range []spec.Parameter{
		{Key: spec.LabelSchema, Value: spec.LabelSchemaVersion},
		{Key: spec.LabelApp, Value: string(app.ID)},
		{Key: spec.LabelSeat, Value: strconv.Itoa(seat.ID.Index)},
		{Key: spec.LabelTask, Value: task},
		{Key: spec.LabelVersion, Value: spec.FormatTime(app.Version)},
		{Key: spec.LabelCPUs, Value: strconv.FormatFloat(cpus, 'f', -1, 64)},
	} {
		out = append(out, spec.Parameter{Key: "label", Value: kv.Key + "=" + kv.Value})
	}
	out = append(out, spec.Parameter{Key: "cpu-period", Value: strconv.Itoa(cfsPeriod)}, spec.Parameter{Key: "cpu-quota", Value: strconv.Itoa(Quota(cpus))})
	if weight, err := spec.ParseWeight(app.Labels[spec.AppLabelWeight]); err == nil {
		// Mesos itself says cpu-shares=1024 a core before it comes to the parameters, and of two the engine takes the last.
		out = append(out, spec.Parameter{Key: "cpu-shares", Value: strconv.FormatInt(weight, 10)})
	}
	return out
}

func seatVolume(seat spec.Seat, o Options) string {
	return fmt.Sprintf("%s:%s:ro", path.Join(o.SeatsDir, seat.ID.Safe()), spec.SeatMount)
}

// Quota is the CFS quota in microseconds a period of 100 ms for a number of cores.
func Quota(cpus float64) int { return max(minQuota, int(math.Round(cpus*cfsPeriod))) }

func containerPorts(ports []Port) []int {
	out := []int{}
	for _, p := range ports {
		out = append(out, p.Port)
	}
	return out
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// Probes are the app's health checks with their targets resolved to the task's own ports, in the app's order. Mesos-level
// kinds are probed like the others.
func Probes(app *spec.App, ports []Port) []spec.Probe {
	var out []spec.Probe
	for _, c := range app.HealthChecks {
		// The agent probes from the start, as it is no use to find out later than need be that an instance is up. Failures
		// within the grace period do not count; nor do those before delaySeconds, when Mesos would not have begun.
		p := spec.Probe{Protocol: strings.TrimPrefix(c.Protocol, "MESOS_"), Path: c.Path, Command: c.Command, Container: c.Container,
			GracePeriod: c.GracePeriod, Interval: c.Interval, Timeout: c.Timeout}
		if p.Protocol == "COMMAND" || p.Protocol != c.Protocol {
			p.GracePeriod = max(c.GracePeriod, c.Delay)
		}
		switch {
		case p.Protocol == "COMMAND":
			if p.Argv = healthArgv(app, c.Container); p.Argv != nil {
				p.Command = ""
			}
		case c.Port == nil && c.Endpoint != "":
			p.Port = portNamed(ports, c.Endpoint)
		default:
			p.Port = portAt(ports, c.Port, c.PortIndex)
		}
		if p.Path == "" && strings.HasPrefix(p.Protocol, "HTTP") {
			p.Path = "/"
		}
		out = append(out, p)
	}
	return out
}

// healthArgv is the argument vector that a pod's container is checked with; nil: a shell line.
func healthArgv(app *spec.App, container string) []string {
	if app.Pod != nil {
		for i := range app.Pod.Containers {
			if c := &app.Pod.Containers[i]; c.Name == container {
				return c.HealthArgv
			}
		}
	}
	return nil
}

// readinessGrace: failures of a readiness check never count, however long it takes.
const readinessGrace = 24 * time.Hour

// Readiness is the app's readiness check as a probe, if it has one. It is probed like a health check after them; its first
// success makes the task ready for good.
func Readiness(app *spec.App, ports []Port) []spec.Probe {
	var out []spec.Probe
	for _, c := range app.ReadinessChecks {
		p := spec.Probe{Protocol: c.Protocol, Path: c.Path, Interval: c.Interval, Timeout: c.Timeout, GracePeriod: readinessGrace,
			Once: true, KeepResponse: c.PreserveLastResponse}
		var codes []string
		for _, code := range c.HTTPStatusCodesForReady {
			codes = append(codes, strconv.Itoa(code))
		}
		p.Statuses = strings.Join(codes, ",")
		for _, port := range ports {
			if port.Name == c.PortName {
				p.Port = port.Port
			}
		}
		out = append(out, p)
	}
	return out
}
