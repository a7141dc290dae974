package spec

import (
	"encoding/json"
	"time"
)

// App is one Marathon app definition in canonical form (Marathon 1.5+), at one version.
// Legacy forms (ports, uris, ipAddress, docker.network) never reach it: scheduler/marathon normalises them away.
type App struct {
	ID   AppID
	Cmd  string   // shell command line; never together with Args
	Args []string // argument vector for the image's entrypoint

	Container *Container // nil: the app runs in Berth's base image
	Networks  []Network  // never empty in canonical form

	Executor  string
	Instances int
	CPUs      float64 // cores
	Mem       float64 // MiB
	Disk      float64 // MiB
	GPUs      int

	ResourceLimits    *ResourceLimits
	ExecutorResources *ExecutorResources

	Env     map[string]EnvValue
	Secrets map[string]string // name -> source
	Labels  map[string]string
	User    string
	Fetch   []Fetch

	Constraints           []Constraint
	AcceptedResourceRoles []string
	Role                  string

	PortDefinitions []PortDefinition // host mode only; nil means none
	RequirePorts    bool

	HealthChecks    []HealthCheck
	Check           *Check
	ReadinessChecks []ReadinessCheck

	Backoff        time.Duration // first launch delay after a failure
	BackoffFactor  float64
	MaxLaunchDelay time.Duration
	KillGrace      *time.Duration // nil: the engine's default
	Upgrade        UpgradeStrategy
	KillSelection  KillSelection
	Unreachable    UnreachableStrategy
	Residency      *Residency
	Dependencies   []AppID // apps or groups, absolute
	TTY            *bool

	Pod *Pod // nil: a plain app

	// Version is the time of the last change of any kind; it names the version.
	Version time.Time
	// LastScaling and LastConfigChange are Marathon's versionInfo. A task is outdated when its ConfigVersion differs from
	// LastConfigChange: a pure scale does not make tasks outdated, nor what is changed in place (marathon.InPlace).
	LastScaling      time.Time
	LastConfigChange time.Time

	// Holes are seat numbers below the highest wanted seat that are not wanted: instances that were taken away by name. The
	// scheduler keeps them, ascending; they are no part of the definition.
	Holes []int `json:",omitempty"`
}

// Container is what the app runs in.
type Container struct {
	Type         ContainerType
	Docker       *Docker // nil only with Type MESOS and no image
	Volumes      []Volume
	PortMappings []PortMapping   // container and bridge mode; nil in host mode
	LinuxInfo    json.RawMessage `json:",omitempty"` // omitted when nil: null would come back as the text "null"
}

// ContainerType is Marathon's container type; Berth runs both as Docker containers.
type ContainerType string

// The container types.
const (
	ContainerDocker ContainerType = "DOCKER"
	ContainerMesos  ContainerType = "MESOS"
)

// Docker names the image and how docker run is parametrised.
type Docker struct {
	Image          string
	ForcePullImage bool
	Privileged     bool
	Parameters     []Parameter
	PullConfig     string // name of a secret
}

// Parameter is one docker run option: Key "cap-add", Value "NET_ADMIN".
type Parameter struct{ Key, Value string }

// Volume is a host, persistent, external or secret volume; exactly one of the four is set.
type Volume struct {
	ContainerPath string
	Mode          string          // "RO" or "RW"
	HostPath      string          // host volume
	Persistent    json.RawMessage `json:",omitempty"` // Marathon's "persistent" object, kept as it came (canonical keys)
	External      json.RawMessage `json:",omitempty"` // Marathon's "external" object
	Secret        string
}

// PortMapping maps a container port. HostPort nil: not exposed on the host; 0: a random port of the host's range.
type PortMapping struct {
	ContainerPort int
	HostPort      *int
	ServicePort   int
	Protocol      string // "tcp", "udp" or "udp,tcp"
	Name          string
	Labels        map[string]string
	NetworkNames  []string
}

// PortDefinition is a port of a host-mode app. Port is the service port.
type PortDefinition struct {
	Port     int
	Protocol string
	Name     string
	Labels   map[string]string
}

// NetworkMode is Marathon's network mode.
type NetworkMode string

// The network modes.
const (
	NetworkHost      NetworkMode = "host"
	NetworkContainer NetworkMode = "container"
	NetworkBridge    NetworkMode = "container/bridge"
)

