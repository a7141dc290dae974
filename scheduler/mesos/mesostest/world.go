package mesostest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// resendAfter is the first pause before an unacknowledged update comes again; each next one is twice as long.
const resendAfter = 10 * time.Second

type offer struct {
	spec.Offer
	auto  bool // made of an agent's free resources
	since time.Time
}

type agent struct {
	total        spec.Offer
	auto         bool      // offered by itself
	away         bool      // unreachable, or not back after a master's restart
	restarts     bool      // away for that: the master knows what ran there
	cut          time.Time // nothing passes to and from the host since then, whether or not the master has noticed
	refusedUntil time.Time
	timer        *time.Timer
}

func (a *agent) stopTimer() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

type task struct {
	launch  spec.Launch
	newest  spec.TaskStatus   // what reconciliation answers
	pending []spec.TaskStatus // not acknowledged; only the first has been sent
	pause   time.Duration
	timer   *time.Timer
	real    string      // the container's state, whatever the master knows of it
	lost    bool        // the launch never reached the agent
	next    *time.Timer // of the container's next step
}

// stop ends what the task would still do by itself.
func (t *task) stop() {
	t.stopTimer()
	if t.next != nil {
		t.next.Stop()
	}
}

func (t *task) stopTimer() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

// Task is a task as the master knows it.
type Task struct {
	Launch         spec.Launch
	State          string
	Unacknowledged int
}

// Tasks are the tasks that the master knows; ended ones until their end is acknowledged.
func (m *Master) Tasks() map[string]Task {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]Task{}
	for id, t := range m.tasks {
		out[id] = Task{t.launch, t.newest.State, len(t.pending)}
	}
	return out
}

// AddAgent adds a host whose free resources are offered by themselves: after SUBSCRIBE, ACCEPT, the end of a task, REVIVE,
// and when a refusal's time is over. AgentID and Host must be set.
func (m *Master) AddAgent(total spec.Offer) {
	m.locked(func() {
		m.agents[total.AgentID] = &agent{total: total, auto: true}
		m.offerAll()
	})
}

// Offer makes one offer by hand and returns its id. It is lost when nobody is subscribed.
func (m *Master) Offer(o spec.Offer) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents[o.AgentID] == nil {
		m.agents[o.AgentID] = &agent{total: o}
	}
	return m.makeOffer(o, false)
}

func (m *Master) makeOffer(o spec.Offer, auto bool) string {
	m.serial++
	o.ID = fmt.Sprintf("offer-%d", m.serial)
	if m.stream == nil {
		return o.ID
	}
	m.offers[o.ID] = &offer{o, auto, time.Now()}
	m.send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{wireOffer(o, m.framework)}}})
	return o.ID
}

// Rescind withdraws an offer.
func (m *Master) Rescind(id string) { m.locked(func() { m.rescind(id) }) }

func (m *Master) rescind(id string) {
	delete(m.offers, id)
	m.send(&scheduler.Event{Type: scheduler.Event_RESCIND, Rescind: &scheduler.Event_Rescind{OfferID: mesos.OfferID{Value: id}}})
}

// Update reports a task's state as its agent would: with a UUID, after all earlier updates of it are acknowledged, again
// and again until it is. TaskID and State must be set; AgentID, ContainerID and Timestamp are filled in.
func (m *Master) Update(s spec.TaskStatus) { m.locked(func() { m.update(s) }) }

// UpdateOnce sends a status as it is, once: what the master itself makes (no UUID), or anything odd.
func (m *Master) UpdateOnce(s spec.TaskStatus) { m.locked(func() { m.sendStatus(s) }) }

func (m *Master) update(s spec.TaskStatus) {
	t := m.tasks[s.TaskID]
	if t == nil { // a task that the test never launched
		t = &task{launch: spec.Launch{TaskID: s.TaskID, AgentID: s.AgentID}}
		m.tasks[s.TaskID] = t
	}
	m.serial++
	s.UUID = binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(m.serial))
	s.AgentID = t.launch.AgentID
	if s.Source == "" {
		s.Source = "SOURCE_EXECUTOR"
	}
	if s.ContainerID == "" {
		s.ContainerID = t.newest.ContainerID
	}
	if s.Timestamp.IsZero() {
		s.Timestamp = time.Now()
	}
	t.newest, t.real = s, s.State
	t.pending = append(t.pending, s)
	if len(t.pending) == 1 {
		t.pause = resendAfter
		m.resend(t)
	}
	if spec.TerminalState(s.State) {
		m.offerAll()
	}
}

