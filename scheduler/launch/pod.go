package launch

import (
	"cmp"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// firstFreePort is where the ports of endpoints begin that name none and are not published: each pod has an address of its
// own, so any number will do, as long as it stays the same.
const firstFreePort = 10000

// Identity gives a new task its id, and a pod's task its containers: the pod's task is the instance, each container a task
// of the engine's.
func Identity(app *spec.App, instance string) (string, []spec.TaskContainer) {
	if app.Pod == nil {
		return spec.TaskID(instance, 1), nil
	}
	var out []spec.TaskContainer
	for _, c := range app.Pod.Containers {
		out = append(out, spec.TaskContainer{Name: c.Name, TaskID: spec.PodTaskID(instance, c.Name), State: "TASK_STAGING"})
	}
	return instance, out
}

// MemberGrace is the time between TERM and KILL of a pod's container.
func MemberGrace(c *spec.PodContainer, o Options) time.Duration {
	if c.KillGrace != nil {
		return *c.KillGrace
	}
	return o.KillGrace
}

func hostMode(app *spec.App) bool {
	return slices.ContainsFunc(app.Networks, func(n spec.Network) bool { return n.Mode == spec.NetworkHost })
}

// podHostPorts: in Marathon's host mode the pod listens on its own address, so nothing is published.
func podHostPorts(app *spec.App) []int {
	var out []int
	if hostMode(app) {
		return nil
	}
	for _, c := range app.Pod.Containers {
		for _, e := range c.Endpoints {
			if e.HostPort != nil {
				out = append(out, *e.HostPort)
			}
		}
	}
	return out
}

// podPorts are a pod's endpoints in the order of its containers. An endpoint without a container port listens on its host
// port, or on the lowest number from firstFreePort that no endpoint of the pod names.
func podPorts(app *spec.App, taken []int) []Port {
	var out []Port
	host, next := hostMode(app), 0
	for _, c := range app.Pod.Containers {
		for _, e := range c.Endpoints {
			p := Port{HostPort: spec.HostPort{Name: e.Name, Port: e.ContainerPort, Protocol: strings.Join(e.Transports(), ","), Labels: e.Labels}}
			switch {
			case e.HostPort == nil:
			case host:
				p.Port = *e.HostPort
			case next < len(taken):
				p.Host = taken[next]
				next++
			}
			if p.Port == 0 {
				p.Port = p.Host
			}
			out = append(out, p)
		}
	}
	free := firstFreePort
	for i := range out {
		if out[i].Port != 0 {
			continue
		}
		for slices.ContainsFunc(out, func(p Port) bool { return p.Port == free }) {
			free++
		}
		out[i].Port = free
	}
	return out
}

func portNamed(ports []Port, name string) int {
	for _, p := range ports {
		if p.Name == name {
			return p.Port
		}
	}
	return 0
}

// buildPod makes the launch of a pod: the sandbox with its address and published ports, and each container beside it.
func buildPod(app *spec.App, seat spec.Seat, t *spec.Task, offer spec.Offer, ports []Port, o Options) spec.Launch {
	l := spec.Launch{
		TaskID: t.ID, Name: strings.Join(reversed(app.ID.Segments()), "."), AgentID: offer.AgentID, OfferID: offer.ID,
		Image: o.BaseImage, Network: t.Pool, Labels: app.Labels,
	}
	if r := app.ExecutorResources; r != nil {
		l.CPUs, l.Mem, l.Disk = r.CPUs, r.Mem, r.Disk
	}
	publish(&l, ports)
	l.Parameters = append(identity(app, seat, t.ID, l.CPUs),
		spec.Parameter{Key: "hostname", Value: seat.Hostname}, spec.Parameter{Key: "ip", Value: t.Address.String()})
	// One container has the SSH port of the address that they share: the first in the base image, or the first of all.
	ssh := max(0, slices.IndexFunc(app.Pod.Containers, func(c spec.PodContainer) bool { return c.Image == nil }))
	for i := range app.Pod.Containers {
		c := &app.Pod.Containers[i]
		m := member(app, c, seat, t, ports, o)
		m.Parameters = append(m.Parameters, views(app, offer, m.Parameters)...)
		m.AgentID, m.OfferID = offer.AgentID, offer.ID
		if i != ssh {
			m.Env["BERTH_SSHD"] = "off"
		}
		l.Members = append(l.Members, m)
	}
	return l
}

func member(app *spec.App, c *spec.PodContainer, seat spec.Seat, t *spec.Task, ports []Port, o Options) spec.Launch {
	m := spec.Launch{
		TaskID: spec.PodTaskID(t.Instance, c.Name), Name: c.Name, CPUs: c.CPUs, Mem: c.Mem, Disk: c.Disk,
		Fetch: c.Artifacts, KillGrace: MemberGrace(c, o), Labels: c.Labels,
	}
	memberCommand(&m, app, c, o)
	m.Volumes = podMounts(app.Pod, c, t.Volumes, o)
	m.Env = marathon.PodEnv(app, c, marathon.PodEnvInput{
		TaskID: m.TaskID, Instance: t.Instance, Host: t.Address.String(), Endpoints: endpoints(ports, hostMode(app)), EnvPrefix: o.EnvPrefix,
	})
	m.Env["BERTH_STOP_GRACE"] = strconv.Itoa(int(math.Ceil(m.KillGrace.Seconds())))
	drainEnv(m.Env, app, o)
	runtimeDefaults(m.Env, app, c.CPULimit(), c.MemLimit())
	if c.TTY != nil && *c.TTY {
		m.Parameters = append(m.Parameters, spec.Parameter{Key: "tty", Value: "true"})
	}
	if limit := c.MemLimit(); limit > c.Mem { // the engine sets mem itself
		m.Parameters = append(m.Parameters, spec.Parameter{Key: "memory", Value: strconv.Itoa(int(limit * (1 << 20)))},
			spec.Parameter{Key: "memory-reservation", Value: strconv.Itoa(int(c.Mem * (1 << 20)))})
	}
	m.Parameters = append(m.Parameters, identity(app, seat, m.TaskID, c.CPULimit())...)
	m.Parameters = append(m.Parameters, spec.Parameter{Key: "label", Value: spec.LabelContainer + "=" + c.Name},
		spec.Parameter{Key: "volume", Value: seatVolume(seat, o)})
	runIn(&m, cmp.Or(c.User, app.User), c.Image == nil)
	return m
}

// podMounts are the volumes of a pod's container. A persistent volume is the seat's folder, an ephemeral one a folder that
// the instance's containers share.
func podMounts(pod *spec.Pod, c *spec.PodContainer, have []spec.SeatVolume, o Options) []spec.LaunchVolume {
	var out []spec.LaunchVolume
	for _, mount := range c.Mounts {
		i := slices.IndexFunc(pod.Volumes, func(v spec.PodVolume) bool { return v.Name == mount.Name })
		if i < 0 {
			continue
		}
		m := spec.LaunchVolume{HostPath: pod.Volumes[i].HostPath, ContainerPath: mountPath(mount), ReadOnly: mount.ReadOnly}
		if own, ok := volumeAt(have, mount.Name); ok {
			m.HostPath = path.Join(o.VolumesDir, own.Path)
		}
		if m.HostPath == "" {
			m.Shared = mount.Name
		}
		out = append(out, m)
	}
	return out
}

// mountPath: a relative one is below the sandbox, where containers begin on Mesos.
func mountPath(m spec.PodMount) string {
	if path.IsAbs(m.MountPath) {
		return m.MountPath
	}
	return path.Join(spec.SandboxMount, m.MountPath)
}

// endpoints: in host mode what $HOST is publishes every port, as it is the pod's own address.
func endpoints(ports []Port, host bool) []marathon.Endpoint {
	var out []marathon.Endpoint
	for _, p := range ports {
		e := marathon.Endpoint{Name: p.Name, Port: p.Port, Host: p.Host}
		if host {
			e.Host = p.Port
		}
		out = append(out, e)
	}
	return out
}

// memberCommand: as for apps, except that an argument vector goes to the image's entrypoint unless it is to replace that.
func memberCommand(m *spec.Launch, app *spec.App, c *spec.PodContainer, o Options) {
	m.Args = c.Argv
	if c.Image == nil {
		m.Image = o.BaseImage
		if c.Shell != "" {
			m.Args = []string{"/bin/sh", "-c", c.Shell}
		}
		return
	}
	m.Image, m.ForcePull = c.Image.ID, c.Image.ForcePull
	m.Fetch = slices.Concat(m.Fetch, pullConfig(app, c.Image.PullConfig, o))
	if m.Shell, m.Command = c.Shell != "", c.Shell; m.Shell {
		m.Args = nil
	}
	if len(c.Argv) > 0 && c.OverrideEntrypoint != nil && *c.OverrideEntrypoint {
		m.Parameters = append(m.Parameters, spec.Parameter{Key: "entrypoint", Value: c.Argv[0]})
		m.Args = c.Argv[1:]
	}
}
