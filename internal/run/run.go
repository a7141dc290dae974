// Package run keeps the long-lived parts of one process together: named actors come in, are started in the order they were
// added, and are stopped one by one in the reverse order, so that what others lean on goes last. It returns the first cause
// of the end with the actor's name. It never restarts an actor and never catches a panic.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultStopTimeout is how long one actor may take to stop when the group does not say otherwise.
const DefaultStopTimeout = 15 * time.Second

// ErrNotStopped is wrapped with the name of each actor that had not returned when its time to stop was over.
var ErrNotStopped = errors.New("did not stop in time")

// Group is a list of actors that live and end together. The zero Group is ready to use; it runs once.
type Group struct {
	// StopTimeout is the time each actor gets to return after its context ended; 0 means DefaultStopTimeout. It is a
	// deadline for each, not for all: a slow first one must not take the time of those that have to write their state.
	StopTimeout time.Duration

	actors []*actor
}

type actor struct {
	name   string
	run    func(context.Context) error
	cancel context.CancelFunc
	done   chan struct{} // closed when run returned; err is set before
	err    error
}

// Add appends an actor. run must return soon after its context ends. An error before that ends the whole group; nil means
// that the actor has nothing more to do, and the others go on.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.actors = append(g.actors, &actor{name: name, run: run, done: make(chan struct{})})
}

// Run starts all actors and waits until ctx ends, one actor fails, or all have returned nil. Then it stops those that still
// run, last added first, each only after the one before it has stopped or used up its time. The result is nil after an
// orderly end; otherwise the first cause comes first, followed by what went wrong while stopping.
func (g *Group) Run(ctx context.Context) error {
	returned := make(chan *actor, len(g.actors))
	for _, a := range g.actors {
		// The end of ctx must not reach all actors at once: each is cancelled in its turn.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		a.cancel = cancel
		go func() {
			a.err = a.run(own)
			close(a.done)
			returned <- a
		}()
	}
	cause := g.wait(ctx, returned)
	var faults []error
	if cause != nil {
		faults = append(faults, cause.wrap(cause.err))
	}
	for i := len(g.actors) - 1; i >= 0; i-- {
		a := g.actors[i]
		if err := a.stop(g.stopTimeout()); err != nil && a != cause {
			faults = append(faults, a.wrap(err))
		}
	}
	return errors.Join(faults...)
}

// wait blocks until the group must end and returns the actor that caused it, nil for an orderly end.
func (g *Group) wait(ctx context.Context, returned <-chan *actor) *actor {
	for range g.actors {
		select {
		case <-ctx.Done():
			return nil
		case a := <-returned:
			if a.err != nil {
				return a
			}
		}
	}
	return nil
}

func (g *Group) stopTimeout() time.Duration {
	if g.StopTimeout > 0 {
		return g.StopTimeout
	}
	return DefaultStopTimeout
}

// stop ends the actor's context and waits for it. A context error is the ordinary answer to that and no fault.
func (a *actor) stop(limit time.Duration) error {
	a.cancel()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.done:
	case <-timer.C:
		return fmt.Errorf("%w (%s)", ErrNotStopped, limit)
	}
	if errors.Is(a.err, context.Canceled) {
		return nil
	}
	return a.err
}

func (a *actor) wrap(err error) error { return fmt.Errorf("%s: %w", a.name, err) }
