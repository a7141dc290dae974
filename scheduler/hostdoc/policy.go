package hostdoc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/scheduler/calico"
	"github.com/berth-project/berth/spec"
)

// Labels that every instance has beside those of its app, for selectors. Those of Calico's namespaces come with them.
const (
	LabelApp   = "berth/app"   // "/prod/web"
	LabelGroup = "berth/group" // "/prod"
	LabelSeat  = "berth/seat"  // "0"
	LabelPool  = "berth/pool"
)

// Endpoint is what selectors can select: the addresses of a seat.
type Endpoint struct {
	Seat      spec.SeatID
	Pool      string
	Labels    map[string]string // the app's
	Host      string            // where the policies that select it are to be enforced; "": nowhere
	Addresses []netip.Addr
}

// labels are what selectors see of it.
func (e Endpoint) labels() map[string]string {
	out := make(map[string]string, len(e.Labels)+7)
	maps.Copy(out, e.Labels)
	maps.Copy(out, calico.NamespaceLabels(e.Seat.App.Namespace()))
	out[LabelApp], out[LabelGroup] = string(e.Seat.App), string(e.Seat.App.Parent())
	out[LabelSeat], out[LabelPool] = strconv.Itoa(e.Seat.Index), e.Pool
	return out
}

// Policing makes each host's part of the network policies. It keeps an index of who is selected by what, so that a change costs
// what it changes: hosts whose part stays are not named by Stale.
type Policing struct {
	policies  []policed
	sets      map[string]*addressSet
	endpoints map[string]*selected
	hosts     map[string]map[string]*selected // by host: those of the endpoints that are on it
	stale     map[string]bool
}

// policed is a policy with its selectors read.
type policed struct {
	host    spec.HostPolicy // without addresses
	applies matcher
	sets    []*addressSet // those that its rules name
}

// matcher says whether something with these labels, in a namespace with those, is meant.
type matcher func(labels, namespace map[string]string) bool

// addressSet are the addresses of what a selector selects, or fixed ones.
type addressSet struct {
	name    string
	selects matcher             // nil: only what is fixed
	fixed   []spec.AddressRange // of networks
	holders map[netip.Addr]int  // how many endpoints hold an address: a lease and its task have the same
	users   map[string]int      // by host: how many of its endpoints have policies that name the set
	ranges  []spec.AddressRange // of both, shared by all documents; nil: to be computed
}

// selected is an endpoint with what selects it.
type selected struct {
	Endpoint
	policies []int
	sets     []*addressSet
}

// NewPolicing reads the policies; nil: there are none.
func NewPolicing(all *spec.NetworkPolicies) *Policing {
	if all == nil {
		return nil
	}
	p := &Policing{sets: map[string]*addressSet{}, endpoints: map[string]*selected{}, hosts: map[string]map[string]*selected{}, stale: map[string]bool{}}
	for _, n := range all.Policies {
		p.policies = append(p.policies, p.read(n))
	}
	for _, n := range all.Sets {
		labels := make(map[string]string, len(n.Labels)+3)
		maps.Copy(labels, n.Labels)
		namespace := calico.NamespaceLabels(n.Namespace)
		maps.Copy(labels, namespace)
		for _, s := range p.sets {
			if s.selects != nil && s.selects(labels, namespace) {
				for _, net := range n.Nets {
					s.fixed = append(s.fixed, spec.RangeOf(net))
				}
			}
		}
	}
	for _, s := range p.sets {
		s.fixed = spec.MergeRanges(s.fixed)
	}
	return p
}

