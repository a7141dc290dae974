package calico

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"

	"github.com/berth-project/berth/spec"
)

// policyLists are the lists that calicoctl prints.
var policyLists = []string{v3.KindNetworkPolicyList, v3.KindGlobalNetworkPolicyList, v3.KindNetworkSetList, v3.KindGlobalNetworkSetList}

// Bounds of what a file may ask for: a host keeps all of it in its document and in its kernel.
const (
	maxPolicyRules = 10_000  // of all policies together
	maxPolicyNets  = 100_000 // of all rules and sets together
)

// policyFound gathers the resources of network policy.
type policyFound struct {
	policies []ordered
	sets     []spec.NetworkSet
	rules    int
	nets     int
}

// ordered is a policy with its place among the others.
type ordered struct {
	order float64
	spec.NetworkPolicy
}

// all are the policies in the order in which they are applied; nil when there is none: sets alone mean nothing. As in Calico, those
// without an order come last, and names decide between equals.
func (p *policyFound) all() *spec.NetworkPolicies {
	if len(p.policies) == 0 {
		return nil
	}
	slices.SortFunc(p.policies, func(a, b ordered) int {
		return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(p.sets, func(a, b spec.NetworkSet) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	out := &spec.NetworkPolicies{Sets: p.sets}
	for _, o := range p.policies {
		out.Policies = append(out.Policies, o.NetworkPolicy)
	}
	return out
}

// networkPolicy decodes and checks a NetworkPolicy: one for the apps of a group.
func (d *decoder) networkPolicy(at place, h head, raw []byte) {
	var r v3.NetworkPolicy
	if !d.strict(at, h, raw, &r) {
		return
	}
	s, ns := r.Spec, cmp.Or(r.Namespace, spec.DefaultNamespace)
	d.policyName(at, h.Kind, ns, r.Name)
	if s.ServiceAccountSelector != "" {
		d.faults.add(at, "spec.serviceAccountSelector", noAccounts)
	}
	d.policy(at, policyText{s.Order, s.Types, s.Selector, s.Ingress, s.Egress}, spec.NetworkPolicy{Name: ns + "/" + r.Name, Namespace: ns})
}

// globalPolicy decodes and checks a GlobalNetworkPolicy.
func (d *decoder) globalPolicy(at place, h head, raw []byte) {
	var r v3.GlobalNetworkPolicy
	if !d.strict(at, h, raw, &r) {
		return
	}
	s := r.Spec
	d.policyName(at, h.Kind, "", r.Name)
	if r.Namespace != "" {
		d.faults.add(at, "metadata.namespace", "a %s is in no namespace; want a %s", v3.KindGlobalNetworkPolicy, v3.KindNetworkPolicy)
	}
	if s.ServiceAccountSelector != "" {
		d.faults.add(at, "spec.serviceAccountSelector", noAccounts)
	}
	if s.DoNotTrack {
		d.faults.add(at, "spec.doNotTrack", "is not supported: connections are always tracked")
	}
	if s.PreDNAT {
		d.faults.add(at, "spec.preDNAT", "is not supported: it is for the hosts' own interfaces, and policies are for instances only")
	}
	d.namespaceSelector(at, "spec.namespaceSelector", s.NamespaceSelector)
	d.policy(at, policyText{s.Order, s.Types, s.Selector, s.Ingress, s.Egress},
		spec.NetworkPolicy{Name: r.Name, NamespaceSelector: strings.TrimSpace(s.NamespaceSelector)})
}

const noAccounts = "is not supported: there are no Kubernetes service accounts; select by labels of apps"

// policyName checks a name that must be given only once in its namespace.
func (d *decoder) policyName(at place, kind, namespace, name string) {
	switch {
	case name != "" && (len(name) > 253 || !validName.MatchString(name)):
		d.faults.add(at, "metadata.name", "%q: only a-z, 0-9, '-' and '.' are allowed, with a letter or digit at both ends, at most 253", name)
	case namespace != "" && (len(namespace) > 253 || !validName.MatchString(namespace)):
		d.faults.add(at, "metadata.namespace", "%q: only a-z, 0-9, '-' and '.' are allowed: want the name of an outermost group, or %s", namespace, spec.DefaultNamespace)
	case namespace != "" && name != "":
		name = namespace + "/" + name
	}
	d.once(at, kind, name)
}

// policyText is what the specs of both kinds have.
type policyText struct {
	order           *float64
	types           []v3.PolicyType
	selector        string
	ingress, egress []v3.Rule
}

// policy checks what both kinds have.
func (d *decoder) policy(at place, t policyText, p spec.NetworkPolicy) {
	order := math.Inf(1)
	if t.order != nil {
		order = *t.order
	}
	p.Selector = strings.TrimSpace(t.selector)
	d.selector(at, "spec.selector", p.Selector)
	p.Ingress, p.Egress = d.directions(at, t)
	if !p.Ingress && len(t.ingress) > 0 {
		d.faults.add(at, "spec.ingress", "would have no effect, as spec.types has no %s", v3.PolicyTypeIngress)
	}
	if !p.Egress && len(t.egress) > 0 {
		d.faults.add(at, "spec.egress", "would have no effect, as spec.types has no %s", v3.PolicyTypeEgress)
	}
	for i, r := range t.ingress {
		p.IngressRules = append(p.IngressRules, d.rule(at, fmt.Sprintf("spec.ingress[%d].", i), r))
	}
	for i, r := range t.egress {
		p.EgressRules = append(p.EgressRules, d.rule(at, fmt.Sprintf("spec.egress[%d].", i), r))
	}
	if was := d.policies.rules; was <= maxPolicyRules && was+len(t.ingress)+len(t.egress) > maxPolicyRules {
		d.faults.add(at, "spec", "with it there are more than %d rules", maxPolicyRules)
	}
	d.policies.rules += len(t.ingress) + len(t.egress)
	d.policies.policies = append(d.policies.policies, ordered{order, p})
}

// directions are those of which the policy speaks. Calico's default: ingress, unless there are only egress rules; egress, when
// there are egress rules.
func (d *decoder) directions(at place, t policyText) (ingress, egress bool) {
	if len(t.types) == 0 {
		return len(t.egress) == 0 || len(t.ingress) > 0, len(t.egress) > 0
	}
	for i, typ := range t.types {
		switch typ {
		case v3.PolicyTypeIngress:
			ingress = true
		case v3.PolicyTypeEgress:
			egress = true
		default:
			d.faults.add(at, fmt.Sprintf("spec.types[%d]", i), "%q is not supported: want %s or %s", typ, v3.PolicyTypeIngress, v3.PolicyTypeEgress)
		}
	}
	return ingress, egress
}

// networkSet decodes and checks networks with labels.
func (d *decoder) networkSet(at place, h head, raw []byte) {
	var r v3.NetworkSet // a GlobalNetworkSet has the same form
	if !d.strict(at, h, raw, &r) {
		return
	}
	s := spec.NetworkSet{Name: r.Name, Labels: r.Labels}
	switch {
	case h.Kind == v3.KindNetworkSet:
		s.Namespace = cmp.Or(r.Namespace, spec.DefaultNamespace)
	case r.Namespace != "":
		d.faults.add(at, "metadata.namespace", "a %s is in no namespace; want a %s", v3.KindGlobalNetworkSet, v3.KindNetworkSet)
	}
	d.policyName(at, h.Kind, s.Namespace, r.Name)
	s.Nets = d.nets(at, "spec.nets", r.Spec.Nets)
	d.policies.sets = append(d.policies.sets, s)
}
