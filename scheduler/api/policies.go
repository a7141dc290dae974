package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Policies is the answer of GET /berth/v1/policies: the network policies in the order in which they are applied, with what their
// rules decided on all hosts.
type Policies struct {
	Policies []Policy `json:"policies"`
	// Undecided is what no rule allowed, by the policies that let it pass undecided: it was dropped.
	Undecided []PolicyDefault `json:"undecided"`
	Hosts     []PolicyHost    `json:"hosts"` // that have told something, by name
}

// Policy is one NetworkPolicy or GlobalNetworkPolicy.
type Policy struct {
	Name    string       `json:"name"`    // with its namespace and "/" before, if it has one
	Selects string       `json:"selects"` // for people
	Ingress bool         `json:"ingress"` // the policy speaks of what comes to instances
	Egress  bool         `json:"egress"`
	Rules   []PolicyRule `json:"rules"` // ingress before egress
}

// PolicyCount is how much was decided somewhere.
type PolicyCount struct {
	Packets uint64 `json:"packets"` // that opened a connection, or tried to
	Bytes   uint64 `json:"bytes"`
}

// PolicyRule is one rule.
type PolicyRule struct {
	Direction string `json:"direction"` // ingress or egress
	Rule      int    `json:"rule"`      // its place in the policy, from 0
	Action    string `json:"action"`
	Text      string `json:"text"` // for people
	PolicyCount
}

// PolicyDefault is what was dropped after some policies had let it pass undecided.
type PolicyDefault struct {
	Policies  []string `json:"policies"`
	Direction string   `json:"direction"`
	PolicyCount
}

// PolicyHost is what became of the policies on a host. What it counts is what was denied.
type PolicyHost struct {
	Host  string `json:"host"`
	Fault string `json:"fault,omitempty"` // why they are not in force as they should be
	PolicyCount
}

// getPolicies is GET /berth/v1/policies.
func (s *Server) getPolicies(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	return respond(w, r, http.StatusOK, listPolicies(snap))
}

func listPolicies(snap *Snapshot) Policies {
	out := Policies{Policies: []Policy{}, Undecided: []PolicyDefault{}, Hosts: []PolicyHost{}}
	if snap.Policies == nil {
		return out
	}
	at := map[string]int{}
	for i, p := range snap.Policies.Policies {
		at[p.Name] = i
		out.Policies = append(out.Policies, policyOf(p))
	}
	undecided := map[string]PolicyDefault{}
	for _, h := range snap.Hosts {
		if h.Policies == nil {
			continue
		}
		host := PolicyHost{Host: h.Name, Fault: h.Policies.Fault}
		for _, c := range h.Policies.Counts {
			if c.Action == spec.PolicyDeny {
				host.add(c)
			}
			if c.Rule == spec.DefaultRule {
				key := c.Direction + " " + c.Policy
				d := undecided[key]
				d.Policies, d.Direction = strings.Split(c.Policy, ","), c.Direction
				d.add(c)
				undecided[key] = d
				continue
			}
			i, ok := at[c.Policy]
			if !ok {
				continue // of a policy that is no more, on a host that has not heard of it
			}
			for j, r := range out.Policies[i].Rules {
				if r.Direction == c.Direction && r.Rule == c.Rule && r.Action == c.Action {
					out.Policies[i].Rules[j].add(c)
				}
			}
		}
		out.Hosts = append(out.Hosts, host)
	}
	for _, key := range slices.Sorted(maps.Keys(undecided)) {
		out.Undecided = append(out.Undecided, undecided[key])
	}
	return out
}

func (p *PolicyCount) add(c spec.PolicyCount) {
	p.Packets, p.Bytes = p.Packets+c.Packets, p.Bytes+c.Bytes
}

func policyOf(p spec.NetworkPolicy) Policy {
	out := Policy{Name: p.Name, Ingress: p.Ingress, Egress: p.Egress, Rules: []PolicyRule{}, Selects: cmp.Or(p.Selector, "all()")}
	switch {
	case p.Namespace != "":
		out.Selects += " in namespace " + p.Namespace
	case p.NamespaceSelector != "":
		out.Selects += " in namespaces " + p.NamespaceSelector
	}
	for i, r := range p.IngressRules {
		out.Rules = append(out.Rules, PolicyRule{Direction: "ingress", Rule: i, Action: r.Action, Text: ruleText(r)})
	}
	for i, r := range p.EgressRules {
		out.Rules = append(out.Rules, PolicyRule{Direction: "egress", Rule: i, Action: r.Action, Text: ruleText(r)})
	}
	return out
}

// ruleText is a rule for people: "TCP from role == 'web' to ports 80,443".
func ruleText(r spec.PolicyRule) string {
	var words []string
	if r.IPVersion != 0 {
		words = append(words, fmt.Sprintf("IPv%d", r.IPVersion))
	}
	if r.Protocol != 0 {
		words = append(words, protocolName(r.Protocol))
	}
	if r.NotProtocol != 0 {
		words = append(words, "not "+protocolName(r.NotProtocol))
	}
	for i, icmp := range []*spec.PolicyICMP{r.ICMP, r.NotICMP} {
		if icmp == nil {
			continue
		}
		text := []string{"", "not "}[i] + fmt.Sprintf("type %d", icmp.Type)
		if icmp.Code != nil {
			text += fmt.Sprintf(" code %d", *icmp.Code)
		}
		words = append(words, text)
	}
	if from := endText(r.Source); from != "" {
		words = append(words, "from "+from)
	}
	if to := endText(r.Destination); to != "" {
		words = append(words, "to "+to)
	}
	return cmp.Or(strings.Join(words, " "), "everything")
}

func endText(e spec.PolicyPeer) string {
	var parts []string
	add := func(prefix, text string) {
		if text != "" {
			parts = append(parts, prefix+text)
		}
	}
	add("", listed(e.Nets, netip.Prefix.String))
	add("not ", listed(e.NotNets, netip.Prefix.String))
	add("", e.Selector)
	add("not ", e.NotSelector)
	add("in namespaces ", e.NamespaceSelector)
	add("ports ", listed(e.Ports, portsText))
	add("not ports ", listed(e.NotPorts, portsText))
	return strings.Join(parts, ", ")
}

// listed are the first of many.
func listed[E any](all []E, text func(E) string) string {
	const most = 5
	var out []string
	for _, e := range all[:min(most, len(all))] {
		out = append(out, text(e))
	}
	if n := len(all) - most; n > 0 {
		out = append(out, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(out, ",")
}

func portsText(p spec.PolicyPorts) string {
	if p.From == p.To {
		return fmt.Sprint(p.From)
	}
	return fmt.Sprintf("%d:%d", p.From, p.To)
}

func protocolName(n uint8) string {
	names := map[uint8]string{1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}
	return cmp.Or(names[n], fmt.Sprintf("protocol %d", n))
}
