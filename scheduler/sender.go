package scheduler

import (
	"context"
	"errors"
	"sync"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

const (
	// callsAtOnce bounds the calls that are taken out together.
	callsAtOnce = 1024
	// fewCalls are made one after the other; of more, callers are made at a time.
	fewCalls, callers = 16, 32
	// batchesAhead is the calls of how many batches may wait, so that the next ones are stored while they are made.
	batchesAhead = 4
)

// sender makes the engine calls in their order, so that a REVIVE never overtakes the SUPPRESS before it; but those whose order means
// nothing are made several at a time, as a large fleet has thousands a second.
type sender struct {
	s  *Scheduler
	in chan []call
}

func newSender(s *Scheduler) *sender { return &sender{s: s, in: make(chan []call, batchesAhead)} }

func (x *sender) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case calls := <-x.in:
			for len(calls) > 0 && ctx.Err() == nil {
				calls = x.waiting(calls)
				calls = calls[x.work(ctx, calls):]
			}
		}
	}
}

// waiting adds the calls of the batches behind, while there are few: what can be made together comes in small batches, too.
func (x *sender) waiting(calls []call) []call {
	for len(calls) < callsAtOnce {
		select {
		case more := <-x.in:
			calls = append(calls, more...)
		default:
			return calls
		}
	}
	return calls
}

// work makes the first of the calls; if it is a free one also those right behind it, up to a bound. It returns how many it made.
func (x *sender) work(ctx context.Context, calls []call) (made int) {
	calls = calls[:min(callsAtOnce, len(calls))]
	acks := make([]spec.TaskStatus, 0, len(calls))
	var free []call
	for _, c := range calls {
		switch {
		case c.ack != nil:
			acks = append(acks, *c.ack)
		case c.free:
			free = append(free, c)
		case made == 0:
			x.later(ctx, x.make(ctx, c))
			return 1
		default:
			x.together(ctx, acks, free)
			return made
		}
		made++
	}
	x.together(ctx, acks, free)
	return made
}

// together makes calls whose order means nothing.
func (x *sender) together(ctx context.Context, acks []spec.TaskStatus, free []call) {
	acknowledge := call{name: "ACKNOWLEDGE", do: func(ctx context.Context) error { return x.s.opts.Engine.Acknowledge(ctx, acks...) }}
	if len(acks)+len(free) <= fewCalls {
		for _, c := range free { // what is launched before what is only confirmed
			x.later(ctx, x.make(ctx, c))
		}
		if len(acks) > 0 {
			x.later(ctx, x.make(ctx, acknowledge))
		}
		return
	}
	var all sync.WaitGroup
	if len(acks) > 0 {
		all.Go(func() { x.make(ctx, acknowledge) }) // nothing follows from those
	}
	outcomes := make([]func(), len(free))
	for i := range min(callers, len(free)) {
		all.Go(func() {
			for n := i; n < len(free); n += callers {
				outcomes[n] = x.make(ctx, free[n])
			}
		})
	}
	all.Wait()
	x.later(ctx, func() {
		for _, f := range outcomes {
			if f != nil {
				f()
			}
		}
	})
}

// make makes a call and returns what the loop is to do about how it went; nil: nothing.
func (x *sender) make(ctx context.Context, c call) func() {
	err := c.do(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		// Without a session every call fails; the next one reconciles and asks again. No line a call for that.
		if !errors.Is(err, mesos.ErrDisconnected) {
			x.s.log.WithError(err).WithField("call", c.name).Warn("engine call failed")
		}
		if c.failed != nil {
			return func() { x.s.stir(); c.failed(err) }
		}
		return nil
	}
	return c.sent
}

// later runs f, if any, in the loop without making the next call wait for it.
func (x *sender) later(ctx context.Context, f func()) {
	if f == nil {
		return
	}
	go func() {
		select {
		case x.s.commands <- f:
		case <-ctx.Done():
		}
	}()
}
