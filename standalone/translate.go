package standalone

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/standalone/fetch"
)

// Labels that the engine puts on every container; recovery reads them.
const (
	labelAgent     = "mesos.agent_id"
	labelFramework = "mesos.framework_id"
	labelTask      = "mesos.task_id"
	labelContainer = "mesos.container_id"
	labelRole      = "mesos.role"
	labelResources = "mesos.resources"
	labelNetwork   = "mesos.network" // the name that statuses tell
	labelGrace     = "mesos.kill_grace"
	labelFailover  = "mesos.failover_timeout"
	labelFleeting  = "mesos.no_checkpoint" // the framework does not checkpoint
	// Of task groups: the sandbox's own, and that of its tasks.
	labelExecutor = "mesos.executor_id"
	labelMembers  = "mesos.task_ids"  // of a sandbox: the ids of its tasks
	labelGroup    = "mesos.parent_id" // of a task: the sandbox's Mesos container id
)

const (
	minShares      = 2        // the kernel's
	minMemory      = 32 << 20 // Mesos's least for a Docker task
	sharesPerCPU   = 1024
	quotaPeriod    = 100_000 // microseconds, the kernel's default
	sandboxInside  = "/mnt/mesos/sandbox"
	endedSuffix    = ".ended"
	containerStart = "mesos-"
)

// containerName is Mesos's name for the Docker container.
func containerName(cid string) string { return containerStart + cid }

// validate is the master's check of a launch: what it finds is a TASK_ERROR.
func (h *host) validate(f *framework, info *mesos.TaskInfo, available bundle) (res bundle, problem string) {
	id := info.TaskID.Value
	switch {
	case id == "":
		return res, "Task ID must not be empty"
	case len(id) > 255:
		return res, "'" + id + "' must not be greater than 255 characters"
	case id == "." || id == "..":
		return res, "'" + id + "' is disallowed"
	case !validID(id):
		return res, "'" + id + "' contains invalid characters"
	case h.tasks[taskKey{f.id, id}] != nil:
		return res, "Task has duplicate ID: " + id
	case info.AgentID.Value != h.agentID:
		return res, "Task uses invalid agent " + info.AgentID.Value + " while agent " + h.agentID + " is expected"
	case info.Executor != nil:
		return res, "Task uses an executor, which this engine does not run"
	case info.Command == nil:
		return res, "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	case info.Container == nil || info.Container.GetType() != mesos.ContainerInfo_DOCKER || info.Container.Docker == nil:
		return res, "Task is no Docker container, which is all that this engine runs"
	case info.HealthCheck != nil || info.Check != nil:
		return res, "Task has Mesos-level checks, which this engine does not run"
	case info.KillPolicy.GetGracePeriod() != nil && info.KillPolicy.GracePeriod.Nanoseconds < 0:
		return res, "Task's 'kill_policy.grace_period' must be non-negative"
	}
	for _, p := range info.Container.Docker.Parameters {
		if p.Key == "name" {
			return res, "Parameter in DockerInfo must not be 'name'"
		}
	}
	for _, v := range info.Command.GetEnvironment().GetVariables() {
		if v.GetType() == mesos.Environment_Variable_SECRET {
			return res, "Environment variable '" + v.Name + "' is a secret, which this engine does not resolve"
		}
	}
	res, err := fromResources(info.Resources)
	switch {
	case err != nil:
		return res, err.Error()
	case res.empty():
		return res, "Task uses no resources"
	case !available.contains(res):
		return res, "Total resources " + res.text(f.role) + " required by task and its executor is more than available " + available.text(f.role)
	}
	return res, ""
}

// validID: ids become parts of paths.
func validID(id string) bool {
	return !strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '/' || r == '\\' })
}

// plan is what a launch worker does.
type plan struct {
	spec    docker.CreateSpec
	net     network
	grace   time.Duration
	folders []string // to be made beforehand, shared with other containers
	fetch   []fetch.Item
	inside  []insideVolume // mounts of what lies in the task's own sandbox
	pull    bool           // whether or not the image is there
	refused string         // what docker run would have refused, for the message
}

