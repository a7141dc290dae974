package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/prepull"
)

// Prepull implements api.Backend.
func (s *Scheduler) Prepull(ctx context.Context, image string, hosts []string, refresh bool) (uint64, error) {
	var number uint64
	var err error
	e := s.tell(ctx, func() { number, err = s.prepull(image, hosts, refresh, time.Now()) })
	if e != nil {
		return 0, e
	}
	return number, err
}

func (s *Scheduler) prepull(image string, hosts []string, refresh bool, now time.Time) (uint64, error) {
	if len(hosts) == 0 {
		for name, h := range s.hosts {
			if h.reported && h.dead.IsZero() {
				hosts = append(hosts, name)
			}
		}
	}
	if len(hosts) == 0 {
		return 0, &api.ConflictError{Message: "No host's agent has spoken yet, so none can pull an image."}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	for _, name := range hosts {
		switch h := s.hosts[name]; {
		case h == nil:
			return 0, unknownHost(name)
		case !h.dead.IsZero():
			return 0, &api.ConflictError{Message: fmt.Sprintf("Host '%s' was declared dead.", name)}
		}
	}
	number, err := s.pulls.Ask(image, hosts, refresh, now)
	if err != nil {
		return 0, &api.ConflictError{Message: err.Error()}
	}
	for _, name := range hosts {
		s.staleDocs[name] = true
	}
	s.log.WithField("image", image).WithField("hosts", len(hosts)).Info("hosts are to pull an image")
	return number, nil
}

// Prepulled implements api.Backend.
func (s *Scheduler) Prepulled(ctx context.Context, number uint64) (*prepull.View, error) {
	var v *prepull.View
	if err := s.tell(ctx, func() { v = s.pulls.View(number) }); err != nil {
		return nil, err
	}
	if v == nil {
		return nil, &api.NotFoundError{Message: fmt.Sprintf("Pull '%d' is not known: it is older than %s, or the scheduler was started since", number, prepull.Keep)}
	}
	return v, nil
}

// expirePulls forgets images that nobody waits for any more.
func (s *Scheduler) expirePulls(now time.Time) {
	hosts, next := s.pulls.Expire(now)
	for _, name := range hosts {
		s.stale(name)
	}
	if !next.IsZero() {
		s.wakeAt(next)
	}
}
