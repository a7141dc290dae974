package spec

import (
	"net/netip"
	"time"
)

// Pool is a range of routable addresses, from a Calico v3 IPPool. One Docker network carries it.
type Pool struct {
	Name        string // also the Docker network's name and Marathon's network name
	CIDR        netip.Prefix
	NATOutgoing bool // masquerade towards addresses outside all pools
	Disabled    bool // no new leases; existing ones stay
}

// Gateway is the pool's first host address: the bridge's own.
func (p Pool) Gateway() netip.Addr { return p.CIDR.Masked().Addr().Next() }

// Bridge is the Linux interface that carries the pool: at most 15 bytes, derived from the name.
func (p Pool) Bridge() string {
	n := "br-" + p.Name
	if len(n) > 15 {
		n = "br-" + HostnameSuffix(AppID(p.Name))
	}
	return n
}

// Lease is one address given to one seat. It outlives the seat's tasks, and scaling down.
type Lease struct {
	Seat    SeatID
	Pool    string
	Address netip.Addr
	// Pinned: the app named this address in BERTH_IPS. A pinned lease is never given to another app while the app exists.
	Pinned bool `json:",omitzero"`
	// IdleSince is when the seat last became unwanted (scaled away or its app deleted); zero while it is wanted. Idle leases
	// go to others oldest first, only when the pool has no unused address, and only after the rest time.
	IdleSince time.Time `json:",omitzero"`
}

// Held is an address that something other than a Berth task holds: a container started by hand, the host itself.
type Held struct {
	Address netip.Addr
	By      string // for people: `container "debug"`
	// Task and Seat say of a container of Berth's whose it was; empty for others.
	Task string `json:",omitempty"`
	Seat SeatID
}
