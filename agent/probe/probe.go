// Package probe runs the health checks of one host's instances, beside the containers and against their own addresses. It
// gets the whole set of wanted probes, and gives the results back when one changes. It judges nothing: when too many
// failures kill an instance is the scheduler's decision.
package probe

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Target is one running task with the checks it wants.
type Target struct {
	TaskID    string
	Container string // Docker's id
	// Members are Docker's ids of a pod's running containers by name; Container then is its sandbox.
	Members map[string]string
	Address netip.Addr
	Since   time.Time // when the container started; grace periods count from it
	Probes  []spec.Probe
}

func (t Target) equal(o Target) bool {
	return t.TaskID == o.TaskID && t.Container == o.Container && t.Address == o.Address && t.Since.Equal(o.Since) &&
		maps.Equal(t.Members, o.Members) && slices.EqualFunc(t.Probes, o.Probes, spec.Probe.Equal)
}

// Options are what a Manager needs.
type Options struct {
	Prober Prober
	// Commands bounds the COMMAND probes that run at the same moment: each is a process and some calls of Docker. Default 64.
	Commands int
	// Concurrency bounds the other probes. They cost a socket each; a bound that is met would let instances that hang
	// delay the probes of all others, so it only guards against running out of files. Default 4096.
	Concurrency int
	Log         logrus.FieldLogger
}

// Validate fills defaults and says what is wrong.
func (o *Options) Validate() error {
	if o.Prober == nil || o.Log == nil {
		return errors.New("check probe options: prober and log are needed")
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4096
	}
	if o.Commands <= 0 {
		o.Commands = 64
	}
	return nil
}

// Manager is the owner of all probes of the host.
type Manager struct {
	o        Options
	targets  watch.Value[[]Target]
	results  watch.Value[map[string][]spec.CheckHealth]
	slots    chan struct{} // a semaphore
	commands chan struct{} // one for COMMAND probes
}

// New makes a Manager without targets.
func New(o Options) (*Manager, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Manager{o: o, slots: make(chan struct{}, o.Concurrency), commands: make(chan struct{}, o.Commands)}, nil
}

// Set replaces the whole set of targets. Probes of unchanged targets go on undisturbed.
func (m *Manager) Set(targets []Target) { m.targets.Set(targets) }

// Results are the newest results: task id -> one entry a probe, in the target's order. The value changes only when a result
// says something new (alive, the count of failures, the cause), not at each success. Maps in it are never changed.
func (m *Manager) Results() *watch.Value[map[string][]spec.CheckHealth] { return &m.results }

// running is a target whose probes run.
type running struct {
	target Target
	health []spec.CheckHealth
	stop   context.CancelFunc
}

// result is what a probe's goroutine tells the owner.
type result struct {
	of     *running
	index  int
	health spec.CheckHealth
}

// Run owns the probes until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks := map[string]*running{}
	results := make(chan result)
	for {
		targets, changed := m.targets.Get()
		if m.reconcile(ctx, tasks, targets, results) {
			m.publish(tasks)
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
				waiting = false
			case r := <-results:
				if tasks[r.of.target.TaskID] != r.of {
					continue // of a target that has just gone
				}
				before := r.of.health[r.index]
				r.of.health[r.index] = r.health
				if news(before, r.health) {
					m.log(r, before)
					m.publish(tasks)
				}
			}
		}
	}
}

// reconcile starts and stops by difference, and says whether results came or went.
func (m *Manager) reconcile(ctx context.Context, tasks map[string]*running, targets []Target, results chan<- result) (changed bool) {
	wanted := map[string]bool{}
	for _, t := range targets {
		wanted[t.TaskID] = true
		old := tasks[t.TaskID]
		if old != nil && old.target.equal(t) {
			continue
		}
		r := &running{target: t, health: make([]spec.CheckHealth, len(t.Probes))}
		if old != nil {
			old.stop()
			if slices.EqualFunc(old.target.Probes, t.Probes, spec.Probe.Equal) && old.target.Container == t.Container {
				copy(r.health, old.health) // only the address, the start or a pod's container became known: what was seen stays true
			}
		}
		tasks[t.TaskID] = r
		var life context.Context
		life, r.stop = context.WithCancel(ctx)
		for i := range t.Probes {
			go m.loop(life, r, i, r.health[i], results)
		}
		changed = true
	}
	for id, r := range tasks {
		if !wanted[id] {
			r.stop()
			delete(tasks, id)
			changed = true
		}
	}
	return changed
}

func (m *Manager) publish(tasks map[string]*running) {
	out := make(map[string][]spec.CheckHealth, len(tasks))
	for id, r := range tasks {
		out[id] = slices.Clone(r.health)
	}
	if last, _ := m.results.Get(); last == nil || !maps.EqualFunc(last, out, slices.Equal[[]spec.CheckHealth]) {
		m.results.Set(out)
	}
}

// news says whether others must hear of the step from a to b.
func news(a, b spec.CheckHealth) bool {
	return a.Known != b.Known || a.Alive != b.Alive || a.ConsecutiveFailures != b.ConsecutiveFailures || a.LastFailureCause != b.LastFailureCause ||
		a.Response != b.Response
}

// log writes one line when a check turns, none for repetitions.
func (m *Manager) log(r result, before spec.CheckHealth) {
	if before.Known == r.health.Known && before.Alive == r.health.Alive {
		return
	}
	p := r.of.target.Probes[r.index]
	log := m.o.Log.WithFields(logrus.Fields{"task": r.of.target.TaskID, "check": r.index, "protocol": p.Protocol})
	if r.health.Alive {
		log.Info("health check passes")
		return
	}
	log.WithField("cause", r.health.LastFailureCause).Info("health check fails")
}
