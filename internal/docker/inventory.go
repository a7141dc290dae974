package docker

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
)

// Source is what an Inventory follows; *Client is the real one.
type Source interface {
	List(ctx context.Context, labels map[string]string) ([]Container, error)
	Summaries(ctx context.Context, labels map[string]string) ([]Summary, error)
	Inspect(ctx context.Context, id string) (Container, error)
	Events(ctx context.Context) (<-chan Event, <-chan error)
}

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// resync is how often the list is compared: engines drop events of a client that was slow for 100 ms.
	resync = 30 * time.Second
	// batch bounds the results taken together before readers are told.
	batch = 64
	// lookers bounds the inspections under way.
	lookers = 64
)

// Inventory is the set of all containers, kept current by the engine's events. One Run feeds any number of readers.
type Inventory struct {
	source Source
	log    logrus.FieldLogger
	state  watch.Value[Snapshot]
}

// NewInventory returns an inventory that is empty and not connected until Run.
func NewInventory(c Source, log logrus.FieldLogger) *Inventory {
	return &Inventory{source: c, log: log.WithField("component", "inventory")}
}

// Get returns the newest snapshot and a channel that closes when there is a newer one. The snapshot must not be changed.
func (i *Inventory) Get() (Snapshot, <-chan struct{}) { return i.state.Get() }

// Run follows the engine until ctx ends. When the engine goes away, the last state stays, marked as not connected, and
// Run tries again.
func (i *Inventory) Run(ctx context.Context) error {
	backoff := firstBackoff
	for ctx.Err() == nil {
		connected, err := i.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if connected {
			backoff = firstBackoff
		}
		if last, _ := i.state.Get(); last.Connected || connected {
			i.log.WithError(err).Warn("docker went away; its containers are kept as last seen")
			last.Connected = false
			i.state.Set(last)
		} else {
			i.log.WithError(err).Debug("docker is not there yet")
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return ctx.Err()
}

// follow is one connection: subscribe, then list (so that nothing falls between), then inspect what the events are about.
func (i *Inventory) follow(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, failed := i.source.Events(ctx)
	listed, err := i.source.List(ctx, nil)
	if err != nil {
		return false, err
	}
	known := make(map[string]Container, len(listed))
	for _, c := range listed {
		known[c.ID] = c
	}
	i.publish(known)
	i.log.WithField("containers", len(known)).Info("following docker's containers")

	tick := time.NewTicker(resync)
	defer tick.Stop()
	look := newLooker(ctx, i.source)
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case err := <-failed:
			if err == nil || errors.Is(err, io.EOF) {
				err = errors.New("docker closed the event stream")
			}
			return true, err
		case e := <-events:
			if e.Container != "" {
				look.at(e.Container)
			} else {
				i.publish(known) // a network came or went: readers look at the networks again
			}
		case f := <-look.found:
			if err := look.take(f, known); err != nil {
				return true, err
			}
			i.publish(known)
		case <-tick.C:
			dirty, err := i.compare(ctx, known)
			if err != nil {
				return true, err
			}
			for _, id := range dirty {
				look.at(id)
			}
		}
	}
}

// looker inspects containers side by side, each by one inspection at a time. The engine answers for a container only when
// it has done with it: one whose address cannot be released (its IPAM plugin is gone) takes 15 seconds to end, and must
// not keep the end of another from being seen.
type looker struct {
	ctx    context.Context //nolint:containedctx // of one connection
	source Source
	slots  chan struct{}
	found  chan found
	busy   map[string]bool // id -> an event came since the inspection began
}

// found is the result of one inspection.
type found struct {
	id  string
	c   Container
	err error
}

func newLooker(ctx context.Context, s Source) *looker {
	return &looker{ctx: ctx, source: s, slots: make(chan struct{}, lookers), found: make(chan found), busy: map[string]bool{}}
}

func (l *looker) at(id string) {
	if _, busy := l.busy[id]; busy {
		l.busy[id] = true
		return
	}
	l.busy[id] = false
	go func() {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-l.ctx.Done():
			return
		}
		c, err := l.source.Inspect(l.ctx, id)
		select {
		case l.found <- found{id, c, err}:
		case <-l.ctx.Done():
		}
	}()
}

// take puts the result, and those that are at hand with it, into known.
func (l *looker) take(f found, known map[string]Container) error {
	for n := 1; ; n++ {
		again := l.busy[f.id]
		delete(l.busy, f.id)
		if again {
			l.at(f.id)
		}
		switch {
		case IsNotFound(f.err):
			delete(known, f.id)
		case f.err != nil:
			return f.err
		default:
			known[f.c.ID] = f.c
		}
		if n == batch {
			return nil
		}
		select {
		case f = <-l.found:
		default:
			return nil
		}
	}
}

// compare finds the containers whose name or state differ from what is known, or that came or went unnoticed.
func (i *Inventory) compare(ctx context.Context, known map[string]Container) ([]string, error) {
	listed, err := i.source.Summaries(ctx, nil)
	if err != nil {
		return nil, err
	}
	var dirty []string
	seen := make(map[string]bool, len(listed))
	for _, s := range listed {
		seen[s.ID] = true
		if k, ok := known[s.ID]; !ok || k.State != s.State || k.Name != s.Name {
			dirty = append(dirty, s.ID)
		}
	}
	for id := range known {
		if !seen[id] {
			dirty = append(dirty, id)
		}
	}
	slices.Sort(dirty)
	return dirty, nil
}

func (i *Inventory) publish(known map[string]Container) {
	all := slices.SortedFunc(maps.Values(known), func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	i.state.Set(Snapshot{Connected: true, Containers: all})
}
