package standalone

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// planCut begins or ends the wait for a Docker Engine that does not answer.
func (h *host) planCut(now time.Time) {
	h.cutAt = time.Time{}
	if !h.connected && h.owner.opts.UnreachableAfter > 0 {
		h.cutAt = now.Add(h.owner.opts.UnreachableAfter)
	}
}

// cutOff makes a host unreachable whose Docker Engine has been silent for too long. As with a master, whose agent does not
// answer: its tasks may well run on, but nothing is known of them, so none is ended.
func (h *host) cutOff() {
	h.cutAt, h.cut = time.Time{}, true
	h.log.Warn("docker has been silent for too long: the host is unreachable, and so are its tasks")
	for _, t := range h.tasksHere() {
		if f := h.frameworks[t.key.framework]; f != nil && t.phase != ended {
			reason := mesos.REASON_AGENT_REMOVED
			f.tell(h.status(t, change{
				state: f.lost(mesos.TASK_UNREACHABLE), source: mesos.SOURCE_MASTER, reason: &reason,
				message: "Agent " + h.opts.Hostname + " unreachable: its Docker Engine does not answer", bare: true,
			}))
		}
	}
	h.rescind()
	for _, f := range h.frameworks {
		f.send(&scheduler.Event{Type: scheduler.Event_FAILURE, Failure: &scheduler.Event_Failure{AgentID: &mesos.AgentID{Value: h.agentID}}})
	}
	h.answerAsked()
}

// reached ends that: the tasks are told of as they are now, and what they owe comes after it.
func (h *host) reached() {
	if !h.cut {
		return
	}
	h.cut = false
	h.log.Info("the host is back")
	now := time.Now()
	for _, t := range h.tasksHere() {
		if f := h.frameworks[t.key.framework]; f != nil && t.phase != ended {
			s := h.latest(t)
			reason, message := mesos.REASON_AGENT_REREGISTERED, "Agent re-registered"
			s.Reason, s.Message = &reason, &message
			f.tell(s)
		}
		if h.owing[t] {
			t.backoff = 0
			h.resend(t, now)
		}
	}
}

// answerAsked answers the calls that waited for the host.
func (h *host) answerAsked() {
	asked := h.asked
	h.asked = nil // one may wait for another host as well
	for _, answer := range asked {
		answer()
	}
}
