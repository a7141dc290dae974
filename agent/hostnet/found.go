package hostnet

import "net/netip"

// Spot is where Docker says that a container is, to be looked for in the kernel.
type Spot struct {
	Address netip.Addr
	Pid     int    // of the container's first process
	Bridge  string // that carries the address's pool
}

// Found is what the kernel has of one address of a container.
type Found struct {
	Link  string // the host's end of the container's link, when it is up; "" when there is none
	Route string // the interface, or "via" and the gateway, to which the host's route leads; "" without a route
	// Fault is why packets for the address do not reach the container; "" when they do.
	Fault string
}
