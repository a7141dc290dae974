package hostnet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Filter is the host's packet filter for network policies. A packet from or to a container is judged by the chain that its
// address has in Egress or Ingress; without one it passes. Packets of connections that were allowed are not judged again.
type Filter struct {
	Sets     []FilterSet     // by name
	Chains   []FilterChain   // by name
	Counters []FilterCounter // by name
	// Egress judges what comes from an address, Ingress what goes to it.
	Egress, Ingress map[netip.Addr]string
	// CloseLinkLocal: what containers send from link-local addresses, and from none, is dropped, but for neighbour discovery. Policies know
	// their other addresses only.
	CloseLinkLocal bool
}

// Empty says that everything passes.
func (f Filter) Empty() bool { return len(f.Chains) == 0 }

// FilterSet are addresses of one family, or ports.
type FilterSet struct {
	Name      string
	Family    Family // NoFamily: ports
	Addresses []spec.AddressRange
	Ports     []spec.PolicyPorts // sorted, neither overlapping nor adjacent
}

// Family is that of a set's or a packet's addresses.
type Family uint8

// The families.
const (
	NoFamily Family = 0
	IPv4     Family = 4
	IPv6     Family = 6
)

// FilterChain are rules in their order. What none of them decides goes back to where the chain was entered.
type FilterChain struct {
	Name  string
	Rules []FilterRule
}

// FilterRule does something with the packets that all of its matches hold for.
type FilterRule struct {
	Matches []Match
	Counter string // "": not counted
	Verdict Verdict
	Chain   string // of Enter
}

// Verdict is what a rule does.
type Verdict string

// The verdicts. Accept ends the judgement in one direction: what one container sends another is judged twice.
const (
	Accept Verdict = "accept"
	Drop   Verdict = "drop"
	Enter  Verdict = "enter"
)

// Match is one condition on a packet.
type Match struct {
	Field Field
	Not   bool
	Set   string // of addresses and ports
	// Family of the set's addresses, which a match before this one has made sure of.
	Family Family
	Value  uint16 // of the other fields
}

// Field is the part of a packet that a condition is on.
type Field string

// The fields. ICMPCode is type and code together, the type in the upper byte; it and ICMPType are of ICMP and ICMPv6 alike.
const (
	PacketFamily       Field = "family"
	Protocol           Field = "protocol"
	ICMPType           Field = "icmp type"
	ICMPCode           Field = "icmp type and code"
	SourceAddress      Field = "source"
	DestinationAddress Field = "destination"
	SourcePort         Field = "source port"
	DestinationPort    Field = "destination port"
)

// FilterCounter is a counter with what it counts.
type FilterCounter struct {
	Name  string
	Count spec.PolicyCount // without numbers
}

// Directions of PolicyCount.
const (
	ingress = "ingress"
	egress  = "egress"
)

// CompilePolicies decides the packet filter. The result does not depend on anything but the policies; an error means that they
// cannot be what a scheduler makes.
func CompilePolicies(p *spec.HostPolicies) (Filter, error) {
	c := filterCompiler{f: Filter{Egress: map[netip.Addr]string{}, Ingress: map[netip.Addr]string{}}, known: map[string]bool{}, made: map[string]bool{}}
	if p == nil || len(p.Policies) == 0 {
		return c.f, nil
	}
	for _, s := range p.Sets {
		c.known[s.Name] = true
	}
	for _, policy := range p.Policies {
		for _, a := range policy.Addresses {
			c.six = c.six || a.Is6()
			c.four = c.four || a.Is4()
		}
	}
	for _, s := range p.Sets {
		c.addressSets(s)
	}
	for _, d := range []struct {
		name string
		of   func(spec.HostPolicy) (bool, []spec.HostRule)
		to   map[netip.Addr]string
	}{
		{ingress, func(p spec.HostPolicy) (bool, []spec.HostRule) { return p.Ingress, p.IngressRules }, c.f.Ingress},
		{egress, func(p spec.HostPolicy) (bool, []spec.HostRule) { return p.Egress, p.EgressRules }, c.f.Egress},
	} {
		of := map[netip.Addr][]string{} // names of the policies, in order
		for _, policy := range p.Policies {
			speaks, rules := d.of(policy)
			if !speaks {
				continue
			}
			if err := c.policy(d.name, policy.Name, rules); err != nil {
				return Filter{}, err
			}
			for _, a := range policy.Addresses {
				of[a] = append(of[a], policy.Name)
			}
		}
		for a, names := range of {
			d.to[a] = c.together(d.name, names)
		}
	}
	for a := range c.f.Egress {
		c.f.CloseLinkLocal = c.f.CloseLinkLocal || a.Is6()
	}
	slices.SortFunc(c.f.Sets, func(a, b FilterSet) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.f.Chains, func(a, b FilterChain) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.f.Counters, func(a, b FilterCounter) int { return strings.Compare(a.Name, b.Name) })
	return c.f, nil
}

