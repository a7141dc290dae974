package spec

import (
	"cmp"
	"net/netip"
	"time"
)

// Pool is a range of routable addresses, from a Calico v3 IPPool. One Docker network carries it.
type Pool struct {
	Name  string // also the Docker network's name and Marathon's network name
	CIDR  netip.Prefix
	CIDR6 netip.Prefix `json:",omitzero"` // where each address has its IPv6 twin; invalid: the pool is IPv4 only
	// Router is the router of the VLAN that carries the pool in L2 mode, with the length of the VLAN's network; invalid: the
	// pool is the whole network, and its first address the router.
	Router      netip.Prefix `json:",omitzero"`
	NATOutgoing bool         // masquerade towards addresses outside all pools
	Disabled    bool         // no new leases; existing ones stay
	// BlockSize is the prefix length of the blocks that hosts get; 0: not named, see BlockBits.
	BlockSize int `json:",omitzero"`
	// NodeSelector selects the hosts that get blocks and run seats of the pool, by their labels, in Calico's language; "": all.
	NodeSelector string `json:",omitempty"`
	// Groups are those whose apps draw from this pool when they name none.
	Groups []AppID `json:",omitempty"`
}

// TwinBits is how much longer an IPv6 prefix is than the IPv4 prefix of as many addresses.
const TwinBits = 128 - 32

// DefaultBlockSize is Calico's.
const DefaultBlockSize = 26

// BlockBits is the prefix length of the pool's blocks: the one that it names, else Calico's, as far as the pool has room.
func (p Pool) BlockBits() int { return max(cmp.Or(p.BlockSize, DefaultBlockSize), p.CIDR.Bits()) }

// Block is a part of a pool that is one host's: it announces it as a whole, and what is started there without an address of
// its own gets one of it.
type Block struct {
	Prefix netip.Prefix
	Pool   string
	Host   string
	Since  time.Time
	// Used: something that is not Berth's may be on an address of the block. It was when the host last told, or the host has not
	// told anything yet.
	Used bool `json:",omitzero"`
}

// Gateway is the pool's first host address: the bridge's own.
func (p Pool) Gateway() netip.Addr { return p.CIDR.Masked().Addr().Next() }

// VLAN is the router of the pool's VLAN with the length of the VLAN's network.
func (p Pool) VLAN() netip.Prefix {
	if p.Router.IsValid() {
		return p.Router
	}
	return netip.PrefixFrom(p.Gateway(), p.CIDR.Bits())
}

// Twin is the IPv6 address that belongs to the pool's address a: as far from the start of CIDR6 as a is from the start of CIDR.
// Invalid where there is none. Whoever has one has the other, so only one is ever leased.
func (p Pool) Twin(a netip.Addr) netip.Addr {
	if !p.CIDR6.Addr().Is6() || !p.CIDR.Contains(a) || p.CIDR6.Bits() > p.CIDR.Bits()+TwinBits {
		return netip.Addr{}
	}
	from, to := p.CIDR.Masked().Addr().As4(), a.As4()
	b := p.CIDR6.Masked().Addr().As16()
	for i := range to {
		b[12+i] |= to[i] ^ from[i] // the bits of the host part; CIDR6 has as many to spare
	}
	return netip.AddrFrom16(b)
}

// TwinBlock is the twin of a part of the pool; invalid where there is none.
func (p Pool) TwinBlock(b netip.Prefix) netip.Prefix {
	if a := p.Twin(b.Masked().Addr()); a.IsValid() && b.Bits() >= p.CIDR.Bits() {
		return netip.PrefixFrom(a, b.Bits()+TwinBits)
	}
	return netip.Prefix{}
}

// Has says whether an address of either family is one of the pool's.
func (p Pool) Has(a netip.Addr) bool { return p.CIDR.Contains(a) || p.CIDR6.Contains(a) }

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
