package standalone

import (
	"context"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/standalone/fetch"
)

// fetchPlaces bounds the tasks whose URIs are fetched at the same time.
const fetchPlaces = 8

// fetchURIs brings a task's URIs into its sandbox, and tells in its status what it waits for. A kill ends that.
func (h *host) fetchURIs(ctx context.Context, t *task, sandbox string, items []fetch.Item) error {
	if len(items) == 0 {
		return nil
	}
	release, err := h.slot(ctx, t, h.fetches)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-t.abort:
			cancel(errAborted)
		case <-ctx.Done():
		}
	}()
	h.logTask(t).WithField("uris", len(items)).Info("fetching")
	err = h.fetcher.Fetch(ctx, sandbox, items, func(text string) {
		h.post(func() {
			if t.phase == launching && !t.aborted {
				h.update(t, change{state: mesos.TASK_STAGING, source: mesos.SOURCE_AGENT, message: text, bare: true})
			}
		})
	})
	switch {
	case err == nil:
		return nil
	case isClosed(t.abort):
		return errAborted
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return launchError{err}
}
