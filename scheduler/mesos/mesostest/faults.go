package mesostest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// Fate is what becomes of a message on its way.
type Fate struct {
	Lost  bool
	Deaf  bool          // of a call: it arrives, its answer is lost
	Twice bool          // it arrives twice
	Late  time.Duration // it arrives after this, even if its sender has given up
}

// Container is a container that lives, whatever the master knows of it.
type Container struct {
	Launch spec.Launch
	State  string
	Cut    time.Time // its host is cut off since then; zero: it is not
}

// Containers are those that live.
func (m *Master) Containers() []Container {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.containers()
}

func (m *Master) containers() []Container {
	var out []Container
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		t := m.tasks[id]
		if t.lost || spec.TerminalState(t.real) {
			continue
		}
		c := Container{Launch: t.launch, State: t.real}
		if a := m.agents[t.launch.AgentID]; a != nil {
			c.Cut = a.cut
		}
		out = append(out, c)
	}
	return out
}

// OffersOut are the outstanding offers and since when they are.
func (m *Master) OffersOut() map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]time.Time{}
	for id, o := range m.offers {
		out[id] = o.since
	}
	return out
}

// Suppressed says whether the framework wants no offers.
func (m *Master) Suppressed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.suppress
}

// CutStream closes the present subscription and loses what was not sent yet.
func (m *Master) CutStream() {
	m.locked(func() {
		if m.stream != nil {
			m.stream.queue = nil
		}
		m.endStream()
	})
}

// Freeze cuts a host off. The master does not notice before Unreachable: it offers, launches and kills as before, and
// nothing of it arrives.
func (m *Master) Freeze(agentID string) {
	m.locked(func() {
		if a := m.agents[agentID]; a != nil && a.cut.IsZero() {
			a.cut = time.Now()
		}
	})
}

// Thaw ends a freeze that the master did not notice: what was on its way arrives, except for kills.
func (m *Master) Thaw(agentID string) {
	m.locked(func() {
		a := m.agents[agentID]
		if a == nil || a.away {
			return
		}
		a.cut = time.Time{}
		for _, t := range m.of(agentID) {
			if t.lost && !spec.TerminalState(t.real) {
				m.begin(t)
			}
			m.resend(t)
		}
	})
}

// Unreachable makes the master notice that an agent is cut off: its tasks are TASK_UNREACHABLE, its offers are rescinded.
func (m *Master) Unreachable(agentID string) {
	m.locked(func() {
		if a := m.agents[agentID]; a != nil {
			a.away = true
		}
		for _, t := range m.of(agentID) {
			if !spec.TerminalState(t.newest.State) {
				m.fromMaster(t, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
			}
		}
		m.leave(agentID)
	})
}

// ShutDown ends an agent on purpose: its tasks are TASK_LOST, its containers gone.
func (m *Master) ShutDown(agentID string) {
	m.locked(func() {
		for _, t := range m.of(agentID) {
			t.stop()
			delete(m.tasks, t.launch.TaskID)
			if !spec.TerminalState(t.newest.State) {
				m.fromMaster(t, "TASK_LOST", "REASON_AGENT_REMOVED")
			}
		}
		delete(m.agents, agentID)
		m.leave(agentID)
	})
}

// RestartAgent is an agent's process that ends and begins again, until Reregister. The framework is told of its offers only,
// and its containers live on; unless it does not checkpoint: then they are killed, and lost at once.
func (m *Master) RestartAgent(agentID string) {
	m.locked(func() {
		if a := m.agents[agentID]; a != nil {
			a.away, a.restarts = true, true
		}
		m.rescindAll(agentID)
		if m.checkpoints {
			return
		}
		for _, t := range m.of(agentID) {
			if !spec.TerminalState(t.newest.State) {
				t.stop()
				delete(m.tasks, t.launch.TaskID)
				m.fromMaster(t, "TASK_LOST", "REASON_AGENT_DISCONNECTED")
			}
		}
	})
}

// leave tells the framework that an agent is lost.
func (m *Master) leave(agentID string) {
	m.rescindAll(agentID)
	m.send(&scheduler.Event{Type: scheduler.Event_FAILURE, Failure: &scheduler.Event_Failure{AgentID: &mesos.AgentID{Value: agentID}}})
}

func (m *Master) rescindAll(agentID string) {
	for _, id := range slices.Sorted(maps.Keys(m.offers)) {
		if m.offers[id].AgentID == agentID {
			m.rescind(id)
		}
	}
}

// Reregister brings an agent back after Unreachable, Restart or RestartAgent. Tasks that were reported unreachable are reported again,
// without a UUID; those that never reached the agent are dropped by it.
func (m *Master) Reregister(agentID string) {
	m.locked(func() {
		if a := m.agents[agentID]; a != nil {
			a.away, a.restarts, a.cut = false, false, time.Time{}
		}
		for _, t := range m.of(agentID) {
			switch {
			case t.lost:
				t.lost = false
				m.update(spec.TaskStatus{TaskID: t.launch.TaskID, State: "TASK_DROPPED", Reason: "REASON_RECONCILIATION", Source: "SOURCE_AGENT"})
				continue
			case t.newest.State == "TASK_UNREACHABLE" && !spec.TerminalState(t.real):
				m.fromMaster(t, t.real, "REASON_AGENT_REREGISTERED")
			case t.newest.State == "TASK_UNREACHABLE":
				t.newest.State = t.real
			}
			m.resend(t)
		}
		m.offerAll()
	})
}

// of are the tasks of an agent, in order.
func (m *Master) of(agentID string) []*task {
	var out []*task
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		if t := m.tasks[id]; t.launch.AgentID == agentID {
			out = append(out, t)
		}
	}
	return out
}

