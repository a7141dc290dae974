package scheduler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// Kill implements api.Backend.
func (s *Scheduler) Kill(ctx context.Context, ids []string, opts api.KillOptions) (killed []*spec.Task, changed *api.Changed, err error) {
	err = s.doDurably(ctx, func() error {
		now := time.Now()
		fewer := map[spec.AppID]int{}
		var gone []spec.SeatID
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			if t := s.state.Tasks[id]; t != nil && t.Live() {
				killed = append(killed, t)
				if t.Rung != spec.Killing { // one on its way out already does not count a second time
					fewer[t.Seat.App]++
					gone = append(gone, t.Seat)
				}
			}
		}
		slices.SortFunc(killed, func(a, b *spec.Task) int { return cmp.Compare(a.ID, b.ID) })
		if opts.Scale { // also when nothing is hit: the caller waits for a deployment's id
			changed, err = s.change(api.Change{Force: opts.Force, Gone: gone, Decide: func(current api.Tree) (api.Tree, error) {
				puts := map[spec.AppID]*spec.App{}
				for id, n := range fewer {
					if a := current.Apps[id]; a != nil {
						own := *a
						own.Instances = max(0, own.Instances-n)
						puts[id] = &own
					}
				}
				return api.Tree{Apps: puts}, nil
			}}, now)
			if err != nil {
				return err
			}
		}
		for _, t := range killed {
			s.kill(s.state.Tasks[t.ID], "killed through the API", now)
		}
		s.wipe(killed, opts)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return killed, changed, nil
}
