package hostnet

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// packet is a packet that opens a connection.
type packet struct {
	from, to         netip.Addr
	protocol         uint8
	fromPort, toPort uint16 // of ICMP: type and code in toPort
}

func (p packet) family() Family {
	if p.from.Is4() {
		return IPv4
	}
	return IPv6
}

// judge is what Calico's semantics say of a packet in one direction, read off the policies.
func judge(h *spec.HostPolicies, p packet, direction string) (allowed bool, by string, rule int) {
	who := p.to
	if direction == egress {
		who = p.from
	}
	selected := false
	for _, policy := range h.Policies {
		speaks, rules := policy.Ingress, policy.IngressRules
		if direction == egress {
			speaks, rules = policy.Egress, policy.EgressRules
		}
		if !speaks || !slices.Contains(policy.Addresses, who) {
			continue
		}
		selected = true
		for i, r := range rules {
			if holds(h, r, p) {
				return r.Action == spec.PolicyAllow, policy.Name, i
			}
		}
	}
	return !selected, "", spec.DefaultRule
}

func holds(h *spec.HostPolicies, r spec.HostRule, p packet) bool {
	icmp := func(i *spec.PolicyICMP) bool {
		return p.toPort>>8 == uint16(i.Type) && (i.Code == nil || p.toPort&0xff == uint16(*i.Code))
	}
	switch {
	case r.IPVersion != 0 && r.IPVersion != int(p.family()), r.Protocol != 0 && r.Protocol != p.protocol, r.NotProtocol != 0 && r.NotProtocol == p.protocol,
		r.ICMP != nil && !icmp(r.ICMP), r.NotICMP != nil && icmp(r.NotICMP):
		return false
	}
	return end(h, r.Source, p.from, p.fromPort) && end(h, r.Destination, p.to, p.toPort)
}

func end(h *spec.HostPolicies, e spec.HostEnd, a netip.Addr, port uint16) bool {
	in := func(name string) bool {
		return slices.ContainsFunc(h.Sets, func(s spec.AddressSet) bool {
			return s.Name == name && slices.ContainsFunc(s.Ranges, func(r spec.AddressRange) bool { return r.Contains(a) })
		})
	}
	one := func(ps []spec.PolicyPorts) bool {
		return slices.ContainsFunc(ps, func(p spec.PolicyPorts) bool { return p.From <= port && port <= p.To })
	}
	for _, s := range e.In {
		if !in(s) {
			return false
		}
	}
	return !slices.ContainsFunc(e.NotIn, in) && (len(e.Ports) == 0 || one(e.Ports)) && (len(e.NotPorts) == 0 || !one(e.NotPorts))
}

// run interprets the filter as the kernel would: what is decided, and what was counted.
func run(f Filter, p packet, direction string) (verdict Verdict, counted []string) {
	entry, who := f.Ingress, p.to
	if direction == egress {
		entry, who = f.Egress, p.from
	}
	chain, ok := entry[who]
	if !ok {
		return Accept, nil
	}
	var enter func(string) Verdict
	enter = func(name string) Verdict {
		i := slices.IndexFunc(f.Chains, func(c FilterChain) bool { return c.Name == name })
		for _, r := range f.Chains[i].Rules {
			if slices.ContainsFunc(r.Matches, func(m Match) bool { return !matches(f, m, p) }) {
				continue
			}
			if r.Counter != "" {
				counted = append(counted, r.Counter)
			}
			if r.Verdict != Enter {
				return r.Verdict
			}
			if v := enter(r.Chain); v != "" {
				return v
			}
		}
		return ""
	}
	return enter(chain), counted
}

func matches(f Filter, m Match, p packet) bool {
	set := func(a netip.Addr, port uint16) bool {
		i := slices.IndexFunc(f.Sets, func(s FilterSet) bool { return s.Name == m.Set })
		s := f.Sets[i] // a set that there is not is a fault
		return slices.ContainsFunc(s.Addresses, func(r spec.AddressRange) bool { return r.Contains(a) }) ||
			slices.ContainsFunc(s.Ports, func(r spec.PolicyPorts) bool { return r.From <= port && port <= r.To })
	}
	var is bool
	switch m.Field {
	case PacketFamily:
		is = m.Value == uint16(p.family())
	case Protocol:
		is = m.Value == uint16(p.protocol)
	case ICMPType:
		is = m.Value == p.toPort>>8
	case ICMPCode:
		is = m.Value == p.toPort
	case SourceAddress:
		is = set(p.from, 0)
	case DestinationAddress:
		is = set(p.to, 0)
	case SourcePort:
		is = set(netip.Addr{}, p.fromPort)
	case DestinationPort:
		is = set(netip.Addr{}, p.toPort)
	}
	return is != m.Not
}

