package bgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	wire "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
)

// Changes of routes are gathered before they are told: for coalesce, or longer where reading them takes long, so that reading takes a
// fifth of the time at most while a large table comes in.
const (
	coalesce     = 50 * time.Millisecond
	coalesceMost = time.Second
)

// Speaker is the BGP speaker. One loop, Run, owns it; everything else asks the loop.
type Speaker struct {
	log     logrus.FieldLogger
	calls   chan call
	learned watch.Value[Learned]

	// What follows is the loop's.
	inbox     *inbox
	server    *gobgp
	config    Config
	peers     map[netip.Addr]*session
	announced map[netip.Prefix]bool
	routes    map[netip.Prefix][]netip.Addr // without a next hop: the host's own that others announce, too
	complete  bool
	patience  *time.Timer // until complete, all the same
	gather    *time.Timer // nil: nothing has changed
	pause     time.Duration
	now       func() time.Time
}

// session is what the loop knows of one peer.
type session struct {
	Peer
	inquiry       *inquiry // nil: gobgp has the peer
	heard         bool
	kept          bool
	state         string
	since         time.Time
	lastError     string
	notifications uint64 // that gobgp had sent when the session was last established
}

// call is a question to the loop.
type call struct {
	do   func() error
	done chan error // capacity 1
}

// New makes a speaker that says nothing until Run runs and Set is called.
func New(log logrus.FieldLogger) *Speaker {
	s := &Speaker{
		log: log, calls: make(chan call), inbox: newInbox(),
		peers: map[netip.Addr]*session{}, announced: map[netip.Prefix]bool{}, routes: map[netip.Prefix][]netip.Addr{},
		patience: time.NewTimer(0), now: time.Now,
	}
	s.patience.Stop()
	return s
}

// Run serves until ctx ends. Then the sessions are closed so that peers keep our routes for the restart time; who wants
// them gone calls Set with nothing to announce before.
func (s *Speaker) Run(ctx context.Context) error {
	defer s.halt()
	for {
		var gathered <-chan time.Time
		if s.gather != nil {
			gathered = s.gather.C
		}
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.calls:
			c.done <- c.do()
		case <-s.inbox.wake:
			s.look()
		case <-gathered:
			s.gather = nil
			s.learn()
		case <-s.patience.C:
			if !s.complete {
				s.complete = true
				s.log.Info("the restart time is over: BGP peers that have not said all their routes are no longer waited for")
				s.publish()
			}
		}
	}
}

// Set makes the speaker so: peers are added, changed and removed, prefixes announced and withdrawn, only where they differ. New things come
// before old ones go. What fails does not keep the rest from being set; all errors are returned, and the same call tries again. It waits for
// Run.
//
// The first call of a process must name everything that the host has: peers drop what they kept of the process before and is not
// said again.
func (s *Speaker) Set(ctx context.Context, c Config, announced []netip.Prefix) error {
	c = c.normal()
	if err := c.check(); err != nil {
		return fmt.Errorf("set BGP: %w", err)
	}
	return s.ask(ctx, func() error { return s.set(c, announced) })
}

// Learned is what the peers say now, and a channel that closes when that is no longer so.
func (s *Speaker) Learned() (Learned, <-chan struct{}) { return s.learned.Get() }

// Sessions are all peers as they are, by address.
func (s *Speaker) Sessions(ctx context.Context) (out []Session, err error) {
	err = s.ask(ctx, func() error {
		out, err = s.sessions()
		return err
	})
	return out, err
}

func (s *Speaker) ask(ctx context.Context, do func() error) error {
	c := call{do, make(chan error, 1)}
	select {
	case s.calls <- c:
		return <-c.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// set does it, in the loop.
func (s *Speaker) set(c Config, announced []netip.Prefix) error {
	if s.server != nil && !c.sameProcess(s.config) {
		s.log.Info("BGP ends, or starts anew with another AS, router id, listening address, cluster or hold time")
		s.halt()
	}
	if c.off() {
		s.halt()
		s.complete = true // there is nobody to wait for
		s.publish()
		return nil
	}
	if s.server == nil {
		if err := s.start(c); err != nil {
			return err
		}
	}
	s.config = c
	want := map[netip.Prefix]bool{}
	for _, p := range announced {
		want[p.Masked()] = true
	}
	errs := []error{s.announce(want)} // first, so that new peers are told everything at once
	for _, p := range c.Peers {
		if err := s.peer(p); err != nil {
			errs = append(errs, fmt.Errorf("set BGP peer %s (%s): %w", p.Name, p.Address, err))
		}
	}
	for addr, have := range s.peers {
		if !slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.Address == addr }) {
			if err := s.remove(have); err != nil {
				errs = append(errs, fmt.Errorf("remove BGP peer %s (%s): %w", have.Name, addr, err))
			}
		}
	}
	errs = append(errs, s.withdraw(want))
	s.settle()
	return errors.Join(errs...)
}

