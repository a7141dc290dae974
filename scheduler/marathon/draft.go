package marathon

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// draft is a definition as sent: every field that was absent (or null) is nil, an empty list or map is empty but not nil.
// After normalise the legacy fields are nil.
type draft struct {
	id           *string
	cmd          *string
	args         []string
	container    *draftContainer
	executor     *string
	instances    *int
	cpus         *float64
	mem          *float64
	disk         *float64
	gpus         *int
	limits       *spec.ResourceLimits
	executorRes  *spec.ExecutorResources
	env          map[string]spec.EnvValue
	secrets      map[string]string
	labels       map[string]string
	user         *string
	fetch        []spec.Fetch
	constraints  []spec.Constraint
	roles        []string
	role         *string
	networks     []draftNetwork
	ports        []spec.PortDefinition // portDefinitions
	requirePorts *bool

	healthChecks    []spec.HealthCheck
	check           *spec.Check
	readinessChecks []spec.ReadinessCheck

	backoff        *time.Duration
	backoffFactor  *float64
	maxLaunchDelay *time.Duration
	killGrace      *time.Duration
	upgrade        *spec.UpgradeStrategy
	killSelection  *string
	unreachable    *spec.UnreachableStrategy
	residency      *spec.Residency
	dependencies   []string
	tty            *bool

	// Left by the legacy fields for complete, which knows the final container and networks: the app gets a MESOS container
	// when it has none (ipAddress), and these port mappings (ipAddress.discovery).
	addContainer bool
	discovery    []spec.PortMapping

	// Legacy fields.
	legacyPorts []int
	uris        []string
	ipAddress   *draftIPAddress
}

type draftContainer struct {
	kind         spec.ContainerType
	docker       *draftDocker
	volumes      []spec.Volume
	portMappings []spec.PortMapping
	linuxInfo    []byte
}

type draftDocker struct {
	spec.Docker
	// Legacy fields.
	network      *string
	portMappings []spec.PortMapping
	credential   bool
}

type draftNetwork struct {
	mode   spec.NetworkMode
	name   *string
	labels map[string]string
}

type draftIPAddress struct {
	networkName *string
	labels      map[string]string
	discovery   []spec.PortMapping // nil: no discovery ports
}
