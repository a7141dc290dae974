package mesos

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/spec"
)

// operations translates launches. offered are the resources of all offers of the ACCEPT: what is reserved for a role must be
// named with its reservation, so each launch takes its share of them, reserved first. What is not among them (an offer that
// this session does not know any more) is asked for plainly, with the role; the master answers such an ACCEPT by TASK_DROPPED.
//
// Plain tasks go out in one LAUNCH, each pod in a LAUNCH_GROUP of its own.
func operations(launches []spec.Launch, offered []mesos.Resource, role string) ([]mesos.Offer_Operation, error) {
	pool := newPool(offered, role)
	plain := make([]spec.Launch, 0, len(launches))
	var out []mesos.Offer_Operation
	for i := range launches {
		if len(launches[i].Members) == 0 {
			plain = append(plain, launches[i])
			continue
		}
		group, err := launchGroup(&launches[i], pool)
		if err != nil {
			return nil, err
		}
		out = append(out, mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH_GROUP, LaunchGroup: group})
	}
	infos, err := taskInfos(plain, pool)
	if err != nil {
		return nil, err
	}
	if len(infos) > 0 {
		out = append(out, mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: infos}})
	}
	return out, nil
}

func taskInfos(launches []spec.Launch, pool *pool) ([]mesos.TaskInfo, error) {
	infos := make([]mesos.TaskInfo, 0, len(launches))
	for i := range launches {
		info, err := taskInfo(&launches[i])
		if err != nil {
			return nil, fmt.Errorf("launch %s: %w", launches[i].TaskID, err)
		}
		info.Resources = pool.take(&launches[i])
		infos = append(infos, info)
	}
	return infos, nil
}

// taskInfo translates everything but the resources.
func taskInfo(l *spec.Launch) (mesos.TaskInfo, error) {
	container, err := containerInfo(l)
	if err != nil {
		return mesos.TaskInfo{}, err
	}
	info := mesos.TaskInfo{
		Name:        l.Name,
		TaskID:      mesos.TaskID{Value: l.TaskID},
		AgentID:     mesos.AgentID{Value: l.AgentID},
		Command:     commandInfo(l),
		Container:   container,
		Labels:      labels(l.Labels),
		HealthCheck: healthCheck(l.Check),
	}
	if l.KillGrace > 0 {
		info.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: l.KillGrace.Nanoseconds()}}
	}
	return info, nil
}

func commandInfo(l *spec.Launch) *mesos.CommandInfo {
	c := &mesos.CommandInfo{Shell: &l.Shell}
	if l.Shell {
		c.Value = &l.Command
	} else {
		c.Arguments = l.Args // for the image's entrypoint; a value would be put before them
	}
	if len(l.Env) > 0 {
		c.Environment = &mesos.Environment{}
		for _, name := range slices.Sorted(maps.Keys(l.Env)) {
			value := l.Env[name]
			c.Environment.Variables = append(c.Environment.Variables, mesos.Environment_Variable{Name: name, Value: &value})
		}
	}
	for i := range l.Fetch {
		f := &l.Fetch[i]
		u := mesos.CommandInfo_URI{Value: f.URI, Executable: &f.Executable, Extract: &f.Extract, Cache: &f.Cache}
		if f.DestPath != "" {
			u.OutputFile = &f.DestPath
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func containerInfo(l *spec.Launch) (*mesos.ContainerInfo, error) {
	network, names, err := network(l)
	if err != nil {
		return nil, err
	}
	image, untagged := tagged(l.Image)
	pull := l.ForcePull || untagged
	c := &mesos.ContainerInfo{
		Type:         mesos.ContainerInfo_DOCKER.Enum(),
		NetworkInfos: names,
		Docker: &mesos.ContainerInfo_DockerInfo{
			Image:          image,
			Network:        network.Enum(),
			Privileged:     &l.Privileged,
			ForcePullImage: &pull,
		},
	}
	for _, p := range l.Parameters {
		c.Docker.Parameters = append(c.Docker.Parameters, mesos.Parameter{Key: p.Key, Value: p.Value})
	}
	for _, p := range l.PortMappings {
		for protocol := range strings.SplitSeq(p.Protocol, ",") { // Marathon's "udp,tcp" is two mappings here
			m := mesos.ContainerInfo_DockerInfo_PortMapping{ContainerPort: uint32(p.Container), HostPort: uint32(p.Host)}
			if protocol != "" {
				m.Protocol = &protocol
			}
			c.Docker.PortMappings = append(c.Docker.PortMappings, m)
		}
	}
	for i := range l.Volumes {
		v := &l.Volumes[i]
		mode := mesos.RW
		if v.ReadOnly {
			mode = mesos.RO
		}
		if v.Shared != "" {
			c.Volumes = append(c.Volumes, mesos.Volume{ContainerPath: v.ContainerPath, Mode: mode.Enum(), Source: &mesos.Volume_Source{
				Type:        mesos.Volume_Source_SANDBOX_PATH,
				SandboxPath: &mesos.Volume_Source_SandboxPath{Type: mesos.Volume_Source_SandboxPath_PARENT, Path: v.Shared},
			}})
			continue
		}
		c.Volumes = append(c.Volumes, mesos.Volume{ContainerPath: v.ContainerPath, HostPath: &v.HostPath, Mode: mode.Enum()})
	}
	return c, nil
}

// tagged gives an image's reference a tag if it has neither tag nor digest. Without one it means the newest of that name, so
// Mesos pulls it each time; that is said explicitly.
func tagged(image string) (reference string, added bool) {
	last := image[strings.LastIndexByte(image, '/')+1:] // a registry's port is no tag
	if image == "" || strings.ContainsAny(last, ":@") {
		return image, false
	}
	return image + ":latest", true
}

// network chooses Docker's network. USER needs the name in network_infos, or the task fails late and without a reason.
func network(l *spec.Launch) (mesos.ContainerInfo_DockerInfo_Network, []mesos.NetworkInfo, error) {
	switch {
	case l.HostNet && l.Network != "":
		return 0, nil, fmt.Errorf("both the host's network and network %q", l.Network)
	case l.HostNet && len(l.PortMappings) > 0:
		return 0, nil, fmt.Errorf("port mappings on the host's network")
	case l.HostNet:
		return mesos.ContainerInfo_DockerInfo_HOST, nil, nil
	case l.Network == "":
		return mesos.ContainerInfo_DockerInfo_BRIDGE, nil, nil
	default:
		return mesos.ContainerInfo_DockerInfo_USER, []mesos.NetworkInfo{{Name: &l.Network}}, nil
	}
}

func labels(m map[string]string) *mesos.Labels {
	if len(m) == 0 {
		return nil
	}
	out := &mesos.Labels{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		out.Labels = append(out.Labels, mesos.Label{Key: k, Value: &v})
	}
	return out
}
