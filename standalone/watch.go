package standalone

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// strayGrace is between TERM and KILL for a container that runs although its task has ended.
const strayGrace = 5 * time.Second

// sandboxRest is how old a sandbox without a container must be to be removed: a launch makes the folder first.
const sandboxRest = 10 * time.Minute

func newContainerID() string { return uuid.NewString() }

// addressOf is the container's own address in its network; of several networks any other is better than none.
func addressOf(c docker.Container, n network) netip.Addr {
	if a, ok := c.Addresses[n.docker]; ok {
		return a
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range c.Addresses {
			if !yield(k) {
				return
			}
		}
	}) {
		return c.Addresses[name]
	}
	return netip.Addr{}
}

// observe holds the inventory against the tasks: containers that ended, vanished or were started again.
func (o *owner) observe(s docker.Snapshot) {
	o.snapshot = s
	if s.Connected != o.connected {
		o.connected = s.Connected
		if !s.Connected {
			o.log.Warn("docker does not answer; its tasks are believed to run on")
			for _, f := range o.frameworks {
				o.dropOffers(f, true)
			}
		}
	}
	if !s.Connected {
		return
	}
	if !o.ready {
		o.ready = true
		o.recover(s)
		o.collectAt = time.Now().Add(time.Second)
	}
	seen := map[string]bool{}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Labels[labelAgent] != o.agentID {
			continue
		}
		cid := c.Labels[labelContainer]
		t := o.containers[cid]
		switch {
		case t == nil && c.Running:
			o.fence(c)
		case t == nil:
			if c.State == "created" && o.collectAt.IsZero() {
				o.collectAt = time.Now().Add(time.Second)
			}
		case t.phase == running:
			seen[cid] = true
			exited := !c.Running && !c.StartedAt.IsZero() // a snapshot older than the start shows "created"
			if exited || (c.Running && !c.StartedAt.Equal(t.startedAt)) {
				o.check(t)
			}
		}
	}
	for cid, t := range o.containers {
		if t.phase == running && !seen[cid] {
			o.check(t)
		}
	}
}

// fence stops a container that runs although its task was declared ended: somebody restarted it by hand.
func (o *owner) fence(c *docker.Container) {
	cid, id := c.Labels[labelContainer], c.ID
	if o.fencing[cid] {
		return
	}
	o.fencing[cid] = true
	o.log.WithFields(logrus.Fields{"task": c.Labels[labelTask], "container": c.Name}).Warn("container runs after its task has ended; stopping it again")
	asked := o.snapshot
	o.work(func(ctx context.Context) {
		if o.stop(ctx, id, time.Now().Add(strayGrace)) {
			o.post(func() {
				delete(o.fencing, cid)
				if !sameSnapshot(asked, o.snapshot) {
					o.observe(o.snapshot) // it may have been started once more meanwhile
				}
			})
		}
	})
}

// check asks Docker itself whether a task's container still is in the run that the task is. Only its answer ends a task.
func (o *owner) check(t *task) {
	if t.checking || t.phase != running {
		return
	}
	t.checking = true
	id, since, asked := t.dockerID, t.startedAt, o.snapshot
	o.work(func(ctx context.Context) {
		for try := 0; ; try++ {
			c, err := o.inspect(ctx, id)
			switch {
			case docker.IsNotFound(err):
				o.post(func() { o.over(t, exited(137, "the container was removed")) })
				return
			case err != nil:
			case !c.Running:
				o.post(func() { o.over(t, exited(c.ExitCode, "")) })
				return
			case c.StartedAt.Equal(since):
				o.post(func() { o.alive(t, asked) })
				return
			default: // exited, and started again by hand: end that run, too
				o.stop(ctx, id, time.Now().Add(strayGrace))
			}
			if err != nil && !pause(ctx, try) {
				return
			}
			if ctx.Err() != nil {
				return
			}
		}
	})
}

// alive is the answer that nothing has ended. If the inventory has changed since the question, the question stands again.
func (o *owner) alive(t *task, asked docker.Snapshot) {
	t.checking = false
	if !sameSnapshot(asked, o.snapshot) {
		o.observe(o.snapshot)
	}
}

// sameSnapshot compares by identity: every snapshot has a slice of its own.
func sameSnapshot(a, b docker.Snapshot) bool {
	return a.Connected == b.Connected && len(a.Containers) == len(b.Containers) &&
		(len(a.Containers) == 0 || &a.Containers[0] == &b.Containers[0])
}

// over ends a task whose container does not run.
func (o *owner) over(t *task, c change) {
	t.checking = false
	if t.killed {
		c.state = mesos.TASK_KILLED
	}
	o.declare(t, c)
}

// markEnded gives an ended and acknowledged container the name by which the next run knows that nothing is owed.
func (o *owner) markEnded(id, cid string) {
	o.work(func(ctx context.Context) {
		for try := 0; ; try++ {
			c, cancel := context.WithTimeout(ctx, callTimeout)
			err := o.opts.Docker.Rename(c, id, containerName(cid)+endedSuffix)
			cancel()
			if err == nil || docker.IsNotFound(err) || docker.IsConflict(err) {
				break
			}
			if !pause(ctx, try) {
				return
			}
		}
		o.post(func() {
			if next := time.Now().Add(time.Second); o.collectAt.IsZero() || next.Before(o.collectAt) {
				o.collectAt = next
			}
		})
	})
}

