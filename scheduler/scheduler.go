package scheduler

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/hostdoc"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// Scheduler is the owner loop. Everything below "owned by the loop" is touched by Run's goroutine only.
type Scheduler struct {
	opts     Options
	log      logrus.FieldLogger
	commands chan func()
	lost     chan error    // a failed commit: the loop ends, the store is the truth
	stopped  chan struct{} // closed when Run has ended
	routing  *hostdoc.Routing
	surveys  surveys
	policing policing

	// Owned by the loop.
	state     *store.State
	byApp     map[spec.AppID]map[string]*spec.Task // live tasks
	hostnames map[string]spec.SeatID               // an index over state.Seats
	offers
	hosts       map[string]*host
	queue       map[spec.AppID]*waiting
	freed       map[spec.SeatID]bool  // an index over state.Seats: those with volumes whose data is to be removed
	agents      map[string]*agent     // by agent id
	waits       map[spec.AppID]string // what the app's part of a step waits for
	session     session
	strays      map[string]stray           // by task id
	history     *history                   // of deployments and stops
	pulls       prepull.Book               // images that hosts are to have ahead of a rollout
	condemned   map[string]map[string]bool // host -> tasks that are over and whose containers a repair stops
	inFlight    map[string]bool            // tasks of which nobody knows yet whether their ACCEPT reached the engine, or will
	batch       batch
	lastVersion time.Time
	began       time.Time
	docsDirty   bool            // of every host
	rerouting   bool            // a host's own address changed since who peers with whom was decided
	rerouteAt   time.Time       // when that may be decided again
	launchedAt  time.Time       // when something was launched last
	answers     []chan struct{} // commands that are done, to be told after the decision
	asked       bool            // one of them is of somebody who will look for what it changed
	keys        *keyring
	*indexes
	leasing  leasing
	counters api.Counters
	wake     time.Time // the next time something is due; zero: never
	needed   need      // as the last search for hosts found
	search   search
	spare    *place.Spare  // what hosts have left for those that leave others, as far as this decision has asked; nil: it has not
	rollout  []deploy.Task // advanceApp's, used again
}

type session struct {
	serial        int // counts sessions
	connected     bool
	master        string
	suppressed    bool
	reviveAfter   time.Time // no REVIVE before
	suppressAfter time.Time // no SUPPRESS before, after one failed
	suppressedAt  time.Time // of the last SUPPRESS
	unasked       bool      // offers came although we are suppressed: a REVIVE was very late
	offeredAt     time.Time // when offers came, or were asked for; to subscribe is to ask
	freshAt       time.Time // when something new was wanted
	missed        bool      // that was after offers were declined that are kept from us now
	refusedUntil  time.Time // offers that were declined may be kept from us until then
	nextReconcile time.Time // of all tasks
	nextImplicit  time.Time // of all that the engine knows
	nextAsk       time.Time // of those on their way
	unreturned    []unreturned
	doubts
}

// host is what the scheduler knows of one host's agent.
type host struct {
	doc      *watch.Value[*spec.HostDocument]
	last     spec.HostDocument // as compiled last, without version
	version  uint64
	heard    time.Time // when its agent, or berth net there, last asked or told something
	reported bool
	networks map[string]string // per pool "" when the host can attach containers to it, otherwise why not
	held     []spec.Held
	contact  time.Time // when its network's process was last answered; zero: never by this process
	told     uint64    // the version of that answer
	revoked  map[netip.Addr]*revocation
	dead     time.Time // when an operator declared it so; zero: it is not, or was heard of again
	// endpoints are the addresses that it has, as it told at toldAt; nil: it has never told.
	endpoints *spec.HostEndpoints
	toldAt    time.Time
	policies  *spec.PolicyReport // nil: nobody there has told of any
	metrics   string             // where its agent serves Prometheus, as told; "": it does not
	ran       []time.Time        // when tasks began to run lately, oldest first
}

// waiting is an app with instances that could not be started yet.
type waiting struct {
	since      time.Time
	count      int
	why        []api.Reason
	refused    place.Refusals
	attempt    place.Refusals
	lastUnused time.Time
	lastUsed   time.Time
	seen       asked // by the last decision
	// Whether it may be passed over in a crowd, and since when: see hopeful.
	idle   bool
	pool   string
	looked time.Time
}

// asked is what of an app's wants decides which offers it can use.
type asked struct {
	app    *spec.App
	ready  int    // that have an address and no delay
	pinned int    // of those, that are bound to the host of their volumes
	freed  uint64 // tasks of it that ended: constraints may allow more
}

func (q *waiting) because(kind api.ReasonKind, texts ...string) {
	for _, t := range texts {
		q.why = append(q.why, api.Reason{Kind: kind, Text: t})
	}
}

