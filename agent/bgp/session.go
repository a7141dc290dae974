package bgp

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sirupsen/logrus"
)

// established is the state in which routes are exchanged.
const established = "established"

// What gobgp says of a session's end.
const (
	reasonRestart = "graceful-restart"      // its routes are kept
	reasonGone    = "restart-timer-expired" // no longer
)

// event takes one thing that happened to a peer.
func (s *Speaker) event(p *session, e peerEvent) {
	if e.asked != p.inquiry {
		return // of a peer that was changed meanwhile
	}
	switch e.kind {
	case wasAsked:
		s.begin(p, e.anew)
	case heardAll:
		p.heard, p.kept = true, false
	case connectFailure:
		p.lastError = advice(e.reason, *p)
	case stateChanged:
		s.transition(p, e)
	}
}

// begin gives gobgp a router that was asked. One that has just begun, as we have, is not told that we have: it is to wait for us.
func (s *Speaker) begin(p *session, anew bool) {
	p.inquiry.cancel()
	p.inquiry, p.state = nil, "idle"
	if err := s.server.addPeer(s.config, p.Peer, !anew && !s.complete); err != nil {
		s.log.WithError(err).WithField("peer", p.Name).Error("cannot begin a session with a BGP peer")
		delete(s.peers, p.Address) // so that the next Set adds it
	}
}

// transition takes a change of state. Sessions that do not come up go round through the lower states all the time, so only those
// that are established, or were, are worth a line.
func (s *Speaker) transition(p *session, e peerEvent) {
	was := p.state
	p.kept = p.kept && e.reason != reasonGone
	if e.state == was {
		return
	}
	p.state, p.since = e.state, s.now()
	log := s.log.WithFields(logrus.Fields{"peer": p.Name, "address": p.Address.String()})
	switch {
	case e.state == established:
		p.notifications, _ = s.sentNotifications(p.Address)
		p.lastError = ""
		log.Info("BGP session is up")
	case was == established:
		p.kept = e.reason == reasonRestart
		p.lastError = advice(e.reason, *p)
		if p.kept && s.silent(p) {
			s.forget(p)
		}
		log.WithField("reason", p.lastError).Warn("BGP session is down")
	case e.reason != "" && failure(e.reason):
		p.lastError = advice(e.reason, *p)
	}
}

// silent says whether the session ended because nothing was heard for the hold time. gobgp calls that a graceful restart, too, but
// a peer that restarts closes its connection, and one that is silent is dead or cut off: its routes lead nowhere. The difference is that we have
// sent a notification: in no other case that gobgp calls a restart have we.
func (s *Speaker) silent(p *session) bool {
	n, ok := s.sentNotifications(p.Address)
	return ok && n > p.notifications
}

func (s *Speaker) sentNotifications(peer netip.Addr) (uint64, bool) {
	all, err := s.server.counts(peer.String(), false)
	c, ok := all[peer]
	return c.notifications, err == nil && ok
}

// forget drops a peer's routes at once, by beginning anew with it.
func (s *Speaker) forget(p *session) {
	p.kept = false
	p.lastError = fmt.Sprintf("nothing was heard for the hold time of %s: the peer is dead, or cut off", s.config.HoldTime)
	err := s.server.removePeer(s.config, p.Peer)
	if err == nil {
		err = s.server.addPeer(s.config, p.Peer, false)
	}
	if err != nil {
		s.log.WithError(err).WithField("peer", p.Name).Error("cannot begin anew with a BGP peer that is silent")
		delete(s.peers, p.Address) // so that the next Set adds it
	}
}

// sessions are all peers as they are.
func (s *Speaker) sessions() ([]Session, error) {
	if s.server == nil {
		return nil, nil
	}
	counted, err := s.server.counts("", true)
	if err != nil {
		return nil, fmt.Errorf("list BGP sessions: %w", err)
	}
	var out []Session
	for addr, p := range s.peers {
		c := counted[addr]
		out = append(out, Session{
			Name: p.Name, Address: addr, AS: p.AS, State: p.state, Since: p.since,
			Received: c.received, Sent: c.sent, Kept: p.kept, LastError: p.lastError,
		})
	}
	sortSessions(out)
	return out, nil
}

// failure says whether the reason of a step between the lower states is one that people should see.
func failure(reason string) bool {
	for _, ordinary := range []string{"new-connection", "open-msg", "idle-hold-timer", "dying", "unknown"} {
		if strings.HasPrefix(reason, ordinary) {
			return false
		}
	}
	return true
}

// advice adds the way out to what gobgp says.
func advice(reason string, p session) string {
	lower := strings.ToLower(reason)
	for _, known := range []struct{ part, way string }{
		{reasonRestart, "the peer closed the connection and is expected back: its routes are kept for its restart time"},
		{"bad peer as", fmt.Sprintf("the two sides disagree about an AS number: here the peer's is %d; compare asNumber with its configuration", p.AS)},
		{"bad-peer-as", fmt.Sprintf("the peer's AS is not %d: correct asNumber of its BGPPeer", p.AS)},
		{"bad bgp identifier", "both sides have the same router id: give the host an IPv4 address of its own in its Node"},
		{"connection refused", fmt.Sprintf("nothing listens on port %d there: is the peer's BGP daemon running, and is this the port?", p.Port)},
		{"i/o timeout", "no answer: is the password the same on both sides, and is the port open on the way?"},
		{"no route to host", "the host has no route to the peer, or the peer is down"},
		{"network is unreachable", "the host has no route to the peer"},
		{"cannot assign requested address", fmt.Sprintf("%s is not an address of this host: correct its Node, or set sourceAddress: None", p.Source)},
		{"peer deconfigured", "the peer has no session with this host in its configuration"},
		{"connection rejected", "the peer does not know this host's address: add it to its configuration"},
	} {
		if strings.Contains(lower, known.part) {
			return reason + ": " + known.way
		}
	}
	return reason
}
