package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// batch is what the loop decided since the last one left: records, and effects that may happen once they are durable.
type batch struct {
	txn     store.Txn
	effects []func()
	calls   []call
}

func (b *batch) empty() bool { return b.txn.Empty() && len(b.effects) == 0 && len(b.calls) == 0 }

// after adds an effect that cannot block: an answer, a published event, a new host document.
func (b *batch) after(f func()) { b.effects = append(b.effects, f) }

// call is one call to the engine, made in order by the sender.
type call struct {
	name   string
	ack    *spec.TaskStatus // instead of do: an update to acknowledge
	do     func(ctx context.Context) error
	failed func(err error) // runs in the loop; nil: only logged
	sent   func()          // runs in the loop after success
}

func (b *batch) call(c call) { b.calls = append(b.calls, c) }

// committer makes batches durable one at a time and then releases their effects.
type committer struct {
	s      *Scheduler
	in     chan batch
	sender *sender
}

func newCommitter(s *Scheduler, sender *sender) *committer {
	return &committer{s: s, in: make(chan batch), sender: sender}
}

func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-c.in:
			if !b.txn.Empty() {
				// The commit is not cut off by a stop: half of it would be lost work, and it takes milliseconds.
				if err := c.s.opts.Store.Commit(context.WithoutCancel(ctx), b.txn); err != nil {
					c.s.lost <- err
					return
				}
			}
			for _, f := range b.effects {
				f()
			}
			for _, call := range b.calls {
				select {
				case c.sender.in <- call:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// sender makes the engine calls one after the other, so that a REVIVE never overtakes the SUPPRESS before it.
type sender struct {
	s  *Scheduler
	in chan call
}

func newSender(s *Scheduler) *sender { return &sender{s: s, in: make(chan call, 4096)} }

func (x *sender) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-x.in:
			if c.ack != nil {
				var follows *call
				if c, follows = x.gather(c); follows != nil {
					x.make(ctx, c)
					c = *follows
				}
			}
			x.make(ctx, c)
		}
	}
}

// manyAcks bounds the acknowledgements that are made at a time.
const manyAcks = 512

// gather joins an acknowledgement with those that wait right behind it, and returns the call that follows them, if it had to be
// taken out.
func (x *sender) gather(c call) (acks call, follows *call) {
	updates := []spec.TaskStatus{*c.ack}
	acks = call{name: c.name, do: func(ctx context.Context) error { return x.s.opts.Engine.Acknowledge(ctx, updates...) }}
	for len(updates) < manyAcks {
		select {
		case next := <-x.in:
			if next.ack == nil {
				return acks, &next
			}
			updates = append(updates, *next.ack)
		default:
			return acks, nil
		}
	}
	return acks, nil
}

// make makes a call, and tells the loop how it went.
func (x *sender) make(ctx context.Context, c call) {
	err := c.do(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// Without a session every call fails; the next one reconciles and asks again. No line a call for that.
		if !errors.Is(err, mesos.ErrDisconnected) {
			x.s.log.WithError(err).WithField("call", c.name).Warn("engine call failed")
		}
		if c.failed != nil {
			x.later(ctx, func() { c.failed(err) })
		}
		return
	}
	if c.sent != nil {
		x.later(ctx, c.sent)
	}
}

// later runs f in the loop without making the next call wait for it.
func (x *sender) later(ctx context.Context, f func()) {
	go func() {
		select {
		case x.s.commands <- f:
		case <-ctx.Done():
		}
	}()
}

// declineFor is the filter of offers that nothing waits for: as good as for ever, since REVIVE clears it.
const declineFor = time.Hour
