package api

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Event is one line of the event stream. Fields hold Marathon's keys beside eventType and timestamp; values that only
// scheduler/marathon can write (*spec.App, spec.HealthCheck) stay as they are until a subscriber reads them, so that
// publishing costs the owner loop nothing. Fields must not be changed after Publish.
type Event struct {
	ID     uint64 // assigned by Log.Publish, from 1, without gaps
	Type   string
	At     time.Time
	Fields map[string]any
	// later makes the Fields of events that a large fleet has thousands of a second, and mostly nobody reads.
	later func() map[string]any
}

// DefaultEventBacklog is how many past events are remembered, for readers that are behind or come back.
const DefaultEventBacklog = 4096

// Log is a bounded memory of the last events with any number of subscribers. Publish never waits for anybody, and a
// subscriber costs no memory of its own: it is a place in the log. Whoever falls out of the log is told so (EventStreamGap).
type Log struct {
	life string // names this log: numbers of another process's log mean other events

	mu   sync.Mutex // guards all below
	ring []Event    // ring[(id-1) % len(ring)] holds event id
	last uint64
	subs map[*Subscription]struct{}
}

// NewLog makes a log that remembers the last backlog events; 0 means DefaultEventBacklog.
func NewLog(backlog int) *Log {
	if backlog <= 0 {
		backlog = DefaultEventBacklog
	}
	return &Log{life: strings.ToLower(rand.Text()[:8]), ring: make([]Event, backlog), subs: make(map[*Subscription]struct{})}
}

// Publish numbers the event, remembers it and wakes every subscriber.
func (l *Log) Publish(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last >= uint64(len(l.ring)) {
		l.forget(l.ring[l.last%uint64(len(l.ring))])
	}
	l.last++
	e.ID = l.last
	l.ring[(e.ID-1)%uint64(len(l.ring))] = e
	for s := range l.subs {
		select {
		case s.ready <- struct{}{}:
		default: // woken already
		}
	}
}

// forget notes what subscribers lose with the oldest event. The caller holds mu.
func (l *Log) forget(e Event) {
	for s := range l.subs {
		if s.next > e.ID {
			continue
		}
		s.next = e.ID + 1
		if !s.wants(e.Type) {
			continue
		}
		if s.gap == nil {
			s.gap = &gap{first: e.ID, reason: gapSlow}
		}
		s.gap.missed, s.gap.last = s.gap.missed+1, e.ID
	}
}

// oldest is the id of the oldest remembered event, last+1 when there is none. The caller holds mu.
func (l *Log) oldest() uint64 { return l.last - min(l.last, uint64(len(l.ring))) + 1 }

// Token is an event's id as readers see it and give it back as Last-Event-ID.
func (l *Log) Token(id uint64) string { return l.life + "." + strconv.FormatUint(id, 10) }

// Last is the id of the newest event.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// gap is what a subscriber did not get.
type gap struct {
	first, last uint64 // 0: not known
	missed      uint64
	reason      string
}

const (
	gapSlow    = "the reader was too slow"
	gapLate    = "the reader came back too late: older events are not remembered"
	gapRestart = "the last event that the reader knows is not of this scheduler's life: what came between is not remembered"
)

// Subscription is one reader's place in a log.
type Subscription struct {
	log   *Log
	types map[string]bool // empty: all
	ready chan struct{}

	// Guarded by log.mu.
	next uint64 // the id to look at next
	gap  *gap   // to be told before it
}

func (s *Subscription) wants(kind string) bool { return len(s.types) == 0 || s.types[kind] }

// SubscribeOptions choose what a subscriber reads.
type SubscribeOptions struct {
	Types []string // empty: all types
	// After is the token of the last event that the subscriber knows: later ones come first, as far as they are remembered,
	// and a gap before them where they are not. "": only new events.
	After string
}

// Subscribe adds a reader. Close it when done.
func (l *Log) Subscribe(o SubscribeOptions) *Subscription {
	s := &Subscription{log: l, ready: make(chan struct{}, 1)}
	if len(o.Types) > 0 {
		s.types = make(map[string]bool, len(o.Types))
		for _, t := range o.Types {
			s.types[t] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.next = l.last + 1
	if o.After != "" {
		s.resume(o.After)
		s.ready <- struct{}{}
	}
	l.subs[s] = struct{}{}
	return s
}

// resume puts the subscriber behind the event that it names. The caller holds mu.
func (s *Subscription) resume(token string) {
	life, number, _ := strings.Cut(token, ".")
	id, err := strconv.ParseUint(number, 10, 64)
	oldest := s.log.oldest()
	switch {
	case life != s.log.life || err != nil || id > s.log.last:
		s.next, s.gap = oldest, &gap{reason: gapRestart}
	case id+1 < oldest:
		// Of which types the forgotten ones were nobody knows any more: all count.
		s.next, s.gap = oldest, &gap{first: id + 1, last: oldest - 1, missed: oldest - 1 - id, reason: gapLate}
	default:
		s.next = id + 1
	}
}

// Ready delivers a value when Next may have something new.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Next is the next event, if there is one: a gap that has not been told yet comes first. A gap is of type EventStreamGap, for
// every subscriber whatever types it asked for, and its id is that of the last event that is missing.
func (s *Subscription) Next(now time.Time) (Event, bool) {
	e, ok := s.pick(now)
	if e.later != nil {
		e.Fields, e.later = e.later(), nil
	}
	return e, ok
}

func (s *Subscription) pick(now time.Time) (Event, bool) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := s.gap; g != nil {
		s.gap = nil
		return l.gapEvent(g, s.next, now), true
	}
	for s.next <= l.last {
		e := l.ring[(s.next-1)%uint64(len(l.ring))]
		s.next++
		if s.wants(e.Type) {
			return e, true
		}
	}
	return Event{}, false
}

func (l *Log) gapEvent(g *gap, next uint64, now time.Time) Event {
	e := Event{ID: next - 1, Type: EventStreamGap, At: now, Fields: map[string]any{"reason": g.reason, "nextId": l.Token(next)}}
	if g.first > 0 {
		e.Fields["missed"], e.Fields["firstMissedId"], e.Fields["lastMissedId"] = g.missed, l.Token(g.first), l.Token(g.last)
	}
	return e
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	delete(s.log.subs, s)
}
