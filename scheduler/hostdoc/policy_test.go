package hostdoc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func endpointOf(app string, n int, host, address string, labels ...string) *Endpoint {
	e := &Endpoint{Seat: spec.SeatID{App: spec.AppID(app), Index: n}, Pool: "berth", Host: host, Labels: map[string]string{}, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
	for i := 0; i < len(labels); i += 2 {
		e.Labels[labels[i]] = labels[i+1]
	}
	return e
}

// showPolicies is a host's part as text, with what is in the sets in place of their names.
func showPolicies(h *spec.HostPolicies) string {
	if h == nil {
		return "none at all"
	}
	sets := map[string]string{}
	for _, s := range h.Sets {
		b, _ := json.Marshal(s.Ranges)
		sets[s.Name] = strings.NewReplacer(`"`, "", ",", " ").Replace(string(b))
	}
	var out []string
	for _, p := range h.Policies {
		line := fmt.Sprintf("%s for %v:", p.Name, p.Addresses)
		for i, rules := range [][]spec.HostRule{p.IngressRules, p.EgressRules} {
			if wants := []bool{p.Ingress, p.Egress}[i]; !wants {
				continue
			}
			line += []string{" in", " out"}[i]
			for _, r := range rules {
				line += " " + r.Action
				for j, e := range []spec.HostEnd{r.Source, r.Destination} {
					for _, s := range e.In {
						line += []string{" from ", " to "}[j] + sets[s]
					}
					for _, s := range e.NotIn {
						line += []string{" not from ", " not to "}[j] + sets[s]
					}
				}
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestPolicies(t *testing.T) {
	allow := func(from spec.PolicyPeer) []spec.PolicyRule {
		return []spec.PolicyRule{{Action: spec.PolicyAllow, Source: from}}
	}
	nets := func(texts ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, t := range texts {
			out = append(out, netip.MustParsePrefix(t))
		}
		return out
	}
	endpoints := []*Endpoint{
		endpointOf("/shop/web", 0, "a", "10.0.0.1", "role", "web"), endpointOf("/shop/web", 1, "b", "10.0.0.2", "role", "web"),
		endpointOf("/shop/db/pg", 0, "a", "10.0.0.9", "role", "db"), endpointOf("/test/web", 0, "b", "10.0.0.20", "role", "web"),
		endpointOf("/lone", 0, "a", "10.0.0.30"), endpointOf("/shop/resting", 0, "", "10.0.0.3", "role", "web"),
	}
	sets := []spec.NetworkSet{
		{Name: "office", Labels: map[string]string{"role": "office"}, Nets: nets("192.0.2.0/24", "192.0.3.0/24")},
		{Name: "shop-office", Namespace: "shop", Labels: map[string]string{"role": "office"}, Nets: nets("198.51.100.7/32")},
	}
	for _, c := range []struct {
		name, host string
		policies   []spec.NetworkPolicy
		want       string
	}{
		{"nothing selected here", "b", []spec.NetworkPolicy{{Name: "p", Selector: "role == 'db'", Ingress: true}}, ""},
		{"everything", "a", []spec.NetworkPolicy{{Name: "p", Ingress: true}}, "p for [10.0.0.1 10.0.0.9 10.0.0.30]: in"},
		{"a namespace, with the groups in it", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Egress: true}}, "shop/p for [10.0.0.1 10.0.0.9]: out"},
		{"outside all groups", "a", []spec.NetworkPolicy{{Name: "default/p", Namespace: "default", Ingress: true}}, "default/p for [10.0.0.30]: in"},
		{"selectors look in their own namespace", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{Selector: "role == 'web'"})}},
			"shop/p for [10.0.0.9]: in Allow from [10.0.0.1-10.0.0.3]"},
		{"or in others", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{Selector: "role == 'web'", NamespaceSelector: "projectcalico.org/name != 'shop'"})}},
			"shop/p for [10.0.0.9]: in Allow from [10.0.0.20]"},
		{"networks have no namespace", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{Nets: nets("10.0.0.0/8"), NotNets: nets("10.0.0.0/9")})}},
			"shop/p for [10.0.0.9]: in Allow from [10.0.0.0-10.255.255.255] not from [10.0.0.0-10.127.255.255]"},
		{"notSelector is of all namespaces, and bounds to its own", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{NotSelector: "role == 'web'"})}},
			"shop/p for [10.0.0.9]: in Allow from [10.0.0.1-10.0.0.3 10.0.0.9 198.51.100.7] not from [10.0.0.1-10.0.0.3 10.0.0.20]"},
		{"notSelector of a global policy", "a", []spec.NetworkPolicy{{Name: "p", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{NotSelector: "role == 'web'"})}},
			"p for [10.0.0.9]: in Allow not from [10.0.0.1-10.0.0.3 10.0.0.20]"},
		{"network sets", "a", []spec.NetworkPolicy{{Name: "p", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{Selector: "role == 'office'"})}},
			"p for [10.0.0.9]: in Allow from [192.0.2.0-192.0.3.255 198.51.100.7]"},
		{"network sets of no namespace", "a", []spec.NetworkPolicy{{Name: "shop/p", Namespace: "shop", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{Selector: "role == 'office'", NamespaceSelector: "global()"})}},
			"shop/p for [10.0.0.9]: in Allow from [192.0.2.0-192.0.3.255]"},
		{"in some namespace", "a", []spec.NetworkPolicy{{Name: "p", Selector: "role == 'db'", Ingress: true, IngressRules: allow(spec.PolicyPeer{NamespaceSelector: "all()"})}},
			"p for [10.0.0.9]: in Allow from [10.0.0.1-10.0.0.3 10.0.0.9 10.0.0.20 10.0.0.30 198.51.100.7]"},
		{"labels that Berth makes", "a", []spec.NetworkPolicy{{Name: "p", Selector: "berth/app == '/shop/web' && berth/group == '/shop' && berth/seat == '0' && berth/pool == 'berth'", Egress: true}}, "p for [10.0.0.1]: out"},
		{"nothing matches", "a", []spec.NetworkPolicy{{Name: "p", Selector: "has(role)", Ingress: true, IngressRules: allow(spec.PolicyPeer{Selector: "has(none)"})}}, "p for [10.0.0.1 10.0.0.9]: in Allow from []"},
		{"in their order", "b", []spec.NetworkPolicy{{Name: "z", NamespaceSelector: "projectcalico.org/name in {'test'}", Ingress: true}, {Name: "a", Ingress: true}}, "z for [10.0.0.20]: in\na for [10.0.0.2 10.0.0.20]: in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicing(&spec.NetworkPolicies{Policies: c.policies, Sets: sets})
			for i, e := range endpoints {
				p.Set(fmt.Sprint(i), e)
			}
			if diff := cmp.Diff(c.want, showPolicies(Compile(Input{Hosts: []string{c.host}, Policing: p})[c.host].Policies)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if doc := Compile(Input{Hosts: []string{"a"}})["a"]; doc.Policies != nil {
		t.Error("policies that nobody asked for")
	}
}

// TestPolicingIsWhatWouldBeComputed: after any changes the index equals a new one, and Stale has named every host whose part differs
// from what it was.
func TestPolicingIsWhatWouldBeComputed(t *testing.T) {
	selectors := []string{"", "all()", "l == 'a'", "l != 'a'", "has(m)", "berth/seat == '0'", "!has(m) && l in {'a','b'}"}
	rapid.Check(t, func(t *rapid.T) {
		selector, namespace := rapid.SampledFrom(selectors), rapid.SampledFrom([]string{"", "g", "h", "default"})
		peer := func() spec.PolicyPeer {
			return spec.PolicyPeer{Selector: selector.Draw(t, "selector"), NotSelector: selector.Draw(t, "not"), NamespaceSelector: rapid.SampledFrom([]string{"", "", "all()", "global()", "projectcalico.org/name == 'g'"}).Draw(t, "namespaces")}
		}
		all := &spec.NetworkPolicies{}
		for i := range rapid.IntRange(1, 4).Draw(t, "policies") {
			all.Policies = append(all.Policies, spec.NetworkPolicy{Name: fmt.Sprint(i), Namespace: namespace.Draw(t, "namespace"), Selector: selector.Draw(t, "of"), Ingress: true,
				IngressRules: []spec.PolicyRule{{Action: spec.PolicyAllow, Source: peer(), Destination: peer()}}})
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "sets") {
			all.Sets = append(all.Sets, spec.NetworkSet{Name: fmt.Sprint(i), Namespace: namespace.Draw(t, "namespace"), Labels: map[string]string{"l": "a"}, Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}})
		}
		hosts := []string{"a", "b", "c"}
		p, endpoints, before := NewPolicing(all), map[string]*Endpoint{}, map[string]string{}
		text := func(p *Policing, host string) string { b, _ := json.Marshal(p.Of(host)); return string(b) }
		for _, h := range hosts {
			before[h] = text(p, h)
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "key")
			var e *Endpoint
			if rapid.IntRange(0, 3).Draw(t, "there") > 0 {
				e = endpointOf(rapid.SampledFrom([]string{"/g/x", "/h/x/y", "/z"}).Draw(t, "app"), rapid.IntRange(0, 1).Draw(t, "seat"), rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "host"),
					rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.9"}).Draw(t, "address"), rapid.SampledFrom([]string{"l", "m"}).Draw(t, "label"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "value"))
				if rapid.Bool().Draw(t, "six") {
					e.Addresses = append(e.Addresses, netip.MustParseAddr("2001:db8::1"))
				}
			}
			p.Set(key, e)
			if endpoints[key] = e; e == nil {
				delete(endpoints, key)
			}
			anew, stale := NewPolicing(all), p.Stale()
			for k, e := range endpoints {
				anew.Set(k, e)
			}
			for _, h := range hosts {
				now := text(p, h)
				if want := text(anew, h); now != want {
					t.Fatalf("host %s: %s, anew %s", h, now, want)
				}
				if now != before[h] && !slices.Contains(stale, h) {
					t.Fatalf("host %s is not stale: it was %s, is %s", h, before[h], now)
				}
				before[h] = now
			}
		}
		for k := range endpoints {
			p.Set(k, nil)
		}
		if len(p.endpoints)+len(p.hosts) > 0 {
			t.Fatal("something stays of endpoints that are gone")
		}
		for _, s := range p.sets {
			if len(s.holders)+len(s.users) > 0 {
				t.Fatal("a set keeps what is gone")
			}
		}
	})
}

