// Package hostnet (P) compiles the pools of a host document into the whole network that a host should have: the Docker
// networks, the forwarding rules, the NAT rules. Values in, values out: it reads no clock and touches nothing. What it
// returns is complete; whoever applies it removes what is not in it.
package hostnet

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-project/berth/spec"
)

// LabelPool marks a Docker network as a pool's; its value is the pool's name.
const LabelPool = "berth.pool"

// Option keys of Docker's bridge driver.
const (
	OptionBridge     = "com.docker.network.bridge.name"
	OptionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	OptionICC        = "com.docker.network.bridge.enable_icc"
)

// Option keys of Docker's macvlan driver.
const (
	OptionParent      = "parent"
	OptionMacvlanMode = "macvlan_mode"
)

// The Docker network drivers that carry pools: on one machine, and in a VLAN. Mode Routed has Berth's own.
const (
	Driver     = "bridge"
	DriverVLAN = "macvlan"
)

// Mode is how a host carries its pools.
type Mode string

// The modes. In Bridge each pool is a bridge of Docker's; in Routed each container has a link and a route of its own, so that
// any address of a pool can be on any host; in L2 they are in a VLAN that all hosts are in, side by side with the hosts.
const (
	Bridge Mode = "bridge"
	Routed Mode = "routed"
	L2     Mode = "l2"
)

// Options are the choices that are the host's, not the document's.
type Options struct {
	// IPAMDriver is the name under which this host's Berth answers Docker's address requests, and in mode Routed the network
	// driver's, too.
	IPAMDriver string
	Mode       Mode // default Bridge
	MTU        int  // of containers in mode Routed; default DefaultMTU
	// Parent is the interface that is in the pools' VLAN, in mode L2, and Parents that of single pools, by name, where it is
	// another.
	Parent  string
	Parents map[string]string
	// Closed are the bridges of Docker's networks that are none of Berth's: in mode Routed containers of the pools do not get
	// there. In mode Bridge Docker itself keeps its networks apart.
	Closed []string
}

// Network is one Docker network as it should be.
type Network struct {
	Name       string
	Driver     string
	IPAMDriver string
	Subnet     netip.Prefix
	Gateway    netip.Addr
	Options    map[string]string
	Labels     map[string]string
}

// Rule is one iptables rule without its chain, in the order in which `iptables -S` prints it: what is set can then be
// compared with what is found as text.
type Rule []string

// Rules is everything that the host's packet filter should hold for Berth. The order inside a list matters.
type Rules struct {
	Filter  []Rule // forwarding, evaluated before Docker's own rules
	Alone   []Rule // forwarding in place of Filter, while Docker has no chains of its own (it has not started, or uses none)
	NAT     []Rule // source NAT, evaluated before Docker's own rules
	Forward bool   // net.ipv4.ip_forward is wanted
}

// Desired is the whole network of one host.
type Desired struct {
	Networks []Network // by name
	Rules    Rules
	// Refused are the pools that this host cannot carry, with the reason.
	Refused map[string]string
}

// Compile decides the host's network from its pools. The result does not depend on the order of pools.
func Compile(pools []spec.Pool, o Options) Desired {
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b spec.Pool) int { return cmp.Compare(a.Name, b.Name) })
	d := Desired{Refused: map[string]string{}}
	var carried []spec.Pool
	for _, p := range pools {
		if reason := refuse(p, carried, o); reason != "" {
			if _, twice := d.Refused[p.Name]; !twice {
				d.Refused[p.Name] = reason
			}
			continue
		}
		carried = append(carried, p)
		d.Networks = append(d.Networks, network(p, o))
	}
	switch o.Mode {
	case Routed:
		d.Rules = routedRules(carried, o)
	case L2: // what is sent in the VLAN does not pass the host's packet filter
	default:
		d.Rules = rules(carried)
	}
	return d
}

// refuse says why the host cannot carry p beside the pools it carries already; "" means it can.
func refuse(p spec.Pool, carried []spec.Pool, o Options) string {
	switch {
	case !p.CIDR.IsValid():
		return "the pool has no valid network"
	case !p.CIDR.Addr().Is4():
		return fmt.Sprintf("%v is not IPv4: Docker's networks carry IPv4 pools only", p.CIDR)
	case p.CIDR.Bits() > 30:
		return fmt.Sprintf("%v has no room for a gateway and an instance", p.CIDR)
	case p.CIDR.Bits() == 0:
		return fmt.Sprintf("%v is the whole internet, not a pool", p.CIDR)
	}
	for _, c := range carried {
		if c.Name == p.Name {
			return fmt.Sprintf("the name is given twice (%v and %v)", c.CIDR, p.CIDR)
		}
		if c.CIDR.Overlaps(p.CIDR) {
			return fmt.Sprintf("%v overlaps %v of pool %s", p.CIDR, c.CIDR, c.Name)
		}
		if o.Mode != Routed && o.Mode != L2 && c.Bridge() == p.Bridge() {
			return fmt.Sprintf("its bridge %s is that of pool %s, too: rename one", p.Bridge(), c.Name)
		}
		if o.Mode == L2 && o.ParentOf(c.Name) == o.ParentOf(p.Name) {
			return fmt.Sprintf("interface %s carries pool %s already, and Docker's macvlan driver takes one network an interface: name another for it, with --network l2=...,%s=INTERFACE",
				o.ParentOf(p.Name), c.Name, p.Name)
		}
		if o.Mode == L2 && c.VLAN().Masked().Overlaps(p.VLAN().Masked()) {
			return fmt.Sprintf("the network of its VLAN, %v, overlaps that of pool %s", p.VLAN().Masked(), c.Name)
		}
	}
	if o.Mode == L2 && o.ParentOf(p.Name) == "" {
		return fmt.Sprintf("no interface is named for it: add it to --network l2=...,%s=INTERFACE", p.Name)
	}
	return ""
}

