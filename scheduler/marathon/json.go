package marathon

import "encoding/json"

// AppJSON is an app in Marathon's canonical form. Its keys are those of section "writing" of Marathon 1.5 and later: a
// field without omitempty is always present, pointers to slices are present even when the slice is empty. It has no
// MarshalJSON, so that answers with more keys embed it.
type AppJSON struct {
	ID                    string                `json:"id"`
	AcceptedResourceRoles []string              `json:"acceptedResourceRoles,omitempty"`
	Args                  []string              `json:"args,omitempty"`
	BackoffFactor         float64               `json:"backoffFactor"`
	BackoffSeconds        int                   `json:"backoffSeconds"`
	Check                 json.RawMessage       `json:"check,omitempty"`
	Cmd                   *string               `json:"cmd,omitempty"`
	Constraints           [][]string            `json:"constraints,omitempty"`
	Container             *ContainerJSON        `json:"container,omitempty"`
	CPUs                  float64               `json:"cpus"`
	Dependencies          []string              `json:"dependencies,omitempty"`
	Disk                  float64               `json:"disk"`
	Env                   map[string]any        `json:"env,omitempty"` // string or SecretRefJSON
	Executor              string                `json:"executor"`
	ExecutorResources     *ResourcesJSON        `json:"executorResources,omitempty"`
	Fetch                 []FetchJSON           `json:"fetch,omitempty"`
	GPUs                  int                   `json:"gpus"`
	HealthChecks          []HealthCheckJSON     `json:"healthChecks,omitempty"`
	Instances             int                   `json:"instances"`
	KillSelection         string                `json:"killSelection"`
	Labels                map[string]string     `json:"labels"`
	MaxLaunchDelaySeconds int                   `json:"maxLaunchDelaySeconds"`
	Mem                   float64               `json:"mem"`
	Networks              []NetworkJSON         `json:"networks"`
	PortDefinitions       *[]PortDefinitionJSON `json:"portDefinitions,omitempty"` // host mode only
	ReadinessChecks       []ReadinessCheckJSON  `json:"readinessChecks,omitempty"`
	RequirePorts          bool                  `json:"requirePorts"`
	Residency             *ResidencyJSON        `json:"residency,omitempty"`
	ResourceLimits        map[string]any        `json:"resourceLimits,omitempty"` // number or "unlimited"
	Role                  string                `json:"role"`
	Secrets               map[string]SourceJSON `json:"secrets,omitempty"`
	TaskKillGracePeriod   *int                  `json:"taskKillGracePeriodSeconds,omitempty"`
	TTY                   *bool                 `json:"tty,omitempty"`
	UnreachableStrategy   any                   `json:"unreachableStrategy"` // "disabled" or UnreachableJSON
	UpgradeStrategy       UpgradeJSON           `json:"upgradeStrategy"`
	User                  *string               `json:"user,omitempty"`
	Version               string                `json:"version"`
}

// ContainerJSON is an app's container.
type ContainerJSON struct {
	Type         string             `json:"type"`
	Docker       *DockerJSON        `json:"docker,omitempty"`
	LinuxInfo    json.RawMessage    `json:"linuxInfo,omitempty"`
	PortMappings *[]PortMappingJSON `json:"portMappings,omitempty"` // not in host mode
	Volumes      []VolumeJSON       `json:"volumes"`
}

// DockerJSON is the image and its docker run options.
type DockerJSON struct {
	ForcePullImage bool            `json:"forcePullImage"`
	Image          string          `json:"image"`
	Parameters     []ParameterJSON `json:"parameters"`
	Privileged     bool            `json:"privileged"`
	PullConfig     *SecretRefJSON  `json:"pullConfig,omitempty"`
}

// ParameterJSON is one docker run option.
type ParameterJSON struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// SecretRefJSON names a secret.
type SecretRefJSON struct {
	Secret string `json:"secret"`
}

// SourceJSON says where a secret comes from.
type SourceJSON struct {
	Source string `json:"source"`
}

