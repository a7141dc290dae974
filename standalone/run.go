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
func (o *owner) launch(f *framework, info *mesos.TaskInfo, res bundle) {
	t, p := o.newTask(f, info, res, nil)
	o.used = o.used.plus(res)
	o.work(func(ctx context.Context) { o.runLaunch(ctx, t, p) })
}

// newTask makes a task, alone or of a group.
func (o *owner) newTask(f *framework, info *mesos.TaskInfo, res bundle, g *group) (*task, plan) {
	cid := uuid.NewString()
	p := o.translate(f, info, res, cid, g)
	t := &task{
		key: taskKey{f.id, info.TaskID.Value}, cid: cid, res: res, net: p.net, grace: p.grace, role: f.role,
		state: mesos.TASK_STAGING, abort: make(chan struct{}), group: g,
	}
	o.tasks[t.key], o.containers[cid] = t, t
	o.logTask(t).WithField("image", p.spec.Image).Info("launching task")
	return t, p
}

// errAborted says that a kill came before the container was started.
var errAborted = errors.New("killed during launch")

// runLaunch is the worker of one launch. Each outcome is posted to the loop.
func (o *owner) runLaunch(ctx context.Context, t *task, p plan) {
	fail := func(c change) { o.post(func() { o.declare(t, c) }) }
	if p.refused != "" {
		o.post(func() { o.update(t, fromExecutor(mesos.TASK_STARTING, "")) })
		fail(exited(125, p.refused))
		return
	}
	id, err := o.create(ctx, t, p)
	if early := (launchError{}); errors.As(err, &early) {
		fail(fromAgent(mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED, "Failed to launch container: "+err.Error()))
		return
	}
	if err == nil {
		o.post(func() {
			t.dockerID = id
			o.update(t, fromExecutor(mesos.TASK_STARTING, ""))
		})
		err = o.start(ctx, t, id)
	} else if !errors.Is(err, errAborted) {
		o.post(func() { o.update(t, fromExecutor(mesos.TASK_STARTING, "")) })
	}
	if err == nil {
		o.settle(ctx, t, id)
		return
	}
	o.notStarted(ctx, t, err)
}

// notStarted ends a task whose container could not be created or started. Whatever the engine said, the container must be
// known not to run before the task's end is told.
func (o *owner) notStarted(ctx context.Context, t *task, cause error) {
	if !o.discard(ctx, containerName(t.cid)) {
		return
	}
	text := reasonText(cause)
	end := exited(exitCode(text), text)
	if errors.Is(cause, errAborted) {
		end = killedInLaunch()
	}
	o.post(func() {
		t.dockerID = ""
		o.declare(t, end)
	})
}

// create pulls if need be and creates the container. The image is not looked for beforehand: where it is there, which is
// nearly always, that would be a call more.
func (o *owner) create(ctx context.Context, t *task, p plan) (string, error) {
	// World writable and sticky, as the container's user is not known here.
	sandbox := filepath.Join(o.opts.StateDir, sandboxDir, t.cid)
	for _, folder := range append([]string{sandbox}, p.folders...) {
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chmod(folder, 0o777|os.ModeSticky)); err != nil {
			return "", err
		}
	}
	if err := o.makeVolumes(p.spec.Binds); err != nil {
		return "", err
	}
	if err := o.fetchURIs(ctx, t, sandbox, p.fetch); err != nil {
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
		if err := o.fetch(ctx, t, key); err != nil {
			return "", err
		}
	}
	release, err := o.slot(ctx, t, o.slots)
	if err != nil {
		return "", err
	}
	defer release()
	id, err := o.createOnce(ctx, p.spec)
	if err == nil || !docker.IsNotFound(err) || p.pull {
		return id, err
	}
	there, lookErr := o.opts.Docker.ImageExists(ctx, p.spec.Image)
	if lookErr != nil || there {
		return "", err // something else is missing
	}
	release() // a slow registry must not hold other launches
	if err := o.fetch(ctx, t, key); err != nil {
		return "", err
	}
	return o.createOnce(ctx, p.spec)
}

func (o *owner) createOnce(ctx context.Context, s docker.CreateSpec) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return o.opts.Docker.Create(ctx, s)
}

