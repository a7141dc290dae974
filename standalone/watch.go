package standalone

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
)

// strayGrace is between TERM and KILL for a container that runs although its task has ended.
const strayGrace = 5 * time.Second

// addressOf is the container's own address in its network; of several networks any other is better than none.
func addressOf(c docker.Container, n network) netip.Addr {
	if a, ok := c.Addresses[n.docker]; ok {
		return a
	}
	for _, name := range slices.Sorted(maps.Keys(c.Addresses)) {
		return c.Addresses[name]
	}
	return netip.Addr{}
}

// addressOf is a task's own address: for a task of a group its sandbox's.
func (h *host) addressOf(t *task, c docker.Container) netip.Addr {
	if t.group != nil && !t.isBox() {
		return t.group.box.address
	}
	return addressOf(c, t.net)
}

// observe holds the inventory against the tasks: containers that ended, vanished or were started again.
func (h *host) observe(s docker.Snapshot) {
	h.snapshot = s
	if s.Connected != h.connected {
		h.connected = s.Connected
		h.planCut(time.Now())
		if !s.Connected {
			h.log.Warn("docker does not answer; its tasks are believed to run on")
			h.rescind()
		}
	}
	if !s.Connected {
		return
	}
	h.reached()
	if !h.ready {
		h.ready = true
		h.recover(s)
		h.collectAt = time.Now().Add(time.Second)
		h.answerAsked()
	}
	seen := map[string]bool{}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Labels[labelAgent] != h.agentID {
			continue
		}
		cid := c.Labels[labelContainer]
		t := h.containers[cid]
		switch {
		case t == nil && c.Running:
			h.fence(c)
		case t != nil && t.phase == running:
			seen[cid] = true
			if t.startedAt.IsZero() && c.Running && !c.Partial { // found again before docker told since when it runs
				t.startedAt = c.StartedAt
			}
			exited := !c.Running && c.State != "created" // a snapshot older than the start shows "created"
			if exited || (c.Running && !c.Partial && !c.StartedAt.Equal(t.startedAt)) {
				h.check(t)
			}
		case t != nil && t.phase == ended: // a sandbox that is on its way out
			seen[cid] = true
		}
	}
	for cid, t := range h.containers {
		switch {
		case seen[cid]:
		case t.phase == running:
			h.check(t)
		case t.phase == ended:
			delete(h.containers, cid)
		}
	}
}

// fence stops a container that runs although its task was declared ended: somebody restarted it by hand.
func (h *host) fence(c *docker.Container) {
	cid, id := c.Labels[labelContainer], c.ID
	if h.fencing[cid] {
		return
	}
	h.fencing[cid] = true
	h.log.WithFields(logrus.Fields{"task": c.Labels[labelTask], "container": c.Name}).Warn("container runs after its task has ended; stopping it again")
	asked := h.snapshot
	h.work(func(ctx context.Context) {
		if h.stop(ctx, id, time.Now().Add(strayGrace)) {
			h.post(func() {
				delete(h.fencing, cid)
				if !sameSnapshot(asked, h.snapshot) {
					h.observe(h.snapshot) // it may have been started once more meanwhile
				}
			})
		}
	})
}

// check asks Docker itself whether a task's container still is in the run that the task is. Only its answer ends a task.
func (h *host) check(t *task) {
	if t.checking || t.leaving || t.phase != running {
		return
	}
	t.checking = true
	id, since, asked := t.dockerID, t.startedAt, h.snapshot
	h.work(func(ctx context.Context) {
		for try := 0; ; try++ {
			c, err := h.inspect(ctx, id)
			switch {
			case docker.IsNotFound(err):
				h.post(func() { h.over(t, removed()) })
				return
			case err != nil && h.hopeless(ctx, t, try, err):
				return
			case err != nil:
			case !c.Running:
				h.post(func() { h.over(t, exited(c.ExitCode, "")) })
				return
			case since.IsZero(), c.StartedAt.Equal(since):
				h.post(func() { h.alive(t, asked) })
				return
			default: // exited, and started again by hand: end that run, too
				h.stop(ctx, id, time.Now().Add(strayGrace))
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

// removed is the end of a container that is not there any more.
func removed() change { return exited(137, "the container was removed") }

// askAgain is how often Docker is asked for the description of a container that it lists as not running.
const askAgain = 5

// hopeless ends a task whose container Docker lists as not running but cannot describe, after some tries; that happens when
// dockerd has lost the container's layer. It says whether the task has ended.
func (h *host) hopeless(ctx context.Context, t *task, try int, cause error) bool {
	if try+1 < askAgain || docker.IsGone(cause) || docker.IsNotFound(cause) || errors.Is(cause, context.DeadlineExceeded) {
		return false
	}
	over := false
	err := h.do(ctx, func() {
		for _, c := range h.snapshot.Containers {
			if c.ID == t.dockerID && h.connected && c.Partial && !c.Running {
				h.over(t, exited(137, "docker cannot describe the container: "+reasonText(cause)))
			}
		}
		over = t.phase == ended
	})
	return err == nil && over
}

// alive is the answer that nothing has ended. If the inventory has changed since the question, the question stands again.
func (h *host) alive(t *task, asked docker.Snapshot) {
	t.checking = false
	if !sameSnapshot(asked, h.snapshot) {
		h.observe(h.snapshot)
	}
}

// sameSnapshot compares by identity: every snapshot has a slice of its own.
func sameSnapshot(a, b docker.Snapshot) bool {
	return a.Connected == b.Connected && len(a.Containers) == len(b.Containers) &&
		(len(a.Containers) == 0 || &a.Containers[0] == &b.Containers[0])
}

// over ends a task whose container does not run.
func (h *host) over(t *task, c change) {
	t.checking = false
	switch {
	case t.fault != "":
		c.state, c.message = mesos.TASK_FAILED, t.fault
	case t.killed:
		c.state = mesos.TASK_KILLED
	}
	h.declare(t, c)
}