func network(p spec.Pool, o Options) Network {
	if o.Mode == Routed {
		return Network{
			Name: p.Name, Driver: o.IPAMDriver, IPAMDriver: o.IPAMDriver, Subnet: p.CIDR.Masked(), Gateway: p.Gateway(),
			Labels: map[string]string{LabelPool: p.Name},
		}
	}
	if o.Mode == L2 {
		return Network{
			Name: p.Name, Driver: DriverVLAN, IPAMDriver: o.IPAMDriver, Subnet: p.VLAN().Masked(), Gateway: p.VLAN().Addr(),
			Options: map[string]string{OptionParent: o.ParentOf(p.Name), OptionMacvlanMode: "bridge"}, Labels: map[string]string{LabelPool: p.Name},
		}
	}
	return Network{
		Name:       p.Name,
		Driver:     Driver,
		IPAMDriver: o.IPAMDriver,
		Subnet:     p.CIDR.Masked(),
		Gateway:    p.Gateway(),
		Options: map[string]string{
			OptionBridge: p.Bridge(),
			// Docker would masquerade everything that leaves the bridge, also towards other pools and routers that know the
			// way back; Rules.NAT does it for natOutgoing pools only, towards the outside only.
			OptionMasquerade: "false",
			OptionICC:        "true",
		},
		Labels: map[string]string{LabelPool: p.Name},
	}
}

// rules accepts forwarding to every pool's bridge: Docker's isolation chains would drop it between pools, and the DROP policy
// that Docker gives to FORWARD drops what comes from other machines.
//
// From a pool's bridge it accepts answers only. New connections to another pool meet that pool's own rule, those to the
// outside Docker's (-i BRIDGE ! -o BRIDGE). An ACCEPT for them here would come before Docker's isolation chains and open
// every other Docker network of the machine to the instances. Without Docker's chains nothing else lets them out.
func rules(pools []spec.Pool) Rules {
	r := Rules{Forward: len(pools) > 0}
	for _, p := range pools {
		to := forward("-o", p.Bridge())
		r.Filter = append(r.Filter, forward("-i", p.Bridge(), "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"), to)
		r.Alone = append(r.Alone, forward("-i", p.Bridge()), to)
	}
	r.NAT = nat(pools, spec.Pool.Bridge)
	return r
}

// routedRules does the same for links of routed mode. Docker has no rules for them, so new connections from containers are
// accepted here, after those to Docker's other networks have been handed back to Docker, which drops them.
func routedRules(pools []spec.Pool, o Options) Rules {
	r := Rules{Forward: len(pools) > 0}
	if len(pools) == 0 {
		return r
	}
	all := LinkPrefix + "+"
	// First what most packets match, and what is cheapest to match.
	r.Filter = append(r.Filter, forward("-o", all), forward("-i", all, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"))
	for _, bridge := range slices.Sorted(slices.Values(o.Closed)) {
		r.Filter = append(r.Filter, Rule{"-i", all, "-o", bridge, "-m", "comment", "--comment", Comment, "-j", "RETURN"})
	}
	r.Filter = append(r.Filter, forward("-i", all))
	r.Alone = []Rule{forward("-i", all), forward("-o", all)}
	r.NAT = nat(pools, func(spec.Pool) string { return all })
	return r
}

// nat masquerades what leaves the pools that want it.
func nat(pools []spec.Pool, link func(spec.Pool) string) []Rule {
	if !slices.ContainsFunc(pools, func(p spec.Pool) bool { return p.NATOutgoing }) {
		return nil
	}
	var out []Rule
	for _, p := range pools { // towards a pool nothing is changed, whoever sends
		out = append(out, Rule{"-d", p.CIDR.Masked().String(), "-m", "comment", "--comment", Comment, "-j", "RETURN"})
	}
	for _, p := range pools {
		if p.NATOutgoing {
			out = append(out, Rule{"-s", p.CIDR.Masked().String(), "!", "-o", link(p), "-m", "comment", "--comment", Comment, "-j", "MASQUERADE"})
		}
	}
	return out
}

// forward accepts what matches.
func forward(match ...string) Rule {
	return append(slices.Clone(match), "-m", "comment", "--comment", Comment, "-j", "ACCEPT")
}

// Comment is in every rule of Berth's, for people who read the rules.
const Comment = "berth"