// New prepares a scheduler over a loaded state.
func New(opts Options) (*Scheduler, error) {
	opts = opts.withDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("scheduler options: %w", err)
	}
	s := &Scheduler{
		opts: opts, log: opts.Log.WithField("component", "scheduler"), commands: make(chan func()), lost: make(chan error, 1), stopped: make(chan struct{}),
		state: opts.State, byApp: map[spec.AppID]map[string]*spec.Task{},
		hostnames: map[string]spec.SeatID{}, offers: newOffers(), hosts: map[string]*host{}, routing: hostdoc.NewRouting(opts.BGP, opts.State.Addresses), policing: newPolicing(opts.Policies), strays: map[string]stray{}, condemned: map[string]map[string]bool{}, inFlight: map[string]bool{}, history: newHistory(),
		queue: map[spec.AppID]*waiting{}, freed: map[spec.SeatID]bool{}, agents: map[string]*agent{}, waits: map[spec.AppID]string{}, docsDirty: true, indexes: newIndexes(), keys: newKeyring(opts.Rand),
	}
	if s.began = time.Now(); s.state.FenceAfter == 0 {
		s.state.FenceAfter = opts.FenceAfter // promise stores it; there was no host to tell
		s.batch.txn.SetFenceAfter(opts.FenceAfter)
	}
	for _, t := range s.state.Tasks {
		if t.Live() {
			s.index(t)
		}
	}
	for id, seat := range s.state.Seats {
		if slices.ContainsFunc(seat.Volumes, func(v spec.SeatVolume) bool { return v.Freed }) {
			s.freed[id] = true
		}
		s.indexSeat(seat)
	}
	for _, l := range s.state.Leases {
		s.indexLease(l, l)
	}
	for id := range s.state.Apps {
		s.touch(id)
		s.retarget[id] = true
	}
	for id := range s.byApp {
		s.retarget[id] = true
	}
	for _, d := range s.state.Deployments {
		s.indexDeployment(d)
	}
	for name, d := range s.state.Drains {
		s.fleet.Drain(name, d.Text())
	}
	s.useBlocks(time.Now())
	s.recall()
	for id := range s.leasesOf {
		s.restless[id] = true
	}
	for _, vs := range s.state.Versions {
		for _, a := range vs {
			if a.Version.After(s.lastVersion) {
				s.lastVersion = a.Version
			}
		}
	}
	for _, d := range s.state.Deployments {
		if d.Version.After(s.lastVersion) {
			s.lastVersion = d.Version
		}
	}
	for _, c := range s.state.Changes {
		if c.Version.After(s.lastVersion) {
			s.lastVersion = c.Version
		}
	}
	s.show()
	return s, nil
}

// Run is the loop. It returns nil when ctx ends, and the cause when the state can no longer be kept.
func (s *Scheduler) Run(ctx context.Context) error {
	defer close(s.stopped)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan mesos.Event, 1024)
	engine := make(chan error, 1)
	ended := make(chan struct{})
	go func() { defer close(ended); engine <- s.opts.Engine.Run(ctx, events) }()
	sender := newSender(s)
	committer := newCommitter(s, sender)
	done := make(chan struct{})
	go func() { defer close(done); sender.run(ctx) }()
	committed := make(chan struct{})
	go func() { defer close(committed); committer.run(ctx) }()
	forged := make(chan struct{})
	go func() { defer close(forged); s.keys.run(ctx) }()
	defer func() { cancel(); <-committed; <-done; <-ended; <-forged }()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		// A batch leaves as soon as the committer is free; until then more decisions join it.
		var out chan<- batch
		if !s.batch.empty() {
			out = committer.in
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.lost:
			return fmt.Errorf("keep state: %w", err)
		case err := <-engine:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("engine subscription: %w", err)
		case ev := <-events:
			s.onEngine(ev)
			s.drain(events)
		case cmd := <-s.commands:
			cmd()
			s.drain(events)
		case <-timer.C:
		case out <- s.batch:
			full := s.batch.full()
			s.batch = batch{}
			if !full {
				continue
			}
		}
		s.decide(time.Now())
		s.show()
		for _, done := range s.answers {
			close(done)
		}
		s.answers = nil
		timer.Stop()
		if !s.wake.IsZero() {
			timer.Reset(max(0, time.Until(s.wake)))
		}
	}
}

// drain takes in what has come meanwhile, up to a bound: one decision about many events costs hardly more than about one.
func (s *Scheduler) drain(events <-chan mesos.Event) {
	for range 2048 {
		select {
		case ev := <-events:
			s.onEngine(ev)
		case cmd := <-s.commands:
			cmd()
		default:
			return
		}
	}
}

// wakeAt asks for a decision at t at the latest.
func (s *Scheduler) wakeAt(t time.Time) {
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// errStopped is the answer to commands after the loop ended.
var errStopped = fmt.Errorf("the scheduler has stopped")

// do runs f in the loop and waits until what follows from it is decided and shown to readers.
func (s *Scheduler) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.commands <- func() { s.asked = true; s.stir(); f(); s.answers = append(s.answers, done) }:
	case <-s.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// tell is do for those who will not look for what they changed: large apps need not be shown anew for them. What lets something more
// start says so itself.
func (s *Scheduler) tell(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.commands <- func() { f(); s.answers = append(s.answers, done) }:
	case <-s.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// doDurably runs f in the loop and waits until what it changed is durable.
func (s *Scheduler) doDurably(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	err := s.do(ctx, func() {
		if err := f(); err != nil {
			result <- err
			return
		}
		s.batch.after(func() { result <- nil })
	})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-s.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextVersion is a timestamp with millisecond precision that is later than every one before. Whoever stores something under
// it makes it the last one.
func (s *Scheduler) nextVersion(now time.Time) time.Time {
	v := now.UTC().Truncate(time.Millisecond)
	if !v.After(s.lastVersion) {
		v = s.lastVersion.Add(time.Millisecond)
	}
	return v
}

// treeVersion is the version of the whole tree: that of the last change which had an effect.
func (s *Scheduler) treeVersion() time.Time {
	if n := len(s.state.Changes); n > 0 {
		return s.state.Changes[n-1].Version
	}
	return s.lastVersion
}

func (s *Scheduler) publish(e api.Event) { s.batch.after(func() { s.opts.Events.Publish(e) }) }
