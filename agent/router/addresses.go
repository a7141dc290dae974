package router

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/berth-project/berth/agent/hostnet"
)

// HostAddresses are the host's own IPv4 addresses with the length of their networks, each with the name of its interface.
func HostAddresses() (map[netip.Prefix]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	byAddress := map[netip.Prefix]string{}
	for _, l := range links {
		addresses, err := l.Addrs()
		if err != nil {
			continue // it has just gone: veth pairs come and go with containers
		}
		for _, a := range addresses {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() {
				bits, _ := n.Mask.Size()
				byAddress[netip.PrefixFrom(ip.Unmap(), bits)] = l.Name
			}
		}
	}
	return byAddress, nil
}

// DefaultMTU is that of the interface of the host's default route, or hostnet.DefaultMTU without one.
func DefaultMTU() int {
	routes, err := listed(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return hostnet.DefaultMTU
	}
	for _, r := range routes {
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return min(l.Attrs().MTU, maxMTU)
		}
	}
	return hostnet.DefaultMTU
}

// maxMTU is the largest of an Ethernet's jumbo frames.
const maxMTU = 9216
