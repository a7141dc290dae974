package api

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func TestListPolicies(t *testing.T) {
	if got := listPolicies(&Snapshot{}); got.Policies == nil || len(got.Policies) != 0 {
		t.Errorf("without policies: %+v", got)
	}
	snap := &Snapshot{
		Policies: &spec.NetworkPolicies{Policies: []spec.NetworkPolicy{{Name: "shop/db", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: []spec.PolicyRule{
			{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 6}, Source: spec.PolicyPeer{Selector: "role == 'web'"}, Destination: spec.PolicyPeer{Ports: []spec.PolicyPorts{{From: 80, To: 80}, {From: 443, To: 449}}}},
			{Action: spec.PolicyDeny},
		}}}},
		Hosts: []HostView{
			{Name: "a", Policies: &spec.PolicyReport{Counts: []spec.PolicyCount{
				{Policy: "shop/db", Direction: "ingress", Rule: 0, Action: spec.PolicyAllow, Packets: 2, Bytes: 120}, {Policy: "shop/db", Direction: "ingress", Rule: 1, Action: spec.PolicyDeny, Packets: 3, Bytes: 180},
				{Policy: "shop/db,lockdown", Direction: "egress", Rule: spec.DefaultRule, Action: spec.PolicyDeny, Packets: 4, Bytes: 240},
				{Policy: "forgotten", Direction: "egress", Rule: 7, Action: spec.PolicyDeny, Packets: 5},
			}}},
			{Name: "b", Policies: &spec.PolicyReport{Fault: "no nftables", Counts: []spec.PolicyCount{{Policy: "shop/db", Direction: "ingress", Rule: 0, Action: spec.PolicyAllow, Packets: 1, Bytes: 60}}}},
			{Name: "c"},
		},
	}
	want := Policies{
		Policies: []Policy{{Name: "shop/db", Selects: "role == 'db' in namespace shop", Ingress: true, Rules: []PolicyRule{
			{Direction: "ingress", Rule: 0, Action: spec.PolicyAllow, Text: "TCP from role == 'web' to ports 80,443:449", PolicyCount: PolicyCount{3, 180}},
			{Direction: "ingress", Rule: 1, Action: spec.PolicyDeny, Text: "everything", PolicyCount: PolicyCount{3, 180}},
		}}},
		Undecided: []PolicyDefault{{Policies: []string{"shop/db", "lockdown"}, Direction: "egress", PolicyCount: PolicyCount{4, 240}}},
		Hosts:     []PolicyHost{{Host: "a", PolicyCount: PolicyCount{12, 420}}, {Host: "b", Fault: "no nftables"}},
	}
	if diff := cmp.Diff(want, listPolicies(snap)); diff != "" {
		t.Error(diff)
	}
}

func TestRuleText(t *testing.T) {
	code := uint8(1)
	for want, r := range map[string]spec.PolicyRule{
		"IPv4 ICMP not type 8 code 1 to not 10.0.0.0/8, not has(x)": {PolicyMatch: spec.PolicyMatch{IPVersion: 4, Protocol: 1, NotICMP: &spec.PolicyICMP{Type: 8, Code: &code}},
			Destination: spec.PolicyPeer{NotNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, NotSelector: "has(x)"}},
		"not protocol 47 from in namespaces all(), not ports 1:2,4,5,6,7,and 1 more": {PolicyMatch: spec.PolicyMatch{NotProtocol: 47},
			Source: spec.PolicyPeer{NamespaceSelector: "all()", NotPorts: []spec.PolicyPorts{{From: 1, To: 2}, {From: 4, To: 4}, {From: 5, To: 5}, {From: 6, To: 6}, {From: 7, To: 7}, {From: 9, To: 9}}}},
	} {
		if got := ruleText(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