var policedAddresses = []netip.Addr{
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
}

// drawPolicies draws a host's part of some policies.
func drawPolicies(t *rapid.T) *spec.HostPolicies {
	out := &spec.HostPolicies{}
	names := []string{"s0", "s1", "s2"}
	address := rapid.SampledFrom(policedAddresses)
	for _, name := range names {
		var ranges []spec.AddressRange
		for range rapid.IntRange(0, 4).Draw(t, "size") {
			a := address.Draw(t, "address")
			ranges = append(ranges, spec.RangeOf(netip.PrefixFrom(a, rapid.SampledFrom([]int{a.BitLen(), a.BitLen() - 1, a.BitLen() - 8}).Draw(t, "bits"))))
		}
		out.Sets = append(out.Sets, spec.AddressSet{Name: name, Ranges: spec.MergeRanges(ranges)})
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "policies") {
		p := spec.HostPolicy{Name: string(rune('a' + i)), Ingress: rapid.Bool().Draw(t, "ingress"), Egress: rapid.Bool().Draw(t, "egress")}
		p.Addresses = rapid.SliceOfNDistinct(address, 1, 3, rapid.ID[netip.Addr]).Draw(t, "selected")
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			p.IngressRules = append(p.IngressRules, drawRule(t, names))
			p.EgressRules = append(p.EgressRules, drawRule(t, names))
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

func drawRule(t *rapid.T, names []string) spec.HostRule {
	r := spec.HostRule{Action: rapid.SampledFrom([]string{spec.PolicyAllow, spec.PolicyDeny}).Draw(t, "action")}
	r.IPVersion = rapid.SampledFrom([]int{0, 0, 0, 4, 6}).Draw(t, "version")
	r.Protocol = rapid.SampledFrom([]uint8{0, 1, 6, 17}).Draw(t, "protocol")
	r.NotProtocol = rapid.SampledFrom([]uint8{0, 0, 0, 6}).Draw(t, "not protocol")
	if r.Protocol == 1 {
		icmp := func(name string) *spec.PolicyICMP {
			code := uint8(rapid.IntRange(0, 1).Draw(t, "code"))
			return rapid.SampledFrom([]*spec.PolicyICMP{nil, {Type: 8}, {Type: 8, Code: &code}}).Draw(t, name)
		}
		r.ICMP, r.NotICMP = icmp("icmp"), icmp("not icmp")
	}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID[string])
	for _, e := range []*spec.HostEnd{&r.Source, &r.Destination} {
		e.In, e.NotIn = some.Draw(t, "in"), some.Draw(t, "not in")
		if len(e.In) == 2 || rapid.Bool().Draw(t, "anybody") {
			e.In, e.NotIn = nil, nil
		}
		if r.Protocol == 6 || r.Protocol == 17 {
			ports := rapid.SliceOfN(rapid.SampledFrom([]spec.PolicyPorts{{From: 80, To: 80}, {From: 1, To: 79}, {From: 0, To: 0xffff}, {From: 100, To: 0xffff}}), 0, 2)
			e.Ports, e.NotPorts = ports.Draw(t, "ports"), rapid.SampledFrom([][]spec.PolicyPorts{nil, nil, {{From: 81, To: 90}, {From: 91, To: 99}}}).Draw(t, "not ports")
		}
	}
	return r
}

// TestFilterIsCalicosSemantics: of every packet the compiled filter says what the policies say, and counts it where it was decided.
func TestFilterIsCalicosSemantics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawPolicies(t)
		f, err := CompilePolicies(h)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := CompilePolicies(h); !reflect.DeepEqual(f, again) {
			t.Fatal("another time it is another filter")
		}
		counts := map[string]spec.PolicyCount{}
		for _, c := range f.Counters {
			counts[c.Name] = c.Count
		}
		for range 20 {
			p := packet{from: rapid.SampledFrom(policedAddresses).Draw(t, "from"), protocol: rapid.SampledFrom([]uint8{1, 6, 17, 132}).Draw(t, "packet protocol")}
			p.to = rapid.SampledFrom(slices.DeleteFunc(slices.Clone(policedAddresses), func(a netip.Addr) bool { return a.Is4() != p.from.Is4() })).Draw(t, "to")
			port := rapid.SampledFrom([]uint16{80, 79, 0, 85, 0xffff})
			p.fromPort, p.toPort = port.Draw(t, "from port"), port.Draw(t, "to port")
			if p.protocol == 1 {
				p.toPort = rapid.SampledFrom([]uint16{8 << 8, 8<<8 | 1, 0}).Draw(t, "icmp type")
			}
			for _, direction := range []string{ingress, egress} {
				allowed, by, rule := judge(h, p, direction)
				verdict, counted := run(f, p, direction)
				if (verdict == Accept) != allowed {
					t.Fatalf("%+v %s: %s, want allowed %v by %q %d", p, direction, verdict, allowed, by, rule)
				}
				switch {
				case by != "" && (len(counted) != 1 || counts[counted[0]].Policy != by || counts[counted[0]].Rule != rule):
					t.Fatalf("%+v %s was decided by rule %d of %s, and counted by %v", p, direction, rule, by, counted)
				case by == "" && !allowed && (len(counted) != 1 || counts[counted[0]].Rule != spec.DefaultRule):
					t.Fatalf("%+v %s was decided by no rule, and counted by %v", p, direction, counted)
				case by == "" && allowed && len(counted) > 0:
					t.Fatalf("%+v %s was not judged, and counted by %v", p, direction, counted)
				}
			}
		}
	})
}