// read reads one policy. The decoder has refused selectors that cannot be read; one that comes all the same selects nothing.
func (p *Policing) read(n spec.NetworkPolicy) policed {
	of, _ := calico.ParseSelector(n.Selector)
	scope := scopeOf(n.Namespace, n.NamespaceSelector)
	out := policed{host: spec.HostPolicy{Name: n.Name, Ingress: n.Ingress, Egress: n.Egress}}
	out.applies = func(labels, namespace map[string]string) bool { return scope(labels, namespace) && of.Matches(labels) }
	names := map[string]bool{}
	for _, r := range n.IngressRules {
		out.host.IngressRules = append(out.host.IngressRules, p.rule(n, r, names))
	}
	for _, r := range n.EgressRules {
		out.host.EgressRules = append(out.host.EgressRules, p.rule(n, r, names))
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out.sets = append(out.sets, p.sets[name])
	}
	return out
}

// scopeOf is what a namespace, or else a selector of namespaces, bounds a selection to.
func scopeOf(namespace, selector string) matcher {
	switch {
	case selector != "":
		s, _ := calico.ParseNamespaceSelector(selector)
		return func(_, namespace map[string]string) bool { return s.Matches(namespace) }
	case namespace != "":
		return func(_, in map[string]string) bool { return in[calico.LabelNamespace] == namespace }
	}
	return func(_, _ map[string]string) bool { return true }
}

func (p *Policing) rule(n spec.NetworkPolicy, r spec.PolicyRule, names map[string]bool) spec.HostRule {
	return spec.HostRule{Action: r.Action, PolicyMatch: r.PolicyMatch, Source: p.end(n, r.Source, names), Destination: p.end(n, r.Destination, names)}
}

// end makes sets of what a rule wants of one end. As in Calico, the selectors of a NetworkPolicy look only in its own namespace
// unless they name others; what a notSelector leaves out may be anywhere.
func (p *Policing) end(n spec.NetworkPolicy, e spec.PolicyPeer, names map[string]bool) spec.HostEnd {
	out := spec.HostEnd{Ports: e.Ports, NotPorts: e.NotPorts}
	use := func(list *[]string, s *addressSet) {
		*list = append(*list, s.name)
		names[s.name] = true
	}
	if len(e.Nets) > 0 {
		use(&out.In, p.netSet(e.Nets))
	}
	namespace := n.Namespace
	if e.Selector == "" && e.NotSelector == "" {
		namespace = "" // nothing is selected that could be bounded
	}
	if e.Selector != "" || e.NamespaceSelector != "" || namespace != "" {
		use(&out.In, p.selectorSet(namespace, e.NamespaceSelector, e.Selector))
	}
	if len(e.NotNets) > 0 {
		use(&out.NotIn, p.netSet(e.NotNets))
	}
	if e.NotSelector != "" {
		use(&out.NotIn, p.selectorSet("", "", e.NotSelector))
	}
	return out
}

// setName names a set by what it is, so that the same is one set, and its name stays over restarts.
func setName(kind string, of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return kind + "-" + hex.EncodeToString(sum[:8])
}

func (p *Policing) netSet(nets []netip.Prefix) *addressSet {
	name := setName("nets", fmt.Sprint(nets))
	if p.sets[name] == nil {
		s := &addressSet{name: name, users: map[string]int{}}
		for _, n := range nets {
			s.fixed = append(s.fixed, spec.RangeOf(n))
		}
		p.sets[name] = s
	}
	return p.sets[name]
}

func (p *Policing) selectorSet(namespace, namespaces, selector string) *addressSet {
	if namespaces != "" {
		namespace = ""
	}
	name := setName("selected", namespace, namespaces, selector)
	if p.sets[name] == nil {
		of, _ := calico.ParseSelector(selector)
		scope := scopeOf(namespace, namespaces)
		p.sets[name] = &addressSet{
			name: name, users: map[string]int{}, holders: map[netip.Addr]int{},
			selects: func(labels, namespace map[string]string) bool { return scope(labels, namespace) && of.Matches(labels) },
		}
	}
	return p.sets[name]
}

