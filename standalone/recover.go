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
func (h *host) recover(s docker.Snapshot) {
	var ours []docker.Container
	for _, c := range s.Containers {
		if c.Labels[labelAgent] == h.agentID && !strings.HasSuffix(c.Name, endedSuffix) {
			ours = append(ours, c)
		}
	}
	slices.SortFunc(ours, func(a, b docker.Container) int { // of two with one task id, the newer one is the task
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	groups := h.findBoxes(ours)
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
			h.log.WithError(err).WithField("container", c.Name).Error("cannot recover a container; it is left alone if it has ended, and stopped otherwise")
			continue
		case h.gone[f] || c.Labels[labelFleeting] != "" || h.tasks[key] != nil:
			if !c.Running {
				h.markEnded(c.ID, c.Labels[labelContainer])
			}
			continue // observe stops it if it runs
		}
		goOn = append(goOn, h.adopt(key, c, res))
	}
	for _, g := range groups {
		goOn = append(goOn, h.completeGroup(g, s.Containers))
	}
	for _, next := range goOn { // only now: what happens to one task of a group concerns the others
		next()
	}
	h.used = h.sumUsed()
}

// reviveFramework makes the framework of what was found, which may have come back before it.
func (h *host) reviveFramework(c docker.Container) {
	failover, _ := strconv.ParseFloat(c.Labels[labelFailover], 64) // missing: none
	id := c.Labels[labelFramework]
	f := h.frameworks[id]
	if f == nil {
		f = &framework{id: id, role: c.Labels[labelRole]}
		h.frameworks[id] = f
	}
	if f.stream == nil {
		f.failover = max(f.failover, time.Duration(failover*float64(time.Second)), readopt)
		f.removeAt = time.Now().Add(f.failover)
	}
}

// adopt makes a task of a container, and returns how it goes on.
func (h *host) adopt(key taskKey, c docker.Container, res bundle) func() {
	h.reviveFramework(c)
	grace, err := time.ParseDuration(c.Labels[labelGrace])
	if err != nil {
		grace = h.opts.KillGrace
	}
	t := &task{
		key: key, cid: c.Labels[labelContainer], res: res, grace: grace, role: c.Labels[labelRole], dockerID: c.ID,
		net: network{docker: c.NetworkMode, user: c.Labels[labelNetwork]}, abort: make(chan struct{}), host: h,
	}
	h.tasks[key], h.containers[t.cid] = t, t
	parent := c.Labels[labelGroup]
	if g := h.groups[parent]; g != nil {
		t.group = g
		g.members = append(g.members, t)
	}
	if t.group == nil && parent != "" && c.Running {
		return func() { // without its sandbox it has no address
			h.takeOver(t, c)
			t.fault = "the sandbox of the task group was removed while the engine was away"
			h.end(t, grace)
		}
	}
	if c.Partial && !c.Running {
		t.phase, t.state = launching, mesos.TASK_STARTING
		return func() {
			h.logTask(t).Info("asking docker how far a container came that an earlier run created")
			h.work(func(ctx context.Context) { h.describe(ctx, t) })
		}
	}
	return func() { h.takeOver(t, c) }
}

// describe learns of a container that does not run whether it was ever started, and how it ended.
func (h *host) describe(ctx context.Context, t *task) {
	id := t.dockerID
	for try := 0; ; try++ {
		c, err := h.inspect(ctx, id)
		switch {
		case err == nil:
			h.post(func() { h.takeOver(t, c) })
			return
		case docker.IsNotFound(err):
			h.post(func() { h.over(t, removed()) })
			return
		case h.hopeless(ctx, t, try, err), !pause(ctx, try):
			return
		}
	}
}

// takeOver goes on with a task where an earlier run left it.
func (h *host) takeOver(t *task, c docker.Container) {
	switch {
	case c.Running:
		t.phase, t.address = running, h.addressOf(t, c)
		if !c.Partial {
			t.startedAt = c.StartedAt
		}
		h.logTask(t).Info("found a running task again")
		// Whether the framework was ever told is not known: a run that is killed takes its unacknowledged updates with it.
		h.update(t, fromExecutor(mesos.TASK_RUNNING, ""))
		if t.killed {
			h.end(t, t.grace)
		}
	case c.StartedAt.IsZero() && c.State == "created" && c.Error == "":
		t.phase, t.state = launching, mesos.TASK_STARTING
		h.logTask(t).Info("starting a container that an earlier run created")
		h.work(func(ctx context.Context) { h.resume(ctx, t, c.ID) })
	default:
		t.phase = running
		code := c.ExitCode
		if c.StartedAt.IsZero() && code == 0 {
			code = 125 // never ran: what docker run says of a container that it cannot start
		}
		h.over(t, exited(code, c.Error))
	}
}

// resume is a launch from the start on.
func (h *host) resume(ctx context.Context, t *task, id string) {
	if err := h.start(ctx, t, id); err != nil {
		h.notStarted(ctx, t, err)
		return
	}
	h.settle(ctx, t, id)
}