// VolumeJSON is a host, persistent, external or secret volume.
type VolumeJSON struct {
	ContainerPath string          `json:"containerPath"`
	Mode          string          `json:"mode,omitempty"`
	HostPath      string          `json:"hostPath,omitempty"`
	Persistent    json.RawMessage `json:"persistent,omitempty"`
	External      json.RawMessage `json:"external,omitempty"`
	Secret        string          `json:"secret,omitempty"`
}

// PortMappingJSON is a port of a container network.
type PortMappingJSON struct {
	ContainerPort int               `json:"containerPort"`
	HostPort      *int              `json:"hostPort,omitempty"`
	Labels        map[string]string `json:"labels"`
	Name          string            `json:"name,omitempty"`
	NetworkNames  []string          `json:"networkNames,omitempty"`
	Protocol      string            `json:"protocol"`
	ServicePort   int               `json:"servicePort"`
}

// PortDefinitionJSON is a port in host mode.
type PortDefinitionJSON struct {
	Labels   map[string]string `json:"labels,omitempty"`
	Name     string            `json:"name,omitempty"`
	Port     int               `json:"port"`
	Protocol string            `json:"protocol"`
}

// NetworkJSON is one network of an app.
type NetworkJSON struct {
	Labels map[string]string `json:"labels,omitempty"`
	Mode   string            `json:"mode"`
	Name   string            `json:"name,omitempty"`
}

// FetchJSON is one URI to download.
type FetchJSON struct {
	Cache      bool   `json:"cache"`
	DestPath   string `json:"destPath,omitempty"`
	Executable bool   `json:"executable"`
	Extract    bool   `json:"extract"`
	URI        string `json:"uri"`
}

// HealthCheckJSON is one health check.
type HealthCheckJSON struct {
	Command                *CommandJSON `json:"command,omitempty"`
	DelaySeconds           int          `json:"delaySeconds"`
	GracePeriodSeconds     int          `json:"gracePeriodSeconds"`
	IgnoreHTTP1xx          *bool        `json:"ignoreHttp1xx,omitempty"` // HTTP and HTTPS only
	IntervalSeconds        int          `json:"intervalSeconds"`
	IPProtocol             string       `json:"ipProtocol"`
	MaxConsecutiveFailures int          `json:"maxConsecutiveFailures"`
	Path                   string       `json:"path,omitempty"`
	Port                   *int         `json:"port,omitempty"`
	PortIndex              *int         `json:"portIndex,omitempty"`
	Protocol               string       `json:"protocol"`
	TimeoutSeconds         int          `json:"timeoutSeconds"`
}

// CommandJSON is the shell text of a COMMAND check.
type CommandJSON struct {
	Value string `json:"value"`
}

// ReadinessCheckJSON is one readiness check.
type ReadinessCheckJSON struct {
	HTTPStatusCodesForReady []int  `json:"httpStatusCodesForReady"`
	IntervalSeconds         int    `json:"intervalSeconds"`
	Name                    string `json:"name"`
	Path                    string `json:"path"`
	PortName                string `json:"portName"`
	PreserveLastResponse    bool   `json:"preserveLastResponse"`
	Protocol                string `json:"protocol"`
	TimeoutSeconds          int    `json:"timeoutSeconds"`
}

// UpgradeJSON is the upgrade strategy.
type UpgradeJSON struct {
	MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
	MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
}

// UnreachableJSON is the unreachable strategy when it is not "disabled".
type UnreachableJSON struct {
	ExpungeAfterSeconds  int `json:"expungeAfterSeconds"`
	InactiveAfterSeconds int `json:"inactiveAfterSeconds"`
}

// ResidencyJSON is the residency object.
type ResidencyJSON struct {
	RelaunchEscalationTimeoutSeconds int    `json:"relaunchEscalationTimeoutSeconds"`
	TaskLostBehavior                 string `json:"taskLostBehavior"`
}

// ResourcesJSON are the executor's resources.
type ResourcesJSON struct {
	CPUs float64 `json:"cpus"`
	Disk float64 `json:"disk"`
	Mem  float64 `json:"mem"`
}
