package marathon

import (
	"slices"

	"github.com/berth-project/berth/spec"
)

// Features that a definition may use only when Options.Features has them.
const (
	FeatureSecrets         = "secrets"
	FeatureExternalVolumes = "external_volumes"
	FeatureGPU             = "gpu_resources"
	// FeaturePullConfig is Berth's own: without a store of secrets, pullConfig may name docker configurations that the
	// operators put on the hosts.
	FeaturePullConfig = "pull_config"
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
	// Enforcing are the top-level groups, by name, whose apps must have the group's name as their role.
	Enforcing map[string]bool
	// Features that are enabled. Unknown names have no effect.
	Features map[string]bool
}

func (o Options) defaultRole() string {
	if len(o.Roles) == 0 {
		return "*"
	}
	return o.Roles[0]
}

// WithGroups are the options for definitions in a tree with these groups.
func (o Options) WithGroups(groups map[spec.AppID]*spec.Group) Options {
	o.Enforcing = nil
	for id := range groups {
		if EnforcesRole(groups, id) && len(id.Segments()) == 1 {
			if o.Enforcing == nil {
				o.Enforcing = map[string]bool{}
			}
			o.Enforcing[id.Base()] = true
		}
	}
	return o
}

// EnforcesRole says whether the top-level group around the id makes its name the role of all apps in it.
func EnforcesRole(groups map[spec.AppID]*spec.Group, id spec.AppID) bool {
	segments := id.Segments()
	if len(segments) == 0 {
		return false
	}
	g := groups[spec.AppID("/"+segments[0])]
	return g != nil && g.EnforceRole != nil && *g.EnforceRole
}

// roleOf is the role of an app that names none: that of a group that enforces its own, or else the one of the server's
// roles that the app accepts resources of. A Marathon has one role, so the last is Berth's own: with several, a definition
// written for one of them would be refused otherwise.
func (o Options) roleOf(id spec.AppID, accepted []string) string {
	if s := id.Segments(); len(s) > 1 && o.Enforcing[s[0]] {
		return s[0]
	}
	for _, role := range accepted {
		if role != "*" && slices.Contains(o.Roles, role) {
			return role
		}
	}
	return o.defaultRole()
}
