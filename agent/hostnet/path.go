package hostnet

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Names of the pair of interfaces that connects a container in routed mode: the host's end stays, Docker moves the other
// into the container and renames it. See LinkDigits for which are Berth's.
const (
	LinkPrefix = "brt"
	PeerPrefix = "brp"
	// ShaperPrefix begins the name of the interface through which what a container sends is led, where that is bounded: Linux can
	// only make those wait that leave by an interface.
	ShaperPrefix = "bri"
)

// linkDigits is how much of an endpoint's id is in its interfaces' names: Linux allows 15 bytes.
const linkDigits = 11

// The link-local gateway of every container. It is an address of the host's end itself, with scope "host" so that the host
// never sends from it: the host then answers for it whether or not it has a default route, which proxy ARP would not.
var (
	Gateway4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	Gateway6 = netip.MustParseAddr("fe80::1")
)

// HostMAC is the hardware address of every host's end, so that what a container remembers of its gateway stays true.
const HostMAC = "ee:ee:ee:ee:ee:ee"

// DefaultMTU is used where the host's own is not known.
const DefaultMTU = 1500

// LinkNames derives the names of an endpoint's two interfaces from its id, which Docker makes of hexadecimal digits.
func LinkNames(endpoint string) (link, peer string, err error) {
	if len(endpoint) < linkDigits || !hexadecimal(endpoint[:linkDigits]) {
		return "", "", fmt.Errorf("name interfaces: endpoint id %q does not begin with %d hexadecimal digits", endpoint, linkDigits)
	}
	return LinkPrefix + endpoint[:linkDigits], PeerPrefix + endpoint[:linkDigits], nil
}

func hexadecimal(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }

// LinkDigits are the digits in an interface's name that begins with one of the prefixes; false: somebody else has made it.
func LinkDigits(name, prefix string) (digits string, ours bool) {
	digits, ours = strings.CutPrefix(name, prefix)
	return digits, ours && len(digits) == linkDigits && hexadecimal(digits)
}