// translate turns a task into the container that Mesos's Docker executor would run. A task of a group (nil: of none) has the
// network of the group's sandbox.
func (h *host) translate(f *framework, info *mesos.TaskInfo, res bundle, cid string, g *group) plan {
	d := info.Container.Docker
	p := plan{grace: h.opts.KillGrace}
	if g := info.KillPolicy.GetGracePeriod(); g != nil {
		p.grace = time.Duration(g.Nanoseconds)
	}
	for _, u := range info.Command.GetURIs() {
		p.fetch = append(p.fetch, fetch.Item{
			URI: u.Value, Extract: u.Extract == nil || *u.Extract, Executable: u.GetExecutable(), Cache: u.GetCache(), OutputFile: u.GetOutputFile(),
		})
	}
	p.pull = d.GetForcePullImage() || !tagged(d.Image)
	s := docker.CreateSpec{
		Name: containerName(cid), Image: d.Image, Privileged: d.GetPrivileged(), Hostname: info.Container.GetHostname(),
		Memory: max(res.mem*(1<<20)/1000, minMemory), CPUShares: max(res.cpus*sharesPerCPU/1000, minShares),
		Env: []string{
			"MESOS_ALLOCATION_ROLE=" + f.role, "MESOS_CONTAINER_NAME=" + containerName(cid), "MESOS_SANDBOX=" + sandboxInside,
		},
		Binds: []string{filepath.Join(h.opts.StateDir, sandboxDir, cid) + ":" + sandboxInside},
	}
	limits(&s, info.Limits)
	for _, v := range info.Command.GetEnvironment().GetVariables() {
		s.Env = append(s.Env, v.Name+"="+v.GetValue())
	}
	problem := command(&s, info.Command)
	others, fault := h.sharedFolders(&s, &p, g, info.Container.Volumes)
	problem = first(problem, fault, volumes(&s, &p, others))
	if g == nil {
		problem = first(problem, h.connect(&s, &p.net, info.Container, res))
	} else {
		s.Network, p.net.user = "container:"+containerName(g.box.cid), g.box.net.user
	}
	problem = first(problem, parameters(&s, d.Parameters))
	if p.net.docker = s.Network; p.net.docker == "" {
		p.net.docker = "bridge"
	}
	p.refused = problem
	for i, b := range s.Binds {
		if source, rest, ok := strings.Cut(b, ":"); ok {
			s.Binds[i] = h.place(source) + ":" + rest
		}
	}
	failover := strconv.FormatFloat(f.failover.Seconds(), 'f', -1, 64)
	// Ours come last: a parameter must not be able to forge them.
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	for k, v := range map[string]string{
		labelAgent: h.agentID, labelFramework: f.id, labelTask: info.TaskID.Value, labelContainer: cid, labelRole: f.role,
		labelResources: res.label(), labelNetwork: p.net.user, labelGrace: p.grace.String(), labelFailover: failover,
	} {
		s.Labels[k] = v
	}
	if !f.info.GetCheckpoint() {
		s.Labels[labelFleeting] = "true"
	}
	if g != nil {
		s.Labels[labelExecutor], s.Labels[labelGroup] = g.executor, g.box.cid
	}
	p.spec = s
	return p
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// tagged says whether an image reference names a tag or a digest; without one it means :latest.
func tagged(ref string) bool {
	return strings.Contains(ref, "@") || strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":")
}

// limits are Mesos's upper bounds beside the requests.
func limits(s *docker.CreateSpec, of map[string]mesos.Value_Scalar) {
	if l, ok := of["cpus"]; ok && l.Value > 0 && l.Value < 1<<20 {
		s.CPUQuota = max(int64(l.Value*quotaPeriod), 1000)
	}
	if l, ok := of["mem"]; ok && l.Value > 0 {
		s.MemoryReservation = s.Memory
		if s.Memory = 0; l.Value < 1<<40 {
			s.Memory = max(int64(l.Value*(1<<20)), minMemory)
		}
	}
}

func command(s *docker.CreateSpec, c *mesos.CommandInfo) string {
	if c.GetShell() {
		if c.Value == nil {
			return "Shell specified but no command value provided"
		}
		s.Entrypoint, s.Cmd = []string{"/bin/sh"}, []string{"-c", *c.Value}
		return ""
	}
	if c.Value != nil {
		s.Cmd = append(s.Cmd, *c.Value)
	}
	s.Cmd = append(s.Cmd, c.Arguments...)
	return ""
}

