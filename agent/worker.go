package agent

import (
	"context"

	"github.com/berth-project/berth/internal/watch"
)

// worker does the slow work of one kind: always the newest job, one at a time. Jobs that a newer one overtook are skipped,
// so every job must be the whole state.
type worker[J, D any] struct {
	jobs watch.Value[*J]
	done chan D
}

func newWorker[J, D any]() *worker[J, D] { return &worker[J, D]{done: make(chan D)} }

func (w *worker[J, D]) give(j J) { w.jobs.Set(&j) }

// run works until ctx ends; what comes of each job is sent to done.
func (w *worker[J, D]) run(ctx context.Context, do func(context.Context, J) D) error {
	for {
		j, changed := w.jobs.Get()
		if j != nil {
			select {
			case <-ctx.Done():
				return nil
			case w.done <- do(ctx, *j):
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
