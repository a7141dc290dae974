package router

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// What a container sends arrives at the host's end of its link, and what arrives cannot be made to wait. So it is led through an
// interface of its own (ifb), which it leaves by a queue that lets the bound through, and then goes on as if nothing had been: the
// rules against spoofing still see the link.

// shaper is such an interface as found.
type shaper struct {
	link string // whose it is
	up   bool
}

// leadFrom is the place of the filter that leads to the shaper: the ingress queue has this number (ffff:) always.
const leadFrom uint32 = 0xffff0000

// leadPriority is the filter's; with it, and the place, another is replaced.
const leadPriority = 1

func shaperName(link string) string {
	return hostnet.ShaperPrefix + strings.TrimPrefix(link, hostnet.LinkPrefix)
}

// lookShapers adds to the links what bounds their sending. A shaper is whole when it is up, has a queue, and the link leads to it.
func lookShapers(f facts, names map[int]string, shapers map[int]shaper, qdiscs []netlink.Qdisc) error {
	rates := map[int]uint64{} // of shapers
	leads := map[string]int{} // links with an ingress queue -> their index
	for _, q := range qdiscs {
		at := q.Attrs().LinkIndex
		if t, ok := q.(*netlink.Tbf); ok && shapers[at].up {
			rates[at] = t.Rate * 8
		}
		if name := names[at]; name != "" && q.Type() == "ingress" {
			leads[name] = at
		}
	}
	to := map[string]int{}
	for name, at := range leads {
		index, err := leadsTo(at)
		if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
			continue
		} else if err != nil {
			return fmt.Errorf("list filters of %s: %w", name, err)
		}
		to[name] = index
	}
	for name, l := range f.links {
		index, led := to[name]
		if l.torn = led || f.shapers[name]; led && shapers[index].link == name && rates[index] > 0 {
			l.egress, l.torn = rates[index], false
		}
		f.links[name] = l
	}
	return nil
}

// leadsTo is the index of the interface to which all that arrives at the link is led; 0: to none.
func leadsTo(link int) (int, error) {
	filters, err := listed(func() ([]netlink.Filter, error) {
		return netlink.FilterList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: link}}, leadFrom)
	})
	if err != nil {
		return 0, err
	}
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if !ok {
			continue
		}
		for _, a := range u.Actions {
			if m, ok := a.(*netlink.MirredAction); ok && m.MirredAction == netlink.TCA_EGRESS_REDIR {
				return m.Ifindex, nil
			}
		}
	}
	return 0, nil
}

// setEgress makes the shaper first and leads to it last; it removes in the other order.
func (s system) setEgress(link string, rate uint64) error {
	if rate == 0 {
		err := on(link, func(l netlink.Link) error { return ignore(netlink.QdiscDel(ingress(l)), unix.ENOENT, unix.EINVAL) })
		if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
			err = nil
		}
		return errors.Join(err, s.removeLink(shaperName(link)))
	}
	return on(link, func(l netlink.Link) error {
		through, err := makeShaper(shaperName(link))
		if err != nil {
			return err
		}
		attrs := netlink.QdiscAttrs{LinkIndex: through.Attrs().Index, Handle: netlink.MakeHandle(Protocol, 0), Parent: netlink.HANDLE_ROOT}
		if err := netlink.QdiscReplace(tbf(attrs, rate)); err != nil {
			return err
		}
		if err := ignore(netlink.QdiscAdd(ingress(l)), unix.EEXIST); err != nil {
			return err
		}
		if index, err := leadsTo(l.Attrs().Index); err != nil || index == through.Attrs().Index {
			return err
		}
		lead := netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: leadFrom, Priority: leadPriority, Protocol: unix.ETH_P_ALL}
		if err := ignore(netlink.FilterDel(&netlink.U32{FilterAttrs: lead}), unix.ENOENT, unix.EINVAL); err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.U32{FilterAttrs: lead, Actions: []netlink.Action{netlink.NewMirredAction(through.Attrs().Index)}})
	})
}

// makeShaper makes the interface, if there is none, and sets it up.
func makeShaper(name string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := ignore(netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}), unix.EEXIST); err != nil {
		return nil, fmt.Errorf("make shaper %s: %w", name, err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		return l, nil
	}
	// It has nothing to say itself; a kernel without IPv6 has no such setting.
	_ = system{}.setSysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1")
	return l, netlink.LinkSetUp(l)
}

// ingress is the queue of what arrives.
func ingress(l netlink.Link) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: leadFrom, Parent: netlink.HANDLE_INGRESS}}
}

// ignore takes the given errors for none.
func ignore(err error, ignored ...error) error {
	for _, i := range ignored {
		if errors.Is(err, i) {
			return nil
		}
	}
	return err
}
