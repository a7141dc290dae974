package standalone

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"
)

// simulatedTask is one task: nothing but its state and what it is to say.
type simulatedTask struct {
	key     taskKey
	cid     string
	host    *simulatedHost
	res     bundle
	address string // of its own; "" on the agent's network
	network string // the name that statuses tell
	group   *simulatedGroup

	phase   phase
	killed  bool
	state   mesos.TaskState
	updates []mesos.TaskStatus // not acknowledged, oldest first
	backoff time.Duration
	round   uint64 // of sending; a planned repetition of an earlier one is void
}

// simulatedGroup is a task group: its tasks share the executor's network, and end together.
type simulatedGroup struct {
	executor taskKey
	address  string
	res      bundle // of the executor
	members  []*simulatedTask
}

func (m *simulator) tasksOf(framework string) []*simulatedTask {
	var out []*simulatedTask
	for k, t := range m.tasks {
		if k.framework == framework {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *simulatedTask) int { return cmp.Compare(a.key.id, b.key.id) })
	return out
}

// validate is the master's check of a task.
func (m *simulator) validate(f *framework, h *simulatedHost, info *mesos.TaskInfo, available bundle) (bundle, string) {
	id := info.TaskID.Value
	res, err := fromResources(info.Resources)
	switch {
	case id == "" || !validID(id):
		return res, "Task ID '" + id + "' contains invalid characters"
	case m.tasks[taskKey{f.id, id}] != nil && m.tasks[taskKey{f.id, id}].phase != ended:
		return res, "Task has duplicate ID: " + id
	case info.AgentID.Value != h.agent:
		return res, "Task uses invalid agent " + info.AgentID.Value + " while agent " + h.agent + " is expected"
	case err != nil:
		return res, err.Error()
	case res.empty():
		return res, "Task uses no resources"
	case !available.contains(res):
		return res, "Total resources " + res.text(f.role) + " required by task and its executor is more than available " + available.text(f.role)
	}
	return res, ""
}

func (m *simulator) validateExecutor(g *simulatedGroup, h *simulatedHost, e *mesos.ExecutorInfo, available bundle) (bundle, string) {
	res, err := fromResources(e.Resources)
	switch {
	case err != nil:
		return res, err.Error()
	case h.executors[g.executor]:
		return res, "Executor '" + g.executor.id + "' runs a task group already"
	case !available.contains(res):
		return res, "Total resources required by task group and its executor is more than available"
	}
	return res, ""
}

func (m *simulator) refuseTask(f *framework, info *mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	source, agent, at := mesos.SOURCE_MASTER, info.AgentID, m.timestamp()
	f.tell(mesos.TaskStatus{
		TaskID: info.TaskID, State: &state, Source: &source, Reason: &reason, Message: &message, AgentID: &agent, Timestamp: &at,
	})
	m.log.WithFields(logrus.Fields{"task": info.TaskID.Value, "state": state.String()}).Info("launch refused: " + message)
}

func (m *simulator) timestamp() float64 { return float64(m.now.UnixMicro()) / 1e6 }

