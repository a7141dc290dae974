package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func pool(name, cidr string, nat bool) spec.Pool {
	return spec.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), NATOutgoing: nat}
}

// text renders the rules as a person would read them.
func text(d Desired) string {
	var b strings.Builder
	for _, n := range d.Networks {
		fmt.Fprintf(&b, "network %s %s %v gw %v ipam %s bridge %s masquerade %s label %s\n", n.Name, n.Driver, n.Subnet, n.Gateway,
			n.IPAMDriver, n.Options[OptionBridge], n.Options[OptionMasquerade], n.Labels[LabelPool])
	}
	for _, r := range d.Rules.Filter {
		fmt.Fprintln(&b, "filter", strings.Join(r, " "))
	}
	for _, r := range d.Rules.Alone {
		fmt.Fprintln(&b, "alone", strings.Join(r, " "))
	}
	for _, r := range d.Rules.NAT {
		fmt.Fprintln(&b, "nat", strings.Join(r, " "))
	}
	if d.Rules.Forward {
		fmt.Fprintln(&b, "forward")
	}
	return b.String()
}

func TestCompile(t *testing.T) {
	for name, c := range map[string]struct {
		pools []spec.Pool
		want  string
	}{
		"no pool": {nil, ""},
		"one without NAT": {[]spec.Pool{pool("blue", "10.1.2.9/24", false)}, `
network blue bridge 10.1.2.0/24 gw 10.1.2.1 ipam berth bridge br-blue masquerade false label blue
filter -i br-blue -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment berth -j ACCEPT
filter -o br-blue -m comment --comment berth -j ACCEPT
alone -i br-blue -m comment --comment berth -j ACCEPT
alone -o br-blue -m comment --comment berth -j ACCEPT
forward
`},
		"two, one with NAT, in any order": {[]spec.Pool{pool("red", "10.9.0.0/16", true), pool("blue", "10.1.2.0/24", false)}, `
network blue bridge 10.1.2.0/24 gw 10.1.2.1 ipam berth bridge br-blue masquerade false label blue
network red bridge 10.9.0.0/16 gw 10.9.0.1 ipam berth bridge br-red masquerade false label red
filter -i br-blue -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment berth -j ACCEPT
filter -o br-blue -m comment --comment berth -j ACCEPT
filter -i br-red -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment berth -j ACCEPT
filter -o br-red -m comment --comment berth -j ACCEPT
alone -i br-blue -m comment --comment berth -j ACCEPT
alone -o br-blue -m comment --comment berth -j ACCEPT
alone -i br-red -m comment --comment berth -j ACCEPT
alone -o br-red -m comment --comment berth -j ACCEPT
nat -d 10.1.2.0/24 -m comment --comment berth -j RETURN
nat -d 10.9.0.0/16 -m comment --comment berth -j RETURN
nat -s 10.9.0.0/16 ! -o br-red -m comment --comment berth -j MASQUERADE
forward
`},
	} {
		t.Run(name, func(t *testing.T) {
			got := text(Compile(c.pools, Options{IPAMDriver: "berth"}))
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		pools []spec.Pool
		pool  string
		want  string
	}{
		"no network":  {[]spec.Pool{{Name: "a"}}, "a", "no valid network"},
		"IPv6":        {[]spec.Pool{pool("a", "fd00::/64", false)}, "a", "not IPv4"},
		"too small":   {[]spec.Pool{pool("a", "10.0.0.0/31", false)}, "a", "no room"},
		"everything":  {[]spec.Pool{pool("a", "0.0.0.0/0", false)}, "a", "whole internet"},
		"overlap":     {[]spec.Pool{pool("a", "10.0.0.0/8", false), pool("b", "10.1.0.0/16", false)}, "b", "overlaps 10.0.0.0/8 of pool a"},
		"twice":       {[]spec.Pool{pool("a", "10.0.0.0/24", false), pool("a", "10.1.0.0/24", false)}, "a", "given twice"},
		"the default": {[]spec.Pool{pool("b", "10.0.0.0/31", true), pool("a", "10.1.0.0/24", true)}, "b", "no room"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Compile(c.pools, Options{IPAMDriver: "berth"})
			if !strings.Contains(got.Refused[c.pool], c.want) {
				t.Errorf("got %q, want it to contain %q", got.Refused[c.pool], c.want)
			}
		})
	}
}

// Whatever the pools are: each is carried or refused with a reason, every carried one is accepted in both directions, and
// nothing is masqueraded before all pools have been let through unchanged.
func TestCompileProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) spec.Pool {
			a := netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "c"), 0})
			return spec.Pool{
				Name: rapid.StringMatching(`[a-z]{1,20}`).Draw(t, "name"), NATOutgoing: rapid.Bool().Draw(t, "nat"),
				CIDR: netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")),
			}
		}), 0, 6).Draw(t, "pools")
		d := Compile(pools, Options{IPAMDriver: "x"})
		if len(d.Rules.Filter) != 2*len(d.Networks) {
			t.Fatalf("%d networks, %d rules", len(d.Networks), len(d.Rules.Filter))
		}
		for i, r := range d.Rules.Filter {
			if r[0] != d.Rules.Alone[i][0] || r[1] != d.Rules.Alone[i][1] || (r[0] == "-i" && !slices.Contains(r, "RELATED,ESTABLISHED")) {
				t.Fatalf("rule %v beside Docker, %v without", r, d.Rules.Alone[i])
			}
		}
		carried := map[string]bool{}
		for i, n := range d.Networks {
			carried[n.Name] = true
			if !n.Subnet.Contains(n.Gateway) || len(n.Options[OptionBridge]) > 15 {
				t.Fatalf("network %+v", n)
			}
			for _, o := range d.Networks[:i] {
				if o.Subnet.Overlaps(n.Subnet) || o.Options[OptionBridge] == n.Options[OptionBridge] {
					t.Fatalf("%v and %v clash", o, n)
				}
			}
		}
		for _, p := range pools {
			if !carried[p.Name] && d.Refused[p.Name] == "" {
				t.Fatalf("pool %s is neither carried nor refused", p.Name)
			}
		}
		masquerading := false
		for _, r := range d.Rules.NAT {
			last := r[len(r)-1]
			if masquerading && last != "MASQUERADE" {
				t.Fatalf("a pool's addresses could be translated: %v", d.Rules.NAT)
			}
			masquerading = last == "MASQUERADE"
		}
	})
}
