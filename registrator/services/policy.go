package services

import (
	"net/netip"

	"github.com/berth-project/berth/spec"
)

// Others says which containers that no document names are registered.
type Others string

// The answers.
const (
	OthersNone   Others = "none"
	OthersAsking Others = "asking" // those that name a service (SERVICE_NAME, SERVICE_80_NAME)
	OthersAll    Others = "all"
)

// Policy is how containers that no document names are registered. The zero Policy registers none.
type Policy struct {
	Others Others
	// Network is whose address counts in containers that are on it.
	Network string
	// Internal: a container's own address and the ports that it exposes, published or not, as Registrator's -internal.
	Internal bool
	// PublishedOnly: without Internal only published ports count, as in Registrator, also of containers that have an address
	// of their own which others might reach.
	PublishedOnly bool
	// Explicit: only what is named is registered, port by port.
	Explicit bool
	// Tags are added to all of these services.
	Tags []string
	// IPLabel is the container label that holds the address, as Registrator's -useIpFromLabel; "" for none.
	IPLabel string
	// Marathon: tasks of a real Marathon get the names, ports and tags that their environment shows.
	Marathon bool
}

// Reasons for which a container that no document names is not registered.
const (
	ReasonNoHostAddress = "the host's address is not known: give it with --ip, or the token agent:read"
	ReasonNetworks      = "it is on several networks: name the one that counts with SERVICE_NETWORK or --consul-network"
	ReasonNoNetwork     = "it is not on the network that SERVICE_NETWORK names"
	ReasonNothing       = "it has neither a published port nor an address that others can reach; publish one, or see SERVICE_NETWORK and --consul-network"
	ReasonBadLabel      = "the label with its address holds none"
	ReasonBadID         = "SERVICE_ID holds other characters than letters, digits and . _ : @ -"
)

// variables are what a container says of its services, the weaker sources first.
func variables(c Container, p Policy) []map[string]string {
	if !p.marathon(c) {
		return []map[string]string{c.Env, c.Labels}
	}
	return []map[string]string{marathonLabels(c.Env), c.Env, c.Labels}
}

// spot is where a container can be reached.
type spot struct {
	address netip.Addr // its own, or, with host, the host's; not valid when the host's is not known
	host    bool       // at the host: published ports, or all ports of a container in the host's network
	direct  bool       // with host: in the host's own network
	reason  string     // why nowhere; empty with quiet: nothing is to be said
	quiet   bool
}

// locate finds the spot. Which of several networks counts is never guessed.
func (in Input) locate(c Container, settings spec.ServiceSettings, asks bool) spot {
	p := in.Policy
	if name := settings.Get(spec.ServiceNetwork); name != "" {
		if a, ok := c.Addresses[name]; ok {
			return spot{address: a}
		}
		return spot{reason: ReasonNoNetwork}
	}
	if a, ok := c.Addresses[p.Network]; ok && p.Network != "" {
		return spot{address: a}
	}
	switch own, n := in.pooled(c); {
	case n == 1:
		return spot{address: own}
	case n > 1:
		return spot{reason: ReasonNetworks}
	case c.NetworkMode == "host":
		return spot{address: in.HostAddress, host: true, direct: true}
	case !p.Internal && c.publishes():
		return spot{address: in.HostAddress, host: true}
	case !p.Internal && (!p.marathon(c) && (p.PublishedOnly || !asks) || c.NetworkMode == "bridge" || c.NetworkMode == "default"):
		return spot{reason: ReasonNothing, quiet: !asks}
	case len(c.Addresses) > 1:
		return spot{reason: ReasonNetworks}
	}
	for _, a := range c.Addresses {
		return spot{address: a}
	}
	return spot{reason: ReasonNothing, quiet: !asks}
}

// pooled is the address in a Berth pool's network, and in how many of them the container is.
func (in Input) pooled(c Container) (address netip.Addr, n int) {
	for _, pool := range in.State.Document.Pools {
		if a, ok := c.Addresses[pool.Name]; ok {
			address, n = a, n+1
		}
	}
	return address, n
}

func (c Container) publishes() bool {
	for _, p := range c.Ports {
		if p.HostPort != 0 {
			return true
		}
	}
	return false
}
