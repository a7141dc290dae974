package agent

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// own are the addresses under which other hosts reach this one; none: it does not know. Peers need them where no operator names them.
func (n *Net) own() []netip.Addr {
	if len(n.o.Own) > 0 {
		return n.o.Own
	}
	if a := n.o.Source(n.o.API); a.IsValid() {
		return []netip.Addr{a}
	}
	return nil
}

// sourceTo is the address from which this host speaks with the API; invalid where that is on the host itself, or not known. Nothing is
// sent for it: to connect a datagram socket only asks the kernel for the way.
func sourceTo(api string) netip.Addr {
	u, err := url.Parse(api)
	if err != nil || u.Hostname() == "" {
		return netip.Addr{}
	}
	c, err := net.DialTimeout("udp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")), 2*time.Second)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	from, err := netip.ParseAddrPort(c.LocalAddr().String())
	if a := from.Addr().Unmap(); err == nil && a.IsGlobalUnicast() && a.Zone() == "" {
		return a
	}
	return netip.Addr{}
}
