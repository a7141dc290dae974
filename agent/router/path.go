package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-project/berth/agent/hostnet"
)

// Protocol marks Berth's routes in the kernel; it is the only mark by which a route is ever removed.
const Protocol = 0x42

// facts are what the kernel has of ours: interfaces by their prefix, routes by their protocol, senders by their table.
type facts struct {
	links   map[string]linkFacts
	routes  map[netip.Prefix]hostnet.Route
	sysctls map[string]string // those that are wanted, as found; absent: there is no such setting
	guard   bool              // the rules against spoofing are complete
	senders map[sender]bool
	shapers map[string]bool // links with a shaper, or whose shaper has outlived them
}

// linkFacts are one host's end as found.
type linkFacts struct {
	up         bool
	idle       bool // the container's end is on the host
	gateways   map[netip.Addr]bool
	neighbours map[netip.Addr]string // permanent ones: address -> MAC
	rate       uint64
	// What the container sends goes through the link's shaper: egress is its bound, 0: there is none. torn: something of it is
	// there, but not all.
	egress uint64
	torn   bool
}

// sender is what an interface may send as.
type sender struct {
	link, mac string
	address   netip.Addr
}

// kernel is the part of the host's network that is used. Each call is one change, or nothing on an error.
type kernel interface {
	look(want hostnet.Path) (facts, error)
	makePair(l hostnet.Link) error
	removeLink(name string) error
	setUp(name string) error
	setRate(name string, rate uint64) error
	// setEgress bounds what the link's container sends; 0 removes the link's shaper, also that of a link that is gone.
	setEgress(name string, rate uint64) error
	addGateway(name string, a netip.Addr) error
	setNeighbour(name string, a netip.Addr, mac string) error
	removeNeighbour(name string, a netip.Addr) error
	setSysctl(key, value string) error
	// makeGuard makes the rules against spoofing, with the senders that there are already.
	makeGuard() error
	hasGuard() (bool, error)
	removeGuard() error
	addSenders([]sender) error
	removeSenders([]sender) error
	// setRoute adds a route, or replaces the one of ours that has the prefix.
	setRoute(r hostnet.Route, replace bool) error
	removeRoute(r hostnet.Route) error
	spoofed() (map[string]uint64, error)
	setShims(ctx context.Context, want []hostnet.Shim) error
	lookPolicies() (policyFacts, error)
	hasPolicies() (bool, error)
	changePolicies(policyChange) error
	countPolicies() (map[string]tally, error)
}

// Outcome says what came of a SetPath.
type Outcome struct {
	Missing []string          // wanted links that are gone, by name: their containers are, too
	Idle    []string          // wanted links whose other end is in no container, yet or any more
	Failed  map[string]string // link -> why it is not complete
}

// change is one step towards the wanted network.
type change struct {
	what string // for people
	link string // whose it is; "" for none
	do   func(kernel) error
}

