package router

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// Routed is what the kernel has of routed mode's containers: of each address that is a neighbour on one of our links, or has
// a route of ours to one.
func (r *Router) Routed() (map[netip.Addr]hostnet.Found, error) {
	have, err := r.kernel.look(hostnet.Path{})
	if err != nil {
		return nil, fmt.Errorf("look at the host's network: %w", err)
	}
	return found(have), nil
}

// found finds links and routes for each address.
func found(have facts) map[netip.Addr]hostnet.Found {
	out := map[netip.Addr]hostnet.Found{}
	for p, route := range have.routes {
		if p.IsSingleIP() && route.Link != "" {
			out[p.Addr()] = hostnet.Found{Route: route.Link}
		}
	}
	for name, l := range have.links {
		for a := range l.neighbours {
			f, known := out[a]
			if known && f.Link != "" && f.Route != name {
				continue // two links claim the address; the one that the route leads to counts
			}
			if route, ok := have.routes[netip.PrefixFrom(a, a.BitLen())]; ok && f.Route == "" && len(route.Via) > 0 {
				f.Route = "via " + route.Via[0].String()
			}
			switch f.Fault = wrongWay(f.Route, name); {
			case !l.up:
				f.Fault = fmt.Sprintf("the host's end of its link, %s, is down", name)
			case l.idle:
				f.Fault = fmt.Sprintf("the other end of its link %s is in no container", name)
			}
			if l.up {
				f.Link = name
			}
			out[a] = f
		}
	}
	for a, f := range out {
		if f.Link == "" && f.Fault == "" {
			f.Fault = fmt.Sprintf("the host has no link for it, only a route to %s", f.Route)
			out[a] = f
		}
	}
	return out
}

// wrongWay says what is wrong with a route that should lead to an interface; "" when nothing is.
func wrongWay(route, to string) string {
	switch route {
	case to:
		return ""
	case "":
		return fmt.Sprintf("the host has no route to it; it should lead to %s", to)
	}
	return fmt.Sprintf("the host's route to it leads %s, not to %s", leading(route), to)
}

// leading puts a route's end into a sentence.
func leading(route string) string {
	if strings.HasPrefix(route, "via ") {
		return route
	}
	return "to " + route
}

// Bridged looks for containers on bridges: each must have its address, and a link to its pool's bridge, to which the host's
// route to the address must lead.
func (r *Router) Bridged(spots []hostnet.Spot) (map[netip.Addr]hostnet.Found, error) {
	if len(spots) == 0 {
		return map[netip.Addr]hostnet.Found{}, nil
	}
	links, err := listed(netlink.LinkList) // which also gives numbers to the network namespaces at the other ends
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	routes, err := listed(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	ways := waysOf(routes, names)
	out := map[netip.Addr]hostnet.Found{}
	for _, s := range spots {
		f := hostnet.Found{Route: wayTo(ways, s.Address), Link: portOf(links, names, s)}
		own, err := hasAddress(s.Pid, s.Address)
		if err != nil {
			return nil, err
		}
		switch f.Fault = wrongWay(f.Route, s.Bridge); {
		case f.Link == "":
			f.Fault = fmt.Sprintf("it has no link to %s that is up", s.Bridge)
		case !own:
			f.Fault = "the container's own end does not have it"
		}
		out[s.Address] = f
	}
	return out, nil
}

// portOf is the port of the pool's bridge whose other end is the container's.
func portOf(links []netlink.Link, names map[int]string, s hostnet.Spot) string {
	id, err := netlink.GetNetNsIdByPid(s.Pid)
	if err != nil || id < 0 {
		return "" // it has ended, or has no link to this host
	}
	for _, l := range links {
		if a := l.Attrs(); l.Type() == "veth" && a.NetNsID == id && names[a.MasterIndex] == s.Bridge && a.Flags&net.FlagUp != 0 {
			return a.Name
		}
	}
	return ""
}

// way is where packets for a network go.
type way struct {
	prefix netip.Prefix
	metric int
	to     string
}

// waysOf are the routes with the narrowest, and of those the preferred, first.
func waysOf(routes []netlink.Route, names map[int]string) []way {
	var out []way
	for _, r := range routes {
		w := way{prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), metric: r.Priority}
		if r.Dst != nil {
			bits, _ := r.Dst.Mask.Size()
			w.prefix = netip.PrefixFrom(address(r.Dst.IP), bits)
		}
		switch {
		case r.Type != unix.RTN_UNICAST && r.Type != 0:
			w.to = "nowhere"
		case r.Gw != nil:
			w.to = "via " + r.Gw.String()
		case len(r.MultiPath) > 0:
			w.to = "via " + r.MultiPath[0].Gw.String()
		default:
			w.to = names[r.LinkIndex]
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b way) int {
		if a.prefix.Bits() != b.prefix.Bits() {
			return b.prefix.Bits() - a.prefix.Bits()
		}
		return a.metric - b.metric
	})
	return out
}

// wayTo is where packets for an address go; "" without a route.
func wayTo(ways []way, a netip.Addr) string {
	for _, w := range ways {
		if w.prefix.Contains(a) {
			return w.to
		}
	}
	return ""
}

// hasAddress says whether the network namespace of a process has the address. One that has ended has none.
func hasAddress(pid int, a netip.Addr) (bool, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/fib_trie")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read addresses of process %d: %w", pid, err)
	}
	return localAddresses(string(b))[a], nil
}

// localAddresses reads the kernel's fib_trie, in which a leaf "|-- 10.1.0.2" is followed by what it is: "/32 host LOCAL".
func localAddresses(trie string) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	var leaf netip.Addr
	for line := range strings.Lines(trie) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "|-- "); ok {
			leaf, _ = netip.ParseAddr(text)
		} else if line == "/32 host LOCAL" && leaf.IsValid() {
			out[leaf] = true
		}
	}
	return out
}

// Carry makes the bridge of a pool's network carry it: up, with the gateway's address and the route that comes with it. Docker
// sets them once, when it makes the bridge, and never looks again. A bridge that is not there is Docker's to make.
func (r *Router) Carry(bridge string, gateway netip.Prefix) error {
	l, err := netlink.LinkByName(bridge)
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at bridge %s: %w", bridge, err)
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set bridge %s up: %w", bridge, err)
		}
	}
	have, err := listed(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", bridge, err)
	}
	if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return address(a.IP) == gateway.Addr() }) {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(gateway)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give bridge %s its address %v: %w", bridge, gateway, err)
		}
	}
	// As the kernel makes it with the address: so it goes with it, too.
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(gateway.Masked()), Src: gateway.Addr().AsSlice(), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL}
	if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("set the route to %v on bridge %s: %w", gateway.Masked(), bridge, err)
	}
	return nil
}
