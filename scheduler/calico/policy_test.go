package calico

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestDecodePolicies(t *testing.T) {
	in, err := os.ReadFile("testdata/policy/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	code := uint8(0)
	want := &spec.NetworkPolicies{
		Policies: []spec.NetworkPolicy{
			{Name: "first", Selector: "all()", Egress: true, EgressRules: []spec.PolicyRule{{Action: spec.PolicyAllow}}},
			{
				Name: "default/first", Namespace: "default", Ingress: true, Egress: true, IngressRules: []spec.PolicyRule{{Action: spec.PolicyDeny}},
				EgressRules: []spec.PolicyRule{{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 17}}},
			},
			{
				Name: "shop/db", Namespace: "shop", Selector: "role == 'db'", Ingress: true, Egress: true,
				IngressRules: []spec.PolicyRule{
					{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 6}, Source: spec.PolicyPeer{Selector: "role == 'web'"}, Destination: spec.PolicyPeer{Ports: []spec.PolicyPorts{{From: 5432, To: 5432}, {From: 6000, To: 6010}}}},
					{Action: spec.PolicyDeny, PolicyMatch: spec.PolicyMatch{IPVersion: 4, NotProtocol: 1}, Source: spec.PolicyPeer{
						Nets: prefixes("10.0.0.0/8", "192.0.2.9/32", "2001:db8::/32"), NotNets: prefixes("10.1.0.0/16"), NotSelector: "has(old)", NamespaceSelector: "global()",
					}},
				},
				EgressRules: []spec.PolicyRule{
					{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 1, ICMP: &spec.PolicyICMP{Type: 8, Code: &code}}},
					{Action: spec.PolicyAllow, PolicyMatch: spec.PolicyMatch{Protocol: 132}, Destination: spec.PolicyPeer{NotPorts: []spec.PolicyPorts{{From: 22, To: 22}}, NamespaceSelector: "projectcalico.org/name == 'ops'"}},
				},
			},
			{Name: "lockdown", NamespaceSelector: "projectcalico.org/name != 'ops'", Ingress: true},
		},
		Sets: []spec.NetworkSet{
			{Name: "office", Labels: map[string]string{"office": ""}, Nets: prefixes("198.51.100.0/24", "2001:db8:1::/48")},
			{Name: "office", Namespace: "shop", Labels: map[string]string{"office": ""}},
		},
	}
	if diff := cmp.Diff(want, got.Policies, compareAddresses); diff != "" {
		t.Error(diff)
	}
}

// TestPolicyOrder: by order, those without one last, equals by name, wherever they stand in the file.
func TestPolicyOrder(t *testing.T) {
	var in strings.Builder
	for _, p := range [][2]string{{"z", "0"}, {"c", "null"}, {"a", "7"}, {"b", "null"}, {"y", "-1"}, {"x", "0"}, {"d", "0.5"}} {
		fmt.Fprintf(&in, "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: %q}\nspec: {order: %s}\n", p[0], p[1])
	}
	got, err := Decode([]byte(in.String()))
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, p := range got.Policies.Policies {
		names += p.Name
	}
	if names != "yxzdabc" {
		t.Error(names)
	}
}

// TestPolicyTypes is Calico's default of types.
func TestPolicyTypes(t *testing.T) {
	for text, want := range map[string][2]bool{
		"": {true, false}, "ingress: [{action: Deny}]": {true, false}, "egress: [{action: Deny}]": {false, true}, "types: []": {true, false},
		"ingress: [{action: Deny}], egress: [{action: Deny}]": {true, true}, "types: [Egress]": {false, true}, "types: [Ingress, Egress]": {true, true},
		"types: [Ingress, Egress], egress: [{action: Deny}]": {true, true},
	} {
		got, err := Decode([]byte("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: p}\nspec: {" + text + "}\n"))
		if err != nil {
			t.Fatal(text, err)
		}
		if p := got.Policies.Policies[0]; p.Ingress != want[0] || p.Egress != want[1] {
			t.Errorf("%s: ingress %v egress %v", text, p.Ingress, p.Egress)
		}
	}
}

// TestBadPolicyCorpus holds every bad file against the errors written beside it.
func TestBadPolicyCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/policy/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(in)
		var faults Faults
		if !errors.As(err, &faults) || got.Policies != nil {
			t.Fatalf("got %v and error %v, want faults only", got, err)
		}
		holdGolden(t, strings.TrimSuffix(file, ".yaml")+".txt", faults.Error()+"\n")
	}
}

func TestTooManyRules(t *testing.T) {
	rules := strings.Repeat("{action: Deny},", maxPolicyRules/2+1)
	policy := "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: %s}\nspec: {ingress: [" + rules + "]}\n"
	if _, err := Decode(fmt.Appendf(nil, policy, "a")); err != nil {
		t.Fatal(err)
	}
	_, err := Decode(fmt.Appendf(nil, policy+policy+policy, "a", "b", "c"))
	if want := "document 2: spec: with it there are more than 10000 rules"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func FuzzDecodePolicies(f *testing.F) {
	files, _ := filepath.Glob("testdata/policy/*.yaml")
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Decode(in)
		if err != nil || got.Policies == nil {
			return
		}
		for _, p := range got.Policies.Policies {
			if p.Name == "" || !p.Ingress && !p.Egress || p.Ingress == false && len(p.IngressRules) > 0 || p.Egress == false && len(p.EgressRules) > 0 {
				t.Errorf("unusable policy %+v", p)
			}
			for _, r := range append(p.IngressRules, p.EgressRules...) {
				usableRule(t, r)
			}
		}
	})
}

func usableRule(t *testing.T, r spec.PolicyRule) {
	t.Helper()
	if r.Action != spec.PolicyAllow && r.Action != spec.PolicyDeny || r.IPVersion != 0 && r.IPVersion != 4 && r.IPVersion != 6 {
		t.Errorf("unusable rule %+v", r)
	}
	for _, e := range []spec.PolicyPeer{r.Source, r.Destination} {
		for _, s := range []string{e.Selector, e.NotSelector} {
			if _, err := ParseSelector(s); err != nil {
				t.Error(err)
			}
		}
		for _, p := range append(e.Ports, e.NotPorts...) {
			if p.To < p.From || r.Protocol == 0 {
				t.Errorf("unusable ports %+v", r)
			}
		}
		for _, n := range append(e.Nets, e.NotNets...) {
			if n != n.Masked() || !n.IsValid() {
				t.Errorf("unusable network %v", n)
			}
		}
	}
}
