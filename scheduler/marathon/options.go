package marathon

import "github.com/berth-project/berth/spec"

// Features that a definition may use only when Options.Features has them.
const (
	FeatureSecrets         = "secrets"
	FeatureExternalVolumes = "external_volumes"
	FeatureGPU             = "gpu_resources"
)

// Options are the server's settings that the meaning of a definition depends on.
type Options struct {
	// ID is the app's id when the request's path names it; it wins over the body's, which may then be absent.
	ID spec.AppID
	// DefaultNetworkName is the name of a container network that has none. Empty: such networks are refused.
	DefaultNetworkName string
	// BridgeName is the ipAddress.networkName that means bridge mode. Empty: none does.
	BridgeName string
	// Roles are the roles that the server may use, the default first. Empty: "*". An app may also have the name of its
	// top-level group as its role.
	Roles []string
	// Features that are enabled. Unknown names have no effect.
	Features map[string]bool
}

func (o Options) defaultRole() string {
	if len(o.Roles) == 0 {
		return "*"
	}
	return o.Roles[0]
}