// dockerParameter is the value of a docker parameter; "" without one.
func dockerParameter(c *mesos.ContainerInfo, key string) string {
	for _, p := range c.GetDocker().GetParameters() {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// launch makes a valid task. It starts at half of its start time and then runs, or fails.
func (m *simulator) launch(f *framework, h *simulatedHost, info *mesos.TaskInfo, res bundle, g *simulatedGroup) {
	t := &simulatedTask{
		key: taskKey{f.id, info.TaskID.Value}, cid: fmt.Sprintf("%s-%012d", m.masterID[:23], m.next()), host: h, res: res,
		address: dockerParameter(info.Container, "ip"), group: g, state: mesos.TASK_STAGING,
	}
	if infos := info.GetContainer().GetNetworkInfos(); len(infos) > 0 {
		t.network = infos[0].GetName()
	}
	if g != nil {
		t.address = g.address
		g.members = append(g.members, t)
	}
	m.tasks[t.key] = t
	h.used = h.used.plus(res)
	takes := m.between(m.Start)
	m.agenda.at(m.now.Add(takes/2), func() {
		if t.phase == launching {
			m.update(t, fromExecutor(mesos.TASK_STARTING, ""))
		}
	})
	m.agenda.at(m.now.Add(takes), func() { m.started(t) })
}

func (m *simulator) started(t *simulatedTask) {
	if t.phase != launching {
		return
	}
	if m.rand.Float64() < m.Fail {
		m.end(t, exited(1, ""))
		return
	}
	t.phase = running
	m.update(t, fromExecutor(mesos.TASK_RUNNING, ""))
	if m.Life > 0 {
		m.agenda.at(m.now.Add(m.between(m.Life)), func() {
			if !t.killed {
				m.end(t, exited(0, ""))
			}
		})
	}
}

// end ends a task and, as the others of a group do not outlive a failure or a kill, those too.
func (m *simulator) end(t *simulatedTask, c change) {
	if t.phase == ended {
		return
	}
	m.release(t)
	m.update(t, c)
	if t.group == nil {
		return
	}
	if !slices.ContainsFunc(t.group.members, func(x *simulatedTask) bool { return x.phase != ended }) {
		delete(t.host.executors, t.group.executor)
		t.host.used = t.host.used.minus(t.group.res)
		return
	}
	if c.state != mesos.TASK_FINISHED {
		m.stopGroup(t.group)
	}
}

// release gives back what a task has.
func (m *simulator) release(t *simulatedTask) {
	if t.phase != ended {
		t.phase = ended
		t.host.used = t.host.used.minus(t.res)
		m.loose[t.host] = true
	}
}

func (m *simulator) kill(f *framework, c *scheduler.Call_Kill) {
	t := m.tasks[taskKey{f.id, c.TaskID.Value}]
	switch {
	case t == nil || (c.AgentID != nil && c.AgentID.Value != t.host.agent):
		m.answer(f, c.TaskID, c.AgentID)
	case t.group != nil:
		m.stopGroup(t.group)
	default:
		m.stop(t)
	}
}

func (m *simulator) stopGroup(g *simulatedGroup) {
	for _, t := range g.members {
		m.stop(t)
	}
}

// stop begins a task's end.
func (m *simulator) stop(t *simulatedTask) {
	switch {
	case t.phase == launching:
		t.killed = true
		m.end(t, killedInLaunch())
	case t.phase == running && !t.killed:
		t.killed = true
		if f := m.frameworks[t.key.framework]; f != nil && f.wantsKilling {
			m.update(t, fromExecutor(mesos.TASK_KILLING, ""))
		}
		m.agenda.at(m.now.Add(m.between(m.Stop)), func() { m.end(t, fromExecutor(mesos.TASK_KILLED, "Container exited with status 143")) })
	}
}

// update queues a status update; it goes out when all before it are acknowledged.
func (m *simulator) update(t *simulatedTask, c change) {
	t.state = c.state
	s := m.status(t, c)
	s.UUID = m.uuid()
	s.ExecutorID = &mesos.ExecutorID{Value: t.key.id}
	if t.group != nil {
		s.ExecutorID.Value = t.group.executor.id
	}
	if c.state == mesos.TASK_RUNNING {
		s.Data = m.data
	}
	t.updates = append(t.updates, s)
	if len(t.updates) == 1 {
		t.backoff = 0
		m.resend(t)
	}
}

// resend sends the oldest update that is not acknowledged, and plans to do so again after 10, 20, 40 ... seconds.
func (m *simulator) resend(t *simulatedTask) {
	if f := m.frameworks[t.key.framework]; f != nil {
		f.tell(t.updates[0])
	}
	t.backoff = min(max(firstResend, 2*t.backoff), maxResend)
	t.round = m.next()
	round := t.round
	m.agenda.at(m.now.Add(t.backoff), func() {
		if len(t.updates) > 0 && t.round == round {
			m.resend(t)
		}
	})
}

func (m *simulator) acknowledge(f *framework, c *scheduler.Call_Acknowledge) {
	t := m.tasks[taskKey{f.id, c.TaskID.Value}]
	if t == nil || len(t.updates) == 0 || c.AgentID.Value != t.host.agent || !bytes.Equal(t.updates[0].UUID, c.UUID) {
		return // an acknowledgement that came twice
	}
	t.updates = slices.Delete(t.updates, 0, 1)
	switch {
	case len(t.updates) > 0:
		t.backoff = 0
		m.resend(t)
	case t.phase == ended:
		delete(m.tasks, t.key)
	}
}

// status builds a status. Only RUNNING tells the task's own address; all others tell the agent's, as Mesos does.
func (m *simulator) status(t *simulatedTask, c change) mesos.TaskStatus {
	at := m.timestamp()
	s := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: t.key.id}, State: &c.state, Source: &c.source, Reason: c.reason,
		AgentID: &mesos.AgentID{Value: t.host.agent}, Timestamp: &at,
	}
	if c.message != "" {
		s.Message = &c.message
	}
	if c.bare {
		return s
	}
	protocol, address, info := mesos.IPv4, t.host.ip, mesos.NetworkInfo{}
	if c.state == mesos.TASK_RUNNING && t.address != "" {
		address = t.address
		if t.network != "" {
			info.Name = &t.network
		}
	}
	info.IPAddresses = []mesos.NetworkInfo_IPAddress{{Protocol: &protocol, IPAddress: &address}}
	s.ContainerStatus = &mesos.ContainerStatus{ContainerID: &mesos.ContainerID{Value: t.cid}, NetworkInfos: []mesos.NetworkInfo{info}}
	return s
}

// reconcile tells the state of the named tasks, or of all.
func (m *simulator) reconcile(f *framework, c *scheduler.Call_Reconcile) {
	if len(c.Tasks) == 0 {
		for _, t := range m.tasksOf(f.id) {
			f.tell(m.latest(t))
		}
		return
	}
	for _, r := range c.Tasks {
		m.answer(f, r.TaskID, r.AgentID)
	}
}

// answer is the reconciliation of one task.
func (m *simulator) answer(f *framework, id mesos.TaskID, agent *mesos.AgentID) {
	if t := m.tasks[taskKey{f.id, id.Value}]; t != nil && (agent == nil || agent.Value == t.host.agent) {
		f.tell(m.latest(t))
		return
	}
	source, reason, at := mesos.SOURCE_MASTER, mesos.REASON_RECONCILIATION, m.timestamp()
	state, message := f.lost(mesos.TASK_UNKNOWN), "Reconciliation: Task is unknown"
	if agent != nil {
		// Agents of an earlier run left with it, and their tasks ended with them: a master that saw them go says so.
		state, message = f.lost(mesos.TASK_GONE), "Reconciliation: Task is unknown to the agent"
	}
	f.tell(mesos.TaskStatus{
		TaskID: id, State: &state, Source: &source, Reason: &reason, Message: &message, AgentID: agent, Timestamp: &at,
	})
}

// latest is the state that the framework may know: that of the update under way, not of those withheld behind it.
func (m *simulator) latest(t *simulatedTask) mesos.TaskStatus {
	state := t.state
	if len(t.updates) > 0 {
		state = t.updates[0].GetState()
	}
	reason := mesos.REASON_RECONCILIATION
	return m.status(t, change{
		state: state, source: mesos.SOURCE_MASTER, reason: &reason, message: "Reconciliation: Latest task state", bare: t.phase == launching,
	})
}
