package bgp

import (
	"net/netip"
	"slices"
	"sync"
)

// inbox holds what gobgp's goroutines have to tell until the speaker's loop looks at it. Telling never blocks: gobgp holds locks.
type inbox struct {
	wake chan struct{} // capacity 1

	mu       sync.Mutex // guards what follows
	prefixes map[netip.Prefix]bool
	all      bool // too many prefixes to name them
	events   []peerEvent
	mine     map[netip.Prefix]bool // the single addresses that the host announces
}

// peerEvent is one thing that happened to a peer.
type peerEvent struct {
	peer   netip.Addr
	kind   eventKind
	state  string
	reason string
	asked  *inquiry // of wasAsked and connectFailure: the question; nil: gobgp says so
	anew   bool     // of wasAsked: the router has just begun, too
}

type eventKind int

const (
	stateChanged   eventKind = iota // to state, for reason
	heardAll                        // the peer has said everything that it has (End-of-RIB)
	connectFailure                  // for reason
	wasAsked                        // the router, before the session: anew or not
)

// manyPrefixes is from where reading the whole table costs less than asking for each.
const manyPrefixes = 256

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), prefixes: map[netip.Prefix]bool{}, mine: map[netip.Prefix]bool{}}
}

func (b *inbox) changed(prefixes ...netip.Prefix) {
	b.mu.Lock()
	for _, p := range prefixes {
		if b.all = b.all || len(b.prefixes) >= manyPrefixes && !b.prefixes[p]; b.all {
			clear(b.prefixes)
			break
		}
		b.prefixes[p] = true
	}
	b.mu.Unlock()
	b.rouse()
}

// own says that the host announces the prefixes, or no longer.
func (b *inbox) own(prefixes []netip.Prefix, announced bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range prefixes {
		if delete(b.mine, p); announced && p.IsSingleIP() {
			b.mine[p] = true
		}
	}
}

// told is for what peers said that need not have changed the best path. It matters where the host announces the same address.
func (b *inbox) told(prefixes []netip.Prefix) {
	b.mu.Lock()
	mine := slices.DeleteFunc(prefixes, func(p netip.Prefix) bool { return !b.mine[p] })
	b.mu.Unlock()
	if len(mine) > 0 {
		b.changed(mine...)
	}
}

func (b *inbox) happened(e peerEvent) {
	b.mu.Lock()
	b.events = append(b.events, e)
	b.mu.Unlock()
	b.rouse()
}

func (b *inbox) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// takeEvents empties the list of events.
func (b *inbox) takeEvents() []peerEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.events
	b.events = nil
	return e
}

// dirty says whether any prefix has changed.
func (b *inbox) dirty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all || len(b.prefixes) > 0
}

// takePrefixes empties the list of changed prefixes; all: every prefix may have changed.
func (b *inbox) takePrefixes() (prefixes map[netip.Prefix]bool, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	prefixes, all = b.prefixes, b.all
	b.prefixes, b.all = map[netip.Prefix]bool{}, false
	return prefixes, all
}
