package router

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// policyFacts are what the kernel has of network policies.
type policyFacts struct {
	there    bool // some table of ours
	whole    bool // with its fixed chains as this version makes them
	closed   bool // link-local addresses are closed
	sets     map[string]hostnet.FilterSet
	chains   map[string][]string // the marks of their rules
	counters map[string]bool
	egress   map[netip.Addr]string
	ingress  map[netip.Addr]string
}

// policyChange is what turns facts into a wanted filter. All of it happens in one transaction, or nothing does.
type policyChange struct {
	remove, anew bool // the whole table; anew: and makes it again
	close        *bool
	sets         []setChange
	chains       []hostnet.FilterChain // to be made, or given these rules
	counters     []string              // to be made
	egress       entryChange
	ingress      entryChange

	oldChains, oldSets, oldCounters []string // go last, when nothing names them any more
}

// setChange makes a set, or changes its elements.
type setChange struct {
	hostnet.FilterSet      // name, family and what is to be added
	make              bool // it is not there
	fewer             hostnet.FilterSet
}

// entryChange changes which chain judges which address.
type entryChange struct{ more, fewer map[netip.Addr]string }

// SetPolicies makes the packet filter of network policies so, in one transaction: there is no moment in which an old rule is gone
// and the new one not there. Connections that were allowed go on, whatever becomes of the rule. Nothing is done when nothing
// differs, and without policies there is no table. It must not run twice at the same time.
func (r *Router) SetPolicies(ctx context.Context, want hostnet.Filter) error {
	have, err := r.kernel.lookPolicies()
	if err != nil {
		return fmt.Errorf("look at the rules of network policies: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c, any := policyChanges(have, want)
	if !any {
		return nil
	}
	if err := r.kernel.changePolicies(c); err != nil {
		return fmt.Errorf("set the rules of network policies: %w", err)
	}
	return nil
}

// HasPolicies says whether there is a packet filter of network policies, whatever is in it. It costs next to nothing, and finds what
// happens: that somebody flushes the host's whole packet filter.
func (r *Router) HasPolicies() (bool, error) {
	there, err := r.kernel.hasPolicies()
	if err != nil {
		return false, fmt.Errorf("look for the rules of network policies: %w", err)
	}
	return there, nil
}

// cleanupPolicies removes everything that SetPolicies ever made.
func (r *Router) cleanupPolicies(ctx context.Context) error {
	return r.SetPolicies(ctx, hostnet.Filter{})
}

// PolicyCounts are what each rule of the filter has decided, in the filter's order. What is not in the kernel has no count.
func (r *Router) PolicyCounts(f hostnet.Filter) ([]spec.PolicyCount, error) {
	if f.Empty() {
		return nil, nil
	}
	counts, err := r.kernel.countPolicies()
	if err != nil {
		return nil, fmt.Errorf("read the counters of network policies: %w", err)
	}
	var out []spec.PolicyCount
	for _, c := range f.Counters {
		if n, ok := counts[c.Name]; ok {
			count := c.Count
			count.Packets, count.Bytes = n.packets, n.bytes
			out = append(out, count)
		}
	}
	return out, nil
}

// tally is what one counter says.
type tally struct{ packets, bytes uint64 }

// policyChanges compares; any: something differs.
func policyChanges(have policyFacts, want hostnet.Filter) (c policyChange, any bool) {
	if want.Empty() {
		return policyChange{remove: true}, have.there
	}
	if !have.whole {
		// Rules of another version, or somebody took some away: the counters begin anew, too.
		have = policyFacts{there: have.there}
		c.remove, c.anew, any = have.there, true, true
	}
	if have.closed != want.CloseLinkLocal || c.anew {
		c.close, any = &want.CloseLinkLocal, true
	}
	wanted := map[string]bool{}
	for _, s := range want.Sets {
		wanted[s.Name] = true
		if d, differs := setDifference(have.sets, s); differs {
			c.sets = append(c.sets, d)
		}
	}
	c.oldSets = gone(have.sets, wanted)
	wanted = map[string]bool{}
	for _, ch := range want.Chains {
		wanted[ch.Name] = true
		if marks, ok := have.chains[ch.Name]; !ok || !slices.Equal(marks, ruleMarks(ch)) {
			c.chains = append(c.chains, ch)
		}
	}
	c.oldChains = gone(have.chains, wanted)
	wanted = map[string]bool{}
	for _, n := range want.Counters {
		wanted[n.Name] = true
		if !have.counters[n.Name] {
			c.counters = append(c.counters, n.Name)
		}
	}
	c.oldCounters = gone(have.counters, wanted)
	c.egress, c.ingress = entries(have.egress, want.Egress), entries(have.ingress, want.Ingress)
	any = any || len(c.sets)+len(c.chains)+len(c.counters)+len(c.oldSets)+len(c.oldChains)+len(c.oldCounters)+
		len(c.egress.more)+len(c.egress.fewer)+len(c.ingress.more)+len(c.ingress.fewer) > 0
	return c, any
}

// gone are the names that are not wanted, sorted.
func gone[V any](have map[string]V, wanted map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(have)), func(name string) bool { return wanted[name] })
}

// entries compares which chain judges which address. An address that gets another chain is in both.
func entries(have, want map[netip.Addr]string) entryChange {
	c := entryChange{more: map[netip.Addr]string{}, fewer: map[netip.Addr]string{}}
	for a, chain := range want {
		if have[a] != chain {
			c.more[a] = chain
		}
	}
	for a, chain := range have {
		if want[a] != chain {
			c.fewer[a] = chain
		}
	}
	return c
}

// setDifference is what makes a set so. The elements are ranges: of those that differ, the old ones go and the new ones come, in the
// same transaction.
func setDifference(have map[string]hostnet.FilterSet, want hostnet.FilterSet) (c setChange, differs bool) {
	old, ok := have[want.Name]
	if !ok {
		return setChange{FilterSet: want, make: true}, true
	}
	c = setChange{FilterSet: hostnet.FilterSet{Name: want.Name, Family: want.Family}, fewer: hostnet.FilterSet{Name: want.Name, Family: want.Family}}
	c.Addresses, c.fewer.Addresses = minus(want.Addresses, old.Addresses), minus(old.Addresses, want.Addresses)
	c.Ports, c.fewer.Ports = minus(want.Ports, old.Ports), minus(old.Ports, want.Ports)
	return c, len(c.Addresses)+len(c.fewer.Addresses)+len(c.Ports)+len(c.fewer.Ports) > 0
}

// minus are the elements that are not among the others.
func minus[E comparable](all, others []E) []E {
	if reflect.DeepEqual(all, others) {
		return nil
	}
	there := make(map[E]bool, len(others))
	for _, e := range others {
		there[e] = true
	}
	var out []E
	for _, e := range all {
		if !there[e] {
			out = append(out, e)
		}
	}
	return out
}

// policyVersion is part of each rule's mark, so that rules of another version of Berth are replaced.
const policyVersion = "berth policy 1."

// ruleMarks are what the rules of a chain carry: what they do, as text, so that a rule that is meant otherwise is another one.
func ruleMarks(c hostnet.FilterChain) []string {
	out := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		out[i] = policyVersion + spec.HostnameSuffix(spec.AppID(fmt.Sprintf("%+v", r)))
	}
	return out
}
