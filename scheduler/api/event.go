package api

import (
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
}

// DefaultEventQueue is how many events a slow subscriber may be behind before it is dropped; Marathon's default.
const DefaultEventQueue = 1024

// DefaultEventBacklog is how many past events a reconnecting subscriber can ask for.
const DefaultEventBacklog = 4096

// Log is a bounded memory of the last events with any number of subscribers. Publish never waits for anybody.
type Log struct {
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
	return &Log{ring: make([]Event, backlog), subs: make(map[*Subscription]struct{})}
}

// Publish numbers the event, remembers it and hands it to every subscriber. A subscriber whose queue is full is dropped:
// its channel closes.
func (l *Log) Publish(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.ID = l.last
	l.ring[(e.ID-1)%uint64(len(l.ring))] = e
	for s := range l.subs {
		if !s.wants(e.Type) {
			continue
		}
		select {
		case s.queue <- e:
		default:
			s.Overflow = true
			l.drop(s)
		}
	}
}

// Subscription is one reader of a log.
type Subscription struct {
	log   *Log
	types map[string]bool // empty: all
	queue chan Event
	// Overflow is true when the log dropped the subscriber for being slow. Read it only after Events is closed.
	Overflow bool
}

func (s *Subscription) wants(kind string) bool { return len(s.types) == 0 || s.types[kind] }

// SubscribeOptions choose what a subscriber reads.
type SubscribeOptions struct {
	Types []string // empty: all types
	Queue int      // 0: DefaultEventQueue
	// After is the id of the last event that the subscriber knows: remembered later ones come first. 0: only new events.
	After uint64
}

// Subscribe adds a reader. Close it when done.
func (l *Log) Subscribe(o SubscribeOptions) *Subscription {
	if o.Queue <= 0 {
		o.Queue = DefaultEventQueue
	}
	s := &Subscription{log: l}
	if len(o.Types) > 0 {
		s.types = make(map[string]bool, len(o.Types))
		for _, t := range o.Types {
			s.types[t] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	missed := l.since(o.After, s.wants)
	s.queue = make(chan Event, o.Queue+len(missed))
	for _, e := range missed {
		s.queue <- e
	}
	l.subs[s] = struct{}{}
	return s
}

// since lists the remembered events after id. The caller holds mu. An id of the future (the log of a predecessor that
// died) is no reason to be silent: everything remembered comes.
func (l *Log) since(id uint64, want func(string) bool) []Event {
	if id == 0 {
		return nil
	}
	if id > l.last {
		id = 0
	}
	if oldest := l.last - min(l.last, uint64(len(l.ring))); id < oldest {
		id = oldest
	}
	var out []Event
	for ; id < l.last; id++ {
		if e := l.ring[id%uint64(len(l.ring))]; want(e.Type) {
			out = append(out, e)
		}
	}
	return out
}

// Last is the id of the newest event.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Events delivers the events in order. It is closed by Close, and when the subscriber was too slow.
func (s *Subscription) Events() <-chan Event { return s.queue }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.drop(s)
}

// drop removes a subscriber; the caller holds mu.
func (l *Log) drop(s *Subscription) {
	if _, ok := l.subs[s]; ok {
		delete(l.subs, s)
		close(s.queue)
	}
}
