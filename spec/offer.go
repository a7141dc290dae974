package spec

import "time"

// Offer is what one host has free, in the scheduler's own words; scheduler/mesos makes it from the wire form.
type Offer struct {
	ID      string
	AgentID string
	Host    string // the agent's host name
	CPUs    float64
	Mem     float64 // MiB
	Disk    float64 // MiB
	GPUs    float64
	Ports   []PortRange
	// Attributes of the agent, as text.
	Attributes map[string]string
	Region     string
	Zone       string
	// Role is the framework's role that the offer is made to.
	Role string
	// Reserved is the part of the above that only this role may use.
	Reserved Resources
	// Unavailable is the host's planned maintenance; zero: none is known.
	Unavailable Period
}

// Resources are amounts of what hosts have.
type Resources struct {
	CPUs, Mem, Disk, GPUs float64
	Ports                 []PortRange
}

// Period is a time with a beginning and an end; a zero Until never comes.
type Period struct{ From, Until time.Time }

// PortRange is a range of host ports, both ends included.
type PortRange struct{ Begin, End int }

// Launch is everything the engine is told about one task. scheduler/mesos turns it into a TaskInfo.
type Launch struct {
	TaskID    string
	Name      string
	AgentID   string
	OfferID   string
	CPUs      float64
	Mem       float64 // MiB
	Disk      float64 // MiB
	HostPorts []PortRange
	// Roles are those whose resources the task may use, "*" for what is not reserved; empty: all that the offer has.
	Roles []string

	Image      string
	ForcePull  bool
	Privileged bool
	// Shell: Command is a shell line and replaces the image's entrypoint by /bin/sh -c (Mesos's meaning). Otherwise Args go
	// to the image's entrypoint.
	Shell   bool
	Command string
	Args    []string
	Env     map[string]string

	Network    string // the Docker network (Mesos network USER with this name); "" with HostNetwork
	HostNet    bool
	Parameters []Parameter // docker run options, in order
	Volumes    []LaunchVolume
	// PortMappings are published on the host.
	PortMappings []LaunchPort
	Fetch        []Fetch
	KillGrace    time.Duration // 0: the engine's default
	// Check is performed by the engine beside the container, and the task killed when it fails too often; nil: none.
	Check  *NativeCheck
	Labels map[string]string

	// Members are a pod's containers, each a task of its own with the network of the launch itself. The launch then is the
	// pod's sandbox, which only holds network, address, host name and published ports; TaskID is the executor's id.
	Members []Launch
}

// NativeCheck is a health check of the engine's own. Its results come as TaskStatus.Healthy.
type NativeCheck struct {
	Protocol string // HTTP, HTTPS, TCP, COMMAND
	Path     string // HTTP kinds
	Port     int    // in the container's network; not of COMMAND
	Command  string // COMMAND: shell text, run in the container

	Delay, GracePeriod, Interval, Timeout time.Duration
	MaxFailures                           int // in a row, then the task is killed; 0: never
}

// LaunchVolume is a host path mounted in the container, or a folder that a pod's containers share.
type LaunchVolume struct {
	HostPath, ContainerPath string
	ReadOnly                bool
	// Shared names a folder that lives as long as the pod's instance; HostPath is unused then.
	Shared string
}

// LaunchPort publishes a container port on the host.
type LaunchPort struct {
	Container, Host int
	Protocol        string
}

// TaskStatus is one status update of the engine, in the scheduler's own words.
type TaskStatus struct {
	TaskID      string
	AgentID     string
	State       string // "TASK_RUNNING"
	Message     string
	Reason      string // "" when unset
	Source      string
	Healthy     *bool // Mesos-native checks
	ContainerID string
	// Addresses are container_status.network_infos'; only RUNNING updates carry the container's own.
	Addresses []string
	Timestamp time.Time
	// UUID is set when the update must be acknowledged.
	UUID []byte
}

// TerminalState says whether a Mesos task state is an end. TASK_LOST is one for frameworks that are not partition aware
// and for agents that were shut down; TASK_UNREACHABLE and TASK_UNKNOWN are not.
func TerminalState(state string) bool {
	switch state {
	case "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR":
		return true
	}
	return false
}