// Network is one network the app asks for.
type Network struct {
	Mode   NetworkMode
	Name   string // container mode: the pool's network
	Labels map[string]string
}

// EnvValue is an environment value: a plain text or the name of a secret.
type EnvValue struct {
	Value  string
	Secret string // when not empty, Value is unused
}

// Fetch is a URI the engine downloads into the sandbox.
type Fetch struct {
	URI                        string
	Extract, Executable, Cache bool
	DestPath                   string
}

// Constraint is Marathon's [field, operator, value].
type Constraint struct{ Field, Operator, Value string }

// HealthCheck is one health check. Port wins over PortIndex; both nil means index 0.
type HealthCheck struct {
	Protocol               string // HTTP HTTPS TCP COMMAND MESOS_HTTP MESOS_HTTPS MESOS_TCP
	Path                   string
	Port                   *int
	PortIndex              *int
	Command                string // COMMAND: shell text
	GracePeriod            time.Duration
	Interval               time.Duration
	Timeout                time.Duration
	Delay                  time.Duration // Mesos-level kinds
	MaxConsecutiveFailures int           // 0: never kill
	IgnoreHTTP1xx          bool
	IPProtocol             string // IPv4, IPv6
	// Pods only: whose check it is, and the endpoint that it probes (HTTP and TCP kinds).
	Container string
	Endpoint  string
}

// Check is a check whose result is reported only; kept as it came.
type Check json.RawMessage

// MarshalJSON keeps the raw object.
func (c Check) MarshalJSON() ([]byte, error) { return json.RawMessage(c).MarshalJSON() }

// UnmarshalJSON keeps the raw object.
func (c *Check) UnmarshalJSON(b []byte) error { *c = append((*c)[:0], b...); return nil }

// ReadinessCheck is consulted during deployments only.
type ReadinessCheck struct {
	Name                    string
	Protocol                string // HTTP, HTTPS
	Path                    string
	PortName                string
	Interval, Timeout       time.Duration
	HTTPStatusCodesForReady []int
	PreserveLastResponse    bool
}

// UpgradeStrategy holds the two shares of a rolling update, both 0..1.
type UpgradeStrategy struct{ MinimumHealthCapacity, MaximumOverCapacity float64 }

// KillSelection says which instance goes first when there are too many.
type KillSelection string

// The kill selections.
const (
	YoungestFirst KillSelection = "YOUNGEST_FIRST"
	OldestFirst   KillSelection = "OLDEST_FIRST"
)

// UnreachableStrategy says when an unreachable task is replaced and forgotten.
type UnreachableStrategy struct {
	Disabled      bool
	InactiveAfter time.Duration
	ExpungeAfter  time.Duration
}

// Residency is Marathon's residency object.
type Residency struct {
	RelaunchEscalationTimeout time.Duration
	TaskLostBehavior          string
}

// ResourceLimits are upper bounds; nil: not set; negative: "unlimited".
type ResourceLimits struct{ CPUs, Mem *float64 }

// CPULimit is how many cores an instance may use at most: the app's limit, or what it asks for.
func (a *App) CPULimit() float64 { return a.ResourceLimits.cpus(a.CPUs) }

// Held is how many cores an instance holds of its host: what the engine gives away to nobody else as long as its task lives.
// Between this and nothing its quota can be changed while it runs, as the engine need not be told.
func (a *App) Held() float64 {
	if a.Pod == nil {
		if n, err := ParseCores(a.Labels[AppLabelMaxCPUs]); err == nil {
			return max(a.CPUs, n)
		}
	}
	return a.CPUs
}

// MemLimit is how many MiB an instance may use at most: the app's limit, or what it asks for.
func (a *App) MemLimit() float64 { return a.ResourceLimits.mem(a.Mem) }

func (l *ResourceLimits) cpus(asked float64) float64 {
	if l != nil && l.CPUs != nil && *l.CPUs >= asked {
		return *l.CPUs
	}
	return asked
}

func (l *ResourceLimits) mem(asked float64) float64 {
	if l != nil && l.Mem != nil && *l.Mem >= asked {
		return *l.Mem
	}
	return asked
}

// ExecutorResources are what the executor needs beside the task.
type ExecutorResources struct{ CPUs, Mem, Disk float64 }
