package spec

import (
	"encoding/json"
	"slices"
	"time"
)

// Pod is what an App has that is a pod: containers that share one seat, one address and one life. The rest of a pod's
// definition stands in the App's own fields (ID, Instances from scaling, Env from environment, Labels, User, Role, Secrets,
// Networks, Constraints, Backoff, Upgrade, KillSelection, Unreachable, ExecutorResources, versions). The App's CPUs, Mem,
// Disk and GPUs are the sums over the containers and the executor, and its HealthChecks are the containers' checks in
// their order (HealthCheck.Container names whose), so that everything that places and counts treats both alike.
type Pod struct {
	Containers   []PodContainer // at least one
	Volumes      []PodVolume
	MaxInstances *int            // scaling.maxInstances
	LinuxInfo    json.RawMessage `json:",omitempty"`
	// LegacySharedCgroups is carried only.
	LegacySharedCgroups *bool
}

// PodContainer is one container of a pod.
type PodContainer struct {
	Name string
	// Shell is a shell line; Argv an argument vector; at most one is set, none runs the image's own command.
	Shell              string
	Argv               []string
	OverrideEntrypoint *bool

	CPUs   float64 // cores
	Mem    float64 // MiB
	Disk   float64 // MiB
	GPUs   int
	Limits *ResourceLimits

	Image     *PodImage // nil: Berth's base image
	Endpoints []PodEndpoint
	Env       map[string]EnvValue
	User      string
	// HealthCheck is the container's entry of App.HealthChecks; nil: none.
	HealthCheck *HealthCheck
	// HealthArgv is the argument vector of a COMMAND check that was given as one, and what is run; HealthCheck.Command is its
	// shell form, for clients that know no other.
	HealthArgv []string
	Check      *Check // as sent, in canonical form
	Mounts     []PodMount
	Artifacts  []Fetch
	Labels     map[string]string
	KillGrace  *time.Duration  // lifecycle.killGracePeriodSeconds
	LinuxInfo  json.RawMessage `json:",omitempty"`
	TTY        *bool
}

// CPULimit is the container's quota in cores: its limit, or what it asks for.
func (c *PodContainer) CPULimit() float64 { return c.Limits.cpus(c.CPUs) }

// MemLimit is how many MiB the container may use at most: its limit, or what it asks for.
func (c *PodContainer) MemLimit() float64 { return c.Limits.mem(c.Mem) }

// PodImage is a container's image; Kind is "DOCKER" or "APPC".
type PodImage struct {
	Kind       string
	ID         string
	ForcePull  bool
	PullConfig string      // name of a secret
	Labels     []Parameter // of an APPC image
}

// PodEndpoint is a named port of a container.
type PodEndpoint struct {
	Name          string
	ContainerPort int      // 0: as the host port
	HostPort      *int     // nil: not exposed on the host; 0: any
	Protocols     []string // "tcp", "udp", and "http" and "https", which are carried by tcp; never empty
	Labels        map[string]string
	NetworkNames  []string
}

// Transports are the endpoint's protocols as a host publishes them, "tcp" or "udp", each once.
func (e PodEndpoint) Transports() []string {
	var out []string
	for _, p := range e.Protocols {
		if p != "udp" {
			p = "tcp"
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// PodMount mounts a volume of the pod in a container.
type PodMount struct {
	Name      string
	MountPath string // absolute, or relative to the container's sandbox
	ReadOnly  bool
}

// PodVolume is a volume that containers of the pod share. With none of the three set it is ephemeral: it lives as long as
// the instance.
type PodVolume struct {
	Name       string
	HostPath   string
	Persistent json.RawMessage `json:",omitempty"`
	Secret     string
}

// TaskContainer is the run of one container of a pod's task.
type TaskContainer struct {
	Name        string
	TaskID      string // the Mesos task id, "<instance>.<name>"
	State       string // last Mesos state
	Message     string
	ContainerID string // Mesos container id
	ExitCode    *int   // when it ended and the engine told
	Since       time.Time
	StartedAt   time.Time
	// CheckResult is the last result of the container's check; nil before the first.
	CheckResult *CheckResult `json:",omitempty"`
}

// PodTaskID is Marathon's id of the task that runs a pod's container.
func PodTaskID(instance, container string) string { return instance + "." + container }

// Member is the index of the container that runs as the task, -1 when there is none.
func (t *Task) Member(taskID string) int {
	for i := range t.Containers {
		if t.Containers[i].TaskID == taskID {
			return i
		}
	}
	return -1
}

// MemberTask is container i in the form of a task, for clients that look at a pod's containers one by one.
func (t *Task) MemberTask(i int) *Task {
	c, out := &t.Containers[i], *t
	out.ID, out.State, out.Message, out.ContainerID, out.Containers = c.TaskID, c.State, c.Message, c.ContainerID, nil
	out.StartedAt, out.CheckResult = c.StartedAt, c.CheckResult
	if TerminalState(c.State) {
		out.Rung, out.EndedAt = Terminal, c.Since
	}
	return &out
}
