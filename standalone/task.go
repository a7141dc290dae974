package standalone

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"
)

const (
	firstResend = 10 * time.Second
	maxResend   = 10 * time.Minute
)

// phase is how far the engine has come with a task; it only grows.
type phase int

const (
	launching phase = iota // a worker pulls, creates and starts
	running                // started; the container may have exited since, unnoticed
	ended                  // fenced and declared: its container does not run
)

// task is one task. The loop alone touches it, except for the fields that never change.
type task struct {
	key   taskKey // never changes, as the next six
	cid   string  // Mesos container id
	res   bundle
	net   network
	grace time.Duration
	role  string
	host  *host
	group *group // nil: the task is of none

	phase     phase
	dockerID  string // "" before the container exists
	address   netip.Addr
	startedAt time.Time // of the one run that the task is

	abort    chan struct{} // closed to end a launch
	aborted  bool
	killed   bool      // a kill is wanted
	killBy   time.Time // when SIGKILL falls; zero before the kill began
	silent   bool      // the framework is gone: nobody hears of the task
	checking bool      // a worker is finding out whether the container runs
	leaving  bool      // the last of its group: over, but the sandbox is still being removed
	fault    string    // why it fails although it was killed

	state    mesos.TaskState // the newest
	updates  []mesos.TaskStatus
	backoff  time.Duration
	resendAt time.Time
}

// network is how a task is connected: by Docker's network of that name, or by the host's.
type network struct {
	docker string
	// user is the name that statuses tell: that of a USER network, or of the task's network_infos.
	user string
}

func (n network) host() bool { return n.docker == "host" || n.docker == "none" }

func (o *owner) tasksOf(framework string) []*task {
	var out []*task
	for k, t := range o.tasks {
		if k.framework == framework {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *task) int { return cmp.Compare(a.key.id, b.key.id) })
	return out
}

func (o *owner) logTask(t *task) logrus.FieldLogger {
	return t.host.log.WithFields(logrus.Fields{"task": t.key.id, "container": containerName(t.cid)})
}

// change is what a status update says beyond the task's state.
type change struct {
	state   mesos.TaskState
	source  mesos.TaskStatus_Source
	reason  *mesos.TaskStatus_Reason
	message string
	bare    bool // without the container: there was none
}

func fromExecutor(state mesos.TaskState, message string) change {
	return change{state: state, source: mesos.SOURCE_EXECUTOR, message: message}
}

func fromAgent(state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) change {
	return change{state: state, source: mesos.SOURCE_AGENT, reason: &reason, message: message, bare: true}
}

// update queues a status update; it goes out when all before it are acknowledged.
func (o *owner) update(t *task, c change) {
	t.state = c.state
	if t.silent {
		return
	}
	s := o.status(t, c)
	id := uuid.New()
	s.UUID = id[:]
	s.ExecutorID = &mesos.ExecutorID{Value: t.key.id}
	if t.group != nil {
		s.ExecutorID.Value = t.group.executor
	}
	t.updates = append(t.updates, s)
	o.owing[t] = true
	if len(t.updates) == 1 {
		t.backoff = 0
		o.resend(t, time.Now())
	}
}

// status builds a status. Only RUNNING tells the container's own address; all others tell the agent's, as Mesos does.
func (o *owner) status(t *task, c change) mesos.TaskStatus {
	now := float64(time.Now().UnixMicro()) / 1e6
	s := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: t.key.id}, State: &c.state, Source: &c.source, Reason: c.reason,
		AgentID: &mesos.AgentID{Value: t.host.agentID}, Timestamp: &now,
	}
	if c.message != "" {
		s.Message = &c.message
	}
	if c.bare {
		return s
	}
	info := mesos.NetworkInfo{}
	address := o.ip.String()
	if c.state == mesos.TASK_RUNNING && !t.net.host() && t.address.IsValid() {
		address = t.address.String()
		if t.net.user != "" {
			info.Name = &t.net.user
		}
	}
	protocol := mesos.IPv4
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() && !a.Is4In6() {
		protocol = mesos.IPv6
	}
	info.IPAddresses = []mesos.NetworkInfo_IPAddress{{Protocol: &protocol, IPAddress: &address}}
	s.ContainerStatus = &mesos.ContainerStatus{
		ContainerID: &mesos.ContainerID{Value: t.cid}, NetworkInfos: []mesos.NetworkInfo{info},
	}
	if t.group != nil {
		s.ContainerStatus.ContainerID.Parent = &mesos.ContainerID{Value: t.group.box.cid}
	}
	return s
}

// resend sends the oldest update that is not acknowledged, and plans to do so again after 10, 20, 40 ... seconds. Nothing is
// heard of a host that is unreachable.
func (o *owner) resend(t *task, now time.Time) {
	if f := o.frameworks[t.key.framework]; f != nil && !t.host.cut {
		f.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: t.updates[0]}})
	}
	t.backoff = min(max(firstResend, 2*t.backoff), maxResend)
	t.resendAt = now.Add(t.backoff)
}

// tell sends a status that the master makes itself: it has no uuid and is not acknowledged.
func (f *framework) tell(s mesos.TaskStatus) {
	f.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: s}})
}