// recover takes over what an earlier run left: running containers are running tasks again, created ones are started,
// ended ones owe their framework a terminal update.
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
	for _, c := range ours {
		f := c.Labels[labelFramework]
		key := taskKey{f, c.Labels[labelTask]}
		res, err := parseLabel(c.Labels[labelResources])
		switch {
		case err != nil:
			o.log.WithError(err).WithField("container", c.Name).Error("cannot recover a container; it is left alone if it has ended, and stopped otherwise")
			continue
		case o.gone[f] || o.tasks[key] != nil:
			if !c.Running {
				o.markEnded(c.ID, c.Labels[labelContainer])
			}
			continue // observe stops it if it runs
		}
		o.adopt(key, c, res)
	}
	o.used = o.sumUsed()
}

func (o *owner) adopt(key taskKey, c docker.Container, res bundle) {
	failover, _ := strconv.ParseFloat(c.Labels[labelFailover], 64) // missing: none
	f := o.frameworks[key.framework]
	if f == nil {
		f = &framework{id: key.framework, role: c.Labels[labelRole]}
		o.frameworks[key.framework] = f
	}
	if f.stream == nil {
		f.failover = max(f.failover, time.Duration(failover*float64(time.Second)), readopt)
		f.removeAt = time.Now().Add(f.failover)
	}
	grace, err := time.ParseDuration(c.Labels[labelGrace])
	if err != nil {
		grace = o.opts.KillGrace
	}
	t := &task{
		key: key, cid: c.Labels[labelContainer], res: res, grace: grace, role: c.Labels[labelRole], dockerID: c.ID,
		net: network{docker: c.NetworkMode, user: c.Labels[labelNetwork]}, abort: make(chan struct{}), startedAt: c.StartedAt,
	}
	o.tasks[key], o.containers[t.cid] = t, t
	switch {
	case c.Running:
		t.phase, t.state, t.address = running, mesos.TASK_RUNNING, addressOf(c, t.net)
		o.logTask(t).Info("found a running task again")
	case c.StartedAt.IsZero() && c.State == "created" && c.Error == "":
		t.phase, t.state = launching, mesos.TASK_STARTING
		o.logTask(t).Info("starting a container that an earlier run created")
		id := c.ID
		o.work(func(ctx context.Context) { o.resume(ctx, t, id) })
	default:
		t.phase = running
		o.over(t, exited(c.ExitCode, c.Error))
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

// collect removes ended containers: of a seat all but the newest, and whatever is older than KeepEnded.
func (o *owner) collect(now time.Time) {
	o.collectAt = now.Add(10 * time.Minute)
	if !o.connected || o.collector {
		return
	}
	live := map[string]bool{}
	for cid := range o.containers {
		live[cid] = true
	}
	newest := map[string]docker.Container{}
	var old []docker.Container
	for _, c := range o.snapshot.Containers {
		cid := c.Labels[labelContainer]
		if c.Labels[labelAgent] != o.agentID {
			continue
		}
		marked := strings.HasSuffix(c.Name, endedSuffix)
		switch {
		case live[cid] || c.Running:
		case c.State == "created":
			old = append(old, c) // left by a launch that was given up
			continue
		case marked && now.Sub(c.FinishedAt) > o.opts.KeepEnded:
			old = append(old, c)
			continue
		case marked && c.Labels[spec.LabelApp] != "":
			seat := c.Labels[spec.LabelApp] + "." + c.Labels[spec.LabelSeat]
			if kept, ok := newest[seat]; !ok {
				newest[seat] = c
			} else if kept.FinishedAt.Before(c.FinishedAt) {
				newest[seat] = c
				old = append(old, kept)
			} else {
				old = append(old, c)
			}
		}
		live[cid] = true
	}
	for _, c := range old {
		delete(live, c.Labels[labelContainer])
	}
	o.collector = true
	o.work(func(ctx context.Context) {
		o.removeOld(ctx, old)
		o.removeSandboxes(live, now)
		o.post(func() { o.collector = false })
	})
}

func (o *owner) removeOld(ctx context.Context, old []docker.Container) {
	for _, c := range old {
		if ctx.Err() != nil {
			return
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := o.opts.Docker.Remove(call, c.ID, false)
		cancel()
		if err != nil && !docker.IsNotFound(err) && ctx.Err() == nil {
			o.log.WithError(err).WithField("container", c.Name).Warn("cannot remove an ended container")
			continue
		}
		cid := c.Labels[labelContainer]
		if _, err := uuid.Parse(cid); err == nil { // labels are no file names until they are known to be ours
			o.removeSandbox(cid)
		}
	}
}

func (o *owner) removeSandbox(cid string) {
	if err := os.RemoveAll(filepath.Join(o.opts.StateDir, sandboxDir, cid)); err != nil {
		o.log.WithError(err).Warn("cannot remove a sandbox")
	}
}

// removeSandboxes removes those without a container.
func (o *owner) removeSandboxes(live map[string]bool, now time.Time) {
	entries, err := os.ReadDir(filepath.Join(o.opts.StateDir, sandboxDir))
	if err != nil {
		o.log.WithError(err).Warn("cannot list the sandboxes")
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || live[e.Name()] || now.Sub(info.ModTime()) < sandboxRest {
			continue
		}
		o.removeSandbox(e.Name())
	}
}
