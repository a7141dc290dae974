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
	Summaries(ctx context.Context, labels map[string]string) ([]Container, error)
	Inspect(ctx context.Context, id string) (Container, error)
	Events(ctx context.Context) (<-chan Event, <-chan error)
}

const (
	firstBackoff = 100 * time.Millisecond
	// maxBackoff is the longest that an engine that is back goes unnoticed. Containers that it starts anew have no quota until then.
	maxBackoff = time.Second
	// resync is how often the list is compared: engines drop events of a client that was slow for 100 ms.
	resync = 30 * time.Second
	// listTimeout is how long the engine may take for a list, for which it waits for no container. One that is frozen does not
	// close its connections, so silence is all that there is to see of it.
	listTimeout = 20 * time.Second
	// patience is how long the first snapshot waits for the engine to describe every container.
	patience = 2 * time.Second
	// batch bounds the results taken together before readers are told.
	batch = 64
	// lookers bounds the inspections under way.
	lookers = 64
	// lookTimeout ends an inspection; the engine takes up to 15 s for a container whose network plugin is away.
	lookTimeout = time.Minute
)

// Inventory is the set of all containers, kept current by the engine's events. One Run feeds any number of readers.
type Inventory struct {
	source Source
	log    logrus.FieldLogger
	state  watch.Value[Snapshot]
	// obscure holds the ids of the containers that the engine could not describe when last asked. Run alone touches it.
	obscure map[string]bool
	// endings are containers that were told to end, or died, by id. Run alone touches it.
	endings map[string]ending
}

// NewInventory returns an inventory that is empty and not connected until Run.
func NewInventory(c Source, log logrus.FieldLogger) *Inventory {
	return &Inventory{source: c, log: log.WithField("component", "inventory"), obscure: map[string]bool{}, endings: map[string]ending{}}
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

// follow is one connection: subscribe, then list (so that nothing falls between), then inspect what was listed and what the
// events are about.
func (i *Inventory) follow(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, failed := i.source.Events(ctx)
	listed, err := i.list(ctx)
	if err != nil {
		return false, err
	}
	f := i.newFollower(ctx, listed)
	f.publish() // for a machine without containers
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return f.told, ctx.Err()
		case err := <-failed:
			if err == nil || errors.Is(err, io.EOF) {
				err = errors.New("docker closed the event stream")
			}
			return f.told, err
		case e := <-events:
			if e.Container != "" {
				if f.heed(e) {
					f.publish()
				}
				f.look.at(e.Container)
			} else {
				f.publish() // a network came or went: readers look at the networks again
			}
		case result := <-f.look.found:
			if err := f.take(result); err != nil {
				return f.told, err
			}
			f.publish()
		case <-late.C:
			f.makeDo()
			f.publish()
		case <-tick.C:
			if err := f.compare(ctx); err != nil {
				return f.told, err
			}
			if f.remark(time.Now()) {
				f.publish()
			}
		}
	}
}

// list is what the engine has now.
func (i *Inventory) list(ctx context.Context) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return i.source.Summaries(ctx, nil)
}

// follower is what one connection knows.
type follower struct {
	*Inventory
	look    *looker
	known   map[string]Container
	missing map[string]Container // listed at first and not described yet; the first snapshot waits for them
	last    map[string]Container // of the connection before
	told    bool                 // the first snapshot is out
}

func (i *Inventory) newFollower(ctx context.Context, listed []Container) *follower {
	f := &follower{
		Inventory: i, look: newLooker(ctx, i.source),
		known: map[string]Container{}, missing: map[string]Container{}, last: map[string]Container{},
	}
	before, _ := i.state.Get()
	for _, c := range before.Containers {
		f.last[c.ID] = c
	}
	for _, c := range listed {
		f.missing[c.ID] = c
		f.look.at(c.ID)
	}
	return f
}

// take puts the result, and those that are at hand with it, into known. Only the loss of the connection is an error: a
// container that the engine cannot describe must not hide the others.
func (f *follower) take(r found) error {
	for n := 1; ; n++ {
		newest := f.look.done(r.id)
		switch {
		case r.err == nil:
			if newest {
				f.settle(r.id)
			}
			f.known[r.c.ID] = f.mark(r.c, time.Now())
			delete(f.obscure, r.id)
			delete(f.missing, r.id)
		case IsNotFound(r.err):
			delete(f.known, r.id)
			delete(f.obscure, r.id)
			delete(f.missing, r.id)
		case IsGone(r.err):
			return r.err
		default:
			f.puzzled(r)
		}
		if n == batch {
			return nil
		}
		select {
		case r = <-f.look.found:
		default:
			return nil
		}
	}
}

// puzzled keeps what is known of a container that the engine cannot describe. The next comparison tries again.
func (f *follower) puzzled(r found) {
	if !f.obscure[r.id] {
		f.obscure[r.id] = true
		f.log.WithError(r.err).WithField("container", r.id).Warn("docker cannot describe a container; it is shown as listed until it can")
	}
	if c, ok := f.missing[r.id]; ok {
		f.known[r.id] = f.mark(merge(c, f.last[r.id]), time.Now())
		delete(f.missing, r.id)
	}
}

// makeDo shows as listed what the engine has not described in time. To leave it out would tell the readers that it is gone.
func (f *follower) makeDo() {
	for id, c := range f.missing {
		f.known[id] = f.mark(merge(c, f.last[id]), time.Now())
	}
	clear(f.missing)
}

// merge lays what was listed over what was last known. The zero Container knows nothing.
func merge(listed, last Container) Container {
	switch {
	case last.ID == "":
		return listed
	case last.State == listed.State && last.Name == listed.Name:
		return last
	}
	last.Name, last.State, last.Running = listed.Name, listed.State, listed.Running
	last.Addresses, last.MACs = listed.Addresses, listed.MACs
	last.Pid, last.Partial = 0, true
	return last
}

// compare looks at the containers whose name or state differ from what is known, or that came or went unnoticed.
func (f *follower) compare(ctx context.Context) error {
	listed, err := f.list(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(listed))
	changed := false
	for _, c := range listed {
		seen[c.ID] = true
		k, ok := f.known[c.ID]
		same := ok && k.State == c.State && k.Name == c.Name
		if f.obscure[c.ID] && !same {
			f.known[c.ID], changed = f.mark(merge(c, k), time.Now()), true
		}
		if !same || k.Partial || f.obscure[c.ID] {
			f.look.at(c.ID)
		}
	}
	for id := range f.known {
		if !seen[id] {
			f.look.at(id)
		}
	}
	for id := range f.obscure {
		if _, ok := f.known[id]; !ok && !seen[id] {
			delete(f.obscure, id)
		}
	}
	if changed {
		f.publish()
	}
	return nil
}

// publish tells the readers, once the first snapshot is whole.
func (f *follower) publish() {
	if len(f.missing) > 0 {
		return
	}
	if !f.told {
		f.told = true
		f.log.WithField("containers", len(f.known)).Info("following docker's containers")
	}
	all := slices.SortedFunc(maps.Values(f.known), func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	f.state.Set(Snapshot{Connected: true, Containers: all})
}
