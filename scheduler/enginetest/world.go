// Package enginetest is a world of simulated hosts for rehearsals: an engine that offers what the hosts have free, runs what
// it is told after a set time, and ends what it is told to end, and the agents of these hosts, which report networks that are
// ready, checks that pass and drains that are done. It is quick enough for ten thousand tasks in one process.
package enginetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// Options say what the world is like.
type Options struct {
	Hosts     int
	CPUs, Mem float64       // of each host
	Pools     []string      // that every host is ready for
	StartTime time.Duration // from the launch of a task to TASK_RUNNING, and from a kill to its end
}

// World is the engine; it has the methods that the scheduler wants of one.
type World struct {
	opts Options

	mu      sync.Mutex // guards all below
	hosts   []*host
	byName  map[string]*host
	tasks   map[string]*task
	session chan mesos.Event // nil while nobody is subscribed
	quiet   bool             // suppressed
	ids     int
	due     []transition // by time
}

type host struct {
	name      string
	cpus, mem float64 // free
	offer     string  // outstanding, "" for none
	refused   time.Time
	grew      bool // more became free since the offer
}

type task struct {
	spec.Launch
	host  *host
	state string
}

type transition struct {
	at    time.Time
	task  *task
	state string
}

// tick is how exact the simulated times are.
const tick = 10 * time.Millisecond

// New makes a world without tasks.
func New(o Options) *World {
	w := &World{opts: o, byName: map[string]*host{}, tasks: map[string]*task{}}
	for i := range o.Hosts {
		h := &host{name: fmt.Sprintf("sim-%04d", i), cpus: o.CPUs, mem: o.Mem}
		w.hosts = append(w.hosts, h)
		w.byName[h.name] = h
	}
	return w
}

// Running counts the tasks that run.
func (w *World) Running() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, t := range w.tasks {
		if t.state == "TASK_RUNNING" {
			n++
		}
	}
	return n
}

// Run delivers events until ctx ends.
func (w *World) Run(ctx context.Context, events chan<- mesos.Event) error {
	ch := make(chan mesos.Event, 1<<17) // no world has so much to say that a send would block under the lock
	w.mu.Lock()
	w.session, w.quiet = ch, false
	for _, h := range w.hosts {
		h.offer, h.refused = "", time.Time{}
	}
	w.send(mesos.Subscribed{FrameworkID: "simulated", Master: "http://simulated:5050", Version: "1.11.0"})
	w.offer()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.session = nil
	}()
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-clock.C:
			w.pass(now)
		case ev := <-ch:
			select {
			case events <- ev:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// pass does what is due.
func (w *World) pass(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.due) && !w.due[n].at.After(now) {
		w.set(w.due[n].task, w.due[n].state)
		n++
	}
	w.due = slices.Delete(w.due, 0, n)
	w.offer()
}

func (w *World) send(ev mesos.Event) {
	if w.session != nil {
		w.session <- ev
	}
}

func (w *World) later(t *task, state string) {
	w.due = append(w.due, transition{time.Now().Add(w.opts.StartTime), t, state})
}

// set moves a task and tells the scheduler. What it used is offered with the next offers.
func (w *World) set(t *task, state string) {
	if spec.TerminalState(t.state) {
		return
	}
	t.state = state
	if spec.TerminalState(state) {
		t.host.cpus, t.host.mem = t.host.cpus+t.CPUs, t.host.mem+t.Mem
		t.host.refused, t.host.grew = time.Time{}, true // more is free now than was refused, or is offered
		delete(w.tasks, t.TaskID)
	}
	w.ids++
	w.send(mesos.Update{Status: spec.TaskStatus{TaskID: t.TaskID, AgentID: "agent-" + t.host.name, State: state,
		Timestamp: time.Now(), ContainerID: "c-" + t.TaskID, UUID: fmt.Appendf(nil, "%016d", w.ids)}})
}

// offer offers what is free on every host without an outstanding offer.
func (w *World) offer() {
	if w.session == nil || w.quiet {
		return
	}
	var out []spec.Offer
	now := time.Now()
	for _, h := range w.hosts {
		if h.offer != "" || now.Before(h.refused) {
			continue
		}
		w.ids++
		h.grew = false
		h.offer = fmt.Sprintf("offer-%d@%s", w.ids, h.name)
		out = append(out, spec.Offer{ID: h.offer, AgentID: "agent-" + h.name, Host: h.name, CPUs: h.cpus, Mem: h.mem, Disk: 1e6,
			Ports: []spec.PortRange{{Begin: 31000, End: 32000}}})
	}
	if len(out) > 0 {
		w.send(mesos.Offers{Offers: out})
	}
}

// take ends an offer; nil when it is not outstanding.
func (w *World) take(id string) *host {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] != '@' {
			continue
		}
		if h := w.byName[id[i+1:]]; h != nil && h.offer == id {
			h.offer = ""
			return h
		}
	}
	return nil
}

func (w *World) connected() error {
	if w.session == nil {
		return mesos.ErrDisconnected
	}
	return nil
}
