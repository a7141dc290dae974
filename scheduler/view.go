package scheduler

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/cow"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

var _ api.Backend = (*Scheduler)(nil)

// View implements api.Backend. It does not enter the loop.
func (s *Scheduler) View(context.Context) (*api.View, error) {
	select {
	case <-s.stopped:
		return nil, errStopped
	default:
		return s.published.Load().at(time.Now()), nil
	}
}

// Snapshot implements api.Backend. The loop gives what only it knows; what is large is put together outside of it.
func (s *Scheduler) Snapshot(ctx context.Context) (*api.Snapshot, error) {
	var out *api.Snapshot
	var shown *published
	var usage cow.View[string, spec.Usage]
	var seats cow.View[spec.SeatID, spec.Seat]
	var leases cow.View[netip.Addr, spec.Lease]
	var known []place.Known
	err := s.do(ctx, func() {
		out, known = s.snapshot(time.Now()), s.known()
		s.show()
		shown, usage, seats, leases = s.published.Load(), s.usage.View(), s.seats.View(), s.leases.View()
	})
	if err != nil {
		return nil, err
	}
	for i := range out.Queue {
		if item := &out.Queue[i]; item.Count > 0 {
			for _, never := range slices.Backward(s.outlook(item.App, known)) {
				item.Why = slices.Insert(item.Why, 0, api.Reason{Kind: api.ReasonNever, Text: never})
			}
		}
	}
	out.View = *shown.at(out.Now)
	out.Usage, out.Seats = maps.Collect(usage.All()), maps.Collect(seats.All())
	out.Leases = make([]spec.Lease, 0, leases.Len())
	for _, l := range leases.All() {
		out.Leases = append(out.Leases, l)
	}
	slices.SortFunc(out.Leases, func(a, b spec.Lease) int { return a.Address.Compare(b.Address) })
	return out, nil
}

// snapshot is the part that only the loop knows.
func (s *Scheduler) snapshot(now time.Time) *api.Snapshot {
	return &api.Snapshot{
		View: api.View{Now: now}, Pools: s.opts.Pools, Queue: s.queueItems(now), Held: s.held(), Hosts: s.hostViews(now), Waiting: maps.Clone(s.waits), Settling: s.settling(),
		Fenced: s.fenced(), Policies: s.opts.Policies,
	}
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
			item.Count, item.Since, item.LastUnused, item.LastUsed = q.count, q.since, q.lastUnused, q.lastUsed
			item.Why = slices.Clone(q.why)
			item.Processed, item.Unused = q.attempt.Processed, q.attempt.Processed
			item.Refusals, item.Attempt = funnel(q.refused), funnel(q.attempt)
			for _, o := range q.refused.Offers {
				item.UnusedOffers = append(item.UnusedOffers, api.UnusedOffer{Offer: o.Offer, Reason: string(o.Reason), Why: o.Why, At: q.lastUnused})
			}
		} else {
			item.Why = []api.Reason{{Kind: api.ReasonBackoff, Text: s.failureText(id, d)}}
		}
		out = append(out, item)
	}
	return out
}

func (s *Scheduler) allHealthy(app *spec.App, now time.Time) bool {
	n := 0
	for _, t := range s.tasksOf(app, nil) {
		if t.Healthy && !deploy.Temporary(app, t.Seat) && !t.Outdated {
			n++
		}
	}
	return n >= app.Instances
}

func (s *Scheduler) failureText(id spec.AppID, d lifecycle.Delay) string {
	wait := d.Wait.Round(time.Millisecond)
	if f := s.lastFailure(id, d); f != nil {
		return fmt.Sprintf("started again after a failure: %s: %s (launch delay %s)", f.State, f.Message, wait)
	}
	return fmt.Sprintf("started again after it ended by itself (launch delay %s)", wait)
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
