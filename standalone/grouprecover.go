package standalone

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/internal/docker"
)

// membersLabel is the form of task ids in a sandbox's label. It tells the next run which tasks the group should have: those
// that it lacks were never started.
func membersLabel(ids []string) string {
	text, err := json.Marshal(ids)
	if err != nil {
		panic("encode task ids: " + err.Error()) // texts always can be
	}
	return string(text)
}

// lostGroup is a sandbox that an earlier run left, with what its group should consist of.
type lostGroup struct {
	*group
	box docker.Container
	ids []string
}

// findBoxes makes a group of every sandbox.
func (h *host) findBoxes(ours []docker.Container) []lostGroup {
	var out []lostGroup
	for _, c := range ours {
		text, f := c.Labels[labelMembers], c.Labels[labelFramework]
		if text == "" || h.gone[f] || c.Labels[labelFleeting] != "" {
			continue
		}
		var ids []string
		res, err := parseLabel(c.Labels[labelResources])
		if err == nil {
			err = json.Unmarshal([]byte(text), &ids)
		}
		if err != nil {
			h.log.WithError(err).WithField("container", c.Name).Error("cannot recover the sandbox of a task group; the group is ended")
			continue
		}
		h.reviveFramework(c)
		cid := c.Labels[labelContainer]
		g := &group{executor: c.Labels[labelExecutor], waiting: map[*task]plan{}}
		g.box = &task{
			key: taskKey{f, g.executor}, cid: cid, res: res, role: c.Labels[labelRole], dockerID: c.ID, abort: make(chan struct{}),
			net: network{docker: c.NetworkMode, user: c.Labels[labelNetwork]}, silent: true, host: h, group: g, phase: ended, state: mesos.TASK_FAILED,
		}
		if c.Running { // one that is not has no address; it only remains to be removed
			g.box.phase, g.box.state, g.box.address = running, mesos.TASK_RUNNING, addressOf(c, g.box.net)
			if !c.Partial {
				g.box.startedAt = c.StartedAt
			}
		}
		h.groups[cid], h.containers[cid] = g, g.box
		out = append(out, lostGroup{g, c, ids})
	}
	return out
}

// completeGroup compares a found group with what it should be, and returns how it goes on. A group that was only half
// started when the run before ended, or that has lost a task, is ended: nobody is left who knows the missing tasks.
func (h *host) completeGroup(g lostGroup, all []docker.Container) func() {
	broken := ""
	if g.group.box.phase != running {
		broken = "the sandbox of the task group ended while the engine was away"
	}
	var missing []*task
	for _, id := range g.ids {
		if slices.ContainsFunc(g.members, func(t *task) bool { return t.key.id == id }) {
			continue
		}
		done := slices.IndexFunc(all, func(c docker.Container) bool {
			return c.Labels[labelTask] == id && c.Labels[labelGroup] == g.group.box.cid && strings.HasSuffix(c.Name, endedSuffix)
		})
		switch {
		case done < 0:
			broken = first(broken, "the engine ended while the task group was being started")
			missing = append(missing, h.missingTask(g.group, id))
		case all[done].ExitCode != 0:
			broken = first(broken, "another task of the group failed")
		}
	}
	return func() {
		if len(g.members) == 0 {
			broken = "its tasks have ended"
		}
		if broken == "" {
			return
		}
		h.logTask(g.group.box).Warn("ending a task group that an earlier run left: " + broken)
		for _, t := range g.live() {
			if !slices.Contains(missing, t) && !t.killed {
				t.fault = broken
			}
		}
		h.endGroup(g.group, func(t *task) time.Duration { return t.grace })
		for _, t := range missing {
			h.declare(t, fromAgent(mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED, broken))
		}
		if len(g.members) == 0 {
			g.removing = true
			h.removeBox(g.group, func() {})
		}
	}
}

// missingTask is a task of a group that has no container.
func (h *host) missingTask(g *group, id string) *task {
	t := &task{
		key: taskKey{g.box.key.framework, id}, cid: uuid.NewString(), role: g.box.role, net: g.box.net, abort: make(chan struct{}),
		state: mesos.TASK_STAGING, host: h, group: g, aborted: true,
	}
	h.tasks[t.key], h.containers[t.cid] = t, t
	g.members = append(g.members, t)
	return t
}