// reached says whether messages pass between the master and an agent.
func (m *Master) reached(agentID string) bool {
	a := m.agents[agentID]
	return a == nil || !a.away && a.cut.IsZero()
}

// steps lets a container go through states by itself, each after a pause.
func (m *Master) steps(t *task, states ...spec.TaskStatus) {
	if len(states) == 0 {
		return
	}
	step := func() {
		if m.tasks[t.launch.TaskID] != t || spec.TerminalState(t.real) {
			return
		}
		s := states[0]
		s.TaskID = t.launch.TaskID
		m.update(s)
		m.steps(t, states[1:]...)
	}
	if m.opts.Pause == nil {
		step()
		return
	}
	if t.next != nil {
		t.next.Stop() // a kill ends a launch
	}
	t.next = time.AfterFunc(m.opts.Pause(), func() { m.locked(step) })
}

// carry sends an agent's update to the scheduler, if fate wills.
func (m *Master) carry(s spec.TaskStatus) {
	if m.opts.Fate == nil {
		m.sendStatus(s)
		return
	}
	f := m.opts.Fate()
	times := 1
	switch {
	case f.Lost:
		return
	case f.Twice:
		times = 2
	}
	for range times {
		if f.Late <= 0 {
			m.sendStatus(s)
			continue
		}
		time.AfterFunc(f.Late, func() {
			m.locked(func() {
				if m.reached(s.AgentID) {
					m.sendStatus(s)
				}
			})
		})
	}
}

// Flaky carries requests on which fate has its say. Subscriptions pass.
type Flaky struct {
	Next http.RoundTripper
	Fate func(call string) Fate
}

var errReset = errors.New("connection reset by peer")

// RoundTrip implements http.RoundTripper.
func (f Flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var call scheduler.Call
	codec := codecs.ByMediaType[encoding.MediaType(r.Header.Get("Content-Type"))]
	if err := codec.NewDecoder(encoding.SourceReader(bytes.NewReader(body))).Decode(&call); err != nil {
		return nil, err
	}
	send := func(ctx context.Context) (*http.Response, error) {
		again := r.Clone(ctx)
		again.Body = io.NopCloser(bytes.NewReader(body))
		return f.Next.RoundTrip(again)
	}
	if call.Type == scheduler.Call_SUBSCRIBE {
		return send(r.Context())
	}
	fate := f.Fate(call.Type.String())
	if fate.Lost {
		return nil, errReset
	}
	if fate.Late > 0 {
		return late(r.Context(), fate.Late, send)
	}
	resp, err := send(r.Context())
	if fate.Twice && err == nil {
		_ = resp.Body.Close() // the first answer is overtaken by the second
		resp, err = send(r.Context())
	}
	if fate.Deaf && err == nil {
		_ = resp.Body.Close()
		return nil, errReset
	}
	return resp, err
}

// late delivers a request after a pause, whether or not anybody still waits for the answer.
func late(ctx context.Context, after time.Duration, send func(context.Context) (*http.Response, error)) (*http.Response, error) {
	type answer struct {
		resp *http.Response
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		time.Sleep(after)
		resp, err := send(context.WithoutCancel(ctx))
		if err == nil && ctx.Err() != nil {
			_ = resp.Body.Close()
		}
		got <- answer{resp, err}
	}()
	select {
	case a := <-got:
		return a.resp, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