func (o *owner) acknowledge(f *framework, c *scheduler.Call_Acknowledge) {
	t := o.tasks[taskKey{f.id, c.TaskID.Value}]
	if t == nil || len(t.updates) == 0 || c.AgentID.Value != t.host.agentID || !bytes.Equal(t.updates[0].UUID, c.UUID) {
		return // an acknowledgement that came twice
	}
	t.updates = t.updates[1:]
	if len(t.updates) > 0 {
		t.backoff = 0
		o.resend(t, time.Now())
		return
	}
	delete(o.owing, t)
	if t.phase == ended {
		o.forget(t)
	}
}

// refuseTask answers a launch that never became a task.
func (o *owner) refuseTask(f *framework, info *mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	now := float64(time.Now().UnixMicro()) / 1e6
	source := mesos.SOURCE_MASTER
	agent := info.AgentID
	f.tell(mesos.TaskStatus{
		TaskID: info.TaskID, State: &state, Source: &source, Reason: &reason, Message: &message, AgentID: &agent, Timestamp: &now,
	})
	o.log.WithFields(logrus.Fields{"task": info.TaskID.Value, "state": state.String()}).Info("launch refused: " + message)
}

// declare ends a task: its container is known not to run. Its resources are free from here on.
func (h *host) declare(t *task, c change) {
	if t.phase == ended || t.leaving {
		return
	}
	if t.isBox() {
		h.boxEnded(t.group, c)
		return
	}
	if !h.mayEnd(t, c) {
		return
	}
	t.phase = ended
	h.used = h.sumUsed()
	delete(h.containers, t.cid)
	h.logTask(t).WithField("state", c.state.String()).Info("task ended: " + c.message)
	h.update(t, c)
	if t.silent {
		h.forget(t)
	}
	if t.group != nil {
		h.memberEnded(t, c)
	}
}

// sumUsed adds up anew: a task recovered under other port ranges would leave holes if it were only subtracted.
func (h *host) sumUsed() bundle {
	var b bundle
	for _, t := range h.tasks {
		if t.host == h && t.phase != ended {
			b = b.plus(t.res)
		}
	}
	for _, g := range h.groups {
		if g.box.phase != ended {
			b = b.plus(g.box.res)
		}
	}
	return b
}

// forget drops an ended task that needs no more telling, and marks its container so that the next run knows.
func (o *owner) forget(t *task) {
	delete(o.tasks, t.key)
	delete(o.owing, t)
	if t.dockerID != "" {
		t.host.markEnded(t.dockerID, t.cid)
	}
}

// reconcile tells the state of the named tasks, or of all. Of tasks on unreachable hosts only those are told that are named.
func (o *owner) reconcile(f *framework, c *scheduler.Call_Reconcile) {
	for _, r := range c.Tasks {
		o.answer(f, r.TaskID, r.AgentID)
	}
	if len(c.Tasks) > 0 {
		return
	}
	for _, h := range o.hosts {
		tell := func() {
			for _, t := range h.tasksHere() {
				if t.key.framework == f.id && !h.cut {
					f.tell(o.latest(t))
				}
			}
		}
		if h.ready || h.cut {
			tell()
		} else {
			h.asked = append(h.asked, tell)
		}
	}
}

// awaited is the host that must have come back before something is known of a task; nil: none. A master says nothing either
// of what may be on an agent that has not registered again.
func (o *owner) awaited(t *task, agent *mesos.AgentID) *host {
	for _, h := range o.hosts {
		if t == nil && !h.ready && !h.cut && (agent == nil || agent.Value == h.agentID) {
			return h
		}
	}
	return nil
}

// answer is the reconciliation of one task.
func (o *owner) answer(f *framework, id mesos.TaskID, agent *mesos.AgentID) {
	t := o.tasks[taskKey{f.id, id.Value}]
	if h := o.awaited(t, agent); h != nil {
		h.asked = append(h.asked, func() { o.answer(f, id, agent) })
		return
	}
	if t != nil && !t.host.cut && (agent == nil || agent.Value == t.host.agentID) {
		f.tell(o.latest(t))
		return
	}
	now := float64(time.Now().UnixMicro()) / 1e6
	source, reason := mesos.SOURCE_MASTER, mesos.REASON_RECONCILIATION
	state, message := f.lost(mesos.TASK_UNKNOWN), "Reconciliation: Task is unknown"
	switch h := o.hostOf(agent); {
	case h != nil && h.cut:
		state, message = f.lost(mesos.TASK_UNREACHABLE), "Reconciliation: Task is unreachable"
	case h != nil:
		state, message = f.lost(mesos.TASK_GONE), "Reconciliation: Task is unknown to the agent"
	}
	f.tell(mesos.TaskStatus{
		TaskID: id, State: &state, Source: &source, Reason: &reason, Message: &message, AgentID: agent, Timestamp: &now,
	})
}

// latest is the state that the framework may know: that of the update under way, not of those withheld behind it.
func (o *owner) latest(t *task) mesos.TaskStatus {
	state := t.state
	if len(t.updates) > 0 {
		state = t.updates[0].GetState()
	}
	reason := mesos.REASON_RECONCILIATION
	return o.status(t, change{
		state: state, source: mesos.SOURCE_MASTER, reason: &reason, message: "Reconciliation: Latest task state",
		bare: t.phase == launching && len(t.updates) == 0,
	})
}
