package marathon

import (
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// EncodePod is the pod in Marathon's canonical form. The result shares maps and slices with the pod: write it, do not
// change it.
func EncodePod(pod *spec.App) *PodJSON {
	p := &PodJSON{
		ID: string(pod.ID), Labels: pod.Labels, Version: spec.FormatTime(pod.Version), User: unlessEmpty(pod.User),
		Environment: encodeEnv(pod.Env), Secrets: encodeSecrets(pod.Secrets), Role: pod.Role,
		Containers: convert(pod.Pod.Containers, encodePodContainer),
		Networks:   convert(pod.Networks, encodeNetwork),
		Scaling:    PodScalingJSON{Kind: "fixed", Instances: pod.Instances, MaxInstances: pod.Pod.MaxInstances},
		Scheduling: encodeScheduling(pod),
		LinuxInfo:  pod.Pod.LinuxInfo, LegacySharedCgroups: pod.Pod.LegacySharedCgroups,
	}
	for _, v := range pod.Pod.Volumes {
		p.Volumes = append(p.Volumes, PodVolumeJSON{Name: v.Name, Host: v.HostPath, Persistent: v.Persistent, Secret: v.Secret})
	}
	if r := pod.ExecutorResources; r != nil {
		p.ExecutorResources = &ResourcesJSON{CPUs: r.CPUs, Disk: r.Disk, Mem: r.Mem}
	}
	return p
}

func encodeScheduling(pod *spec.App) PodSchedulingJSON {
	s := PodSchedulingJSON{
		Backoff: PodBackoffJSON{fraction(pod.Backoff), pod.BackoffFactor, fraction(pod.MaxLaunchDelay)},
		Upgrade: PodUpgradeJSON{pod.Upgrade.MinimumHealthCapacity, pod.Upgrade.MaximumOverCapacity},
		Placement: PodPlacementJSON{
			Constraints: convert(pod.Constraints, func(c spec.Constraint) PodConstraintJSON {
				return PodConstraintJSON{FieldName: c.Field, Operator: c.Operator, Value: c.Value}
			}),
			AcceptedResourceRoles: pod.AcceptedResourceRoles,
		},
		KillSelection:       string(pod.KillSelection),
		UnreachableStrategy: EncodeUnreachable(pod.Unreachable),
	}
	if s.Placement.AcceptedResourceRoles == nil {
		s.Placement.AcceptedResourceRoles = []string{}
	}
	return s
}

// EncodeUnreachable is "disabled" or the two times.
func EncodeUnreachable(u spec.UnreachableStrategy) any {
	if u.Disabled {
		return "disabled"
	}
	return UnreachableJSON{seconds(u.ExpungeAfter), seconds(u.InactiveAfter)}
}

func encodePodContainer(c spec.PodContainer) PodContainerJSON {
	out := PodContainerJSON{
		Name: c.Name, Resources: PodResourcesJSON{CPUs: c.CPUs, Mem: c.Mem, Disk: c.Disk, GPUs: c.GPUs},
		Environment: encodeEnv(c.Env), User: unlessEmpty(c.User), HealthCheck: encodePodHealthCheck(c), Labels: c.Labels,
		LinuxInfo: c.LinuxInfo, TTY: c.TTY,
		Endpoints: convert(c.Endpoints, encodePodEndpoint), Artifacts: convert(c.Artifacts, encodeFetch),
		VolumeMounts: convert(c.Mounts, func(m spec.PodMount) PodMountJSON { return PodMountJSON(m) }),
	}
	if c.Shell != "" || c.Argv != nil {
		out.Exec = &PodExecJSON{Command: PodCommandJSON{Shell: unlessEmpty(c.Shell), Argv: c.Argv}, OverrideEntrypoint: c.OverrideEntrypoint}
	}
	if c.Limits != nil {
		out.ResourceLimits = map[string]any{}
		encodeLimit(out.ResourceLimits, "cpus", c.Limits.CPUs)
		encodeLimit(out.ResourceLimits, "mem", c.Limits.Mem)
	}
	if i := c.Image; i != nil {
		out.Image = &PodImageJSON{Kind: i.Kind, ID: i.ID, ForcePull: i.ForcePull}
		if i.PullConfig != "" {
			out.Image.PullConfig = &SecretRefJSON{i.PullConfig}
		}
		for _, l := range i.Labels {
			out.Image.Labels = append(out.Image.Labels, ImageLabelJSON{Name: l.Key, Value: l.Value})
		}
	}
	if c.Check != nil {
		out.Check = json.RawMessage(*c.Check)
	}
	if c.KillGrace != nil {
		grace := fraction(*c.KillGrace)
		out.Lifecycle = &PodLifecycleJSON{KillGracePeriodSeconds: &grace}
	}
	return out
}

func encodePodEndpoint(e spec.PodEndpoint) PodEndpointJSON {
	out := PodEndpointJSON{Name: e.Name, HostPort: e.HostPort, Protocol: e.Protocols, Labels: e.Labels, NetworkNames: e.NetworkNames}
	if e.ContainerPort != 0 {
		out.ContainerPort = &e.ContainerPort
	}
	return out
}

func encodePodHealthCheck(c spec.PodContainer) *PodHealthCheckJSON {
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	out := &PodHealthCheckJSON{
		GracePeriodSeconds: seconds(h.GracePeriod), IntervalSeconds: seconds(h.Interval), TimeoutSeconds: seconds(h.Timeout),
		DelaySeconds: seconds(h.Delay), MaxConsecutiveFailures: h.MaxConsecutiveFailures,
	}
	switch h.Protocol {
	case mesosHTTP:
		out.HTTP = &PodHTTPJSON{Endpoint: h.Endpoint, Path: h.Path, Scheme: healthHTTP}
	case mesosHTTPS:
		out.HTTP = &PodHTTPJSON{Endpoint: h.Endpoint, Path: h.Path, Scheme: healthHTTPS}
	case mesosTCP:
		out.TCP = &PodTCPJSON{Endpoint: h.Endpoint}
	case healthCommand:
		out.Exec = &PodProgramJSON{PodCommandJSON{Argv: c.HealthArgv}}
		if c.HealthArgv == nil {
			out.Exec.Command.Shell = &h.Command
		}
	}
	return out
}

func fraction(d time.Duration) float64 { return d.Seconds() }