// resend sends the first pending update and sets the time of the next attempt.
func (m *Master) resend(t *task) {
	t.stopTimer()
	if len(t.pending) == 0 {
		return
	}
	if m.reached(t.launch.AgentID) {
		m.carry(t.pending[0])
	}
	t.timer = time.AfterFunc(t.pause, func() { m.locked(func() { m.resend(t) }) })
	t.pause *= 2
}

func (m *Master) resendAll() {
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		m.tasks[id].pause = resendAfter
		m.resend(m.tasks[id])
	}
}

func (m *Master) sendStatus(s spec.TaskStatus) {
	m.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: wireStatus(s)}})
}

func (m *Master) fromMaster(t *task, state, reason string) {
	t.newest.State, t.newest.Reason, t.newest.Source, t.newest.UUID = state, reason, "SOURCE_MASTER", nil
	t.newest.TaskID, t.newest.AgentID, t.newest.Timestamp = t.launch.TaskID, t.launch.AgentID, time.Now()
	m.sendStatus(t.newest)
}

// perform lets an accepted call change the world.
func (m *Master) perform(c *Call) {
	switch c.Type {
	case "ACCEPT", "DECLINE":
		m.useOffers(c)
	case "ACKNOWLEDGE":
		m.acknowledge(c)
	case "KILL":
		m.kill(c)
	case "RECONCILE":
		m.reconcile(c)
	case "SUPPRESS":
		m.suppress = true
	case "REVIVE":
		m.suppress = false
		for _, a := range m.agents {
			a.refusedUntil = time.Time{}
		}
		m.offerAll()
	case "TEARDOWN":
		m.remove()
		m.endStream()
	}
}

func (m *Master) useOffers(c *Call) {
	stale, have := "", spec.Offer{}
	for _, id := range c.OfferIDs {
		o := m.offers[id]
		if o == nil {
			stale = id
			continue
		}
		delete(m.offers, id)
		add(&have, o.Offer)
		if a := m.agents[o.AgentID]; a != nil && o.auto {
			m.refuse(a, c.Refuse)
		}
	}
	for _, l := range each(c.Launches) {
		switch {
		case stale != "":
			m.refused(l, "TASK_DROPPED", "REASON_INVALID_OFFERS", "Task launched with invalid offers: Offer "+stale+" is no longer valid")
		case strings.Contains(l.TaskID, "/"):
			m.refused(l, "TASK_ERROR", "REASON_TASK_INVALID", "'"+l.TaskID+"' contains invalid characters")
		case m.tasks[l.TaskID] != nil && !spec.TerminalState(m.tasks[l.TaskID].real):
			m.refused(l, "TASK_ERROR", "REASON_TASK_INVALID", "Task has duplicate ID: "+l.TaskID)
		case m.opts.Deny != nil && m.opts.Deny(l):
			m.refused(l, "TASK_ERROR", "REASON_TASK_INVALID", "Task is denied")
		case !fits(l, have):
			m.refused(l, "TASK_ERROR", "REASON_TASK_INVALID", "Total resources required by task are more than available")
		default:
			subtract(&have, l)
			m.launch(l)
		}
	}
	m.offerAll()
}

// refuse keeps an agent's resources from being offered for a time.
func (m *Master) refuse(a *agent, d time.Duration) {
	if d <= 0 {
		return
	}
	a.refusedUntil = time.Now().Add(d)
	a.stopTimer()
	a.timer = time.AfterFunc(d, func() { m.locked(m.offerAll) })
}

func (m *Master) refused(l spec.Launch, state, reason, message string) {
	m.sendStatus(spec.TaskStatus{TaskID: l.TaskID, AgentID: l.AgentID, State: state, Reason: reason, Source: "SOURCE_MASTER", Message: message, Timestamp: time.Now()})
}

func (m *Master) launch(l spec.Launch) {
	m.serial++
	if over := m.tasks[l.TaskID]; over != nil {
		over.stop() // an id may be used again
	}
	t := &task{launch: l, real: "TASK_STAGING"}
	t.newest = spec.TaskStatus{TaskID: l.TaskID, AgentID: l.AgentID, State: "TASK_STAGING", Timestamp: time.Now(), ContainerID: fmt.Sprintf("container-%d", m.serial)}
	m.tasks[l.TaskID] = t
	if t.lost = !m.reached(l.AgentID); !t.lost {
		m.begin(t)
	}
}

