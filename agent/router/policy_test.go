package router

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

func (w *world) lookPolicies() (policyFacts, error) { return w.policies.copied(), nil }

func (w *world) hasPolicies() (bool, error) { return w.policies.there, nil }

// copied is what nobody changes behind the reader's back.
func (f policyFacts) copied() policyFacts {
	f.sets, f.chains, f.counters, f.egress, f.ingress = maps.Clone(f.sets), maps.Clone(f.chains), maps.Clone(f.counters), maps.Clone(f.egress), maps.Clone(f.ingress)
	return f
}

func (w *world) countPolicies() (map[string]tally, error) {
	out := map[string]tally{}
	for name := range w.policies.counters {
		out[name] = tally{1, 100}
	}
	return out, nil
}

// changePolicies does all of it or nothing, and refuses what the kernel would: what is not there, what is named, what is there.
func (w *world) changePolicies(c policyChange) error {
	if err := w.call("policies"); err != nil {
		return err
	}
	f := w.policies.copied()
	if c.remove || c.anew {
		f = policyFacts{there: c.anew, whole: c.anew, sets: map[string]hostnet.FilterSet{}, chains: map[string][]string{}, counters: map[string]bool{}, egress: map[netip.Addr]string{}, ingress: map[netip.Addr]string{}}
	}
	if c.close != nil {
		f.closed = *c.close
	}
	for _, s := range c.sets {
		have, ok := f.sets[s.Name]
		if ok == s.make {
			return fmt.Errorf("set %s: there is one: %v", s.Name, ok)
		}
		have.Name, have.Family = s.Name, s.Family
		for _, r := range s.fewer.Addresses {
			if !slices.Contains(have.Addresses, r) {
				return errors.New("no such element")
			}
		}
		have.Addresses = append(minus(have.Addresses, s.fewer.Addresses), s.Addresses...)
		have.Ports = append(minus(have.Ports, s.fewer.Ports), s.Ports...)
		slices.SortFunc(have.Addresses, func(a, b spec.AddressRange) int { return a.From.Compare(b.From) })
		f.sets[s.Name] = have
	}
	for _, name := range c.counters {
		f.counters[name] = true
	}
	for _, ch := range c.chains {
		f.chains[ch.Name] = ruleMarks(ch)
	}
	for _, e := range []struct {
		have map[netip.Addr]string
		c    entryChange
	}{{f.egress, c.egress}, {f.ingress, c.ingress}} {
		for a := range e.c.fewer {
			if _, ok := e.have[a]; !ok {
				return errors.New("no such element")
			}
			delete(e.have, a)
		}
		maps.Copy(e.have, e.c.more)
	}
	for _, name := range c.oldChains {
		for _, chains := range []map[netip.Addr]string{f.egress, f.ingress} {
			if slices.Contains(slices.Collect(maps.Values(chains)), name) {
				return errors.New("busy")
			}
		}
		delete(f.chains, name)
	}
	for _, name := range c.oldSets {
		delete(f.sets, name)
	}
	for _, name := range c.oldCounters {
		delete(f.counters, name)
	}
	w.policies = f
	return nil
}

// drawFilter draws the filter of some policies.
func drawFilter(t *rapid.T) hostnet.Filter {
	h := &spec.HostPolicies{}
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 15).Draw(t, "address"))})
		if rapid.IntRange(0, 3).Draw(t, "six") == 0 {
			b := netip.MustParseAddr("2001:db8::").As16()
			b[15] = a.As4()[3]
			return netip.AddrFrom16(b)
		}
		return a
	})
	names := []string{"s0", "s1"}
	for _, name := range names {
		var ranges []spec.AddressRange
		for _, a := range rapid.SliceOfN(address, 0, 6).Draw(t, "set") {
			ranges = append(ranges, spec.RangeOf(netip.PrefixFrom(a, rapid.SampledFrom([]int{a.BitLen(), a.BitLen() - 2, 0}).Draw(t, "bits"))))
		}
		h.Sets = append(h.Sets, spec.AddressSet{Name: name, Ranges: spec.MergeRanges(ranges)})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		p := spec.HostPolicy{Name: fmt.Sprint("p", i), Ingress: rapid.Bool().Draw(t, "ingress"), Egress: rapid.Bool().Draw(t, "egress"), Addresses: rapid.SliceOfNDistinct(address, 1, 4, rapid.ID[netip.Addr]).Draw(t, "selected")}
		for range rapid.IntRange(0, 2).Draw(t, "rules") {
			r := spec.HostRule{Action: rapid.SampledFrom([]string{spec.PolicyAllow, spec.PolicyDeny}).Draw(t, "action"), PolicyMatch: spec.PolicyMatch{Protocol: 6}}
			r.Source.In = rapid.SliceOfN(rapid.SampledFrom(names), 0, 1).Draw(t, "in")
			r.Destination.NotIn = rapid.SliceOfN(rapid.SampledFrom(names), 0, 1).Draw(t, "not in")
			r.Destination.Ports = rapid.SampledFrom([][]spec.PolicyPorts{nil, {{From: 80, To: 80}}, {{From: 0, To: 21}, {From: 23, To: 0xffff}}}).Draw(t, "ports")
			p.IngressRules, p.EgressRules = append(p.IngressRules, r), append(p.EgressRules, r)
		}
		h.Policies = append(h.Policies, p)
	}
	f, err := hostnet.CompilePolicies(h)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestPoliciesConverge: from any filter to any other, with a crash before each call, and then nothing is left to do. Counters of
// rules that stay are not made again.
func TestPoliciesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := &Router{kernel: w}
		for range rapid.IntRange(1, 4).Draw(t, "filters") {
			want := drawFilter(t)
			if w.policies.there && rapid.IntRange(0, 4).Draw(t, "meddled with") == 0 {
				w.policies.whole = false
			}
			if rapid.Bool().Draw(t, "crash") {
				w.left = 0
				before := w.policies.copied()
				if _, any := policyChanges(before, want); any && !errors.Is(r.SetPolicies(t.Context(), want), errCrash) {
					t.Fatal("a crash went unnoticed")
				}
				w.left = -1
			}
			if c, _ := policyChanges(w.policies, want); w.policies.whole && !want.Empty() {
				for _, n := range c.counters {
					if w.policies.counters[n] {
						t.Fatalf("counter %s begins anew", n)
					}
				}
			}
			if err := r.SetPolicies(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			if c, any := policyChanges(w.policies, want); any {
				t.Fatalf("left to do: %+v", c)
			}
			if w.policies.there == want.Empty() {
				t.Fatalf("a table: %v, wanted nothing: %v", w.policies.there, want.Empty())
			}
			counts, err := r.PolicyCounts(want)
			if err != nil || len(counts) != len(want.Counters) {
				t.Fatal(counts, err)
			}
		}
	})
}
