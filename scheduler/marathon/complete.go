package marathon

import (
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// complete fills Marathon's defaults and makes the app. The draft has been normalised; faults that only show when the
// parts meet go to f.
func (d *draft) complete(id spec.AppID, o Options, f *Faults) *spec.App {
	app := &spec.App{
		ID: id, Cmd: or(d.cmd, ""), Args: compact(d.args),
		Executor: or(d.executor, ""), Instances: or(d.instances, 1),
		CPUs: or(d.cpus, 1), Mem: or(d.mem, 128), Disk: or(d.disk, 0), GPUs: or(d.gpus, 0),
		ResourceLimits: d.limits, ExecutorResources: d.executorRes,
		Env: compactMap(d.env), Secrets: compactMap(d.secrets), Labels: compactMap(d.labels),
		User: or(d.user, ""), Fetch: compact(d.fetch),
		Constraints: compact(d.constraints), AcceptedResourceRoles: compact(d.roles), Role: or(d.role, o.roleOf(id, d.roles)),
		HealthChecks: d.completeHealthChecks(), Check: d.check, ReadinessChecks: compact(d.readinessChecks),
		Backoff: or(d.backoff, time.Second), BackoffFactor: or(d.backoffFactor, 1.15),
		MaxLaunchDelay: or(d.maxLaunchDelay, 300*time.Second), KillGrace: d.killGrace,
		KillSelection: spec.KillSelection(or(d.killSelection, string(spec.YoungestFirst))),
		Residency:     d.residency, TTY: d.tty,
	}
	if app.ResourceLimits != nil && app.ResourceLimits.CPUs == nil && app.ResourceLimits.Mem == nil {
		app.ResourceLimits = nil
	}
	for _, raw := range d.dependencies {
		app.Dependencies = append(app.Dependencies, resolve(raw, id.Parent()))
	}
	app.Dependencies = compact(unique(app.Dependencies))
	d.completeNetworks(app, o, f)
	d.completeContainer(app, f)
	d.completeResidency(app)
	return app
}

func (d *draft) completeNetworks(app *spec.App, o Options, f *Faults) {
	for _, n := range d.networks {
		network := spec.Network{Mode: n.mode, Name: or(n.name, ""), Labels: compactMap(n.labels)}
		if n.mode == spec.NetworkContainer && network.Name == "" {
			if network.Name = o.DefaultNetworkName; network.Name == "" {
				f.Add("/networks", "Network name must be specified when container network is selected.")
			}
		}
		app.Networks = append(app.Networks, network)
	}
	if len(app.Networks) == 0 {
		app.Networks = []spec.Network{{Mode: spec.NetworkHost}}
	}
}

// isHostMode says whether the app's ports are portDefinitions (host mode) or the container's mappings.
func isHostMode(app *spec.App) bool {
	return len(app.Networks) > 0 && app.Networks[0].Mode == spec.NetworkHost
}

func (d *draft) completeContainer(app *spec.App, f *Faults) {
	c := d.container
	if c == nil && d.addContainer {
		c = &draftContainer{kind: spec.ContainerMesos}
	}
	if c != nil && d.discovery != nil {
		if c.kind == spec.ContainerDocker {
			f.Add("/ipAddress/discovery", "must be empty with a DOCKER container; use container.portMappings")
		} else {
			c.portMappings = d.discovery
		}
	}
	if c != nil {
		app.Container = &spec.Container{Type: c.kind, Volumes: compact(c.volumes), LinuxInfo: c.linuxInfo}
		if c.docker != nil {
			docker := c.docker.Docker
			docker.Parameters = compact(docker.Parameters)
			app.Container.Docker = &docker
		}
	}
	d.completePorts(app, c)
}

// completePorts keeps the ports of the app's network mode and drops those of the other.
func (d *draft) completePorts(app *spec.App, c *draftContainer) {
	if isHostMode(app) {
		app.RequirePorts = or(d.requirePorts, false)
		ports := d.ports
		if ports == nil {
			ports = []spec.PortDefinition{{Name: "default", Protocol: "tcp"}}
		}
		app.PortDefinitions = compact(append([]spec.PortDefinition(nil), ports...))
		for i := range app.PortDefinitions {
			app.PortDefinitions[i].Labels = compactMap(app.PortDefinitions[i].Labels)
		}
		return
	}
	if c == nil {
		return
	}
	mappings := append([]spec.PortMapping(nil), c.portMappings...)
	if c.portMappings == nil && d.ports == nil {
		mappings = []spec.PortMapping{{Name: "default", Protocol: "tcp"}}
	}
	// A definition's port is the service port in either mode, so it goes on being one.
	for _, p := range d.ports[min(len(mappings), len(d.ports)):] {
		mappings = append(mappings, spec.PortMapping{ServicePort: p.Port, Protocol: p.Protocol, Name: p.Name, Labels: p.Labels})
	}
	for i := range mappings {
		m := &mappings[i]
		if m.HostPort == nil && app.Networks[0].Mode == spec.NetworkBridge {
			m.HostPort = new(int)
		}
		m.Labels, m.NetworkNames = compactMap(m.Labels), compact(m.NetworkNames)
	}
	app.Container.PortMappings = compact(mappings)
}

// completeResidency fills what depends on the app being stateful. External volumes are kept elsewhere, so such an app
// counts for the upgrade strategy only.
func (d *draft) completeResidency(app *spec.App) {
	app.Upgrade = spec.UpgradeStrategy{MinimumHealthCapacity: 1, MaximumOverCapacity: 1}
	if isResident(app) || hasExternalVolume(app) {
		app.Upgrade = spec.UpgradeStrategy{MinimumHealthCapacity: 0.5}
	}
	app.Upgrade = or(d.upgrade, app.Upgrade)
	app.Unreachable = or(d.unreachable, spec.UnreachableStrategy{Disabled: isResident(app)})
	if isResident(app) && app.Residency == nil {
		app.Residency = &spec.Residency{RelaunchEscalationTimeout: relaunchTimeout, TaskLostBehavior: waitForever}
	}
}

// completeHealthChecks drops repeated checks: Marathon's are a set.
func (d *draft) completeHealthChecks() []spec.HealthCheck {
	var out []spec.HealthCheck
	for _, h := range d.healthChecks {
		known := false
		for _, o := range out {
			known = known || sameHealthCheck(h, o)
		}
		if !known {
			out = append(out, h)
		}
	}
	return out
}

func sameHealthCheck(a, b spec.HealthCheck) bool {
	if !samePointer(a.Port, b.Port) || !samePointer(a.PortIndex, b.PortIndex) {
		return false
	}
	a.Port, a.PortIndex, b.Port, b.PortIndex = nil, nil, nil, nil
	return a == b
}

func samePointer[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// isResident says whether the app or pod has persistent volumes.
func isResident(app *spec.App) bool {
	if app.Pod != nil {
		return slices.ContainsFunc(app.Pod.Volumes, func(v spec.PodVolume) bool { return v.Persistent != nil })
	}
	return hasVolume(app, func(v spec.Volume) bool { return v.Persistent != nil })
}

func hasExternalVolume(app *spec.App) bool {
	return hasVolume(app, func(v spec.Volume) bool { return v.External != nil })
}

func hasVolume(app *spec.App, is func(spec.Volume) bool) bool {
	if app.Container == nil {
		return false
	}
	for _, v := range app.Container.Volumes {
		if is(v) {
			return true
		}
	}
	return false
}

// compact is nil for an empty list: the canonical app has one form of "none".
func compact[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func compactMap[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return m
}
