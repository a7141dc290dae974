package calico

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	"github.com/projectcalico/api/pkg/lib/numorstring"

	"github.com/berth-project/berth/spec"
)

// The numbers of the protocols that Calico has names for (IANA).
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
	protocolSCTP   = 132
	protocolLite   = 136
)

// protocolNumber gives a protocol's number, 0 for a name that is none.
func protocolNumber(name string) uint8 {
	switch name {
	case numorstring.ProtocolTCP:
		return protocolTCP
	case numorstring.ProtocolUDP:
		return protocolUDP
	case numorstring.ProtocolICMP:
		return protocolICMP
	case numorstring.ProtocolICMPv6:
		return protocolICMPv6
	case numorstring.ProtocolSCTP:
		return protocolSCTP
	case numorstring.ProtocolUDPLite:
		return protocolLite
	}
	return 0
}

// rule checks one rule; path ends with a dot.
func (d *decoder) rule(at place, path string, r v3.Rule) spec.PolicyRule {
	out := spec.PolicyRule{Action: string(r.Action)}
	switch r.Action {
	case v3.Allow, v3.Deny:
	case "":
		d.faults.add(at, path+"action", "is missing: want %s or %s", v3.Allow, v3.Deny)
	case v3.Log:
		d.faults.add(at, path+"action", "%s is not supported: every rule has a counter; want %s or %s", r.Action, v3.Allow, v3.Deny)
	case v3.Pass:
		d.faults.add(at, path+"action", "%s is not supported: there are neither tiers nor profiles; want %s or %s", r.Action, v3.Allow, v3.Deny)
	default:
		d.faults.add(at, path+"action", "%q is not supported: want %s or %s", r.Action, v3.Allow, v3.Deny)
	}
	if v := r.IPVersion; v != nil {
		if out.IPVersion = *v; *v != 4 && *v != 6 {
			d.faults.add(at, path+"ipVersion", "%d is not supported: want 4 or 6", *v)
		}
	}
	if r.HTTP != nil {
		d.faults.add(at, path+"http", "is not supported: rules see packets, not requests; want destination.ports")
	}
	out.Protocol = d.protocol(at, path+"protocol", r.Protocol)
	out.NotProtocol = d.protocol(at, path+"notProtocol", r.NotProtocol)
	out.ICMP = d.icmp(at, path+"icmp", r.ICMP, out)
	out.NotICMP = d.icmp(at, path+"notICMP", r.NotICMP, out)
	out.Source = d.peerOf(at, path+"source.", r.Source, out)
	out.Destination = d.peerOf(at, path+"destination.", r.Destination, out)
	return out
}

func (d *decoder) protocol(at place, path string, p *numorstring.Protocol) uint8 {
	if p == nil {
		return 0
	}
	n, err := p.NumValue()
	if err != nil {
		n = protocolNumber(p.StrVal)
	}
	if n == 0 {
		d.faults.add(at, path, "%q is not supported: want TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255", p.String())
	}
	return n
}

// icmp checks a type and code. They stand at a place of the packet that other protocols use otherwise.
func (d *decoder) icmp(at place, path string, i *v3.ICMPFields, r spec.PolicyRule) *spec.PolicyICMP {
	if i == nil {
		return nil
	}
	if r.Protocol != protocolICMP && r.Protocol != protocolICMPv6 {
		d.faults.add(at, path, "needs protocol ICMP or ICMPv6 beside it")
	}
	if i.Type == nil {
		d.faults.add(at, path+".type", "is missing: leave %s out for all types", path[strings.LastIndexByte(path, '.')+1:])
		return nil
	}
	out := &spec.PolicyICMP{Type: uint8(*i.Type)}
	if *i.Type < 0 || *i.Type > 254 {
		d.faults.add(at, path+".type", "%d is out of range: want 0 to 254", *i.Type)
	}
	if i.Code != nil {
		code := uint8(*i.Code)
		out.Code = &code
		if *i.Code < 0 || *i.Code > 255 {
			d.faults.add(at, path+".code", "%d is out of range: want 0 to 255", *i.Code)
		}
	}
	return out
}

// peerOf checks what a rule wants of one end.
func (d *decoder) peerOf(at place, path string, e v3.EntityRule, r spec.PolicyRule) spec.PolicyPeer {
	if e.Services != nil {
		d.faults.add(at, path+"services", "is not supported: there are no Kubernetes services; select instances by labels of apps")
	}
	if e.ServiceAccounts != nil {
		d.faults.add(at, path+"serviceAccounts", noAccounts)
	}
	p := spec.PolicyPeer{
		Nets: d.nets(at, path+"nets", e.Nets), NotNets: d.nets(at, path+"notNets", e.NotNets),
		Selector: strings.TrimSpace(e.Selector), NotSelector: strings.TrimSpace(e.NotSelector), NamespaceSelector: strings.TrimSpace(e.NamespaceSelector),
		Ports: d.ports(at, path+"ports", e.Ports, r.Protocol), NotPorts: d.ports(at, path+"notPorts", e.NotPorts, r.Protocol),
	}
	d.selector(at, path+"selector", p.Selector)
	d.selector(at, path+"notSelector", p.NotSelector)
	d.namespaceSelector(at, path+"namespaceSelector", p.NamespaceSelector)
	return p
}

func (d *decoder) namespaceSelector(at place, path, text string) {
	if _, err := ParseNamespaceSelector(text); err != nil {
		d.faults.add(at, path, "%q: %s", text, err)
	}
}

// nets reads networks and single addresses.
func (d *decoder) nets(at place, path string, texts []string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(text)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if err != nil || p.Addr().Zone() != "" || p.Addr().Is4In6() {
			d.faults.add(at, fmt.Sprintf("%s[%d]", path, i), "%q is not a network: want ADDRESS or ADDRESS/BITS, such as 192.0.2.0/24", text)
			continue
		}
		out = append(out, p.Masked())
	}
	if was := d.policies.nets; was <= maxPolicyNets && was+len(texts) > maxPolicyNets {
		d.faults.add(at, path, "with them there are more than %d networks", maxPolicyNets)
	}
	d.policies.nets += len(texts)
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

// ports reads numbers and ranges.
func (d *decoder) ports(at place, path string, ports []numorstring.Port, protocol uint8) []spec.PolicyPorts {
	if len(ports) > 0 && protocol != protocolTCP && protocol != protocolUDP && protocol != protocolSCTP {
		d.faults.add(at, path, "needs protocol TCP, UDP or SCTP beside it")
	}
	var out []spec.PolicyPorts
	for i, p := range ports {
		if p.PortName != "" {
			d.faults.add(at, fmt.Sprintf("%s[%d]", path, i), "%q is not supported: ports have no names here; want a number or a range such as 8000:8999", p.PortName)
			continue
		}
		out = append(out, spec.PolicyPorts{From: p.MinPort, To: p.MaxPort})
	}
	return out
}
