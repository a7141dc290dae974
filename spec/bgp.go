package spec

import (
	"net/netip"
	"time"
)

// BGP is what the operators want of the fleet's routing, from Calico v3 BGPConfiguration, BGPPeer and Node resources. The
// scheduler makes each host's part of it (HostBGP).
type BGP struct {
	AS           uint32 // the hosts' autonomous system, where a host has none of its own
	ListenPort   uint16
	ListenNodeIP bool // listen on the host's own address only, not on all
	Mesh         bool // every host peers with every other, except route reflectors
	MeshRestart  time.Duration
	MeshPassword string // the file on the hosts that holds the mesh's password; "": none
	PerHost      map[string]BGPListen
	Peers        []BGPPeer // in the operators' order
	Hosts        []BGPHost // those whose addresses the operators gave: only they can peer with each other
}

// BGPListen is where one host listens, when it differs from the fleet.
type BGPListen struct {
	Port   uint16 // 0: as the fleet
	NodeIP *bool  // nil: as the fleet
}

// BGPPeer is a peering of some hosts with one router, or with other hosts.
type BGPPeer struct {
	Name string
	// Which hosts: Host by name, or those whose labels NodeSelector matches, or, when both are empty, all.
	Host         string
	NodeSelector string
	// With whom: an address, or the hosts whose labels PeerSelector matches.
	Address      netip.Addr
	Port         uint16 // 0: the peer's own listen port when it is a host, else 179
	AS           uint32
	PeerSelector string

	PasswordFile string // on the hosts; "": no password
	RestartTime  time.Duration
	NoSource     bool  // do not bind the session to the host's own address
	TTLHops      uint8 // routers between the two, plus one; packets from farther away are not believed. 0: no such check
	AllowOwnAS   int   // how often the own AS may stand in a path, for hosts of one AS behind eBGP routers
}

// BGPHost is what is known of one host for peering.
type BGPHost struct {
	Name      string
	Labels    map[string]string
	IPv4      netip.Addr
	IPv6      netip.Addr
	AS        uint32     // 0: the fleet's
	ClusterID netip.Addr // valid: the host is a route reflector
}

// HostAddress is where a host says that others reach it. It counts for peerings where no Node resource names an address.
type HostAddress struct {
	Host       string
	IPv4, IPv6 netip.Addr // invalid: none
}

// HostBGP is one host's part: who it is and whom it peers with.
type HostBGP struct {
	AS         uint32
	RouterID   netip.Addr // IPv4
	ListenPort uint16
	Listen     []netip.Addr `json:",omitempty"` // empty: all addresses
	ClusterID  netip.Addr   `json:",omitzero"`  // valid: the host reflects routes
	Peers      []HostPeer   // by address
}

// HostPeer is one BGP session of a host.
type HostPeer struct {
	Name         string // for people: the BGPPeer's name, or "mesh HOST"
	Address      netip.Addr
	Port         uint16
	AS           uint32
	Source       netip.Addr    `json:",omitzero"` // the local address; invalid: the kernel chooses
	PasswordFile string        `json:",omitempty"`
	RestartTime  time.Duration // how long the peer keeps our routes while we restart
	Client       bool          `json:",omitempty"` // we reflect routes to this peer
	TTLHops      uint8         `json:",omitempty"`
	AllowOwnAS   int           `json:",omitempty"`
	Router       bool          `json:",omitempty"` // it is no host of ours
}

// What BGP means where the operators say nothing. The port is IANA's, the AS and the restart time Calico's.
const (
	DefaultBGPPort    = 179
	DefaultBGPAS      = 64512
	DefaultBGPRestart = 120 * time.Second
)
