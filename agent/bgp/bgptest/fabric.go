// Package bgptest is a small world of BGP without packets: speakers that learn from each other what the others announce, and hosts
// and processes that die. It does what agent/bgp promises, at once.
package bgptest

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/berth-project/berth/agent/bgp"
	"github.com/berth-project/berth/internal/watch"
)

// Fabric joins speakers. The zero Fabric is ready.
type Fabric struct {
	mu       sync.Mutex // guards speakers and what is in them
	speakers map[netip.Addr]*Speaker
}

// Speaker is one host's, or a router's.
type Speaker struct {
	fabric    *Fabric
	address   netip.Addr
	config    bgp.Config
	announced []netip.Prefix
	gone      bool // nothing of it is known any more
	cut       bool // nobody hears it, nor it anybody
	failure   error
	learned   watch.Value[bgp.Learned]
}

// Speaker makes the speaker of an address. It says nothing before Set.
func (f *Fabric) Speaker(address netip.Addr) *Speaker {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.speakers == nil {
		f.speakers = map[netip.Addr]*Speaker{}
	}
	s := &Speaker{fabric: f, address: address}
	f.speakers[address] = s
	return s
}

// Run waits for the end of ctx. Peers keep the routes, as they do of a process that restarts.
func (s *Speaker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Set makes the speaker so.
func (s *Speaker) Set(ctx context.Context, c bgp.Config, announced []netip.Prefix) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	if s.failure != nil {
		return s.failure
	}
	if s.config.AS != c.AS {
		s.learned.Set(bgp.Learned{}) // it begins anew
	}
	s.config, s.announced, s.gone = c, slices.Clone(announced), false
	s.fabric.spread()
	return nil
}

// Learned is what the peers say, and a channel that closes when that is no longer so.
func (s *Speaker) Learned() (bgp.Learned, <-chan struct{}) { return s.learned.Get() }

// Sessions are the peers, by address.
func (s *Speaker) Sessions(context.Context) ([]bgp.Session, error) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	var out []bgp.Session
	for _, p := range s.config.Peers {
		one := bgp.Session{Name: p.Name, Address: p.Address, AS: p.AS, State: "active", LastError: "no answer"}
		if other := s.fabric.speakers[p.Address]; s.joined(other) {
			one.State, one.LastError, one.Received, one.Sent = "established", "", len(other.announced), len(s.announced)
		}
		out = append(out, one)
	}
	return out, nil
}

// Announced is what the speaker says now.
func (s *Speaker) Announced() []netip.Prefix {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	return slices.Clone(s.announced)
}

// Die is the death of the host, after the hold time: nobody knows its routes any more. Set brings it back.
func (s *Speaker) Die() {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.gone = true
	s.fabric.spread()
}

// Cut takes the host off the network, as seen after the hold time, or puts it back.
func (s *Speaker) Cut(cut bool) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.cut = cut
	s.fabric.spread()
}

// Fail makes every Set fail with err, until it is nil.
func (s *Speaker) Fail(err error) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.failure = err
}

// joined says whether the two have a session: each has the other among its peers, with the right AS and password.
func (s *Speaker) joined(o *Speaker) bool {
	if o == nil || s.gone || o.gone || s.cut || o.cut {
		return false
	}
	find := func(a, b *Speaker) (bgp.Peer, bool) {
		i := slices.IndexFunc(a.config.Peers, func(p bgp.Peer) bool { return p.Address == b.address })
		if i < 0 {
			return bgp.Peer{}, false
		}
		return a.config.Peers[i], a.config.Peers[i].AS == b.config.AS
	}
	mine, ok := find(s, o)
	theirs, back := find(o, s)
	return ok && back && mine.Password == theirs.Password
}

// spread tells everybody what they learn now.
func (f *Fabric) spread() {
	for _, s := range f.speakers {
		hops := map[netip.Prefix][]netip.Addr{}
		complete, up := true, false
		var contested []netip.Prefix
		for _, p := range s.config.Peers {
			other := f.speakers[p.Address]
			if !s.joined(other) {
				complete = false
				continue
			}
			up = true
			for _, prefix := range other.announced {
				switch {
				case !slices.Contains(s.announced, prefix):
					hops[prefix] = append(hops[prefix], other.address)
				case prefix.IsSingleIP():
					contested = append(contested, prefix)
				}
			}
		}
		before, _ := s.learned.Get()
		slices.SortFunc(contested, netip.Prefix.Compare)
		l := bgp.Learned{Complete: complete || before.Complete, Up: up, Contested: slices.Compact(contested)}
		for prefix, via := range hops {
			slices.SortFunc(via, netip.Addr.Compare)
			l.Routes = append(l.Routes, bgp.Route{Prefix: prefix, NextHops: via})
		}
		slices.SortFunc(l.Routes, func(a, b bgp.Route) int { return a.Prefix.Compare(b.Prefix) })
		if l.Complete != before.Complete || l.Up != before.Up || !slices.Equal(l.Contested, before.Contested) || !slices.EqualFunc(l.Routes, before.Routes, bgp.Route.Equal) {
			s.learned.Set(l)
		}
	}
}