func volumes(s *docker.CreateSpec, p *plan, vs []mesos.Volume) string {
	for _, v := range vs {
		source := v.GetHostPath()
		if src := v.GetSource(); src != nil {
			if src.GetDockerVolume() == nil {
				return fmt.Sprintf("volume source %s is not supported", src.Type)
			}
			source = src.DockerVolume.Name
		} else if source != "" && !path.IsAbs(source) {
			if !filepath.IsLocal(source) {
				return "host path '" + source + "' is not below the sandbox"
			}
			p.inside = append(p.inside, insideVolume{source, v.ContainerPath, v.GetMode() == mesos.RO})
			continue
		}
		text := v.ContainerPath
		if source != "" {
			text = source + ":" + text
			if v.GetMode() == mesos.RO {
				text += ":ro"
			}
		}
		if err := s.SetOption("volume", text); err != nil {
			return err.Error()
		}
	}
	return ""
}

// connect sets the network and publishes ports.
func (h *host) connect(s *docker.CreateSpec, n *network, c *mesos.ContainerInfo, res bundle) string {
	switch infos := c.NetworkInfos; {
	case len(infos) > 1:
		return "Multiple network infos are not supported"
	case len(infos) == 1:
		n.user = infos[0].GetName()
	}
	kind := c.Docker.GetNetwork()
	switch kind {
	case mesos.ContainerInfo_DockerInfo_HOST:
		s.Network = "host"
	case mesos.ContainerInfo_DockerInfo_BRIDGE:
		s.Network = "bridge"
	case mesos.ContainerInfo_DockerInfo_NONE:
		s.Network = "none"
	case mesos.ContainerInfo_DockerInfo_USER:
		if s.Network = n.user; s.Network == "" {
			return "No network info found in container info"
		}
	}
	for _, m := range c.Docker.PortMappings {
		if s.Network == "host" || s.Network == "none" {
			return "Port mappings are only supported for bridge and user-defined networks"
		}
		want := []span{{uint64(m.HostPort), uint64(m.HostPort)}}
		if m.ContainerPort == 0 || m.ContainerPort > 65535 {
			return fmt.Sprintf("container port %d is none", m.ContainerPort)
		}
		if len(cut(want, res.ports)) > 0 {
			return fmt.Sprintf("Port [%d] not included in resources", m.HostPort)
		}
		protocol := strings.ToLower(m.GetProtocol())
		if protocol == "" {
			protocol = "tcp"
		}
		s.PortBindings = append(s.PortBindings, docker.PortBinding{
			HostPort: int(m.HostPort), ContainerPort: int(m.ContainerPort), Protocol: protocol,
		})
	}
	return ""
}

// parameters apply the task's docker options, which win. The first network option replaces the task's network; Docker
// refuses a second one.
func parameters(s *docker.CreateSpec, ps []mesos.Parameter) string {
	networks := 0
	for _, p := range ps {
		if p.Key == "net" || p.Key == "network" {
			if networks++; networks > 1 {
				return "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
			}
		}
		if err := s.SetOption(p.Key, p.Value); err != nil {
			return err.Error()
		}
	}
	if s.Network == "host" || s.Network == "none" || s.Network == "bridge" {
		if s.IP.IsValid() {
			return "user specified IP address is supported on user defined networks only"
		}
		if len(s.NetworkAliases) > 0 {
			return "network-scoped alias is supported only for containers in user defined networks"
		}
	}
	return ""
}

// label is the form of a bundle in a container label, in thousandths.
func (b bundle) label() string {
	ports := strings.ReplaceAll(spansText(b.ports), " ", "")
	return fmt.Sprintf("cpus=%d;mem=%d;disk=%d;ports=%s", b.cpus, b.mem, b.disk, ports)
}

func parseLabel(text string) (bundle, error) {
	var b bundle
	for _, part := range strings.Split(text, ";") {
		k, v, _ := strings.Cut(part, "=")
		var err error
		switch k {
		case "cpus":
			b.cpus, err = strconv.ParseInt(v, 10, 64)
		case "mem":
			b.mem, err = strconv.ParseInt(v, 10, 64)
		case "disk":
			b.disk, err = strconv.ParseInt(v, 10, 64)
		case "ports":
			b.ports, err = parseSpans(v)
		default:
			err = fmt.Errorf("unknown part %q", part)
		}
		if err != nil {
			return bundle{}, fmt.Errorf("read resources %q: %w", text, err)
		}
	}
	return b, nil
}
