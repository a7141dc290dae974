package standalone

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/internal/docker"
)

// volumesDir is where a group's shared folders are, below its sandbox folder.
const volumesDir = "volumes"

// group is a task group, as Mesos's default executor runs it: tasks that start and end together. A sandbox container, which
// only waits, holds their network. The group's life: the sandbox starts, then all tasks; a task that fails or is killed ends
// the others; when all are over the sandbox is removed, and only then the last task's end is told, so that the address is
// free when the framework hears of it.
type group struct {
	executor string
	box      *task // the sandbox; it is in no framework's view
	members  []*task
	waiting  map[*task]plan // those that wait for the sandbox
	removing bool           // the sandbox is being removed, as the last task is over
	removed  bool
}

// live are the tasks that have not ended.
func (g *group) live() []*task {
	return slices.DeleteFunc(slices.Clone(g.members), func(t *task) bool { return t.phase == ended })
}

// isBox says whether the task is a group's sandbox.
func (t *task) isBox() bool { return t.group != nil && t.group.box == t }

// launchGroup makes the tasks of a valid group and sends a worker to start its sandbox. res are the resources of the
// executor, then those of the tasks.
func (h *host) launchGroup(f *framework, e *mesos.ExecutorInfo, infos []mesos.TaskInfo, res []bundle) {
	g := &group{executor: e.ExecutorID.Value, waiting: map[*task]plan{}}
	cid := uuid.NewString()
	var ids []string
	for i := range infos {
		ids = append(ids, infos[i].TaskID.Value)
	}
	p := h.translateBox(f, e, res[0], cid, ids)
	g.box = &task{
		key: taskKey{f.id, g.executor}, cid: cid, res: res[0], net: p.net, role: f.role, state: mesos.TASK_STAGING,
		abort: make(chan struct{}), silent: true, host: h, group: g,
	}
	h.groups[cid], h.containers[cid] = g, g.box
	for i := range infos {
		t, p := h.newTask(f, &infos[i], res[i+1], g)
		g.members, g.waiting[t] = append(g.members, t), p
	}
	h.used = h.sumUsed()
	h.logTask(g.box).WithField("tasks", len(infos)).Info("launching task group")
	h.work(func(ctx context.Context) { h.runLaunch(ctx, g.box, p) })
}

// translateBox is the sandbox's container: the executor's own network, address and labels, and a process that only waits.
func (h *host) translateBox(f *framework, e *mesos.ExecutorInfo, res bundle, cid string, ids []string) plan {
	shell := false
	p := h.translate(f, &mesos.TaskInfo{Container: e.Container, Command: &mesos.CommandInfo{Shell: &shell}}, res, cid, nil)
	p.spec.Entrypoint, p.spec.Cmd, p.spec.Env, p.spec.Binds = []string{"/bin/sleep"}, []string{"infinity"}, nil, nil
	delete(p.spec.Labels, labelTask)
	p.spec.Labels[labelExecutor], p.spec.Labels[labelMembers] = e.ExecutorID.Value, membersLabel(ids)
	return p
}

// validateGroup is the master's check of a group, which is launched as a whole or not at all. It returns the resources of
// the executor, then those of the tasks.
func (h *host) validateGroup(f *framework, e *mesos.ExecutorInfo, infos []mesos.TaskInfo, available bundle) ([]bundle, string) {
	id := e.ExecutorID.Value
	switch {
	case e.Type != mesos.ExecutorInfo_DEFAULT:
		return nil, "Task group's executor must be of type DEFAULT"
	case id == "" || !validID(id):
		return nil, "Executor ID '" + id + "' contains invalid characters"
	case h.runsExecutor(f, id):
		return nil, "Executor '" + id + "' runs a task group already"
	case e.Container == nil || e.Container.GetType() != mesos.ContainerInfo_DOCKER || e.Container.GetDocker().GetImage() == "":
		return nil, "Task group's executor has no Docker container, which this engine needs to hold the group's network"
	case len(infos) == 0:
		return nil, "Task group contains no tasks"
	}
	box, err := fromResources(e.Resources)
	if err != nil {
		return nil, err.Error()
	}
	if !available.contains(box) {
		return nil, "Total resources " + box.text(f.role) + " required by task group and its executor is more than available " + available.text(f.role)
	}
	all, seen := []bundle{box}, map[string]bool{}
	available = available.minus(box)
	for i := range infos {
		res, problem := h.validate(f, &infos[i], available)
		if problem = first(problem, memberFault(&infos[i])); problem == "" && seen[infos[i].TaskID.Value] {
			problem = "Task has duplicate ID: " + infos[i].TaskID.Value
		}
		if problem != "" {
			return nil, fmt.Sprintf("Task '%s' is invalid: %s", infos[i].TaskID.Value, problem)
		}
		seen[infos[i].TaskID.Value] = true
		available = available.minus(res)
		all = append(all, res)
	}
	return all, ""
}