// slot waits for a place among few; release may be called twice.
func (o *owner) slot(ctx context.Context, t *task, from chan struct{}) (release func(), err error) {
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

func (o *owner) start(ctx context.Context, t *task, id string) error {
	release, err := o.slot(ctx, t, o.slots)
	if err != nil {
		return err
	}
	defer release()
	if isClosed(t.abort) {
		return errAborted
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return o.opts.Docker.Start(ctx, id)
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
func (o *owner) settle(ctx context.Context, t *task, id string) {
	for try := 0; ; try++ {
		c, err := o.inspect(ctx, id)
		if err == nil || docker.IsNotFound(err) {
			o.post(func() { o.started(t, c) })
			return
		}
		if !pause(ctx, try) {
			return
		}
	}
}

func (o *owner) inspect(ctx context.Context, id string) (docker.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return o.opts.Docker.Inspect(ctx, id)
}

// started is the end of a launch that worked.
func (o *owner) started(t *task, c docker.Container) {
	if t.phase != launching {
		return
	}
	t.phase, t.startedAt, t.address = running, c.StartedAt, o.addressOf(t, c)
	o.update(t, fromExecutor(mesos.TASK_RUNNING, ""))
	o.logTask(t).WithField("address", t.address).Info("task runs")
	if t.isBox() {
		o.boxStarted(t.group)
	}
	if t.killed {
		o.end(t, t.grace)
	}
	if !c.Running {
		o.check(t)
	}
	o.observe(o.snapshot) // it may have shown the exit before the task was known to run
}

// discard removes a container by name, running or not; false when the engine stops before that is certain.
func (o *owner) discard(ctx context.Context, name string) bool {
	for try := 0; ; try++ {
		c, cancel := context.WithTimeout(ctx, callTimeout)
		err := o.opts.Docker.Remove(c, name, true)
		cancel()
		if err == nil || docker.IsNotFound(err) {
			return true
		}
		o.log.WithError(err).Warn("cannot remove a container whose launch failed; trying again")
		if !pause(ctx, try) {
			return false
		}
	}
}

// kill is a KILL call. The shortest grace of several wins.
func (o *owner) kill(f *framework, c *scheduler.Call_Kill) {
	if !o.ready {
		o.asked = append(o.asked, func() { o.kill(f, c) })
		return
	}
	t := o.tasks[taskKey{f.id, c.TaskID.Value}]
	if t == nil || (c.AgentID != nil && c.AgentID.Value != o.agentID) {
		o.answer(f, c.TaskID, c.AgentID)
		return
	}
	grace := t.grace
	if g := c.KillPolicy.GetGracePeriod(); g != nil {
		grace = max(0, time.Duration(g.Nanoseconds))
	}
	if t.group != nil && t.phase != ended {
		o.endGroup(t.group, func(m *task) time.Duration {
			if m == t {
				return grace
			}
			return m.grace
		})
		return
	}
	o.end(t, grace)
}

// end stops a task's container, whatever phase it is in.
func (o *owner) end(t *task, grace time.Duration) {
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
				o.work(func(ctx context.Context) { o.cutShort(ctx, t, t.dockerID, grace) })
			}
			return
		}
		t.killBy = by
		o.logTask(t).WithField("grace", grace).Info("killing task")
		if f := o.frameworks[t.key.framework]; f != nil && f.wantsKilling {
			o.update(t, fromExecutor(mesos.TASK_KILLING, ""))
		}
		id := t.dockerID
		o.work(func(ctx context.Context) {
			if o.stop(ctx, id, by) {
				o.post(func() { o.check(t) })
			}
		})
	}
}

// stop stops a container until it is certain that it does not run; false when the engine stops before.
func (o *owner) stop(ctx context.Context, id string, by time.Time) bool {
	for try := 0; ; try++ {
		grace := max(0, time.Until(by))
		c, cancel := context.WithTimeout(ctx, grace+callTimeout)
		err := o.opts.Docker.Stop(c, id, grace)
		cancel()
		if err == nil || docker.IsNotFound(err) {
			return true
		}
		o.log.WithError(err).WithField("container", id).Warn("cannot stop a container; trying again")
		if !pause(ctx, try) {
			return false
		}
	}
}

// cutShort kills a container whose stop was given a longer grace.
func (o *owner) cutShort(ctx context.Context, t *task, id string, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	c, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := o.opts.Docker.Kill(c, id, "KILL"); err != nil && !docker.IsNotFound(err) && !docker.IsConflict(err) {
		o.log.WithError(err).WithField("container", id).Warn("cannot kill a container; its stop goes on")
		return
	}
	o.post(func() { o.check(t) })
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
