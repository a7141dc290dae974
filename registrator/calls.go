package registrator

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/registrator/services"
)

// call runs one call to Consul apart from the loop; done runs in the loop with its error.
func (l *loop) call(do func(context.Context) error, done func(error, time.Time)) {
	go func() {
		ctx, cancel := context.WithTimeout(l.ctx, l.r.o.CallTimeout)
		defer cancel()
		err := do(ctx)
		select {
		case l.results <- func(now time.Time) { done(err, now) }:
		case <-l.ctx.Done():
		}
	}()
}

// list reads what Consul has. News of an id that was written meanwhile are older than what we know, so they are dropped.
func (l *loop) list(now time.Time) {
	l.listing = true
	l.listNext = now.Add(l.r.o.AntiEntropy) // a write that fails meanwhile may bring it forward
	clear(l.dirty)
	for id := range l.busy {
		l.dirty[id] = true
	}
	var got listing
	l.call(func(ctx context.Context) (err error) {
		got, err = l.r.agent.list(ctx)
		return err
	}, func(err error, now time.Time) {
		l.listing = false
		if err != nil {
			l.unreachable(err, now)
			return
		}
		l.reached()
		l.take(got)
	})
}

func (l *loop) take(got listing) {
	for id := range l.dirty {
		delete(got.ours, id)
		if have, ok := l.actual[id]; ok {
			got.ours[id] = have
		}
		if l.foreign[id] {
			got.foreign[id] = true
		}
	}
	l.settleBy(got)
	for id := range l.ttl {
		if _, ok := got.ours[id]; !ok {
			delete(l.ttl, id)
		}
	}
	maps.DeleteFunc(l.told, func(id string, _ bool) bool { return !got.foreign[id] })
	for id := range l.dirty {
		delete(got.legacy, id) // it may be on its way out
	}
	l.actual, l.foreign, l.legacy, l.listed = got.ours, got.foreign, got.legacy, true
	if got.host.IsValid() {
		l.host = got.host
	}
	l.stale = true
	maps.DeleteFunc(l.retries, func(id string, _ retry) bool { return id != listKey && !l.concerned(id) })
}

// concerned says whether there is, or may be, anything to write of an id.
func (l *loop) concerned(id string) bool {
	_, wanted := l.wanted[id]
	_, ours := l.actual[id]
	_, legacy := l.legacy[id]
	return wanted || ours || legacy || l.busy[id] || l.doubtful(id)
}

// settleBy drops the doubts that a list ends: the registration is there, or somebody else is. That it is not there ends
// none, as an agent that hung may still work off what it was sent.
func (l *loop) settleBy(got listing) {
	for c := range l.unsure {
		have, ok := got.ours[c.id]
		if !l.dirty[c.id] && (got.foreign[c.id] || ok && services.Holder(have.Meta) == c.task) {
			delete(l.unsure, c)
		}
	}
}

// settle drops all doubts about an id.
func (l *loop) settle(id string) {
	maps.DeleteFunc(l.unsure, func(c claim, _ bool) bool { return c.id == id })
}

// doubtful says whether a registration of the id had no answer.
func (l *loop) doubtful(id string) bool {
	for c := range l.unsure {
		if c.id == id {
			return true
		}
	}
	return false
}

func (l *loop) reached() {
	if l.reach != reachable {
		l.log.Info("Connected to the Consul agent")
		clear(l.retries)
	}
	l.reach = reachable
	delete(l.retries, listKey)
}

// listKey is the listing's place among the retries; no service id is empty.
const listKey = ""

func (l *loop) unreachable(err error, now time.Time) {
	if l.reach != unreachable {
		l.log.WithError(err).Warn("The Consul agent does not answer; trying again")
	}
	l.reach = unreachable
	l.listNext = now.Add(l.failed(listKey, now))
}

// failed notes a failure and gives the time to wait.
func (l *loop) failed(key string, now time.Time) time.Duration {
	n := l.retries[key].failures + 1
	wait := backoff(n)
	l.retries[key] = retry{failures: n, at: now.Add(wait)}
	return wait
}