type filterCompiler struct {
	f         Filter
	known     map[string]bool // sets of the document
	made      map[string]bool // sets and chains
	four, six bool            // there are addresses of the family to judge
}

// chainName makes a name that Linux takes (255 bytes) and that nft's own language needs no quotes for.
func chainName(kind, direction, text string) string {
	if len(text) > 100 {
		text = text[:80] + "." + digest(text)
	}
	return kind + "." + direction + "." + text
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// addressSets makes one set a family of a set of the document.
func (c *filterCompiler) addressSets(s spec.AddressSet) {
	for _, family := range []Family{IPv4, IPv6} {
		if family == IPv4 && !c.four || family == IPv6 && !c.six {
			continue
		}
		out := FilterSet{Name: familySet(s.Name, family), Family: family}
		for _, r := range s.Ranges {
			if r.From.Is4() == (family == IPv4) {
				out.Addresses = append(out.Addresses, r)
			}
		}
		c.f.Sets = append(c.f.Sets, out)
	}
}

func familySet(name string, f Family) string { return fmt.Sprintf("%s.v%d", name, f) }

// portSet makes a set of ports, once for all rules that name the same.
func (c *filterCompiler) portSet(ports []spec.PolicyPorts) string {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b spec.PolicyPorts) int { return int(a.From) - int(b.From) })
	var merged []spec.PolicyPorts
	for _, p := range ports {
		if n := len(merged) - 1; n >= 0 && int(p.From) <= int(merged[n].To)+1 {
			merged[n].To = max(merged[n].To, p.To)
			continue
		}
		merged = append(merged, p)
	}
	name := "ports-" + digest(fmt.Sprint(merged))
	if !c.made[name] {
		c.made[name] = true
		c.f.Sets = append(c.f.Sets, FilterSet{Name: name, Ports: merged})
	}
	return name
}

// policy makes the chain of one policy in one direction.
func (c *filterCompiler) policy(direction, name string, rules []spec.HostRule) error {
	chain := FilterChain{Name: chainName("policy", direction, name)}
	if c.made[chain.Name] {
		return fmt.Errorf("compile network policies: there are two with the name %s", name)
	}
	c.made[chain.Name] = true
	for i, r := range rules {
		for _, set := range slices.Concat(r.Source.In, r.Source.NotIn, r.Destination.In, r.Destination.NotIn) {
			if !c.known[set] {
				return fmt.Errorf("compile network policy %s: its rule %d (%s) names the set %s, which there is not", name, i, direction, set)
			}
		}
		// A rule that becomes another one counts anew.
		counter := FilterCounter{
			Name:  chainName("rule", direction, fmt.Sprintf("%s.%d.%s", name, i, digest(fmt.Sprintf("%+v", describe(r))))),
			Count: spec.PolicyCount{Policy: name, Direction: direction, Rule: i, Action: r.Action},
		}
		c.f.Counters = append(c.f.Counters, counter)
		verdict := Drop
		if r.Action == spec.PolicyAllow {
			verdict = Accept
		}
		for _, matches := range c.matches(r) {
			chain.Rules = append(chain.Rules, FilterRule{Matches: matches, Counter: counter.Name, Verdict: verdict})
		}
	}
	c.f.Chains = append(c.f.Chains, chain)
	return nil
}

