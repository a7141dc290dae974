package registrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// drain is one draining task. Its services are taken out at the agent as all are that are not wanted; then the catalog is asked
// whether it has heard of that, as it is the catalog that clients of Consul watch. Consul's agent tells the servers before it
// answers, but it answers also when it could not, and tries again later.
type drain struct {
	since time.Time
	names map[string]string // what Consul had of it: service id -> name
	gone  time.Time         // the agent has none of it any more
	// asking: the catalog is being asked. It is asked again at askNext; trouble is why it has not confirmed.
	asking  bool
	asked   int
	askNext time.Time
	trouble string
	done    *spec.Drain
}

// Pauses between two questions to the catalog about one task: they double from the first to the last.
const (
	firstAsk = 20 * time.Millisecond
	lastAsk  = 320 * time.Millisecond
)

// acknowledge publishes which draining tasks clients can no longer find. A Consul that does not answer must not hold up
// stops for ever, so after the limit a drain counts as done; its services are still removed as soon as that is possible.
func (l *loop) acknowledge(now time.Time) {
	current, done := map[string]*drain{}, map[string]spec.Drain{}
	for _, seat := range l.state.Document.Seats {
		if !seat.Drain {
			continue
		}
		d := l.drains[seat.TaskID]
		if d == nil {
			d = &drain{since: now, names: map[string]string{}}
		}
		if d.done == nil {
			l.advance(seat.TaskID, d, now)
		}
		if d.done != nil {
			done[seat.TaskID] = *d.done
		}
		current[seat.TaskID] = d
	}
	l.drains = current
	if before, _ := l.r.drained.Get(); !maps.Equal(before, done) {
		l.r.drained.Set(done)
	}
}

// advance takes a drain as far as it can go now.
func (l *loop) advance(task string, d *drain, now time.Time) {
	for id, have := range l.actual {
		if have.Meta[services.MetaTask] == services.TaskValue(task) {
			d.names[id] = have.Name
		}
	}
	switch out := l.out(task); {
	case !out:
		d.gone = time.Time{}
	case len(d.names) == 0: // nobody could have found it
		d.done = &spec.Drain{Heard: d.since}
		return
	default:
		if d.gone.IsZero() {
			d.gone = now
		}
		if !d.asking && !now.Before(d.askNext) && l.asking < l.r.o.Workers {
			l.ask(task, d)
		}
	}
	if now.Sub(d.since) < l.r.o.DrainLimit {
		return
	}
	d.done = &spec.Drain{Heard: d.since, Out: d.gone, Unsure: d.trouble}
	if d.gone.IsZero() {
		d.done.Unsure = fmt.Sprintf("Consul did not take it out within %v", l.r.o.DrainLimit)
	}
	l.log.WithField("task", task).WithField("reason", d.done.Unsure).Warn("Consul did not confirm in time that the task is out; letting it stop")
}

// ask asks the catalog once whether it has the task's services. Waiting there for the change would keep others from asking.
func (l *loop) ask(task string, d *drain) {
	l.asking++
	d.asking = true
	names, gone := maps.Clone(d.names), d.gone
	var there bool
	l.call(func(ctx context.Context) (err error) {
		for id, name := range names {
			if there, err = l.r.agent.inCatalog(ctx, name, id, services.TaskValue(task)); there || err != nil {
				return err
			}
		}
		return nil
	}, func(err error, now time.Time) {
		l.asking--
		d.asking = false
		d.askNext = now.Add(min(firstAsk<<min(d.asked, 8), lastAsk))
		d.asked++
		switch {
		case d.done != nil:
		case !d.gone.Equal(gone): // it was at the agent again meanwhile, as a registration was carried out late: the answer is old
		case code(err) == http.StatusForbidden || errors.Is(err, errFiltered):
			// Then the agent's word must do: it tells the servers before it answers, unless it cannot.
			d.done = &spec.Drain{Heard: d.since, Out: d.gone, Unsure: "the Consul token may not read the catalog; the agent's word was taken"}
		case err != nil:
			d.trouble = "the catalog could not be asked: " + err.Error()
		case there:
			d.trouble = "the catalog still had it"
		default:
			d.done = &spec.Drain{Heard: d.since, Out: now}
		}
	})
}

// out says whether no service of the task is at the agent, nor on its way there.
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

// dueDrains calls sooner with the times at which a drain can go on without any news.
func (l *loop) dueDrains(sooner func(time.Time)) {
	for _, d := range l.drains {
		if d.done == nil {
			sooner(d.since.Add(l.r.o.DrainLimit))
			sooner(d.askNext)
		}
	}
}
