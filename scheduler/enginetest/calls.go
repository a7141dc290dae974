package enginetest

import (
	"context"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// Accept launches tasks on the host that the offers are of.
func (w *World) Accept(_ context.Context, offerIDs []string, launches []spec.Launch, refuse time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	var on *host
	for _, id := range offerIDs {
		if h := w.take(id); h != nil {
			on = h
		}
	}
	for _, l := range launches {
		if on == nil {
			w.send(mesos.Update{Status: spec.TaskStatus{TaskID: l.TaskID, AgentID: l.AgentID, State: "TASK_DROPPED", Timestamp: time.Now()}})
			continue
		}
		t := &task{Launch: l, host: on, state: "TASK_STAGING"}
		on.cpus, on.mem = on.cpus-l.CPUs, on.mem-l.Mem
		w.tasks[l.TaskID] = t
		w.later(t, "TASK_RUNNING")
	}
	if on != nil {
		on.refused = time.Now().Add(refuse)
	}
	return nil
}

// Decline gives offers back.
func (w *World) Decline(_ context.Context, offerIDs []string, refuse time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range offerIDs {
		if h := w.take(id); h != nil && !h.grew {
			h.refused = time.Now().Add(refuse)
		}
	}
	return w.connected()
}

// Kill ends a task after the time that a start takes, too.
func (w *World) Kill(_ context.Context, taskID, agentID string, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	if t := w.tasks[taskID]; t != nil {
		w.later(t, "TASK_KILLED")
		return nil
	}
	w.send(gone(taskID, agentID))
	return nil
}

func gone(taskID, agentID string) mesos.Event {
	return mesos.Update{Status: spec.TaskStatus{TaskID: taskID, AgentID: agentID, State: "TASK_GONE", Reason: "REASON_RECONCILIATION", Timestamp: time.Now()}}
}

// Acknowledge takes note.
func (w *World) Acknowledge(context.Context, ...spec.TaskStatus) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connected()
}

// Reconcile answers with the state of each task.
func (w *World) Reconcile(_ context.Context, refs []mesos.TaskRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.connected(); err != nil {
		return err
	}
	for _, r := range refs {
		if t := w.tasks[r.TaskID]; t != nil {
			w.send(mesos.Update{Status: spec.TaskStatus{TaskID: r.TaskID, AgentID: r.AgentID, State: t.state, Reason: "REASON_RECONCILIATION", Timestamp: time.Now()}})
			continue
		}
		w.send(gone(r.TaskID, r.AgentID))
	}
	return nil
}

// Suppress ends the offers.
func (w *World) Suppress(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = true
	return w.connected()
}

// Revive begins them again.
func (w *World) Revive(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = false
	for _, h := range w.hosts {
		h.refused = time.Time{}
	}
	w.offer()
	return w.connected()
}