func TestFilterOfNothing(t *testing.T) {
	for _, h := range []*spec.HostPolicies{nil, {}} {
		if f, err := CompilePolicies(h); err != nil || !f.Empty() {
			t.Error(f, err)
		}
	}
}

func TestFilterOfNonsense(t *testing.T) {
	a := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	for name, h := range map[string]*spec.HostPolicies{
		"an unknown set": {Policies: []spec.HostPolicy{{Name: "p", Addresses: a, Ingress: true, IngressRules: []spec.HostRule{{Action: spec.PolicyDeny, Source: spec.HostEnd{In: []string{"x"}}}}}}},
		"one name twice": {Policies: []spec.HostPolicy{{Name: "p", Addresses: a, Ingress: true}, {Name: "p", Addresses: a, Ingress: true}}},
	} {
		if _, err := CompilePolicies(h); err == nil {
			t.Error(name)
		}
	}
	// An action that this version does not know must not let anything pass.
	f, err := CompilePolicies(&spec.HostPolicies{Policies: []spec.HostPolicy{{Name: "p", Addresses: a, Ingress: true, IngressRules: []spec.HostRule{{Action: "Pass"}}}}})
	if v, _ := run(f, packet{to: a[0], from: a[0]}, ingress); err != nil || v != Drop {
		t.Error(v, err)
	}
}

// TestOneChainForAllAlike: containers with the same policies share one chain, and another container changes no chain.
func TestOneChainForAllAlike(t *testing.T) {
	h := &spec.HostPolicies{Policies: []spec.HostPolicy{{Name: "p", Ingress: true}}}
	for i := range byte(200) {
		h.Policies[0].Addresses = append(h.Policies[0].Addresses, netip.AddrFrom4([4]byte{10, 0, 0, i}))
	}
	f, err := CompilePolicies(h)
	if err != nil || len(f.Chains) != 2 || len(f.Ingress) != 200 {
		t.Errorf("%d chains, %d addresses, %v", len(f.Chains), len(f.Ingress), err)
	}
	h.Policies[0].Addresses = h.Policies[0].Addresses[1:]
	if fewer, _ := CompilePolicies(h); !reflect.DeepEqual(f.Chains, fewer.Chains) {
		t.Error("the chains are others with one container less")
	}
}
