// Package routertest is a host's network in memory, for tests of what uses agent/router.
package routertest

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/router"
	"github.com/berth-project/berth/spec"
)

// Fake keeps what was set last. The zero Fake is empty and works.
type Fake struct {
	mu     sync.Mutex // guards all below
	rules  hostnet.Rules
	sets   int
	path   hostnet.Path
	filter hostnet.Filter
	pairs  map[string]bool // the links that were made
	err    error
	// carried are the bridges with their addresses.
	carried map[string]netip.Prefix

	shims     []hostnet.Shim
	announced []netip.Addr
	others    map[netip.Addr]string
	locked    chan struct{} // nil: nobody has the packet filter's lock
}

// Set replaces the rules, or fails as Fail told it to.
func (f *Fake) Set(_ context.Context, r hostnet.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets++
	if f.err == nil {
		f.rules = r
	}
	return f.err
}

// SetPath replaces the routed network, or fails as Fail told it to. A link that it made is there until it is no longer
// wanted or its container ends.
func (f *Fake) SetPath(_ context.Context, want hostnet.Path) (router.Outcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := router.Outcome{Failed: map[string]string{}}
	pairs := map[string]bool{}
	for _, l := range want.Links {
		switch {
		case f.err != nil:
			out.Failed[l.Name] = f.err.Error()
		case f.pairs[l.Name] || l.Create:
			pairs[l.Name] = true
		default:
			out.Missing = append(out.Missing, l.Name)
		}
	}
	if f.err == nil {
		f.path, f.pairs = want, pairs
	}
	return out, f.err
}

// Path is the routed network in force.
func (f *Fake) Path() hostnet.Path {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}

// End is what happens to a link when its container ends.
func (f *Fake) End(link string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pairs, link)
}

// Endpoints are the endpoints of the links that were made.
func (f *Fake) Endpoints() ([]hostnet.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []hostnet.Endpoint
	for _, l := range f.path.Links {
		if f.pairs[l.Name] {
			out = append(out, hostnet.Endpoint{ID: strings.TrimPrefix(l.Name, hostnet.LinkPrefix), MAC: l.MAC, Addresses: l.Addresses})
		}
	}
	return out, nil
}

// Routed finds what was set in the routed network, as if every link were in its container.
func (f *Fake) Routed() (map[netip.Addr]hostnet.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[netip.Addr]hostnet.Found{}
	for _, l := range f.path.Links {
		for _, a := range l.Addresses {
			if f.pairs[l.Name] {
				out[a] = hostnet.Found{Link: l.Name, Route: l.Name}
			}
		}
	}
	return out, f.err
}

// Bridged finds everybody where he should be.
func (f *Fake) Bridged(spots []hostnet.Spot) (map[netip.Addr]hostnet.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[netip.Addr]hostnet.Found{}
	for _, s := range spots {
		out[s.Address] = hostnet.Found{Link: "veth", Route: s.Bridge}
	}
	return out, f.err
}

// Carry keeps which bridges carry their pools.
func (f *Fake) Carry(bridge string, gateway netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.carried == nil {
		f.carried = map[string]netip.Prefix{}
	}
	f.carried[bridge] = gateway
	return f.err
}

// DockerBridges says that Docker has no networks of its own, once nobody else has the packet filter's lock.
func (f *Fake) DockerBridges() ([]string, error) {
	f.mu.Lock()
	locked := f.locked
	f.mu.Unlock()
	if locked != nil {
		<-locked
	}
	return nil, nil
}

// Lock is somebody else who has the packet filter's lock, until unlock.
func (f *Fake) Lock() (unlock func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	locked := make(chan struct{})
	f.locked = locked
	return func() { close(locked) }
}

// SetShims replaces the shims, or fails as Fail told it to.
func (f *Fake) SetShims(_ context.Context, want []hostnet.Shim) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.shims = want
	}
	return f.err
}

// Announce notes who was announced.
func (f *Fake) Announce(_ context.Context, claims []hostnet.Claim) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range claims {
		f.announced = append(f.announced, c.Address)
	}
	return f.err
}

// VLAN is the shims in force, and whom Announce told of, in turn.
func (f *Fake) VLAN() ([]hostnet.Shim, []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shims, slices.Clone(f.announced)
}

// Occupy has somebody in the VLAN answer for the address.
func (f *Fake) Occupy(a netip.Addr, mac string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.others == nil {
		f.others = map[netip.Addr]string{}
	}
	f.others[a] = mac
}

// Occupied says whom Occupy has told.
func (f *Fake) Occupied(_ context.Context, _ string, a netip.Addr) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.others[a], f.err
}

// Spoofed says that nobody forged anything.
func (f *Fake) Spoofed() (map[string]uint64, error) { return nil, nil }

// HasPolicies says whether there are any.
func (f *Fake) HasPolicies() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.filter.Empty(), nil
}

// Flush is somebody who flushes the packet filter.
func (f *Fake) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = hostnet.Filter{}
}

// SetPolicies replaces the filter, or fails as Fail told it to.
func (f *Fake) SetPolicies(_ context.Context, want hostnet.Filter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.filter = want
	}
	return f.err
}

// Filter is the filter of network policies in force.
func (f *Fake) Filter() hostnet.Filter {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.filter
}

// PolicyCounts says that each rule has decided one packet.
func (f *Fake) PolicyCounts(of hostnet.Filter) ([]spec.PolicyCount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []spec.PolicyCount
	for _, c := range of.Counters {
		c.Count.Packets, c.Count.Bytes = 1, 60
		out = append(out, c.Count)
	}
	return out, f.err
}

// Cleanup forgets the rules.
func (f *Fake) Cleanup(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.path, f.pairs = hostnet.Rules{}, hostnet.Path{}, nil
	return f.err
}

// Fail makes every following call fail with err; nil mends it.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Rules are the rules in force, and how often Set was called.
func (f *Fake) Rules() (hostnet.Rules, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules, f.sets
}
