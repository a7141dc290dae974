package cpuquota

import (
	"errors"
	"math"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/cpuquota/policy"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// loop is the state of Run; only Run's goroutine touches it. Control group files answer at once, so it reads them itself.
type loop struct {
	o       Options
	usage   *watch.Value[map[string]spec.Usage]
	log     logrus.FieldLogger
	watched map[string]*watched // by container id
	until   time.Time           // when the next start-up allowance ends; zero: there is none
	news    bool                // a container came or went
	looked  time.Time           // when the usage was last looked at
	read    time.Time           // when it was last measured
	reader  cgroup.Reader
	last    map[string]spec.Usage
	pods    map[string]string // task of a pod's container -> the pod's task
}

func newLoop(o Options, usage *watch.Value[map[string]spec.Usage]) *loop {
	return &loop{o: o, usage: usage, log: o.Log.WithField("component", "cpuquota"), watched: map[string]*watched{}}
}

// watched is one running container.
type watched struct {
	container docker.Container
	want      policy.Assignment
	group     *cgroup.Group // nil until it was found
	have      cgroup.Settings
	window    cgroup.Window
	memory    int64 // bytes in use
	lost      lost
	trouble   string // the last error logged, so that it is logged once
}

// counts says whether what it uses is of interest: it is somebody's task, or has a quota.
func (w *watched) counts() bool { return w.want.Task != "" || w.want.Base > 0 }

// parts are those settings that are not left alone.
func (w *watched) parts() cgroup.Parts {
	return cgroup.Parts{Burst: w.want.Burst > 0, Memory: w.want.Memory > 0, Pids: w.want.Pids > 0}
}

func (w *watched) close() {
	if w.group != nil {
		w.group.Close()
	}
}

func (l *loop) close() {
	for _, w := range l.watched {
		w.close()
	}
}

// due says whether a start-up allowance has ended.
func (l *loop) due(now time.Time) bool { return !l.until.IsZero() && !now.Before(l.until) }

// decide finds out what the running containers should have.
func (l *loop) decide(now time.Time, document spec.HostDocument, snapshot docker.Snapshot) {
	running := map[string]docker.Container{}
	var all []policy.Container
	for _, c := range snapshot.Containers {
		if w := l.watched[c.ID]; w != nil && c.Partial && c.Running {
			c = w.container // as it was last described
		}
		if c.Running && c.Pid > 0 {
			running[c.ID] = c
			all = append(all, toPolicy(c))
		}
	}
	for id, w := range l.watched {
		// A restarted container keeps its id, and may get the same process number, but a new group, with counters from zero.
		if c, ok := running[id]; !ok || c.Pid != w.container.Pid || !c.StartedAt.Equal(w.container.StartedAt) {
			w.close()
			delete(l.watched, id)
			l.news = true
		}
	}
	l.until = time.Time{}
	for _, a := range policy.Assign(document, all, l.o.Rules, now) {
		w := l.watched[a.ID]
		if w == nil {
			w = &watched{}
			l.watched[a.ID] = w
		}
		if w.want.Base != a.Base {
			w.lost = lost{} // what it lost under another quota says nothing about this one
			l.news = true
		}
		w.container, w.want = running[a.ID], a
		if !a.Until.IsZero() && (l.until.IsZero() || a.Until.Before(l.until)) {
			l.until = a.Until
		}
	}
	l.pods = map[string]string{}
	for _, seat := range document.Seats {
		for _, c := range seat.Containers {
			l.pods[c.TaskID] = seat.TaskID
		}
	}
}

func toPolicy(c docker.Container) policy.Container {
	return policy.Container{
		ID: c.ID, Name: c.Name, Labels: c.Labels, Env: c.Env, Started: c.StartedAt,
		Quota: microseconds(c.CPUQuota), Period: microseconds(c.CPUPeriod), NanoCPUs: c.NanoCPUs, Shares: c.CPUShares,
		Memory: cgroup.AsMemoryLimit(c.MemoryLimit), Pids: c.PidsLimit,
	}
}

// microseconds of an absurd number is the longest time that there is.
func microseconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), math.MaxInt64/int64(time.Microsecond))) * time.Microsecond
}

// pass looks at every running container once. Usage is read only as often as it is told: it costs more than the rest.
func (l *loop) pass(now time.Time, tick bool) {
	measure := tick && now.Sub(l.read) >= l.o.Publish-l.o.Every/2 // half a tick is for timers that come late
	if measure {
		l.read = now
	}
	for _, w := range l.watched {
		before := w.have.Quota
		err := l.keep(w)
		l.news = l.news || w.have.Quota != before
		if first := w.window.Empty(); err == nil && w.counts() && (measure || first) {
			err = l.measure(w, now)
			l.news = l.news || first
		}
		l.complain(w, err)
	}
	l.publish(now)
}

// keep compares what one container has with what it should have, and repairs it.
func (l *loop) keep(w *watched) error {
	if w.group == nil {
		group, err := l.o.Groups.Find(w.container.Pid, w.container.ID, w.container.CgroupParent)
		if err != nil {
			return err
		}
		group.KeepOpen()
		w.group = group
	}
	var err error
	if w.have, err = l.reader.Settings(w.group, w.parts()); err != nil {
		return err
	}
	changes := policy.Compare(w.want, toHave(w.have, w.want.Weight))
	if len(changes) == 0 {
		return nil
	}
	var faults []error
	for _, change := range changes {
		if err := set(w.group, change.Setting, w.want); err != nil {
			faults = append(faults, err)
			continue
		}
		l.log.WithFields(logrus.Fields{
			"app": w.want.App, "task": w.want.Task, "container": w.want.Name, "reason": change.Reason,
		}).Info("Set the " + string(change.Setting))
	}
	if w.have, err = l.reader.Settings(w.group, w.parts()); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func toHave(s cgroup.Settings, weight int64) policy.Have {
	return policy.Have{
		Quota: s.Quota.Time, Period: s.Quota.Period, Burst: s.Burst, Weight: s.Weight, Memory: s.MemoryLimit, Pids: s.PidsLimit,
		CanBurst: s.CanBurst, CanWeight: s.CanWeight, CanMemory: s.CanMemory, CanPids: s.CanPids, WeightRight: s.HasWeight(weight),
	}
}

func set(g *cgroup.Group, what policy.Setting, want policy.Assignment) error {
	switch what {
	case policy.Burst:
		return g.SetBurst(want.Burst)
	case policy.Weight:
		return g.SetWeight(want.Weight)
	case policy.MemoryLimit:
		return g.SetMemoryLimit(want.Memory)
	case policy.PidsLimit:
		return g.SetPidsLimit(want.Pids)
	}
	return g.SetQuota(cgroup.Quota{Time: want.Quota, Period: want.Period})
}

func (l *loop) measure(w *watched, now time.Time) error {
	stats, err := l.reader.Used(w.group)
	if err != nil {
		return err
	}
	w.window.Add(now, stats, l.o.Window, l.o.Every)
	w.memory = stats.Memory
	w.lost.add(now, stats, w.want, l.o.Rules.Ceiling)
	return nil
}

// complain logs an error once. A group that is not there belongs to a container that is just ending: no error.
func (l *loop) complain(w *watched, err error) {
	text := ""
	if err != nil && !errors.Is(err, cgroup.ErrNotFound) {
		text = err.Error()
	}
	if text != "" && text != w.trouble {
		l.log.WithError(err).WithFields(logrus.Fields{
			"app": w.want.App, "task": w.want.Task, "container": w.want.Name,
		}).Warn("Cannot keep what the container may use")
	}
	w.trouble = text
}
