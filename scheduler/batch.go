package scheduler

import (
	"context"
	"time"

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

// manyChanges is from how many changes on nothing more is launched until the batch before has been stored: what a launch would gain by
// being decided earlier, all that comes behind it would lose.
const manyChanges = 20000

// full says that nothing more should be launched before the batch has left.
func (b *batch) full() bool { return b.txn.Len() >= manyChanges }

// after adds an effect that cannot block: an answer, a published event, a new host document.
func (b *batch) after(f func()) { b.effects = append(b.effects, f) }

// call is one call to the engine, made in order by the sender.
type call struct {
	name   string
	ack    *spec.TaskStatus // instead of do: an update to acknowledge
	free   bool             // its order among other free calls, and acknowledgements, means nothing
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
			if len(b.calls) == 0 {
				continue
			}
			select {
			case c.sender.in <- b.calls:
			case <-ctx.Done():
				return
			}
		}
	}
}

// declineFor is the filter of offers that nothing waits for: as good as for ever, since REVIVE clears it.
const declineFor = time.Hour