// SetPath makes the routed network so: links, their addresses and neighbours, the rules against spoofing, routes. It adds
// before it removes, removes only what is Berth's, and does nothing when nothing differs. What fails does not keep the rest
// from being set; all errors are returned. It must not run twice at the same time.
func (r *Router) SetPath(ctx context.Context, want hostnet.Path) (Outcome, error) {
	out := Outcome{Failed: map[string]string{}}
	have, err := r.kernel.look(want)
	if err != nil {
		return out, fmt.Errorf("look at the host's network: %w", err)
	}
	made := false
	for _, l := range want.Links {
		if f, ok := have.links[l.Name]; ok {
			if f.idle {
				out.Idle = append(out.Idle, l.Name)
			}
			continue
		}
		if !l.Create {
			out.Missing = append(out.Missing, l.Name)
			continue
		}
		// The sysctls of a new link are known only when it is there.
		if err := r.kernel.makePair(l); err != nil {
			out.Failed[l.Name] = err.Error()
			continue
		}
		made = true
	}
	if made {
		if have, err = r.kernel.look(want); err != nil {
			return out, fmt.Errorf("look at the host's network: %w", err)
		}
	}
	var errs []error
	for _, c := range changes(have, want) {
		if err := ctx.Err(); err != nil {
			return out, errors.Join(append(errs, err)...)
		}
		if err := c.do(r.kernel); err != nil {
			err = fmt.Errorf("%s: %w", c.what, err)
			errs = append(errs, err)
			if c.link != "" {
				out.Failed[c.link] = err.Error()
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out.Failed)) {
		if _, ok := have.links[name]; !ok {
			errs = append(errs, fmt.Errorf("make link %s: %s", name, out.Failed[name]))
		}
	}
	return out, errors.Join(errs...)
}

// changes lists what turns have into want, in order: a link carries traffic only after the rules against spoofing know it,
// a route comes only after its link is complete, and what is wanted no more goes last.
func changes(have facts, want hostnet.Path) []change {
	var out []change
	if !have.guard {
		out = append(out, change{what: "make the rules against spoofing", do: kernel.makeGuard})
	}
	more, fewer := senderChanges(have, want)
	if len(more) > 0 {
		out = append(out, change{what: "allow senders", do: func(k kernel) error { return k.addSenders(more) }})
	}
	for _, s := range want.Sysctls {
		if have.sysctls[s.Key] != s.Value {
			out = append(out, change{"set " + s.Key, "", func(k kernel) error { return k.setSysctl(s.Key, s.Value) }})
		}
	}
	for _, l := range want.Links {
		if f, ok := have.links[l.Name]; ok {
			out = append(out, linkChanges(f, have.sysctls, l)...)
		}
	}
	out = append(out, routeChanges(have, want)...)
	wanted := map[string]bool{}
	for _, l := range want.Links {
		wanted[l.Name] = true
		for _, a := range slices.SortedFunc(maps.Keys(have.links[l.Name].neighbours), netip.Addr.Compare) {
			if !slices.Contains(l.Addresses, a) {
				out = append(out, change{fmt.Sprintf("remove neighbour %v of %s", a, l.Name), l.Name, func(k kernel) error { return k.removeNeighbour(l.Name, a) }})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.links)) {
		if !wanted[name] {
			out = append(out, change{"remove link " + name, name, func(k kernel) error { return k.removeLink(name) }})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.shapers)) {
		if !wanted[name] {
			out = append(out, change{"remove the shaper of " + name, "", func(k kernel) error { return k.setEgress(name, 0) }})
		}
	}
	if len(fewer) > 0 { // after the links: until they are gone, what they send is dropped or theirs
		out = append(out, change{what: "forget senders", do: func(k kernel) error { return k.removeSenders(fewer) }})
	}
	return out
}

// senderChanges compares who may send as what.
func senderChanges(have facts, want hostnet.Path) (more, fewer []sender) {
	wanted := map[sender]bool{}
	for _, l := range want.Links {
		for _, a := range l.Senders {
			s := sender{l.Name, l.MAC, a}
			wanted[s] = true
			if !have.senders[s] {
				more = append(more, s)
			}
		}
	}
	for s := range have.senders {
		if !wanted[s] {
			fewer = append(fewer, s)
		}
	}
	return more, fewer
}

// linkChanges completes one link; it is up last.
func linkChanges(have linkFacts, found map[string]string, l hostnet.Link) []change {
	var out []change
	add := func(what string, do func(kernel) error) {
		out = append(out, change{what + " of " + l.Name, l.Name, do})
	}
	for _, s := range l.Sysctls {
		if found[s.Key] != s.Value {
			add("set "+s.Key, func(k kernel) error { return k.setSysctl(s.Key, s.Value) })
		}
	}
	if have.rate != l.Rate {
		add("bound the rate", func(k kernel) error { return k.setRate(l.Name, l.Rate) })
	}
	if have.egress != l.Egress || have.torn {
		add("bound the rate of what is sent", func(k kernel) error { return k.setEgress(l.Name, l.Egress) })
	}
	for _, a := range l.Gateways {
		if !have.gateways[a] {
			add(fmt.Sprintf("add gateway %v", a), func(k kernel) error { return k.addGateway(l.Name, a) })
		}
	}
	if !have.up {
		add("set up", func(k kernel) error { return k.setUp(l.Name) })
	}
	for _, a := range l.Addresses { // the kernel takes neighbours only of a link that is up
		if !have.up || have.neighbours[a] != l.MAC {
			add(fmt.Sprintf("set neighbour %v", a), func(k kernel) error { return k.setNeighbour(l.Name, a, l.MAC) })
		}
	}
	return out
}

// routeChanges compares routes. Those of links that are not there wait for them.
func routeChanges(have facts, want hostnet.Path) []change {
	var out []change
	wanted := map[netip.Prefix]bool{}
	up := map[string]bool{}
	for name, f := range have.links {
		up[name] = f.up
	}
	for _, r := range want.Routes {
		if _, ok := have.links[r.Link]; r.Link != "" && !ok {
			continue
		}
		wanted[r.Prefix] = true
		old, there := have.routes[r.Prefix]
		// The kernel forgets the routes of a link that goes down, so one that was down has none now.
		if there && (r.Link == "" || up[r.Link]) && old.Link == r.Link && slices.Equal(old.Via, r.Via) {
			continue
		}
		out = append(out, change{fmt.Sprintf("set route %v", r.Prefix), r.Link, func(k kernel) error { return k.setRoute(r, there) }})
	}
	for _, p := range slices.SortedFunc(maps.Keys(have.routes), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }) {
		if r := have.routes[p]; !wanted[p] && (r.Link != "" || !want.KeepRoutes) {
			out = append(out, change{fmt.Sprintf("remove route %v", p), "", func(k kernel) error { return k.removeRoute(r) }})
		}
	}
	return out
}

// cleanupPath removes everything that SetPath ever made. Links and routes have no mark of whose Berth they are, the guard has:
// without one nothing of this one's is there.
func (r *Router) cleanupPath(ctx context.Context) error {
	there, err := r.kernel.hasGuard()
	if err != nil || !there {
		return err
	}
	if _, err := r.SetPath(ctx, hostnet.Path{}); err != nil {
		return fmt.Errorf("clean up the routed network: %w", err)
	}
	return r.kernel.removeGuard()
}

// Endpoints are the endpoints whose links the kernel has, for whoever has lost count of them. Their ids are as much as is
// in the links' names.
func (r *Router) Endpoints() ([]hostnet.Endpoint, error) {
	have, err := r.kernel.look(hostnet.Path{})
	if err != nil {
		return nil, fmt.Errorf("look at the host's network: %w", err)
	}
	var out []hostnet.Endpoint
	for _, name := range slices.Sorted(maps.Keys(have.links)) {
		e := hostnet.Endpoint{ID: strings.TrimPrefix(name, hostnet.LinkPrefix)}
		for _, a := range slices.SortedFunc(maps.Keys(have.links[name].neighbours), netip.Addr.Compare) {
			e.Addresses, e.MAC = append(e.Addresses, a), have.links[name].neighbours[a]
		}
		if len(e.Addresses) > 0 {
			out = append(out, e)
		}
	}
	return out, nil
}