// memberFault: what belongs to the network is the executor's to say.
func memberFault(info *mesos.TaskInfo) string {
	if len(info.Container.NetworkInfos) > 0 || len(info.Container.Docker.PortMappings) > 0 {
		return "a task of a group has the network of its executor"
	}
	for _, p := range info.Container.Docker.Parameters {
		switch p.Key {
		case "net", "network", "hostname", "h", "ip", "ip6", "mac-address", "publish", "p", "expose", "dns", "dns-search", "dns-opt", "dns-option", "add-host", "network-alias", "net-alias":
			return "parameter '" + p.Key + "' in DockerInfo: a task of a group has the network of its executor"
		}
	}
	return ""
}

func (h *host) runsExecutor(f *framework, id string) bool {
	for _, g := range h.groups {
		if g.box.key == (taskKey{f.id, id}) {
			return true
		}
	}
	return false
}

// sharedFolders puts the group's volumes among the binds and returns the others.
func (h *host) sharedFolders(s *docker.CreateSpec, p *plan, g *group, volumes []mesos.Volume) (rest []mesos.Volume, problem string) {
	for _, v := range volumes {
		src := v.GetSource().GetSandboxPath()
		if src == nil {
			rest = append(rest, v)
			continue
		}
		if g == nil || src.Type != mesos.Volume_Source_SandboxPath_PARENT || !filepath.IsLocal(src.Path) {
			return nil, "volume '" + src.Path + "' is not below the sandbox of a task group"
		}
		folder := filepath.Join(h.opts.StateDir, sandboxDir, g.box.cid, volumesDir, src.Path)
		p.folders = append(p.folders, folder)
		text := folder + ":" + v.ContainerPath
		if v.GetMode() == mesos.RO {
			text += ":ro"
		}
		if err := s.SetOption("volume", text); err != nil {
			return nil, err.Error()
		}
	}
	return rest, ""
}

// boxStarted launches the tasks that waited for the sandbox.
func (h *host) boxStarted(g *group) {
	for _, t := range g.members {
		p, waits := g.waiting[t]
		if !waits {
			continue
		}
		delete(g.waiting, t)
		if t.aborted {
			h.declare(t, killedInLaunch())
			continue
		}
		h.work(func(ctx context.Context) { h.runLaunch(ctx, t, p) })
	}
}

// boxEnded is the end of a sandbox: it could not be started, or somebody stopped it. Its tasks have no network any more.
func (h *host) boxEnded(g *group, c change) {
	g.box.phase = ended
	h.used = h.sumUsed()
	if g.removing {
		return
	}
	h.logTask(g.box).Warn("sandbox of a task group ended: " + c.message)
	for _, t := range g.live() {
		if _, waits := g.waiting[t]; waits {
			delete(g.waiting, t)
			end := c
			if t.aborted {
				end = killedInLaunch()
			}
			h.declare(t, end)
			continue
		}
		if !t.killed {
			t.fault = "the sandbox of the task group ended: " + c.message
		}
		h.end(t, t.grace)
	}
}

// endGroup ends all tasks of a group, each with the grace that it has or is given.
func (h *host) endGroup(g *group, grace func(*task) time.Duration) {
	for _, t := range g.live() {
		h.end(t, grace(t))
	}
	if b := g.box; b.phase == launching && !b.aborted {
		b.aborted = true
		close(b.abort)
	}
}

func ownGrace(t *task) time.Duration { return t.grace }

// mayEnd says whether a task's end can be told now. If it is the last of its group, the sandbox is removed first.
func (h *host) mayEnd(t *task, c change) bool {
	g := t.group
	if g == nil || g.removed || len(g.live()) > 1 {
		return true
	}
	if g.removing {
		return false
	}
	g.removing, t.leaving = true, true
	h.removeBox(g, func() {
		t.leaving = false
		h.declare(t, c)
	})
	return false
}

// removeBox removes the sandbox with what the tasks shared, until that is certain, and then does what is left to do.
func (h *host) removeBox(g *group, then func()) {
	h.work(func(ctx context.Context) {
		if !h.discard(ctx, containerName(g.box.cid)) {
			return
		}
		h.removeSandbox(g.box.cid)
		h.post(func() {
			g.removed, g.box.phase = true, ended
			delete(h.groups, g.box.cid)
			h.used = h.sumUsed()
			then()
		})
	})
}

// memberEnded: one task's failure, or its kill, is the end of all.
func (h *host) memberEnded(t *task, c change) {
	if c.state != mesos.TASK_FINISHED {
		h.endGroup(t.group, ownGrace)
	}
}

func killedInLaunch() change {
	return fromAgent(mesos.TASK_KILLED, mesos.REASON_TASK_KILLED_DURING_LAUNCH, "Task killed during launch")
}