// start marks a write of the id as under way.
func (l *loop) start(id string, lane *int, do func(context.Context) error, done func(error, time.Time)) {
	l.busy[id], l.dirty[id] = true, true
	*lane++
	l.call(do, func(err error, now time.Time) {
		delete(l.busy, id)
		l.dirty[id] = true
		*lane--
		if err == nil {
			delete(l.retries, id)
		} else {
			l.writeFailed(id, err, now)
		}
		done(err, now)
	})
}

// writeFailed decides what a failed write means. An answer concerns that service only; a call that ran out of time may
// have worked or not, so the list is read again; no connection means that nothing else would work either.
func (l *loop) writeFailed(id string, err error, now time.Time) {
	if errors.Is(err, errForeign) {
		l.foreign[id] = true // until a later list says otherwise
		delete(l.retries, id)
		return
	}
	log := l.log.WithError(err).WithField("service", id)
	wait := l.failed(id, now)
	switch {
	case code(err) != 0:
		log.WithField("retry_in", wait).Warn("Consul refused a service")
		l.listNext = minTime(l.listNext, now.Add(wait))
	case errors.Is(err, context.DeadlineExceeded):
		log.WithField("retry_in", wait).Warn("Consul took too long for a service")
		l.listNext = now
	case l.reach == reachable:
		l.unreachable(err, now)
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (l *loop) register(s services.Service, reason string) {
	_, ours := l.actual[s.ID]
	mine := claim{s.ID, services.Holder(s.Meta)}
	before := l.unsure[mine]
	l.unsure[mine] = true
	l.start(s.ID, &l.adding, func(ctx context.Context) error {
		if !ours {
			if err := l.r.agent.vacant(ctx, s.ID); err != nil {
				return err
			}
		} else {
			have, err := l.r.agent.maintained(ctx, s.ID)
			if err != nil {
				return err
			}
			s.Maintenance = s.Kept(have)
		}
		return l.r.agent.register(ctx, s)
	}, func(err error, now time.Time) {
		if definite(err) && !before {
			delete(l.unsure, mine)
		}
		if err != nil {
			return
		}
		l.settle(s.ID)
		l.actual[s.ID] = s.Registered()
		if s.Check != nil && s.Check.TTL > 0 {
			l.ttl[s.ID] = ttlState{passing: s.Check.Passing, at: now}
		}
		l.log.WithFields(logrus.Fields{
			"service": s.ID, "of": s.Of(), "task": s.Task, "address": s.Address, "port": s.Port, "reason": reason,
		}).Info("Registered in Consul")
	})
}

func (l *loop) deregister(id string) {
	have, known := l.actual[id]
	mine, reason := claim{id, services.Holder(have.Meta)}, "no live task or container has it"
	for c := range l.unsure {
		if c.id == id && !known {
			mine = c
		}
	}
	of := have.Meta[services.MetaApp]
	if w, ok := l.withheld[mine]; ok {
		reason, of = w.Reason, cmp.Or(w.Container, w.Seat.String())
	}
	l.start(id, &l.leaving, func(ctx context.Context) error {
		return l.r.agent.deregister(ctx, id)
	}, func(err error, now time.Time) {
		if err != nil {
			return
		}
		if l.doubtful(id) {
			l.settle(id)
			l.listNext = minTime(l.listNext, now.Add(l.r.o.CallTimeout)) // is it carried out late?
		}
		delete(l.actual, id)
		delete(l.ttl, id)
		message := "Removed from Consul"
		if !known {
			message = "Removed from Consul, where it may have been: its registration had no answer"
		}
		l.log.WithFields(logrus.Fields{
			"service": id, "of": of, "task": mine.task, "reason": reason,
		}).Info(message)
	})
}

func (l *loop) refresh(s services.Service) {
	l.start(s.ID, &l.adding, func(ctx context.Context) error {
		return l.r.agent.updateTTL(ctx, s.ID, s.Check.Passing)
	}, func(err error, now time.Time) {
		if err == nil {
			l.ttl[s.ID] = ttlState{passing: s.Check.Passing, at: now}
		}
		if have, ok := l.actual[s.ID]; ok && code(err) == http.StatusNotFound {
			have.HasCheck = false // somebody removed the check; the service is to be written again
			l.actual[s.ID] = have
		}
	})
}
