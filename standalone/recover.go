package standalone

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/internal/docker"
)

// recover takes over what an earlier run left: running containers are running tasks again, created ones are started,
// ended ones owe their framework a terminal update. Tasks of a framework that does not checkpoint do not survive an agent's
// restart; reconciliation answers that they are gone.
func (o *owner) recover(s docker.Snapshot) {
	var ours []docker.Container
	for _, c := range s.Containers {
		if c.Labels[labelAgent] == o.agentID && !strings.HasSuffix(c.Name, endedSuffix) {
			ours = append(ours, c)
		}
	}
	slices.SortFunc(ours, func(a, b docker.Container) int { // of two with one task id, the newer one is the task
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	groups := o.findBoxes(ours)
	var goOn []func()
	for _, c := range ours {
		if c.Labels[labelMembers] != "" {
			continue
		}
		f := c.Labels[labelFramework]
		key := taskKey{f, c.Labels[labelTask]}
		res, err := parseLabel(c.Labels[labelResources])
		switch {
		case err != nil:
			o.log.WithError(err).WithField("container", c.Name).Error("cannot recover a container; it is left alone if it has ended, and stopped otherwise")
			continue
		case o.gone[f] || c.Labels[labelFleeting] != "" || o.tasks[key] != nil:
			if !c.Running {
				o.markEnded(c.ID, c.Labels[labelContainer])
			}
			continue // observe stops it if it runs
		}
		goOn = append(goOn, o.adopt(key, c, res))
	}
	for _, g := range groups {
		goOn = append(goOn, o.completeGroup(g, s.Containers))
	}
	for _, next := range goOn { // only now: what happens to one task of a group concerns the others
		next()
	}
	o.used = o.sumUsed()
}

// reviveFramework makes the framework of what was found, which may have come back before it.
func (o *owner) reviveFramework(c docker.Container) {
	failover, _ := strconv.ParseFloat(c.Labels[labelFailover], 64) // missing: none
	id := c.Labels[labelFramework]
	f := o.frameworks[id]
	if f == nil {
		f = &framework{id: id, role: c.Labels[labelRole]}
		o.frameworks[id] = f
	}
	if f.stream == nil {
		f.failover = max(f.failover, time.Duration(failover*float64(time.Second)), readopt)
		f.removeAt = time.Now().Add(f.failover)
	}
}

// adopt makes a task of a container, and returns how it goes on.
func (o *owner) adopt(key taskKey, c docker.Container, res bundle) func() {
	o.reviveFramework(c)
	grace, err := time.ParseDuration(c.Labels[labelGrace])
	if err != nil {
		grace = o.opts.KillGrace
	}
	t := &task{
		key: key, cid: c.Labels[labelContainer], res: res, grace: grace, role: c.Labels[labelRole], dockerID: c.ID,
		net: network{docker: c.NetworkMode, user: c.Labels[labelNetwork]}, abort: make(chan struct{}),
	}
	o.tasks[key], o.containers[t.cid] = t, t
	parent := c.Labels[labelGroup]
	if g := o.groups[parent]; g != nil {
		t.group = g
		g.members = append(g.members, t)
	}
	if t.group == nil && parent != "" && c.Running {
		return func() { // without its sandbox it has no address
			o.takeOver(t, c)
			t.fault = "the sandbox of the task group was removed while the engine was away"
			o.end(t, grace)
		}
	}
	if c.Partial && !c.Running {
		t.phase, t.state = launching, mesos.TASK_STARTING
		return func() {
			o.logTask(t).Info("asking docker how far a container came that an earlier run created")
			o.work(func(ctx context.Context) { o.describe(ctx, t) })
		}
	}
	return func() { o.takeOver(t, c) }
}

// describe learns of a container that does not run whether it was ever started, and how it ended.
func (o *owner) describe(ctx context.Context, t *task) {
	id := t.dockerID
	for try := 0; ; try++ {
		c, err := o.inspect(ctx, id)
		switch {
		case err == nil:
			o.post(func() { o.takeOver(t, c) })
			return
		case docker.IsNotFound(err):
			o.post(func() { o.over(t, removed()) })
			return
		case o.hopeless(ctx, t, try, err), !pause(ctx, try):
			return
		}
	}
}

// takeOver goes on with a task where an earlier run left it.
func (o *owner) takeOver(t *task, c docker.Container) {
	switch {
	case c.Running:
		t.phase, t.address = running, o.addressOf(t, c)
		if !c.Partial {
			t.startedAt = c.StartedAt
		}
		o.logTask(t).Info("found a running task again")
		// Whether the framework was ever told is not known: a run that is killed takes its unacknowledged updates with it.
		o.update(t, fromExecutor(mesos.TASK_RUNNING, ""))
		if t.killed {
			o.end(t, t.grace)
		}
	case c.StartedAt.IsZero() && c.State == "created" && c.Error == "":
		t.phase, t.state = launching, mesos.TASK_STARTING
		o.logTask(t).Info("starting a container that an earlier run created")
		o.work(func(ctx context.Context) { o.resume(ctx, t, c.ID) })
	default:
		t.phase = running
		code := c.ExitCode
		if c.StartedAt.IsZero() && code == 0 {
			code = 125 // never ran: what docker run says of a container that it cannot start
		}
		o.over(t, exited(code, c.Error))
	}
}

// resume is a launch from the start on.
func (o *owner) resume(ctx context.Context, t *task, id string) {
	if err := o.start(ctx, t, id); err != nil {
		o.notStarted(ctx, t, err)
		return
	}
	o.settle(ctx, t, id)
}
