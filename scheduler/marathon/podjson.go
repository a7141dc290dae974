package marathon

import "encoding/json"

// PodJSON is a pod in Marathon's canonical form. Optional keys are left out when they say nothing.
type PodJSON struct {
	ID                  string                `json:"id"`
	Labels              map[string]string     `json:"labels,omitempty"`
	Version             string                `json:"version"`
	User                *string               `json:"user,omitempty"`
	Environment         map[string]any        `json:"environment,omitempty"` // string or SecretRefJSON
	Containers          []PodContainerJSON    `json:"containers"`
	Secrets             map[string]SourceJSON `json:"secrets,omitempty"`
	Volumes             []PodVolumeJSON       `json:"volumes,omitempty"`
	Networks            []NetworkJSON         `json:"networks"`
	Scaling             PodScalingJSON        `json:"scaling"`
	Scheduling          PodSchedulingJSON     `json:"scheduling"`
	ExecutorResources   *ResourcesJSON        `json:"executorResources,omitempty"`
	LinuxInfo           json.RawMessage       `json:"linuxInfo,omitempty"`
	LegacySharedCgroups *bool                 `json:"legacySharedCgroups,omitempty"`
	Role                string                `json:"role"`
}

// PodContainerJSON is one container of a pod.
type PodContainerJSON struct {
	Name           string              `json:"name"`
	Exec           *PodExecJSON        `json:"exec,omitempty"`
	Resources      PodResourcesJSON    `json:"resources"`
	ResourceLimits map[string]any      `json:"resourceLimits,omitempty"` // number or "unlimited"
	Endpoints      []PodEndpointJSON   `json:"endpoints,omitempty"`
	Image          *PodImageJSON       `json:"image,omitempty"`
	Environment    map[string]any      `json:"environment,omitempty"` // string or SecretRefJSON
	User           *string             `json:"user,omitempty"`
	HealthCheck    *PodHealthCheckJSON `json:"healthCheck,omitempty"`
	Check          json.RawMessage     `json:"check,omitempty"`
	VolumeMounts   []PodMountJSON      `json:"volumeMounts,omitempty"`
	Artifacts      []FetchJSON         `json:"artifacts,omitempty"`
	Labels         map[string]string   `json:"labels,omitempty"`
	Lifecycle      *PodLifecycleJSON   `json:"lifecycle,omitempty"`
	LinuxInfo      json.RawMessage     `json:"linuxInfo,omitempty"`
	TTY            *bool               `json:"tty,omitempty"`
}

// PodExecJSON is what a container runs.
type PodExecJSON struct {
	Command            PodCommandJSON `json:"command"`
	OverrideEntrypoint *bool          `json:"overrideEntrypoint,omitempty"`
}

// PodCommandJSON is a shell line or an argument vector.
type PodCommandJSON struct {
	Shell *string  `json:"shell,omitempty"`
	Argv  []string `json:"argv,omitempty"`
}

// PodResourcesJSON are a container's resources, or an instance's.
type PodResourcesJSON struct {
	CPUs float64 `json:"cpus"`
	Mem  float64 `json:"mem"`
	Disk float64 `json:"disk"`
	GPUs int     `json:"gpus"`
}

// PodEndpointJSON is a named port of a container.
type PodEndpointJSON struct {
	Name          string            `json:"name"`
	ContainerPort *int              `json:"containerPort,omitempty"`
	HostPort      *int              `json:"hostPort,omitempty"`
	Protocol      []string          `json:"protocol"`
	Labels        map[string]string `json:"labels,omitempty"`
	NetworkNames  []string          `json:"networkNames,omitempty"`
}

// PodImageJSON is a container's image.
type PodImageJSON struct {
	Kind       string           `json:"kind"`
	ID         string           `json:"id"`
	PullConfig *SecretRefJSON   `json:"pullConfig,omitempty"`
	ForcePull  bool             `json:"forcePull"`
	Labels     []ImageLabelJSON `json:"labels,omitempty"`
}

// ImageLabelJSON is one label by which an APPC image is found.
type ImageLabelJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PodHealthCheckJSON is a container's health check; exactly one of the first three is set.
type PodHealthCheckJSON struct {
	HTTP                   *PodHTTPJSON    `json:"http,omitempty"`
	TCP                    *PodTCPJSON     `json:"tcp,omitempty"`
	Exec                   *PodProgramJSON `json:"exec,omitempty"`
	GracePeriodSeconds     int             `json:"gracePeriodSeconds"`
	IntervalSeconds        int             `json:"intervalSeconds"`
	MaxConsecutiveFailures int             `json:"maxConsecutiveFailures"`
	TimeoutSeconds         int             `json:"timeoutSeconds"`
	DelaySeconds           int             `json:"delaySeconds"`
}

// PodHTTPJSON is a check by HTTP.
type PodHTTPJSON struct {
	Endpoint string `json:"endpoint"`
	Path     string `json:"path,omitempty"`
	Scheme   string `json:"scheme"`
}

// PodTCPJSON is a check by connecting.
type PodTCPJSON struct {
	Endpoint string `json:"endpoint"`
}

// PodProgramJSON is a check by running a program in the container.
type PodProgramJSON struct {
	Command PodCommandJSON `json:"command"`
}

// PodMountJSON mounts a volume of the pod.
type PodMountJSON struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly"`
}

// PodVolumeJSON is a volume of the pod.
type PodVolumeJSON struct {
	Name       string          `json:"name"`
	Host       string          `json:"host,omitempty"`
	Persistent json.RawMessage `json:"persistent,omitempty"`
	Secret     string          `json:"secret,omitempty"`
}

// PodLifecycleJSON says how a container ends.
type PodLifecycleJSON struct {
	KillGracePeriodSeconds *float64 `json:"killGracePeriodSeconds,omitempty"`
}

// PodScalingJSON is the number of instances.
type PodScalingJSON struct {
	Kind         string `json:"kind"`
	Instances    int    `json:"instances"`
	MaxInstances *int   `json:"maxInstances,omitempty"`
}

// PodSchedulingJSON says where and how instances are started and replaced.
type PodSchedulingJSON struct {
	Backoff             PodBackoffJSON   `json:"backoff"`
	Upgrade             PodUpgradeJSON   `json:"upgrade"`
	Placement           PodPlacementJSON `json:"placement"`
	KillSelection       string           `json:"killSelection"`
	UnreachableStrategy any              `json:"unreachableStrategy"` // "disabled" or UnreachableJSON
}

// PodBackoffJSON is the launch delay in seconds.
type PodBackoffJSON struct {
	Backoff        float64 `json:"backoff"`
	BackoffFactor  float64 `json:"backoffFactor"`
	MaxLaunchDelay float64 `json:"maxLaunchDelay"`
}

// PodUpgradeJSON is the upgrade strategy.
type PodUpgradeJSON struct {
	MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
	MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
}

// PodPlacementJSON says which hosts are wanted.
type PodPlacementJSON struct {
	Constraints           []PodConstraintJSON `json:"constraints"`
	AcceptedResourceRoles []string            `json:"acceptedResourceRoles"`
}

// PodConstraintJSON is one placement constraint.
type PodConstraintJSON struct {
	FieldName string `json:"fieldName"`
	Operator  string `json:"operator"`
	Value     string `json:"value,omitempty"`
}
