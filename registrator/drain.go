package registrator

import (
	"maps"
	"time"

	"github.com/berth-project/berth/registrator/services"
)

// drain is one draining task.
type drain struct {
	since time.Time
	done  bool
}

// acknowledge publishes which draining tasks clients can no longer find. A Consul that does not answer must not hold up
// stops for ever, so after the limit a drain counts as done; its services are still removed as soon as that is possible.
func (l *loop) acknowledge(now time.Time) {
	before := l.doneDrains()
	current := map[string]drain{}
	for _, seat := range l.state.Document.Seats {
		if !seat.Drain {
			continue
		}
		d, ok := l.drains[seat.TaskID]
		if !ok {
			d.since = now
		}
		if !d.done && l.out(seat.TaskID) {
			d.done = true
		}
		if !d.done && now.Sub(d.since) >= l.r.o.DrainLimit {
			l.log.WithField("task", seat.TaskID).Warn("Consul did not confirm in time that the task is out; letting it stop")
			d.done = true
		}
		current[seat.TaskID] = d
	}
	l.drains = current
	if done := l.doneDrains(); !maps.Equal(before, done) {
		l.r.drained.Set(done)
	}
}

func (l *loop) doneDrains() map[string]bool {
	done := map[string]bool{}
	for task, d := range l.drains {
		if d.done {
			done[task] = true
		}
	}
	return done
}

// out says whether no service of the task is in Consul, nor on its way there.
func (l *loop) out(task string) bool {
	if !l.listed {
		return false
	}
	for _, have := range l.actual {
		if have.Meta[services.MetaTask] == services.TaskValue(task) {
			return false
		}
	}
	for c := range l.unsure {
		if c.task == services.TaskValue(task) {
			return false
		}
	}
	return true
}
