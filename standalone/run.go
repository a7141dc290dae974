package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
)

// Deadlines of single calls to Docker. Create and start take well below a second; a plugin that hangs (network, volume)
// must not hold a launch for ever.
const (
	callTimeout  = 30 * time.Second
	startTimeout = 2 * time.Minute
)

// launch makes a task of a valid TaskInfo and sends a worker to run it.
func (h *host) launch(f *framework, info *mesos.TaskInfo, res bundle) {
	t, p := h.newTask(f, info, res, nil)
	h.used = h.used.plus(res)
	h.work(func(ctx context.Context) { h.runLaunch(ctx, t, p) })
}

// newTask makes a task, alone or of a group.
func (h *host) newTask(f *framework, info *mesos.TaskInfo, res bundle, g *group) (*task, plan) {
	cid := uuid.NewString()
	p := h.translate(f, info, res, cid, g)
	t := &task{
		key: taskKey{f.id, info.TaskID.Value}, cid: cid, res: res, net: p.net, grace: p.grace, role: f.role,
		state: mesos.TASK_STAGING, abort: make(chan struct{}), host: h, group: g,
	}
	h.tasks[t.key], h.containers[cid] = t, t
	h.logTask(t).WithField("image", p.spec.Image).Info("launching task")
	return t, p
}

// errAborted says that a kill came before the container was started.
var errAborted = errors.New("killed during launch")

