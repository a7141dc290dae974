package hostnet

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-project/berth/spec"
)

// In mode L2 a container has an interface of its own in the VLAN (macvlan). Linux keeps it apart from the interface it shares
// the wire with, so the host has one more beside it, a shim, which leads to the containers that are on this host and to nothing
// else. What the VLAN's switches know of an address may be old when it moves here: each container is announced.

// ShimPrefix begins the names of shims.
const ShimPrefix = "bl2-"

// ParentOf is the interface in the VLAN of a pool; "": none.
func (o Options) ParentOf(pool string) string { return cmp.Or(o.Parents[pool], o.Parent) }

// Placed is a container that is on an address.
type Placed struct {
	ID      string // of the container's start
	Network string // Docker's, named as the pool
	Address netip.Addr
	MAC     string // "": as derived from the address
}

// Neighbour is an address with its hardware address.
type Neighbour struct {
	Address netip.Addr
	MAC     string
}

// Shim is the host's own interface beside those of its containers.
type Shim struct {
	Name, Parent string
	// Source is the host's address in the VLAN: containers answer it directly. Without one there is no shim, and host and
	// container reach each other over the VLAN's router as strangers do.
	Source     netip.Addr
	Neighbours []Neighbour // by address
}

// Claim is what the VLAN is to be told: that the container has the address, behind the interface Parent.
type Claim struct {
	ID, Parent string
	Neighbour
}

// VLAN is what a host has in mode L2 beside Docker's networks.
type VLAN struct {
	Shims  []Shim  // by name
	Claims []Claim // by address
}

// CompileVLAN decides it. host are the host's own addresses with their networks and interfaces. The result does not depend on the
// order of anything in the input.
func CompileVLAN(pools []spec.Pool, placed []Placed, host map[netip.Prefix]string, o Options) VLAN {
	var v VLAN
	shims := map[string]*Shim{}
	refused := Compile(pools, o).Refused
	for _, p := range pools {
		if refused[p.Name] != "" {
			continue
		}
		parent := o.ParentOf(p.Name)
		if source := source(p, parent, host); source.IsValid() {
			shims[parent] = &Shim{Name: shimName(parent, o.IPAMDriver), Parent: parent, Source: source}
		}
		for _, c := range placed {
			if c.Network != p.Name || !p.CIDR.Contains(c.Address) {
				continue
			}
			n := Neighbour{c.Address, cmp.Or(c.MAC, MAC(c.Address))}
			v.Claims = append(v.Claims, Claim{c.ID, parent, n})
			if s := shims[parent]; s != nil {
				s.Neighbours = append(s.Neighbours, n)
			}
		}
	}
	for _, parent := range slices.Sorted(maps.Keys(shims)) {
		s := shims[parent]
		slices.SortFunc(s.Neighbours, func(a, b Neighbour) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.MAC, b.MAC)) })
		s.Neighbours = slices.CompactFunc(s.Neighbours, func(a, b Neighbour) bool { return a.Address == b.Address })
		v.Shims = append(v.Shims, *s)
	}
	slices.SortFunc(v.Shims, func(a, b Shim) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(v.Claims, func(a, b Claim) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.ID, b.ID)) })
	return v
}

// source is the host's first address in the pool's VLAN; invalid: it has none.
func source(p spec.Pool, parent string, host map[netip.Prefix]string) netip.Addr {
	var found netip.Addr
	for have, link := range host {
		if link == parent && have.Masked() == p.VLAN().Masked() && (!found.IsValid() || have.Addr().Less(found)) {
			found = have.Addr()
		}
	}
	return found
}

// maxLink is the longest name of an interface that Linux takes.
const maxLink = 15

// shimName is told from those of other Berths on the machine.
func shimName(parent, driver string) string {
	if name := ShimPrefix + parent; driver == "berth" && len(name) <= maxLink {
		return name
	}
	return ShimPrefix + spec.HostnameSuffix(spec.AppID(driver+"/"+parent))
}