// MAC derives a container's hardware address from its address, as Docker's bridge driver does: a seat keeps both.
func MAC(a netip.Addr) string {
	b := a.AsSlice()
	b = b[len(b)-4:]
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// Endpoint is a container's connection to the routed network.
type Endpoint struct {
	ID        string       // Docker's
	MAC       string       // of the container's end
	Addresses []netip.Addr // of the container
	// Create says that the pair of interfaces is still to be made. Once Docker has moved one into a container, a missing pair
	// means that the container is gone.
	Create bool
	// Rate bounds what the container receives, Egress what it sends, in bits a second; 0: no bound.
	Rate, Egress uint64
	// Closed: the link stays, but nothing passes it in either direction, and the addresses are looked for elsewhere.
	Closed bool
}

// Learned is a route that another host or router announced.
type Learned struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

// PathInput is what the routed network of a host is compiled from.
type PathInput struct {
	Pools     []spec.Pool
	Endpoints []Endpoint
	Learned   []Learned      // several with one prefix share its traffic
	Blocks    []netip.Prefix // the host's own parts of the pools
	// Partial: not all that is to be learned is known yet, so what an earlier process has learned stays.
	Partial bool
}

// Sysctl is one setting of the kernel, by its path below /proc/sys.
type Sysctl struct{ Key, Value string }

// Link is the host's end of one container's connection as it should be.
type Link struct {
	Name, Peer string
	MAC        string       // of the container's end
	Create     bool         // make the pair when there is none
	MTU        int          // of both ends when the pair is made; they must not differ, and one is out of reach later
	Gateways   []netip.Addr // the host's end answers for these
	Addresses  []netip.Addr // the container's: permanent neighbours of the host, so that nobody is asked for them
	Senders    []netip.Addr // what the container may send as
	Sysctls    []Sysctl
	Rate       uint64
	Egress     uint64
}

// Route is one route of ours. It leads to a link, over other hosts, or nowhere.
type Route struct {
	Prefix netip.Prefix
	Link   string       // to a container, or
	Via    []netip.Addr // over these, or, when both are empty,
	// nowhere: an address of the host's own block that no container has. Without it packets would return to the router that
	// sent them here, and come again.
}

// Path is the whole routed network of a host.
type Path struct {
	Links   []Link   // by name
	Routes  []Route  // by prefix
	Sysctls []Sysctl // of the whole host
	// KeepRoutes: routes that do not lead to a container are added and changed, but not removed.
	KeepRoutes bool
	// Refused are the endpoints and learned routes that were left out, with the reason.
	Refused map[string]string
}

// CompilePath decides the routed network. The result does not depend on the order of anything in the input.
func CompilePath(in PathInput, o Options) Path {
	p := Path{Refused: map[string]string{}, KeepRoutes: in.Partial}
	routes := map[netip.Prefix]Route{}
	for _, b := range in.Blocks {
		routes[b.Masked()] = Route{Prefix: b.Masked()}
	}
	for _, l := range in.Learned {
		learn(&p, routes, l, in)
	}
	for prefix, r := range routes {
		slices.SortFunc(r.Via, netip.Addr.Compare)
		r.Via = slices.Compact(r.Via)
		routes[prefix] = r
	}
	endpoints := slices.Clone(in.Endpoints)
	slices.SortFunc(endpoints, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	names, on := map[string]string{}, map[netip.Addr]string{}
	for _, e := range endpoints {
		name, peer, err := LinkNames(e.ID)
		if err == nil {
			err = unusable(e, name, names, on)
		}
		if err != nil {
			p.Refused[e.ID] = err.Error()
			continue
		}
		names[name] = e.ID
		l := link(e, name, peer, o)
		p.Links = append(p.Links, l)
		for _, a := range l.Addresses {
			on[a] = e.ID
			if e.Closed {
				continue
			}
			routes[netip.PrefixFrom(a, a.BitLen())] = Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Link: name}
		}
	}
	slices.SortFunc(p.Links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	p.Routes = slices.SortedFunc(maps.Values(routes), func(a, b Route) int { return comparePrefixes(a.Prefix, b.Prefix) })
	if slices.ContainsFunc(p.Routes, func(r Route) bool { return r.Prefix.Addr().Is6() }) {
		// Only with IPv6 pools: a host that forwards no longer takes its own default route from router advertisements
		// (accept_ra 1), and needs a static one, or accept_ra 2. IPv4's is in Rules.
		p.Sysctls = []Sysctl{{"net/ipv6/conf/all/forwarding", "1"}}
	}
	return p
}

// learn takes in one learned route. Only routes inside the pools are: whoever speaks BGP with the host does not get to move
// its default route, or its own networks. What the host itself has comes first.
func learn(p *Path, routes map[netip.Prefix]Route, l Learned, in PathInput) {
	prefix := l.Prefix.Masked()
	inside := slices.ContainsFunc(in.Pools, func(p spec.Pool) bool { return covers(p.CIDR, prefix) || covers(p.CIDR6, prefix) })
	switch {
	case !prefix.IsValid() || !l.Via.IsValid() || prefix.Addr().Is4() != l.Via.Is4():
		p.Refused[l.Prefix.String()] = fmt.Sprintf("next hop %v does not fit", l.Via)
	case !inside:
		p.Refused[prefix.String()] = "it is outside of all pools"
	case slices.ContainsFunc(in.Blocks, func(own netip.Prefix) bool { return own.Masked() == prefix }):
		p.Refused[prefix.String()] = "it is this host's own block"
	default:
		r := routes[prefix]
		routes[prefix] = Route{Prefix: prefix, Via: append(r.Via, l.Via)}
	}
}

// covers says whether inner is a part of outer.
func covers(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// unusable says why the endpoint cannot be connected beside those that are.
func unusable(e Endpoint, name string, names map[string]string, on map[netip.Addr]string) error {
	if other, ok := names[name]; ok {
		return fmt.Errorf("its interface %s is that of endpoint %s", name, other)
	}
	if len(e.Addresses) == 0 {
		return fmt.Errorf("it has no address")
	}
	for _, a := range e.Addresses {
		if !a.IsValid() || a.Zone() != "" {
			return fmt.Errorf("it has no valid address")
		}
		if other, ok := on[a]; ok {
			return fmt.Errorf("its address %v is that of endpoint %s", a, other)
		}
	}
	return nil
}

func link(e Endpoint, name, peer string, o Options) Link {
	l := Link{Name: name, Peer: peer, MAC: e.MAC, Create: e.Create, MTU: o.MTU, Rate: e.Rate, Egress: e.Egress, Addresses: slices.Clone(e.Addresses)}
	if l.MTU == 0 {
		l.MTU = DefaultMTU
	}
	slices.SortFunc(l.Addresses, netip.Addr.Compare)
	l.Addresses = slices.Compact(l.Addresses)
	l.Senders = slices.Clone(l.Addresses)
	six := slices.ContainsFunc(l.Addresses, netip.Addr.Is6)
	if slices.ContainsFunc(l.Addresses, netip.Addr.Is4) {
		l.Gateways = append(l.Gateways, Gateway4)
	}
	if six {
		l.Gateways = append(l.Gateways, Gateway6)
		// Neighbour discovery begins with them; nothing from either is forwarded.
		l.Senders = append(l.Senders, linkLocal(e.MAC), netip.IPv6Unspecified())
	}
	if e.Closed {
		l.Senders = nil // whatever it sends, the guard drops
	}
	l.Sysctls = sysctls(name, six)
	return l
}

// sysctls are the settings of a host's end. A container must not be believed when it names other senders (rp_filter) or
// other ways (redirects, router advertisements), and whatever the host's defaults are, it must be forwarded.
func sysctls(name string, six bool) []Sysctl {
	four, of6 := "net/ipv4/conf/"+name+"/", "net/ipv6/conf/"+name+"/"
	out := []Sysctl{
		{four + "forwarding", "1"}, {four + "rp_filter", "1"}, {four + "accept_redirects", "0"}, {four + "send_redirects", "0"},
		{four + "arp_ignore", "0"}, {four + "route_localnet", "0"},
	}
	if six {
		out = append(out, Sysctl{of6 + "disable_ipv6", "0"}, Sysctl{of6 + "accept_ra", "0"}, Sysctl{of6 + "accept_redirects", "0"}, Sysctl{of6 + "forwarding", "1"})
	}
	return out
}

// linkLocal is the address that Linux gives to an interface with the hardware address (EUI-64).
func linkLocal(mac string) netip.Addr {
	var m [6]byte
	if _, err := fmt.Sscanf(mac, "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]); err != nil {
		return netip.IPv6LinkLocalAllNodes() // nobody can send from it
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