// runLaunch is the worker of one launch. Each outcome is posted to the loop.
func (h *host) runLaunch(ctx context.Context, t *task, p plan) {
	fail := func(c change) { h.post(func() { h.declare(t, c) }) }
	if p.refused != "" {
		h.post(func() { h.update(t, fromExecutor(mesos.TASK_STARTING, "")) })
		fail(exited(125, p.refused))
		return
	}
	id, err := h.create(ctx, t, p)
	if early := (launchError{}); errors.As(err, &early) {
		fail(fromAgent(mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: "+err.Error()))
		return
	}
	if err == nil {
		h.post(func() {
			t.dockerID = id
			h.update(t, fromExecutor(mesos.TASK_STARTING, ""))
		})
		err = h.start(ctx, t, id)
	} else if !errors.Is(err, errAborted) {
		h.post(func() { h.update(t, fromExecutor(mesos.TASK_STARTING, "")) })
	}
	if err == nil {
		h.settle(ctx, t, id)
		return
	}
	h.notStarted(ctx, t, err)
}

// notStarted ends a task whose container could not be created or started. Whatever the engine said, the container must be
// known not to run before the task's end is told.
func (h *host) notStarted(ctx context.Context, t *task, cause error) {
	if !h.discard(ctx, containerName(t.cid)) {
		return
	}
	text := reasonText(cause)
	end := exited(exitCode(text), text)
	if errors.Is(cause, errAborted) {
		end = killedInLaunch()
	}
	h.post(func() {
		t.dockerID = ""
		h.declare(t, end)
	})
}

// create pulls if need be and creates the container. The image is not looked for beforehand: where it is there, which is
// nearly always, that would be a call more.
func (h *host) create(ctx context.Context, t *task, p plan) (string, error) {
	// World writable and sticky, as the container's user is not known here.
	sandbox := filepath.Join(h.opts.StateDir, sandboxDir, t.cid)
	for _, folder := range append([]string{sandbox}, p.folders...) {
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chmod(folder, 0o777|os.ModeSticky)); err != nil {
			return "", err
		}
	}
	if err := h.makeVolumes(p.spec.Binds); err != nil {
		return "", err
	}
	if err := h.fetchURIs(ctx, t, sandbox, p.fetch); err != nil {
		return "", err
	}
	if err := mountInside(&p.spec, sandbox, p.inside); err != nil {
		return "", launchError{err}
	}
	key := pullKey{image: p.spec.Image}
	if len(p.fetch) > 0 {
		var err error
		if key.as, err = credentials(sandbox, p.spec.Image); err != nil {
			return "", launchError{err}
		}
	}
	if p.pull {
		if err := h.fetch(ctx, t, key); err != nil {
			return "", err
		}
	}
	release, err := h.slot(ctx, t, h.slots)
	if err != nil {
		return "", err
	}
	defer release()
	id, err := h.createOnce(ctx, p.spec)
	if err == nil || !docker.IsNotFound(err) || p.pull {
		return id, err
	}
	there, lookErr := h.opts.Docker.ImageExists(ctx, p.spec.Image)
	if lookErr != nil || there {
		return "", err // something else is missing
	}
	release() // a slow registry must not hold other launches
	if err := h.fetch(ctx, t, key); err != nil {
		return "", err
	}
	return h.createOnce(ctx, p.spec)
}

func (h *host) createOnce(ctx context.Context, s docker.CreateSpec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return h.opts.Docker.Create(ctx, s)
}

// slot waits for a place among few; release may be called twice.
func (h *host) slot(ctx context.Context, t *task, from chan struct{}) (release func(), err error) {
	select {
	case from <- struct{}{}:
	case <-t.abort:
		return nil, errAborted
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	held := true
	return func() {
		if held {
			held = false
			<-from
		}
	}, nil
}

func (h *host) start(ctx context.Context, t *task, id string) error {
	release, err := h.slot(ctx, t, h.slots)
	if err != nil {
		return err
	}
	defer release()
	if isClosed(t.abort) {
		return errAborted
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return h.opts.Docker.Start(ctx, id)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// settle learns what a started container got, and reports it as running, even if it has exited meanwhile.
func (h *host) settle(ctx context.Context, t *task, id string) {
	for try := 0; ; try++ {
		c, err := h.inspect(ctx, id)
		if err == nil || docker.IsNotFound(err) {
			h.post(func() { h.started(t, c) })
			return
		}
		if !pause(ctx, try) {
			return
		}
	}
}

func (h *host) inspect(ctx context.Context, id string) (docker.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return h.opts.Docker.Inspect(ctx, id)
}

// started is the end of a launch that worked.
func (h *host) started(t *task, c docker.Container) {
	if t.phase != launching {
		return
	}
	t.phase, t.startedAt, t.address = running, c.StartedAt, h.addressOf(t, c)
	h.update(t, fromExecutor(mesos.TASK_RUNNING, ""))
	h.logTask(t).WithField("address", t.address).Info("task runs")
	if t.isBox() {
		h.boxStarted(t.group)
	}
	if t.killed {
		h.end(t, t.grace)
	}
	if !c.Running {
		h.check(t)
	}
	h.observe(h.snapshot) // it may have shown the exit before the task was known to run
}

// discard removes a container by name, running or not; false when the engine stops before that is certain.
func (h *host) discard(ctx context.Context, name string) bool {
	for try := 0; ; try++ {
		c, cancel := context.WithTimeout(ctx, callTimeout)
		err := h.opts.Docker.Remove(c, name, true)
		cancel()
		if err == nil || docker.IsNotFound(err) {
			return true
		}
		h.log.WithError(err).Warn("cannot remove a container whose launch failed; trying again")
		if !pause(ctx, try) {
			return false
		}
	}
}

// kill is a KILL call. The shortest grace of several wins.
func (o *owner) kill(f *framework, c *scheduler.Call_Kill) {
	t := o.tasks[taskKey{f.id, c.TaskID.Value}]
	if h := o.awaited(t, c.AgentID); h != nil {
		h.asked = append(h.asked, func() { o.kill(f, c) })
		return
	}
	if t == nil || t.host.cut || (c.AgentID != nil && c.AgentID.Value != t.host.agentID) {
		o.answer(f, c.TaskID, c.AgentID) // an unreachable host does not hear of it
		return
	}
	grace := t.grace
	if g := c.KillPolicy.GetGracePeriod(); g != nil {
		grace = max(0, time.Duration(g.Nanoseconds))
	}
	if t.group != nil && t.phase != ended {
		t.host.endGroup(t.group, func(m *task) time.Duration {
			if m == t {
				return grace
			}
			return m.grace
		})
		return
	}
	t.host.end(t, grace)
}

// end stops a task's container, whatever phase it is in.
func (h *host) end(t *task, grace time.Duration) {
	t.killed = true
	switch t.phase {
	case launching:
		t.grace = min(t.grace, grace)
		if !t.aborted {
			t.aborted = true
			close(t.abort)
		}
	case running:
		by := time.Now().Add(grace)
		if !t.killBy.IsZero() {
			if by.Before(t.killBy) {
				t.killBy = by
				h.work(func(ctx context.Context) { h.cutShort(ctx, t, t.dockerID, grace) })
			}
			return
		}
		t.killBy = by
		h.logTask(t).WithField("grace", grace).Info("killing task")
		if f := h.frameworks[t.key.framework]; f != nil && f.wantsKilling {
			h.update(t, fromExecutor(mesos.TASK_KILLING, ""))
		}
		id := t.dockerID
		h.work(func(ctx context.Context) {
			if h.stop(ctx, id, by) {
				h.post(func() { h.check(t) })
			}
		})
	}
}

// stop stops a container until it is certain that it does not run; false when the engine stops before.
func (h *host) stop(ctx context.Context, id string, by time.Time) bool {
	for try := 0; ; try++ {
		grace := max(0, time.Until(by))
		c, cancel := context.WithTimeout(ctx, grace+callTimeout)
		err := h.opts.Docker.Stop(c, id, grace)
		cancel()
		if err == nil || docker.IsNotFound(err) {
			return true
		}
		h.log.WithError(err).WithField("container", id).Warn("cannot stop a container; trying again")
		if !pause(ctx, try) {
			return false
		}
	}
}

// cutShort kills a container whose stop was given a longer grace.
func (h *host) cutShort(ctx context.Context, t *task, id string, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	c, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := h.opts.Docker.Kill(c, id, "KILL"); err != nil && !docker.IsNotFound(err) && !docker.IsConflict(err) {
		h.log.WithError(err).WithField("container", id).Warn("cannot kill a container; its stop goes on")
		return
	}
	h.post(func() { h.check(t) })
}

// reasonText is Docker's own text, without the words that Berth's layers put in front.
func reasonText(err error) string {
	text := err.Error()
	for _, mark := range []string{"Error response from daemon: ", "error during connect: "} {
		if i := strings.Index(text, mark); i >= 0 {
			return text[i:]
		}
	}
	return text
}

// exitCode is docker run's for a container that could not be started.
func exitCode(text string) int {
	switch text = strings.ToLower(text); {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"):
		return 127
	case strings.Contains(text, "permission denied"):
		return 126
	}
	return 125
}

// exited is the end of a container by itself. text is why it never ran, for people: there is no sandbox to read it from.
func exited(code int, text string) change {
	message := fmt.Sprintf("Container exited with status %d", code)
	if text != "" {
		message += ": " + text
	}
	if code == 0 {
		return fromExecutor(mesos.TASK_FINISHED, message)
	}
	return fromExecutor(mesos.TASK_FAILED, message)
}
