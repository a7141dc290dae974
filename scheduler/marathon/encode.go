package marathon

import (
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// Encode is the app in Marathon's canonical form. The result shares maps and slices with the app: write it, do not change it.
func Encode(app *spec.App) *AppJSON {
	a := &AppJSON{
		ID:   string(app.ID),
		Cmd:  unlessEmpty(app.Cmd),
		Args: app.Args, AcceptedResourceRoles: app.AcceptedResourceRoles,
		BackoffFactor: app.BackoffFactor, BackoffSeconds: seconds(app.Backoff),
		Container: encodeContainer(app),
		CPUs:      app.CPUs, Disk: app.Disk, GPUs: app.GPUs, Mem: app.Mem,
		Executor: app.Executor, Instances: app.Instances, KillSelection: string(app.KillSelection),
		Labels: present(app.Labels), MaxLaunchDelaySeconds: seconds(app.MaxLaunchDelay),
		RequirePorts: app.RequirePorts, Role: app.Role, TTY: app.TTY, User: unlessEmpty(app.User),
		UpgradeStrategy: UpgradeJSON{app.Upgrade.MaximumOverCapacity, app.Upgrade.MinimumHealthCapacity},
		Version:         spec.FormatTime(app.Version),
		HealthChecks:    convert(app.HealthChecks, encodeHealthCheck),
		ReadinessChecks: convert(app.ReadinessChecks, encodeReadinessCheck),
		Networks:        convert(app.Networks, encodeNetwork),
	}
	for _, c := range app.Constraints {
		parts := []string{c.Field, c.Operator}
		if c.Value != "" {
			parts = append(parts, c.Value)
		}
		a.Constraints = append(a.Constraints, parts)
	}
	for _, d := range app.Dependencies {
		a.Dependencies = append(a.Dependencies, string(d))
	}
	a.Fetch = convert(app.Fetch, encodeFetch)
	if isHostMode(app) {
		ports := convert(app.PortDefinitions, encodePortDefinition)
		a.PortDefinitions = &ports
	}
	encodeOptional(app, a)
	return a
}

// encodeOptional writes the parts that most apps do not have.
func encodeOptional(app *spec.App, a *AppJSON) {
	a.Env, a.Secrets = encodeEnv(app.Env), encodeSecrets(app.Secrets)
	if app.Check != nil {
		a.Check = json.RawMessage(*app.Check)
	}
	if app.KillGrace != nil {
		grace := seconds(*app.KillGrace)
		a.TaskKillGracePeriod = &grace
	}
	if r := app.ExecutorResources; r != nil {
		a.ExecutorResources = &ResourcesJSON{CPUs: r.CPUs, Disk: r.Disk, Mem: r.Mem}
	}
	if l := app.ResourceLimits; l != nil {
		a.ResourceLimits = map[string]any{}
		encodeLimit(a.ResourceLimits, "cpus", l.CPUs)
		encodeLimit(a.ResourceLimits, "mem", l.Mem)
	}
	if r := app.Residency; r != nil {
		a.Residency = &ResidencyJSON{seconds(r.RelaunchEscalationTimeout), r.TaskLostBehavior}
	}
	a.UnreachableStrategy = EncodeUnreachable(app.Unreachable)
}

func encodeEnv(env map[string]spec.EnvValue) map[string]any {
	out := make(map[string]any, len(env))
	for name, v := range env {
		if out[name] = any(v.Value); v.Secret != "" {
			out[name] = SecretRefJSON{v.Secret}
		}
	}
	return out
}

func encodeSecrets(secrets map[string]string) map[string]SourceJSON {
	out := make(map[string]SourceJSON, len(secrets))
	for name, source := range secrets {
		out[name] = SourceJSON{source}
	}
	return out
}

func encodeNetwork(n spec.Network) NetworkJSON {
	return NetworkJSON{Labels: n.Labels, Mode: string(n.Mode), Name: n.Name}
}

func encodeFetch(f spec.Fetch) FetchJSON {
	return FetchJSON{URI: f.URI, Extract: f.Extract, Executable: f.Executable, Cache: f.Cache, DestPath: f.DestPath}
}

func encodeLimit(limits map[string]any, key string, limit *float64) {
	switch {
	case limit == nil:
	case *limit < 0:
		limits[key] = "unlimited"
	default:
		limits[key] = *limit
	}
}

func encodeContainer(app *spec.App) *ContainerJSON {
	c := app.Container
	if c == nil {
		return nil
	}
	out := &ContainerJSON{Type: string(c.Type), LinuxInfo: c.LinuxInfo, Volumes: convert(c.Volumes, encodeVolume)}
	if !isHostMode(app) {
		mappings := convert(c.PortMappings, encodePortMapping)
		out.PortMappings = &mappings
	}
	if d := c.Docker; d != nil {
		out.Docker = &DockerJSON{
			ForcePullImage: d.ForcePullImage, Image: d.Image, Privileged: d.Privileged,
			Parameters: convert(d.Parameters, func(p spec.Parameter) ParameterJSON { return ParameterJSON(p) }),
		}
		if d.PullConfig != "" {
			out.Docker.PullConfig = &SecretRefJSON{d.PullConfig}
		}
	}
	return out
}

func encodeVolume(v spec.Volume) VolumeJSON {
	return VolumeJSON{
		ContainerPath: v.ContainerPath, Mode: v.Mode, HostPath: v.HostPath,
		Persistent: v.Persistent, External: v.External, Secret: v.Secret,
	}
}

func encodePortMapping(m spec.PortMapping) PortMappingJSON {
	return PortMappingJSON{
		ContainerPort: m.ContainerPort, HostPort: m.HostPort, Labels: present(m.Labels), Name: m.Name,
		NetworkNames: m.NetworkNames, Protocol: m.Protocol, ServicePort: m.ServicePort,
	}
}

func encodePortDefinition(p spec.PortDefinition) PortDefinitionJSON {
	return PortDefinitionJSON{Labels: p.Labels, Name: p.Name, Port: p.Port, Protocol: p.Protocol}
}

func encodeHealthCheck(h spec.HealthCheck) HealthCheckJSON {
	out := HealthCheckJSON{
		DelaySeconds: seconds(h.Delay), GracePeriodSeconds: seconds(h.GracePeriod), IntervalSeconds: seconds(h.Interval),
		TimeoutSeconds: seconds(h.Timeout), MaxConsecutiveFailures: h.MaxConsecutiveFailures, IPProtocol: h.IPProtocol,
		Path: h.Path, Port: h.Port, PortIndex: h.PortIndex, Protocol: h.Protocol,
	}
	switch h.Protocol {
	case healthCommand:
		out.Command = &CommandJSON{h.Command}
	case healthHTTP, healthHTTPS:
		out.IgnoreHTTP1xx = &h.IgnoreHTTP1xx
	}
	return out
}

func encodeReadinessCheck(r spec.ReadinessCheck) ReadinessCheckJSON {
	return ReadinessCheckJSON{
		HTTPStatusCodesForReady: r.HTTPStatusCodesForReady, IntervalSeconds: seconds(r.Interval), Name: r.Name, Path: r.Path,
		PortName: r.PortName, PreserveLastResponse: r.PreserveLastResponse, Protocol: r.Protocol, TimeoutSeconds: seconds(r.Timeout),
	}
}

// convert maps a slice; the result is never nil, as keys of empty lists are written "[]" where they are always present.
func convert[A, B any](in []A, one func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = one(a)
	}
	return out
}

// present is m, or an empty map for keys that are always written.
func present(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func seconds(d time.Duration) int { return int(d / time.Second) }