// TestOnlyTheConcernedAreStale: an instance more changes the hosts that have policies which name it, and no others.
func TestOnlyTheConcernedAreStale(t *testing.T) {
	p := NewPolicing(&spec.NetworkPolicies{Policies: []spec.NetworkPolicy{
		{Name: "db", Selector: "role == 'db'", Ingress: true, IngressRules: []spec.PolicyRule{{Action: spec.PolicyAllow, Source: spec.PolicyPeer{Selector: "role == 'web'"}}}},
	}})
	p.Set("1", endpointOf("/db", 0, "a", "10.0.0.1", "role", "db"))
	p.Set("2", endpointOf("/other", 0, "b", "10.0.0.2"))
	if diff := cmp.Diff([]string{"a"}, p.Stale()); diff != "" {
		t.Error(diff)
	}
	p.Set("3", endpointOf("/web", 0, "b", "10.0.0.3", "role", "web"))
	if diff := cmp.Diff([]string{"a"}, p.Stale()); diff != "" {
		t.Error(diff)
	}
	first, again := p.Of("a"), p.Of("a")
	if &first.Sets[0].Ranges[0] != &again.Sets[0].Ranges[0] {
		t.Error("documents do not share the addresses")
	}
	p.Set("4", endpointOf("/web", 0, "", "10.0.0.3", "role", "web")) // its lease
	p.Set("3", nil)
	if got := p.Stale(); len(got) > 0 {
		t.Error("stale although the address stayed:", got)
	}
}

