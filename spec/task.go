package spec

import (
	"net/netip"
	"time"
)

// Rung is how far a task has come. It never goes back; a restart is a new task.
type Rung int

// The rungs, in their order.
const (
	Created  Rung = iota // in the store, the engine has not heard of it
	Launched             // ACCEPT sent
	Staged               // the engine said STAGING or STARTING
	Running
	Killing // a kill is wanted; the engine may still be waiting for the drain
	Terminal
)

var rungNames = [...]string{"created", "launched", "staged", "running", "killing", "terminal"}

func (r Rung) String() string {
	if r < 0 || int(r) >= len(rungNames) {
		return "unknown"
	}
	return rungNames[r]
}

// Task is one run of an instance (a seat).
type Task struct {
	ID       string // Mesos task id
	Instance string // Marathon instance id
	Seat     SeatID

	AppVersion    time.Time `json:",omitzero"` // App.Version it was launched from
	ConfigVersion time.Time `json:",omitzero"` // App.LastConfigChange it was launched from

	Rung    Rung   `json:",omitzero"`
	State   string `json:",omitzero"` // last Mesos state, "TASK_RUNNING"; TASK_STAGING before any
	Message string `json:",omitzero"` // the engine's last message
	Reason  string `json:",omitzero"` // Mesos reason, "" when none was given

	Role    string `json:",omitempty"` // Mesos role it was launched in, which a later definition may change
	Host    string `json:",omitzero"`  // the agent's host name
	AgentID string `json:",omitzero"`
	// Attributes of the agent as constraints name them ("rack", "@zone", "hostname"), as they were at the launch.
	Attributes  map[string]string `json:",omitzero"`
	ContainerID string            `json:",omitzero"` // Mesos container id; the Docker name is "mesos-"+it

	Pool    string     `json:",omitzero"`
	Address netip.Addr `json:",omitzero"` // the container's own address
	// Twin is the IPv6 address that the pool had for it when the task was launched; zero: none.
	Twin netip.Addr `json:",omitzero"`
	// Ports are the effective ports in the order of the definitions or mappings: host ports where the host publishes them,
	// otherwise the container's own.
	Ports []int `json:",omitzero"`
	// HostPorts are the ports taken from the host for those mappings that publish one, in their order.
	HostPorts []int `json:",omitzero"`

	// ClientHost and ClientPorts are what Marathon's "host" and "ports" say; see VisibleHost. ClientHost "": Host.
	ClientHost  string `json:",omitzero"`
	ClientPorts []int  `json:",omitzero"`

	CreatedAt, StagedAt, StartedAt, EndedAt time.Time `json:",omitzero"`

	// Unreachable since; zero while the engine reaches the task. A flag beside the rung, not a rung.
	UnreachableSince time.Time `json:",omitzero"`
	// GivenUp: it was unreachable for so long that a replacement may run beside it (instances that float only). It stays set
	// when the task comes back, which then goes first where there are too many.
	GivenUp bool `json:",omitzero"`

	KillWanted time.Time `json:",omitzero"` // when the kill was decided; zero: not wanted
	KillReason string    `json:",omitzero"`
	// KillIsFailure: the end counts for the app's launch delay (the task never started).
	KillIsFailure bool      `json:",omitzero"`
	Drained       bool      `json:",omitzero"` // the host confirmed that clients were told (Consul), or was given its time
	KillSent      time.Time `json:",omitzero"` // when the last KILL call went out

	// Containers are a pod's containers in the definition's order; nil for apps. A pod's task has the instance's id as its
	// own, each container a Mesos task id below it.
	Containers []TaskContainer `json:",omitzero"`

	// CheckResult is the last result of the app's check; nil before the first. Those of a pod are its containers'.
	CheckResult *CheckResult `json:",omitempty"`

	// Volumes are the persistent volumes that it uses, in the definition's order.
	Volumes []SeatVolume `json:",omitempty"`

	Health []CheckHealth `json:",omitzero"` // one entry a health check; empty before the first result
	Ready  bool          `json:",omitzero"` // readiness check passed once, or the app has none
	// Readiness is the last answer to the readiness check, while a deployment of the app runs and the check asks for it.
	Readiness ProbeResponse `json:",omitzero"`
	// HealthySince is when all checks became alive (or, without checks, when it ran); zero while not.
	HealthySince time.Time `json:",omitzero"`
}

// VisibleState is the Mesos state that clients see. Reachability is a flag beside the rung, and a task whose kill is
// wanted is on its way out whatever the engine last said: clients drop it while it is still being drained.
func (t *Task) VisibleState() string {
	switch {
	case t.Rung == Terminal:
	case !t.UnreachableSince.IsZero():
		return "TASK_UNREACHABLE"
	case t.Rung == Killing:
		return "TASK_KILLING"
	}
	if t.State == "" {
		return "TASK_STAGING"
	}
	return t.State
}

// VisibleHost is what clients that join host and ports are told as the host: the task's own address where the app listens
// there under Marathon's mode "host", otherwise the agent's host name.
func (t *Task) VisibleHost() string {
	if t.ClientHost != "" {
		return t.ClientHost
	}
	return t.Host
}

// Live says that the task occupies its seat: its container may exist.
func (t *Task) Live() bool { return t.Rung != Terminal }

// CheckHealth is the last known result of one health check of one task.
type CheckHealth struct {
	Alive               bool
	Known               bool // at least one result
	ConsecutiveFailures int
	FirstSuccess        time.Time
	LastSuccess         time.Time
	LastFailure         time.Time
	LastFailureCause    string
	Response            ProbeResponse `json:",omitzero"` // of the last probe, if it keeps them
}

// CheckResult is the last result of a check that is only reported.
type CheckResult struct {
	Protocol string // HTTP, HTTPS, TCP or COMMAND
	// Answered: Code is an HTTP status or an exit code; of TCP, that the connection was made.
	Answered bool
	Code     int
}

// Seat is the lasting identity of one instance: it outlives every task and is kept when the app scales down.
type Seat struct {
	ID       SeatID
	Hostname string
	HostKeys []HostKey
	LastHost string
	// Weight is the instance's share of its service's requests; 0: as AppLabelServiceWeight says, or 1. It and Maintenance end
	// when the seat does.
	Weight int `json:",omitempty"`
	// Maintenance is why somebody had requests kept away from the instance; "": nobody has.
	Maintenance string `json:",omitempty"`
	// Volumes are its persistent volumes, freed ones until their data is gone. Never changed in place.
	Volumes []SeatVolume `json:",omitempty"`
}

// VolumesHost is the host that has the seat's persistent volumes, and so the only one that it may run on; "" for none.
func (s Seat) VolumesHost() string {
	for _, v := range s.Volumes {
		if !v.Freed {
			return v.Host
		}
	}
	return ""
}

// HostKey is one SSH host key of a seat, in OpenSSH's file formats.
type HostKey struct {
	Type    string // "ed25519"
	Private string // secret: never logged
	Public  string // authorized_keys form
}

// TaskFailure is Marathon's lastTaskFailure of an app.
type TaskFailure struct {
	App        AppID
	TaskID     string
	Host       string
	AgentID    string
	State      string
	Message    string
	Timestamp  time.Time
	AppVersion time.Time
}
