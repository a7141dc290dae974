// Package drain waits until the clients of a stopping task have gone. In: the draining tasks, each with its process, its ports and
// what the registrator did about it. Out: those whose wait is over, with the times of their steps. It reads the connections of a
// draining task from the kernel a few times a second, and nothing while nothing drains.
package drain

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

const (
	// settle is how long those who watch Consul's catalog get to act on it: a blocking query is answered within milliseconds, and
	// what is made of it (an upstream list and a reload of a proxy) takes some hundred. It is also how long no new connection must
	// have come before an instance that waits for its clients counts as left by them.
	settle = 500 * time.Millisecond
	// pace is the pause between two readings; reading takes no more than a tenth of the time, however many connections a host has.
	pace    = 150 * time.Millisecond
	maxPace = 5 * time.Second
)

// Unknown is the Pid of a task that runs, and of whose process nothing is known just now.
const Unknown = -1

// Task is one draining task.
type Task struct {
	ID    string
	Pid   int // of its first process, whose network namespace counts; 0: it does not run; or Unknown
	Ports []int
	// Shared: the network namespace is the host's, in which others are connected to, too.
	Shared bool
	For    time.Duration // the longest wait for connections; 0: none
	// Out is what the registrator did; nil: clients may still find the task.
	Out *spec.Drain
}

// Equal says whether both are the same.
func (t Task) Equal(o Task) bool {
	same := t.Out == nil && o.Out == nil || t.Out != nil && o.Out != nil && *t.Out == *o.Out
	return same && t.ID == o.ID && t.Pid == o.Pid && t.Shared == o.Shared && t.For == o.For && slices.Equal(t.Ports, o.Ports)
}

// Waiter waits. Its own loop holds its state; others give tasks and read results.
type Waiter struct {
	log     logrus.FieldLogger
	read    func(pid int) (Sockets, error)
	tasks   watch.Value[[]Task]
	results watch.Value[map[string]spec.Drain]
}

// New is a waiter that reads from the kernel.
func New(log logrus.FieldLogger) *Waiter { return &Waiter{log: log, read: Read} }

// Set gives all draining tasks.
func (w *Waiter) Set(tasks []Task) {
	if old, _ := w.tasks.Get(); !slices.EqualFunc(old, tasks, Task.Equal) {
		w.tasks.Set(tasks)
	}
}

// Results are the tasks that may be killed, by id.
func (w *Waiter) Results() *watch.Value[map[string]spec.Drain] { return &w.results }

// wait is one task's. The times are those of this host.
type wait struct {
	heard, since time.Time // since: clients find it no more, as far as the registrator could see to that
	look         time.Time // when to read again
	quiet        time.Time // since when no new connection has come
	accepted     uint64    // by the network namespace, as last read
	open, left   int       // at the first and at the last reading
	looked       bool
	done         *spec.Drain
}

// Run waits until ctx ends.
func (w *Waiter) Run(ctx context.Context) error {
	waits := map[string]*wait{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		tasks, changed := w.tasks.Get()
		now := time.Now()
		current, next := map[string]*wait{}, time.Time{}
		for _, t := range tasks {
			x := cmp.Or(waits[t.ID], &wait{heard: now})
			current[t.ID] = x
			if due := w.advance(t, x, now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
				next = due
			}
		}
		waits = current
		w.publish(waits)
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		}
	}
}

func (w *Waiter) publish(waits map[string]*wait) {
	done := map[string]spec.Drain{}
	for id, x := range waits {
		if x.done != nil {
			done[id] = *x.done
		}
	}
	if old, _ := w.results.Get(); !maps.Equal(old, done) {
		w.results.Set(done)
	}
}

// advance takes a wait as far as it can go now, and says when it goes on by itself; zero: it does not.
func (w *Waiter) advance(t Task, x *wait, now time.Time) time.Time {
	if x.done != nil || t.Out == nil {
		return time.Time{}
	}
	if x.since.IsZero() {
		x.since = now
		if out := t.Out.Out; !out.IsZero() && out.Before(now) {
			x.since = out // the registrator's word may have come before this process's document did
		}
		x.quiet = x.since
	}
	if now.Before(x.look) {
		return x.look // news of another task
	}
	watchers := x.since // until then nobody can be blamed for coming
	if !t.Out.Out.IsZero() {
		watchers = x.since.Add(settle)
	}
	known := w.look(t, x, now)
	gone := t.Pid == 0 || len(t.Ports) == 0 || known && x.left == 0 && now.Sub(x.quiet) >= settle
	late := !now.Before(x.since.Add(t.For))
	if t.Pid == 0 || !now.Before(watchers) && (gone || late) {
		d := *t.Out
		d.Heard, d.Over, d.Open, d.Left = earlier(d.Heard, x.heard), time.Now(), x.open, x.left
		x.done = &d
		if x.left > 0 && t.For > 0 {
			w.log.WithFields(logrus.Fields{"task": t.ID, "connections": x.left, "waited": t.For.String()}).Info("clients have not left in time; letting the task stop")
		}
		return time.Time{}
	}
	x.look = now.Add(min(max(pace, 10*time.Since(now)), maxPace))
	for _, end := range []time.Time{watchers, x.since.Add(t.For)} {
		if end.After(now) && end.Before(x.look) {
			x.look = end
		}
	}
	return x.look
}

// look reads the task's connections. known is false where that is not possible: then clients may be there.
func (w *Waiter) look(t Task, x *wait, now time.Time) (known bool) {
	if t.Pid == 0 || len(t.Ports) == 0 {
		return true
	}
	if t.Pid == Unknown {
		return false
	}
	s, err := w.read(t.Pid)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it has ended
		x.left = 0
		return true
	case err != nil:
		if !x.looked {
			w.log.WithError(err).WithField("task", t.ID).Warn("the connections of a draining task cannot be counted; waiting as long as it may take")
		}
		x.looked = true
		return false
	}
	x.left = 0
	for _, p := range t.Ports {
		x.left += s.Open[uint16(p)]
	}
	if !x.looked {
		x.open, x.looked = x.left, true
	} else if s.Accepted != x.accepted && !t.Shared {
		x.quiet = now
	}
	x.accepted = s.Accepted
	return true
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