func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []spec.AddressRange
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			bits := rapid.IntRange(26, 32).Draw(t, "bits")
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 255).Draw(t, "at"))}), bits)
			if rapid.Bool().Draw(t, "six") {
				b := netip.MustParseAddr("2001:db8::").As16()
				b[15] = p.Addr().As4()[3]
				p = netip.PrefixFrom(netip.AddrFrom16(b), bits+96)
			}
			if r := spec.RangeOf(p); !p.Contains(r.From) || !p.Contains(r.To) || p.Contains(r.To.Next()) {
				t.Fatalf("%v is %v", p, r)
			}
			in = append(in, spec.RangeOf(p))
		}
		merged := spec.MergeRanges(slices.Clone(in))
		has := func(rs []spec.AddressRange, a netip.Addr) bool {
			return slices.ContainsFunc(rs, func(r spec.AddressRange) bool { return r.Contains(a) })
		}
		for _, start := range []string{"10.0.0.0", "2001:db8::"} {
			a := netip.MustParseAddr(start)
			for range 260 {
				if has(in, a) != has(merged, a) {
					t.Fatalf("%v of %v in %v", a, in, merged)
				}
				a = a.Next()
			}
		}
		for i := range merged {
			if i > 0 && merged[i-1].To.BitLen() == merged[i].To.BitLen() && !merged[i-1].To.Next().Less(merged[i].From) {
				t.Fatalf("%v could be fewer", merged)
			}
			b, _ := merged[i].MarshalText()
			var back spec.AddressRange
			if err := back.UnmarshalText(b); err != nil || back != merged[i] {
				t.Fatal(string(b), err)
			}
		}
	})
	for _, text := range []string{"", "x", "10.0.0.2-10.0.0.1", "10.0.0.1-::1", "fe80::1%a", "10.0.0.1-", "-10.0.0.1"} {
		if err := new(spec.AddressRange).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