// describe is the rule without pointers, so that equal ones have equal text.
func describe(r spec.HostRule) []any {
	icmp := func(i *spec.PolicyICMP) string {
		switch {
		case i == nil:
			return ""
		case i.Code == nil:
			return fmt.Sprint(i.Type)
		}
		return fmt.Sprint(i.Type, i.Code != nil, *i.Code)
	}
	return []any{r.Action, r.IPVersion, r.Protocol, r.NotProtocol, icmp(r.ICMP), icmp(r.NotICMP), r.Source, r.Destination}
}

// matches are the conditions of a rule: once, or, as sets have one family, once for each family.
func (c *filterCompiler) matches(r spec.HostRule) [][]Match {
	var packet []Match
	number := func(f Field, not bool, n uint8) {
		if n != 0 {
			packet = append(packet, Match{Field: f, Not: not, Value: uint16(n)})
		}
	}
	number(Protocol, false, r.Protocol)
	number(Protocol, true, r.NotProtocol)
	packet = append(packet, icmpMatch(r.ICMP, false)...)
	packet = append(packet, icmpMatch(r.NotICMP, true)...)
	for _, e := range []struct {
		field Field
		end   spec.HostEnd
	}{{SourcePort, r.Source}, {DestinationPort, r.Destination}} {
		if len(e.end.Ports) > 0 {
			packet = append(packet, Match{Field: e.field, Set: c.portSet(e.end.Ports)})
		}
		if len(e.end.NotPorts) > 0 {
			packet = append(packet, Match{Field: e.field, Set: c.portSet(e.end.NotPorts), Not: true})
		}
	}
	var out [][]Match
	for _, family := range c.families(r) {
		var m []Match
		if family != NoFamily {
			m = append(m, Match{Field: PacketFamily, Value: uint16(family)})
			m = append(m, addressMatches(SourceAddress, r.Source, family)...)
			m = append(m, addressMatches(DestinationAddress, r.Destination, family)...)
		}
		out = append(out, append(m, packet...))
	}
	return out
}

// families are those that the rule is needed for; NoFamily: it needs to know none.
func (c *filterCompiler) families(r spec.HostRule) []Family {
	addresses := len(r.Source.In)+len(r.Source.NotIn)+len(r.Destination.In)+len(r.Destination.NotIn) > 0
	if r.IPVersion == 0 && !addresses {
		return []Family{NoFamily}
	}
	var out []Family
	if c.four && r.IPVersion != 6 {
		out = append(out, IPv4)
	}
	if c.six && r.IPVersion != 4 {
		out = append(out, IPv6)
	}
	return out
}

func addressMatches(f Field, e spec.HostEnd, family Family) []Match {
	var out []Match
	for _, s := range e.In {
		out = append(out, Match{Field: f, Set: familySet(s, family), Family: family})
	}
	for _, s := range e.NotIn {
		out = append(out, Match{Field: f, Set: familySet(s, family), Family: family, Not: true})
	}
	return out
}

func icmpMatch(i *spec.PolicyICMP, not bool) []Match {
	switch {
	case i == nil:
		return nil
	case i.Code == nil:
		return []Match{{Field: ICMPType, Not: not, Value: uint16(i.Type)}}
	}
	return []Match{{Field: ICMPCode, Not: not, Value: uint16(i.Type)<<8 | uint16(*i.Code)}}
}

// together makes the chain for containers that these policies select: one after the other, and what none of them decides is dropped.
func (c *filterCompiler) together(direction string, policies []string) string {
	name := chainName("all", direction, digest(strings.Join(policies, "\x00")))
	if c.made[name] {
		return name
	}
	c.made[name] = true
	chain := FilterChain{Name: name}
	for _, p := range policies {
		chain.Rules = append(chain.Rules, FilterRule{Verdict: Enter, Chain: chainName("policy", direction, p)})
	}
	counter := FilterCounter{Name: name, Count: spec.PolicyCount{
		Policy: strings.Join(policies, ","), Direction: direction, Rule: spec.DefaultRule, Action: spec.PolicyDeny,
	}}
	c.f.Counters = append(c.f.Counters, counter)
	chain.Rules = append(chain.Rules, FilterRule{Counter: counter.Name, Verdict: Drop})
	c.f.Chains = append(c.f.Chains, chain)
	return name
}

// Judges says whether packets from or to the address are judged.
func (f Filter) Judges(a netip.Addr) bool { return f.Ingress[a] != "" || f.Egress[a] != "" }