// start begins a run of gobgp. Nothing has been heard yet.
func (s *Speaker) start(c Config) error {
	s.inbox = newInbox()
	server, err := startGobgp(c, bridge{log: s.log, inbox: s.inbox}, s.inbox)
	if err != nil {
		return err
	}
	s.server, s.complete = server, false
	s.patience.Reset(c.restartTime())
	s.publish() // before it was set, there was nobody to wait for
	return nil
}

// halt ends gobgp's run, if there is one.
func (s *Speaker) halt() {
	if s.server == nil {
		return
	}
	for _, p := range s.peers {
		if p.inquiry != nil {
			p.inquiry.cancel()
		}
	}
	s.server.stop()
	s.server, s.config, s.gather = nil, Config{}, nil
	clear(s.peers)
	clear(s.announced)
	s.routes = map[netip.Prefix][]netip.Addr{}
	s.patience.Stop()
}

func (s *Speaker) announce(want map[netip.Prefix]bool) error {
	var more []netip.Prefix
	for p := range want {
		if !s.announced[p] {
			more = append(more, p)
		}
	}
	s.inbox.own(more, true)
	if err := s.server.announce(more); err != nil {
		return err
	}
	for _, p := range more {
		s.announced[p] = true
	}
	return nil
}

func (s *Speaker) withdraw(want map[netip.Prefix]bool) error {
	var gone []netip.Prefix
	for p := range s.announced {
		if !want[p] {
			gone = append(gone, p)
		}
	}
	if err := s.server.withdraw(gone); err != nil {
		return fmt.Errorf("withdraw %v: %w", gone, err)
	}
	s.inbox.own(gone, false)
	for _, p := range gone {
		delete(s.announced, p)
	}
	return nil
}

// peer makes one peer so.
func (s *Speaker) peer(p Peer) error {
	have, there := s.peers[p.Address]
	if there && have.Peer.same(p) {
		return nil
	}
	// Only a peer of the first hour can still have routes of the process before.
	restarting := !there && !s.complete
	if there {
		if err := s.remove(have); err != nil {
			return err
		}
	}
	added := &session{Peer: p, state: "idle", since: s.now()}
	// Other hosts are not asked. They keep on forwarding until they have heard everybody, so they lose nothing; and gobgp forgets a peer that
	// restarts as soon as one of its connections comes to nothing.
	if restarting && p.Router {
		added.state, added.inquiry = "active", inquire(p, s.config.HoldTime, s.inbox)
	} else if err := s.server.addPeer(s.config, p, restarting); err != nil {
		return err
	}
	s.peers[p.Address] = added
	return nil
}

func (s *Speaker) remove(have *session) error {
	if have.inquiry != nil {
		have.inquiry.cancel()
	} else if err := s.server.removePeer(s.config, have.Peer); err != nil {
		return err
	}
	delete(s.peers, have.Address)
	return nil
}

// look takes what gobgp told.
func (s *Speaker) look() {
	for _, e := range s.inbox.takeEvents() {
		if p := s.peers[e.peer]; p != nil {
			s.event(p, e)
		}
	}
	s.settle()
	s.publish() // a session may have come up, or the last one gone
	if s.gather == nil && s.inbox.dirty() {
		s.gather = time.NewTimer(min(max(coalesce, s.pause), coalesceMost))
	}
}

// settle notices that all peers have been heard. What they said is told first or together with it, never after.
func (s *Speaker) settle() {
	if s.complete || s.server == nil || len(s.peers) < len(s.config.Peers) {
		return
	}
	for _, p := range s.peers {
		if !p.heard {
			return
		}
	}
	s.complete = true
	s.gather = nil
	s.learn()
}

// learn reads what has changed and tells it.
func (s *Speaker) learn() {
	if s.server == nil {
		return
	}
	began := s.now()
	defer func() { s.pause = 4 * s.now().Sub(began) }()
	prefixes, all := s.inbox.takePrefixes()
	next := map[netip.Prefix][]netip.Addr{}
	if all {
		prefixes = nil
	} else {
		next = maps.Clone(s.routes)
		for p := range prefixes {
			delete(next, p)
		}
	}
	for _, family := range []wire.Family{wire.RF_IPv4_UC, wire.RF_IPv6_UC} {
		err := s.server.routes(family, prefixes, func(p netip.Prefix, hops []netip.Addr) {
			next[p] = hops
		})
		if err != nil {
			s.log.WithError(err).Error("cannot read the routes that gobgp learned; what was known stays")
			return
		}
	}
	s.routes = next
	s.publish()
}

// up says whether any session is established.
func (s *Speaker) up() bool {
	for _, p := range s.peers {
		if p.state == established {
			return true
		}
	}
	return false
}

// publish tells what is known, if it is news.
func (s *Speaker) publish() {
	l := newLearned(s.routes, s.complete, s.up())
	if old, _ := s.learned.Get(); !l.equal(old) {
		s.learned.Set(l)
	}
}