// Set puts an endpoint in the place of the one that had the key; nil removes it.
func (p *Policing) Set(key string, e *Endpoint) {
	was := p.endpoints[key]
	if was == nil && e == nil || was != nil && e != nil && was.same(*e) {
		return
	}
	var now *selected
	if e != nil {
		now = p.look(*e)
	}
	// The new one comes first: what both have does not change in between.
	if now != nil {
		p.count(now, 1)
		p.endpoints[key] = now
		if now.Host != "" {
			if p.hosts[now.Host] == nil {
				p.hosts[now.Host] = map[string]*selected{}
			}
			p.hosts[now.Host][key] = now
		}
	} else {
		delete(p.endpoints, key)
	}
	if was != nil {
		p.count(was, -1)
		if now == nil || now.Host != was.Host {
			if delete(p.hosts[was.Host], key); len(p.hosts[was.Host]) == 0 {
				delete(p.hosts, was.Host)
			}
		}
	}
}

func (s *selected) same(e Endpoint) bool {
	return s.Seat == e.Seat && s.Pool == e.Pool && s.Host == e.Host && slices.Equal(s.Addresses, e.Addresses) && maps.Equal(s.Labels, e.Labels)
}

// look finds what selects the endpoint.
func (p *Policing) look(e Endpoint) *selected {
	s := &selected{Endpoint: e}
	labels, namespace := e.labels(), calico.NamespaceLabels(e.Seat.App.Namespace())
	if e.Host != "" {
		for i, policy := range p.policies {
			if policy.applies(labels, namespace) {
				s.policies = append(s.policies, i)
			}
		}
	}
	for _, set := range p.sets {
		if set.selects != nil && set.selects(labels, namespace) {
			s.sets = append(s.sets, set)
		}
	}
	return s
}

// count takes an endpoint into the sets and users, or out of them.
func (p *Policing) count(s *selected, by int) {
	for _, i := range s.policies {
		p.stale[s.Host] = true
		for _, set := range p.policies[i].sets {
			if set.users[s.Host] += by; set.users[s.Host] == 0 {
				delete(set.users, s.Host)
			}
		}
	}
	for _, set := range s.sets {
		for _, a := range s.Addresses {
			had := set.holders[a] > 0
			if set.holders[a] += by; set.holders[a] == 0 {
				delete(set.holders, a)
			}
			if had != (set.holders[a] > 0) {
				set.ranges = nil
				for host := range set.users {
					p.stale[host] = true
				}
			}
		}
	}
}

// Stale are the hosts whose part may have changed since it was last asked, sorted.
func (p *Policing) Stale() []string {
	if p == nil {
		return nil
	}
	out := slices.Sorted(maps.Keys(p.stale))
	clear(p.stale)
	return out
}

// Of is the part of one host; nil: there are no policies at all. Documents share what is in it.
func (p *Policing) Of(host string) *spec.HostPolicies {
	if p == nil {
		return nil
	}
	addresses := map[int][]netip.Addr{}
	for _, s := range p.hosts[host] {
		for _, i := range s.policies {
			addresses[i] = append(addresses[i], s.Addresses...)
		}
	}
	out, sets := &spec.HostPolicies{}, map[string]*addressSet{}
	for _, i := range slices.Sorted(maps.Keys(addresses)) {
		h := p.policies[i].host
		slices.SortFunc(addresses[i], netip.Addr.Compare)
		h.Addresses = slices.Compact(addresses[i])
		out.Policies = append(out.Policies, h)
		for _, s := range p.policies[i].sets {
			sets[s.name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		out.Sets = append(out.Sets, spec.AddressSet{Name: name, Ranges: sets[name].all()})
	}
	return out
}

// all are the addresses of the set, computed once for all documents.
func (s *addressSet) all() []spec.AddressRange {
	if s.ranges == nil {
		ranges := make([]spec.AddressRange, 0, len(s.fixed)+len(s.holders))
		ranges = append(ranges, s.fixed...)
		for a := range s.holders {
			ranges = append(ranges, spec.AddressRange{From: a, To: a})
		}
		if s.ranges = spec.MergeRanges(ranges); s.ranges == nil {
			s.ranges = []spec.AddressRange{}
		}
	}
	return s.ranges
}
