package spec

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NetworkPolicies are what the operators allow containers to say to whom, from Calico v3 NetworkPolicy, GlobalNetworkPolicy,
// NetworkSet and GlobalNetworkSet resources. The scheduler makes each host's part of it (HostPolicies).
type NetworkPolicies struct {
	Policies []NetworkPolicy // in the order in which they are applied
	Sets     []NetworkSet
}

// NetworkPolicy is one policy for the instances that it selects.
type NetworkPolicy struct {
	// Name is "web" for a GlobalNetworkPolicy, "prod/web" for a NetworkPolicy in the namespace prod.
	Name string
	// Namespace is that of a NetworkPolicy, which is for instances of this namespace only; "" is a GlobalNetworkPolicy.
	Namespace         string
	NamespaceSelector string // of a GlobalNetworkPolicy; "": instances of all namespaces
	Selector          string // "": all
	// Ingress and Egress are what the policy speaks of: an instance that a policy selects in a direction gets in that direction
	// only what a rule of its policies allows.
	Ingress, Egress           bool
	IngressRules, EgressRules []PolicyRule
}

// The actions of a rule.
const (
	PolicyAllow = "Allow"
	PolicyDeny  = "Deny"
)

// PolicyRule decides about the packets that all of its conditions match.
type PolicyRule struct {
	Action              string
	PolicyMatch         // conditions on the packet itself
	Source, Destination PolicyPeer
}

// PolicyMatch are the conditions of a rule that need no addresses.
type PolicyMatch struct {
	IPVersion   int         `json:",omitempty"` // 4 or 6; 0: both
	Protocol    uint8       `json:",omitempty"` // 0: all
	NotProtocol uint8       `json:",omitempty"` // 0: none is left out
	ICMP        *PolicyICMP `json:",omitempty"`
	NotICMP     *PolicyICMP `json:",omitempty"`
}

// PolicyICMP is a type of ICMP or ICMPv6 messages, and maybe a code.
type PolicyICMP struct {
	Type uint8
	Code *uint8 `json:",omitempty"` // nil: all
}

// PolicyPeer says who is at one end. All of what is given must hold.
type PolicyPeer struct {
	Nets, NotNets []netip.Prefix // nil: no condition
	// Selector selects instances and network sets; NamespaceSelector bounds it to those of some namespaces. "": no condition.
	Selector, NotSelector, NamespaceSelector string
	Ports, NotPorts                          []PolicyPorts // nil: no condition
}

// PolicyPorts are some ports, both ends included.
type PolicyPorts struct{ From, To uint16 }

// NetworkSet are networks that selectors can select by labels.
type NetworkSet struct {
	Name      string
	Namespace string // "": a GlobalNetworkSet
	Labels    map[string]string
	Nets      []netip.Prefix
}

// DefaultNamespace is the namespace of apps outside all groups.
const DefaultNamespace = "default"

// Namespace is where Calico's NetworkPolicy looks for the app: its outermost group, or DefaultNamespace.
func (id AppID) Namespace() string {
	if s := id.Segments(); len(s) > 1 {
		return s[0]
	}
	return DefaultNamespace
}

// HostPolicies are one host's part of the policies. nil in a document: the operators have none. Without Policies in it: none of
// them selects a seat on this host.
type HostPolicies struct {
	Policies []HostPolicy `json:",omitempty"` // in the order in which they are applied
	Sets     []AddressSet `json:",omitempty"` // by name: those that the rules name
}

// HostPolicy is one policy with the seats on the host that it selects.
type HostPolicy struct {
	Name            string
	Addresses       []netip.Addr // the seats', sorted
	Ingress, Egress bool
	IngressRules    []HostRule `json:",omitempty"`
	EgressRules     []HostRule `json:",omitempty"`
}

// HostRule is a rule whose selectors and networks have become sets of addresses.
type HostRule struct {
	Action string
	PolicyMatch
	Source, Destination HostEnd
}

// HostEnd is a PolicyPeer with sets by their names: the address is in each of In, and in none of NotIn.
type HostEnd struct {
	In       []string      `json:",omitempty"`
	NotIn    []string      `json:",omitempty"`
	Ports    []PolicyPorts `json:",omitempty"` // nil: no condition
	NotPorts []PolicyPorts `json:",omitempty"`
}

// AddressSet are addresses by a name that stays while they change.
type AddressSet struct {
	Name   string
	Ranges []AddressRange // sorted, neither overlapping nor adjacent
}

// AddressRange is some addresses of one family, both ends included. Its text is "A" or "A-B".
type AddressRange struct{ From, To netip.Addr }

// MarshalText implements encoding.TextMarshaler.
func (r AddressRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r AddressRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *AddressRange) UnmarshalText(text []byte) error {
	from, to, isRange := strings.Cut(string(text), "-")
	if !isRange {
		to = from
	}
	var err error
	if r.From, err = netip.ParseAddr(from); err == nil {
		r.To, err = netip.ParseAddr(to)
	}
	if err != nil || r.From.Is4() != r.To.Is4() || r.To.Less(r.From) || r.From.Zone() != "" || r.To.Zone() != "" {
		return fmt.Errorf("%q is not ADDRESS or ADDRESS-ADDRESS", text)
	}
	return nil
}

// Contains says whether the address is one of them.
func (r AddressRange) Contains(a netip.Addr) bool {
	return r.From.BitLen() == a.BitLen() && !a.Less(r.From) && !r.To.Less(a)
}

// RangeOf are the addresses of a network.
func RangeOf(p netip.Prefix) AddressRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	to, _ := netip.AddrFromSlice(last)
	return AddressRange{p.Addr(), to}
}

// MergeRanges gives the same addresses in the fewest ranges, IPv4 first. It changes the order of its argument.
func MergeRanges(in []AddressRange) []AddressRange {
	slices.SortFunc(in, func(a, b AddressRange) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	var out []AddressRange
	for _, r := range in {
		if n := len(out) - 1; n >= 0 && out[n].From.BitLen() == r.From.BitLen() && (!out[n].To.Less(r.From) || out[n].To.Next() == r.From) {
			if out[n].To.Less(r.To) {
				out[n].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// PolicyReport is what became of the policies on a host.
type PolicyReport struct {
	Fault  string        `json:",omitempty"` // why the document's policies are not in force; "" when they are
	Counts []PolicyCount `json:",omitempty"` // by rule
}

// PolicyCount is what one rule of a policy has decided on a host since its counter was made.
type PolicyCount struct {
	Policy string // for the default, the policies that let a packet pass undecided, with commas
	// Direction is "ingress" or "egress".
	Direction string
	Rule      int // counted from 0; DefaultRule: no rule of the policies matched
	Action    string
	Packets   uint64
	Bytes     uint64
}

// DefaultRule is PolicyCount.Rule of what no rule allowed.
const DefaultRule = -1
