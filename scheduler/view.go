package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

var _ api.Backend = (*Scheduler)(nil)

// Snapshot implements api.Backend. Tasks, apps and deployments are never changed in place, so it shares them.
func (s *Scheduler) Snapshot(ctx context.Context) (*api.Snapshot, error) {
	var out *api.Snapshot
	if err := s.do(ctx, func() { out = s.snapshot(time.Now()) }); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Scheduler) snapshot(now time.Time) *api.Snapshot {
	out := &api.Snapshot{
		Apps: maps.Clone(s.state.Apps), Groups: maps.Clone(s.state.Groups), Tasks: map[spec.AppID][]*spec.Task{}, Deployments: s.deployments(),
		LastFailure: maps.Clone(s.state.Failures), Seats: maps.Clone(s.state.Seats), Usage: maps.Clone(s.usage),
		Leases: slices.SortedFunc(maps.Values(s.state.Leases), func(a, b spec.Lease) int { return a.Address.Compare(b.Address) }),
		Pools:  s.opts.Pools, FrameworkID: s.state.FrameworkID, EngineURL: s.session.master, Connected: s.session.connected,
		Version: s.treeVersion(), Now: now,
	}
	for id, tasks := range s.byApp {
		if len(tasks) == 0 {
			continue
		}
		out.Tasks[id] = slices.SortedFunc(maps.Values(tasks), func(a, b *spec.Task) int {
			return cmp.Or(cmp.Compare(a.Seat.Index, b.Seat.Index), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
	}
	out.Queue = s.queueItems(now)
	return out
}

// queueItems are the apps that wait for launches, and those whose launch delay runs although every seat has a task just
// now: the reason for their restarts stays readable until it is mended.
func (s *Scheduler) queueItems(now time.Time) []api.QueueItem {
	ids := map[spec.AppID]bool{}
	for id := range s.queue {
		ids[id] = true
	}
	for id, a := range s.state.Apps {
		if s.delayOf(a).Wait > 0 && !s.allHealthy(a, now) {
			ids[id] = true
		}
	}
	var out []api.QueueItem
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		app := s.state.Apps[id]
		if app == nil {
			continue
		}
		d := s.delayOf(app)
		item := api.QueueItem{App: app, Since: s.state.Delays[id].Since}
		if d.Wait > 0 {
			item.BackoffUntil = d.Until
		}
		if q := s.queue[id]; q != nil {
			item.Count, item.Since, item.Why, item.LastUnused, item.LastUsed = q.count, q.since, slices.Clone(q.why), q.lastUnused, q.lastUsed
			item.Processed, item.Unused = q.attempt.Processed, q.attempt.Processed
			item.Refusals, item.Attempt = funnel(q.refused), funnel(q.attempt)
		} else {
			item.Why = []string{s.failureText(id, d)}
		}
		out = append(out, item)
	}
	return out
}

func (s *Scheduler) allHealthy(app *spec.App, now time.Time) bool {
	n := 0
	for _, t := range s.tasksOf(app, now) {
		if t.Healthy && t.Seat < app.Instances && !t.Outdated {
			n++
		}
	}
	return n >= app.Instances
}

func (s *Scheduler) failureText(id spec.AppID, d lifecycle.Delay) string {
	if f := s.state.Failures[id]; f != nil {
		return fmt.Sprintf("started again after a failure: %s: %s (launch delay %s)", f.State, f.Message, d.Wait.Round(time.Millisecond))
	}
	return fmt.Sprintf("started again after a failure (launch delay %s)", d.Wait.Round(time.Millisecond))
}

// funnel turns counts into Marathon's stages: what one stage passes is processed by the next.
func funnel(r place.Refusals) []api.Refusal {
	var out []api.Refusal
	left := r.Processed
	for _, reason := range place.Order() {
		out = append(out, api.Refusal{Reason: string(reason), Processed: left, Declined: r.Declined[reason]})
		left -= r.Declined[reason]
	}
	return out
}

// TreeChanges implements api.Backend.
func (s *Scheduler) TreeChanges(ctx context.Context) ([]spec.TreeChange, error) {
	var out []spec.TreeChange
	if err := s.do(ctx, func() { out = slices.Clone(s.state.Changes) }); err != nil {
		return nil, err
	}
	slices.Reverse(out)
	return out, nil
}

// Versions implements api.Backend.
func (s *Scheduler) Versions(ctx context.Context, app spec.AppID) ([]*spec.App, error) {
	var out []*spec.App
	err := s.do(ctx, func() {
		if s.state.Apps[app] != nil {
			out = slices.Clone(s.state.Versions[app])
		}
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, &api.NotFoundError{Message: fmt.Sprintf("App '%s' does not exist", app)}
	}
	slices.Reverse(out)
	return out, nil
}
