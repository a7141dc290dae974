package router

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// system is the real kernel, in the network namespace of the calling thread.
type system struct {
	table  string // name of our nftables tables against spoofing
	alias  string // of our shims
	policy string // name of the nftables table of network policies
}

// scopeHost keeps the host from ever sending from the gateway address.
const scopeHost = netlink.SCOPE_HOST

// dumps is how often a listing is repeated that a change of someone else's interrupted.
const dumps = 5

// listed repeats a netlink listing until it is consistent.
func listed[T any](list func() (T, error)) (T, error) {
	var out T
	var err error
	for range dumps {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

func (s system) look(want hostnet.Path) (facts, error) {
	f := facts{links: map[string]linkFacts{}, sysctls: map[string]string{}, shapers: map[string]bool{}}
	links, err := listed(netlink.LinkList)
	if err != nil {
		return f, fmt.Errorf("list links: %w", err)
	}
	names, peers, shapers := map[int]string{}, map[string]bool{}, map[int]shaper{}
	for _, l := range links {
		a := l.Attrs()
		if name, ok := hostnet.LinkDigits(a.Name, hostnet.PeerPrefix); ok && l.Type() == "veth" {
			peers[hostnet.LinkPrefix+name] = true
		}
		if name, ok := hostnet.LinkDigits(a.Name, hostnet.ShaperPrefix); ok && l.Type() == "ifb" {
			f.shapers[hostnet.LinkPrefix+name] = true
			shapers[a.Index] = shaper{link: hostnet.LinkPrefix + name, up: a.Flags&net.FlagUp != 0}
		}
		if _, ok := hostnet.LinkDigits(a.Name, hostnet.LinkPrefix); ok && l.Type() == "veth" {
			names[a.Index] = a.Name
			f.links[a.Name] = linkFacts{up: a.Flags&net.FlagUp != 0, gateways: map[netip.Addr]bool{}, neighbours: map[netip.Addr]string{}}
		}
	}
	for name := range peers {
		if l, ok := f.links[name]; ok {
			l.idle = true
			f.links[name] = l
		}
	}
	if err := s.lookLinks(f, names, shapers); err != nil {
		return f, err
	}
	if f.routes, err = routes(names); err != nil {
		return f, err
	}
	for _, key := range sysctlKeys(want) {
		b, err := os.ReadFile(filepath.Join("/proc/sys", key))
		if err == nil {
			f.sysctls[key] = strings.TrimSpace(string(b))
		} else if !errors.Is(err, os.ErrNotExist) {
			return f, fmt.Errorf("read setting: %w", err)
		}
	}
	f.guard, f.senders, err = lookGuard(s.table)
	return f, err
}

// sysctlKeys are the settings to look at.
func sysctlKeys(want hostnet.Path) []string {
	var keys []string
	for _, s := range want.Sysctls {
		keys = append(keys, s.Key)
	}
	for _, l := range want.Links {
		for _, s := range l.Sysctls {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// lookLinks adds what else is known of our links, in one listing each: there may be hundreds.
func (s system) lookLinks(f facts, names map[int]string, shapers map[int]shaper) error {
	addresses, err := listed(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && names[a.LinkIndex] != "" {
			f.links[names[a.LinkIndex]].gateways[ip.Unmap()] = true
		}
	}
	neighbours, err := listed(func() ([]netlink.Neigh, error) { return netlink.NeighList(0, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range neighbours {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && names[n.LinkIndex] != "" && n.State&netlink.NUD_PERMANENT != 0 {
			f.links[names[n.LinkIndex]].neighbours[ip.Unmap()] = n.HardwareAddr.String()
		}
	}
	qdiscs, err := listed(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
	if err != nil {
		return fmt.Errorf("list queues: %w", err)
	}
	for _, q := range qdiscs {
		if t, ok := q.(*netlink.Tbf); ok && names[t.LinkIndex] != "" {
			l := f.links[names[t.LinkIndex]]
			l.rate = t.Rate * 8
			f.links[names[t.LinkIndex]] = l
		}
	}
	return lookShapers(f, names, shapers, qdiscs)
}

// routes lists ours.
func routes(names map[int]string) (map[netip.Prefix]hostnet.Route, error) {
	out := map[netip.Prefix]hostnet.Route{}
	found, err := listed(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range found {
		if r.Dst == nil {
			continue // a default route is never ours
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP)
		if !ok {
			continue
		}
		bits, _ := r.Dst.Mask.Size()
		o := hostnet.Route{Prefix: netip.PrefixFrom(ip.Unmap(), bits)}
		switch {
		case r.Type == unix.RTN_UNREACHABLE:
		case r.Gw != nil:
			o.Via = append(o.Via, address(r.Gw))
		case len(r.MultiPath) > 0:
			for _, hop := range r.MultiPath {
				o.Via = append(o.Via, address(hop.Gw))
			}
			slices.SortFunc(o.Via, netip.Addr.Compare)
		default:
			if o.Link = names[r.LinkIndex]; o.Link == "" {
				o.Link = fmt.Sprintf("#%d", r.LinkIndex) // not a link of ours: never what is wanted
			}
		}
		if old, twice := out[o.Prefix]; twice { // IPv6 lists each hop as a route
			o.Via = append(old.Via, o.Via...)
			slices.SortFunc(o.Via, netip.Addr.Compare)
		}
		out[o.Prefix] = o
	}
	return out, nil
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip) // the zero Addr when there is none
	return a.Unmap()
}

func (s system) makePair(l hostnet.Link) error {
	host, err := net.ParseMAC(hostnet.HostMAC)
	if err != nil {
		return err
	}
	own, err := net.ParseMAC(l.MAC)
	if err != nil {
		return fmt.Errorf("make pair %s: %w", l.Name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = l.Name, l.MTU, host
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: l.Peer, PeerHardwareAddr: own, PeerMTU: uint32(l.MTU)})
	if err != nil {
		return fmt.Errorf("make pair %s: %w", l.Name, err)
	}
	return nil
}

func (s system) removeLink(name string) error {
	l, err := netlink.LinkByName(name)
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// on calls change with the link's index.
func on(name string, change func(netlink.Link) error) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return change(l)
}

func (s system) setUp(name string) error { return on(name, netlink.LinkSetUp) }

// burst is how much is let through at once: what arrives within this many milliseconds at the bounded rate, but not less
// than one large packet (segmentation happens after the queue).
const (
	burstMillis = 10
	minBurst    = 128 << 10
	// queueMillis is how long a packet may wait before it is dropped.
	queueMillis = 50
)

func (s system) setRate(name string, rate uint64) error {
	return on(name, func(l netlink.Link) error {
		attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(Protocol, 0), Parent: netlink.HANDLE_ROOT}
		if rate == 0 {
			if err := netlink.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs}); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
				return err
			}
			return nil
		}
		return netlink.QdiscReplace(tbf(attrs, rate))
	})
}

// tbf is the queue that lets the rate through.
func tbf(attrs netlink.QdiscAttrs, rate uint64) *netlink.Tbf {
	bytes := rate / 8
	burst := uint32(max(minBurst, bytes*burstMillis/1000))
	return &netlink.Tbf{QdiscAttrs: attrs, Rate: bytes, Limit: burst + uint32(bytes*queueMillis/1000), Buffer: netlink.Xmittime(bytes, burst)}
}

func (s system) addGateway(name string, a netip.Addr) error {
	return on(name, func(l netlink.Link) error {
		n := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Scope: int(scopeHost)}
		if a.Is6() {
			n.Scope, n.Flags = int(netlink.SCOPE_LINK), unix.IFA_F_NODAD
		}
		return netlink.AddrReplace(l, n)
	})
}

func (s system) setNeighbour(name string, a netip.Addr, mac string) error {
	return on(name, func(l netlink.Link) error {
		n, err := neighbour(l, a, mac)
		if err != nil {
			return err
		}
		return netlink.NeighSet(n)
	})
}

func (s system) removeNeighbour(name string, a netip.Addr) error {
	return on(name, func(l netlink.Link) error {
		n, err := neighbour(l, a, hostnet.HostMAC)
		if err != nil {
			return err
		}
		if err := netlink.NeighDel(n); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

func neighbour(l netlink.Link, a netip.Addr, mac string) (*netlink.Neigh, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: hw}, nil
}

func (s system) setSysctl(key, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
}

// setRoute never takes the place of a route that is someone else's: adding fails where there is one.
func (s system) setRoute(r hostnet.Route, replace bool) error {
	k, err := kernelRoute(r)
	if err != nil {
		return err
	}
	if replace {
		return netlink.RouteReplace(k)
	}
	err = netlink.RouteAdd(k)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("someone else has a route to %v on this host: %w", r.Prefix, err)
	}
	return err
}

func (s system) removeRoute(r hostnet.Route) error {
	// By prefix and protocol: whatever it leads to.
	k := &netlink.Route{Dst: ipNet(r.Prefix), Protocol: Protocol, Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_NOWHERE}
	if r.Link == "" && len(r.Via) == 0 {
		k.Type = unix.RTN_UNREACHABLE
	}
	for range max(1, len(r.Via)) { // IPv6 removes hop by hop
		if err := netlink.RouteDel(k); err != nil {
			if errors.Is(err, unix.ESRCH) {
				return nil
			}
			return err
		}
		if r.Prefix.Addr().Is4() {
			break
		}
	}
	return nil
}

func kernelRoute(r hostnet.Route) (*netlink.Route, error) {
	k := &netlink.Route{Dst: ipNet(r.Prefix), Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
	switch {
	case r.Link != "":
		l, err := netlink.LinkByName(r.Link)
		if err != nil {
			return nil, err
		}
		k.LinkIndex, k.Scope = l.Attrs().Index, netlink.SCOPE_LINK
	case len(r.Via) == 1:
		k.Gw = r.Via[0].AsSlice()
	case len(r.Via) > 1:
		for _, a := range r.Via {
			k.MultiPath = append(k.MultiPath, &netlink.NexthopInfo{Gw: a.AsSlice()})
		}
	default:
		k.Type = unix.RTN_UNREACHABLE
	}
	return k, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
