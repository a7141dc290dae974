package spec

import (
	"net/netip"
	"time"
)

// MaxHostEndpoints bounds the endpoints of one report: far more than a host can carry, far less than what would hurt.
const MaxHostEndpoints = 10_000

// HostEndpoints are all addresses inside the pools that containers of a host are on, as its Docker Engine and its kernel
// have them. Whoever keeps the host's network tells it.
type HostEndpoints struct {
	// Survey is the newest question (HostAsk.Survey) that had been asked when this was read.
	Survey uint64 `json:",omitzero"`
	Mode   string // how the host carries its pools: bridge, routed
	// Engine: Docker answered. Otherwise the containers are those that it showed last.
	Engine bool
	// Kernel is why links and routes could not be read, "" when they were.
	Kernel string `json:",omitempty"`
	// BGP: the host announces addresses to peers.
	BGP bool `json:",omitempty"`
	// Own are the addresses under which other hosts reach this one, at most one of each family; none: it cannot say.
	Own  []netip.Addr   `json:",omitempty"`
	List []HostEndpoint // by address, then by container
	// Omitted is how many are missing in List, beyond MaxHostEndpoints.
	Omitted int `json:",omitempty"`
}

// HostEndpoint is one address that something on a host is on.
type HostEndpoint struct {
	Address netip.Addr
	// Container is Docker's id, Name its name. Empty: Docker shows no running container on the address, only the kernel has it.
	Container string    `json:",omitempty"`
	Name      string    `json:",omitempty"`
	Since     time.Time `json:",omitzero"` // when the container was started
	// TaskID and Seat are a Berth container's own; empty for others (docker run).
	TaskID string `json:",omitempty"`
	Seat   SeatID `json:",omitzero"`
	// Link is the host's end of the container's link, "" when there is none or it is down; Route is the interface that the
	// host's route to the address leads to, or "via" and a gateway, "" when there is none. Fault is what is wrong with them.
	Link      string `json:",omitempty"`
	Route     string `json:",omitempty"`
	Fault     string `json:",omitempty"`
	Announced bool   `json:",omitempty"` // by itself, or in a block of the host's
}

// HostAsk is what the scheduler asks of a host beside its document; each number grows with every question.
type HostAsk struct {
	Survey uint64 // read the endpoints anew and report them
	Anew   uint64 // compare the whole network with the host and set what differs
}

// The headers of an answer to a host's poll that carry its HostAsk.
const (
	HeaderSurvey = "Berth-Survey"
	HeaderAnew   = "Berth-Anew"
)
