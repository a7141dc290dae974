package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// delayOf is the app's present launch delay; one of an older configuration does not count.
func (s *Scheduler) delayOf(app *spec.App) lifecycle.Delay {
	d, ok := s.state.Delays[app.ID]
	if !ok || !d.ConfigVersion.Equal(app.LastConfigChange) {
		return lifecycle.Delay{}
	}
	return delayFrom(d)
}

func delayFrom(d store.Delay) lifecycle.Delay {
	return lifecycle.Delay{Wait: d.Delay, Grew: d.Reference, Until: d.Until}
}

func (s *Scheduler) putDelay(app *spec.App, d lifecycle.Delay) {
	since := s.state.Delays[app.ID].Since
	if since.IsZero() {
		since = d.Grew
	}
	r := store.Delay{Until: d.Until, Delay: d.Wait, Reference: d.Grew, ConfigVersion: app.LastConfigChange, Since: since}
	s.state.Delays[app.ID] = r
	s.batch.txn.PutDelay(app.ID, r)
}

func (s *Scheduler) dropDelay(app spec.AppID) {
	if _, ok := s.state.Delays[app]; ok {
		delete(s.state.Delays, app)
		s.batch.txn.DeleteDelay(app)
	}
}

// launchedDelay moves the delay's reference when an instance starts: starts of a failing app are spaced by its delay.
func (s *Scheduler) launchedDelay(app *spec.App, now time.Time) {
	if d := s.delayOf(app); d.Wait > 0 {
		s.putDelay(app, d.Launched(now))
	}
}

// expireDelays forgets failures that are long over.
func (s *Scheduler) expireDelays(now time.Time) {
	for id, d := range s.state.Delays {
		app := s.state.Apps[id]
		if app == nil {
			s.dropDelay(id)
			continue
		}
		if at := delayFrom(d).Expires(app); !now.Before(at) {
			s.dropDelay(id)
		} else {
			s.wakeAt(at)
		}
	}
}

// ResetDelay implements api.Backend.
func (s *Scheduler) ResetDelay(ctx context.Context, app spec.AppID) error {
	return s.doDurably(ctx, func() error {
		_, delayed := s.state.Delays[app]
		if s.queue[app] == nil && !delayed {
			return &api.NotFoundError{Message: fmt.Sprintf("Application %s not found in tasks queue.", app)}
		}
		s.dropDelay(app)
		return nil
	})
}