// begin is the launch's arrival at the agent.
func (m *Master) begin(t *task) {
	t.lost = false
	if m.opts.Watch != nil {
		m.opts.Watch(m.containers())
	}
	if m.opts.AutoRun {
		m.steps(t, spec.TaskStatus{State: "TASK_STARTING", Addresses: []string{"127.0.0.1"}}, spec.TaskStatus{State: "TASK_RUNNING", Addresses: []string{address(t.launch)}})
	}
}

// address is the container's: the one asked for with a docker parameter, or the agent's.
func address(l spec.Launch) string {
	for _, p := range l.Parameters {
		if p.Key == "ip" {
			return p.Value
		}
	}
	return "127.0.0.1"
}

func (m *Master) acknowledge(c *Call) {
	t := m.tasks[c.TaskID]
	if t == nil || len(t.pending) == 0 || string(t.pending[0].UUID) != string(c.UUID) {
		return
	}
	done := t.pending[0]
	t.pending = t.pending[1:]
	t.pause = resendAfter
	if spec.TerminalState(done.State) {
		t.stopTimer()
		delete(m.tasks, c.TaskID)
		return
	}
	m.resend(t)
}

func (m *Master) kill(c *Call) {
	t := m.tasks[c.TaskID]
	switch {
	case t == nil || t.newest.State == "TASK_UNREACHABLE":
		m.answer(c.TaskID, c.AgentID)
	case !m.reached(t.launch.AgentID):
	case t.lost:
		t.lost = false // the executor never begins
		m.update(spec.TaskStatus{TaskID: c.TaskID, State: "TASK_KILLED", Reason: "REASON_TASK_KILLED_DURING_LAUNCH", Source: "SOURCE_AGENT"})
	case m.opts.AutoRun && !spec.TerminalState(t.real):
		m.steps(t, spec.TaskStatus{State: "TASK_KILLED", Message: "Container exited with status 137", Addresses: []string{"127.0.0.1"}})
	}
}

func (m *Master) reconcile(c *Call) {
	if len(c.Reconcile) > 0 {
		for _, r := range c.Reconcile {
			m.answer(r.TaskID, r.AgentID)
		}
		return
	}
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		if t := m.tasks[id]; t.newest.State != "TASK_UNREACHABLE" {
			m.answer(id, t.launch.AgentID)
		}
	}
}

// answer is one answer to reconciliation. There is none while the task's agent has not come back after a restart.
func (m *Master) answer(taskID, agentID string) {
	s := spec.TaskStatus{TaskID: taskID, AgentID: agentID, Reason: "REASON_RECONCILIATION", Source: "SOURCE_MASTER", Timestamp: time.Now()}
	t, a := m.tasks[taskID], m.agents[agentID]
	switch {
	case t != nil && t.newest.State == "TASK_UNREACHABLE" && agentID == "":
		s.State, s.Message = "TASK_UNKNOWN", "Reconciliation: Task is unknown"
	case t != nil && t.newest.State == "TASK_UNREACHABLE":
		s.State, s.Message = "TASK_UNREACHABLE", "Reconciliation: Task is unreachable"
	case a != nil && a.away && !(a.restarts && t != nil):
		return
	case t != nil:
		s = t.newest
		s.TaskID, s.AgentID, s.UUID = taskID, t.launch.AgentID, nil
		s.Reason, s.Source, s.Message = "REASON_RECONCILIATION", "SOURCE_MASTER", "Reconciliation: Latest task state"
	case a != nil:
		s.State, s.Message = "TASK_GONE", "Reconciliation: Task is unknown to the agent"
	default:
		s.State, s.Message = "TASK_UNKNOWN", "Reconciliation: Task is unknown"
	}
	m.sendStatus(s)
}

// each are the tasks of launches: those of a pod stand for themselves. Its sandbox's own resources are not counted.
func each(launches []spec.Launch) []spec.Launch {
	var out []spec.Launch
	for _, l := range launches {
		if len(l.Members) > 0 {
			out = append(out, l.Members...)
		} else {
			out = append(out, l)
		}
	}
	return out
}
