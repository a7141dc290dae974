package cpuquota

import (
	"context"
	"errors"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/cpuquota/policy"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Inventory is the container inventory: the newest snapshot, and a channel that closes when it is no longer the newest.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options of a Keeper; State, Inventory, Groups and Log are needed.
type Options struct {
	State     *watch.Value[spec.HostState]
	Inventory Inventory
	Groups    *cgroup.FS
	Log       logrus.FieldLogger

	Every   time.Duration // between comparisons; 1 s
	Window  time.Duration // over which usage is measured; 10 s
	Publish time.Duration // between publications of usage; 5 s
}

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Window == 0 {
		o.Window = 10 * time.Second
	}
	if o.Publish == 0 {
		o.Publish = 5 * time.Second
	}
	var faults []error
	if o.State == nil || o.Inventory == nil || o.Groups == nil || o.Log == nil {
		faults = append(faults, errors.New("cpuquota: State, Inventory, Groups and Log are needed"))
	}
	if o.Every < 0 || o.Window < o.Every || o.Publish < 0 {
		faults = append(faults, errors.New("cpuquota: Every, Window and Publish must be positive, and Window at least Every"))
	}
	return errors.Join(faults...)
}

// Keeper keeps the quotas of one host.
type Keeper struct {
	o     Options
	usage watch.Value[map[string]spec.Usage]
}

// New checks the options.
func New(o Options) (*Keeper, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Keeper{o: o}, nil
}

// Usage holds what the running tasks use, by task id; it changes when the figures move noticeably.
func (k *Keeper) Usage() *watch.Value[map[string]spec.Usage] { return &k.usage }

// Run compares, repairs and measures until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	l := &loop{o: k.o, usage: &k.usage, log: k.o.Log.WithField("component", "cpuquota"), watched: map[string]*watched{}}
	ticker := time.NewTicker(k.o.Every)
	defer ticker.Stop()
	measure := true
	for {
		state, stateChanged := k.o.State.Get()
		snapshot, inventoryChanged := k.o.Inventory.Get()
		l.pass(time.Now(), state, snapshot, measure)
		measure = false
		select {
		case <-ctx.Done():
			return nil
		case <-stateChanged: // a changed quota need not wait for the next second
		case <-inventoryChanged:
		case <-ticker.C:
			measure = true
		}
	}
}

// loop is the state of Run; only Run's goroutine touches it. Control group files answer at once, so it reads them itself.
type loop struct {
	o         Options
	usage     *watch.Value[map[string]spec.Usage]
	log       logrus.FieldLogger
	watched   map[string]*watched // by container id
	published time.Time
	last      map[string]spec.Usage
	pods      map[string]string // task of a pod's container -> the pod's task
}

// watched is one running container.
type watched struct {
	group   *cgroup.Group
	pid     int
	task    string
	quota   cgroup.Quota
	window  window
	trouble string // the last error logged, so that it is logged once
}

// pass looks at every running container once. Usage is read on ticks only: memory figures cost more than the rest.
func (l *loop) pass(now time.Time, state spec.HostState, snapshot docker.Snapshot, measure bool) {
	var ours []policy.Container
	running := map[string]docker.Container{}
	for _, c := range snapshot.Containers {
		if c.Running && c.Pid > 0 && (c.Labels[spec.LabelTask] != "" || c.Labels[spec.LabelCPUs] != "") {
			ours = append(ours, policy.Container{
				ID: c.ID, Name: c.Name, Labels: c.Labels, Period: time.Duration(c.CPUPeriod) * time.Microsecond,
			})
			running[c.ID] = c
		}
	}
	l.pods = map[string]string{}
	for _, seat := range state.Document.Seats {
		for _, c := range seat.Containers {
			l.pods[c.TaskID] = seat.TaskID
		}
	}
	wanted := map[string]policy.Assignment{}
	for _, a := range policy.Assign(state.Document, ours) {
		wanted[a.ID] = a
	}
	for id, w := range l.watched {
		// A restarted container keeps its id and gets a new group, with counters from zero.
		if c, ok := running[id]; !ok || c.Pid != w.pid {
			delete(l.watched, id)
		}
	}
	for id, c := range running {
		w := l.watched[id]
		if w == nil {
			w = &watched{pid: c.Pid, task: c.Labels[spec.LabelTask]}
			l.watched[id] = w
		}
		a, has := wanted[id]
		err := l.keep(w, c, a, has)
		if err == nil && (measure || len(w.window.samples) == 0) {
			err = l.measure(w)
		}
		l.complain(w, c, err)
	}
	l.publish(now)
}

// keep compares one container's quota with the wanted one, and repairs it.
func (l *loop) keep(w *watched, c docker.Container, want policy.Assignment, has bool) error {
	if w.group == nil {
		group, err := l.o.Groups.Find(c.Pid, c.ID, c.CgroupParent)
		if err != nil {
			return err
		}
		w.group = group
	}
	quota, err := w.group.Quota()
	if err != nil {
		return err
	}
	if has {
		if reason := policy.Repair(want, quota.Time, quota.Period); reason != "" {
			quota = cgroup.Quota{Time: want.Quota, Period: want.Period}
			if err := w.group.SetQuota(quota); err != nil {
				return err
			}
			l.log.WithFields(logrus.Fields{
				"app": want.App, "task": want.Task, "container": want.Name, "reason": reason,
			}).Info("Set the CPU quota")
		}
	}
	w.quota = quota
	return nil
}

func (l *loop) measure(w *watched) error {
	stats, err := w.group.Read()
	if err != nil {
		return err
	}
	w.window.add(sample{at: time.Now(), stats: stats}, l.o.Window, l.o.Every)
	return nil
}

// complain logs an error once. A group that is not there belongs to a container that is just ending: no error.
func (l *loop) complain(w *watched, c docker.Container, err error) {
	text := ""
	if err != nil && !errors.Is(err, cgroup.ErrNotFound) {
		text = err.Error()
	}
	if text != "" && text != w.trouble {
		l.log.WithError(err).WithFields(logrus.Fields{
			"app": c.Labels[spec.LabelApp], "task": w.task, "container": c.Name,
		}).Warn("Cannot keep the CPU quota")
	}
	w.trouble = text
}
