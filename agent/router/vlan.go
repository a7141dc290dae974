package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// SetShims makes the shims so, each with a route and a permanent neighbour entry for each of the host's containers: the host never
// asks the VLAN for them, which would tell it a second hardware address for the host's own. Shims of ours, which have this Berth's
// name as alias, that are wanted no more are removed. What fails does not keep the rest from being set.
func (r *Router) SetShims(ctx context.Context, want []hostnet.Shim) error {
	return r.kernel.setShims(ctx, want)
}

func (s system) setShims(ctx context.Context, want []hostnet.Shim) error {
	links, err := listed(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, w := range want {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := s.setShim(w, links); err != nil {
			errs = append(errs, fmt.Errorf("make interface %s beside %s: %w", w.Name, w.Parent, err))
		}
	}
	for _, l := range links {
		if s.ownShim(l) && !slices.ContainsFunc(want, func(w hostnet.Shim) bool { return w.Name == l.Attrs().Name }) {
			if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("remove interface %s: %w", l.Attrs().Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// ownShim says whether this Berth has made the link.
func (s system) ownShim(l netlink.Link) bool {
	return l.Type() == "macvlan" && strings.HasPrefix(l.Attrs().Name, hostnet.ShimPrefix) && l.Attrs().Alias == s.alias
}

// halfMade says whether a link with the name of a shim is one of which a process that was killed has made no more: the kernel takes no
// alias for a link that is not there yet.
func halfMade(l netlink.Link) bool {
	return l.Type() == "macvlan" && l.Attrs().Alias == "" && l.Attrs().Flags&net.FlagUp == 0
}

// setShim makes one.
func (s system) setShim(w hostnet.Shim, links []netlink.Link) error {
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == w.Parent })
	if at < 0 {
		return fmt.Errorf("this host has no interface %s", w.Parent)
	}
	parent := links[at].Attrs()
	if parent.Flags&net.FlagUp == 0 {
		return fmt.Errorf("%s is down: set it up (ip link set %s up)", w.Parent, w.Parent)
	}
	at = slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == w.Name })
	if at >= 0 && halfMade(links[at]) {
		if err := netlink.LinkDel(links[at]); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		at = -1
	}
	if at >= 0 && !s.ownShim(links[at]) {
		return fmt.Errorf("an interface of that name is there, and not Berth's: rename it, or remove it (ip link del %s)", w.Name)
	}
	if at >= 0 && links[at].Attrs().ParentIndex != parent.Index { // of an interface that went away and came again
		if err := netlink.LinkDel(links[at]); err != nil {
			return err
		}
		at = -1
	}
	var shim netlink.Link
	if at >= 0 {
		shim = links[at]
	} else {
		var err error
		if shim, err = s.addShim(w.Name, parent.Index); err != nil {
			return err
		}
	}
	if shim.Attrs().Flags&net.FlagUp == 0 {
		if err := raise(shim); err != nil {
			return err
		}
	}
	return shimEntries(shim.Attrs().Index, w)
}

// addShim makes the link. Without its alias nobody would know it as ours, so what does not get it is undone.
func (s system) addShim(name string, parent int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, parent
	shim := &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := netlink.LinkAdd(shim); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetAlias(shim, s.alias); err != nil {
		return nil, errors.Join(err, netlink.LinkDel(shim))
	}
	return shim, nil
}

// raise sets a shim up, with the settings that it needs before. With arp_filter it answers only who is reached over it, that is
// the host's containers: to everybody else in the VLAN the host's address stays at its own interface.
func raise(shim netlink.Link) error {
	name := shim.Attrs().Name
	for _, s := range []hostnet.Sysctl{
		{Key: "net/ipv4/conf/" + name + "/arp_filter", Value: "1"}, {Key: "net/ipv4/conf/" + name + "/accept_redirects", Value: "0"},
		{Key: "net/ipv6/conf/" + name + "/disable_ipv6", Value: "1"},
	} {
		if err := (system{}).setSysctl(s.Key, s.Value); err != nil && !strings.HasPrefix(s.Key, "net/ipv6/") { // a kernel without IPv6
			return fmt.Errorf("set %s: %w", s.Key, err)
		}
	}
	return netlink.LinkSetUp(shim)
}

// shimEntries compares neighbours and routes, neighbours first.
func shimEntries(index int, s hostnet.Shim) error {
	found, err := listed(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	have := map[netip.Addr]string{}
	for _, n := range found {
		if n.State&netlink.NUD_PERMANENT != 0 {
			have[address(n.IP)] = n.HardwareAddr.String()
		}
	}
	routed, err := listed(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: index, Protocol: Protocol, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	sources := map[netip.Addr]netip.Addr{}
	for _, r := range routed {
		sources[address(r.Dst.IP)] = address(r.Src)
	}
	var errs []error
	wanted := map[netip.Addr]bool{}
	for _, n := range s.Neighbours {
		wanted[n.Address] = true
		if have[n.Address] != n.MAC {
			errs = append(errs, setShimNeighbour(index, n))
		}
		if sources[n.Address] != s.Source {
			errs = append(errs, netlink.RouteReplace(shimRoute(index, n.Address, s.Source)))
		}
	}
	for a := range sources {
		if !wanted[a] {
			errs = append(errs, absent(netlink.RouteDel(shimRoute(index, a, netip.Addr{}))))
		}
	}
	for a := range have {
		if !wanted[a] {
			errs = append(errs, absent(netlink.NeighDel(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, IP: a.AsSlice()})))
		}
	}
	return errors.Join(errs...)
}

func setShimNeighbour(index int, n hostnet.Neighbour) error {
	hw, err := net.ParseMAC(n.MAC)
	if err != nil {
		return fmt.Errorf("set neighbour %v: %w", n.Address, err)
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: n.Address.AsSlice(), HardwareAddr: hw})
}

func shimRoute(index int, a, source netip.Addr) *netlink.Route {
	r := &netlink.Route{Dst: ipNet(netip.PrefixFrom(a, a.BitLen())), LinkIndex: index, Scope: netlink.SCOPE_LINK, Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
	if source.IsValid() {
		r.Src = source.AsSlice()
	}
	return r
}

// absent takes what is gone already for removed.
func absent(err error) error { return ignore(err, unix.ESRCH, unix.ENOENT) }
