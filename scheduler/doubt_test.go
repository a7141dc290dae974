package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestStopOutlastsTheSession: an app that was deleted while the engine was away is stopped with the next session. Nothing that is
// not known yet could make its tasks worth keeping, so they do not wait for the master's word of each.
func TestStopOutlastsTheSession(t *testing.T) {
	const id = "web.i.1"
	s, now := still(t, "10.0.0.0/24", func(state *store.State, now time.Time) {
		state.Tasks[id] = &spec.Task{Instance: "web.i", ID: id, Seat: spec.SeatID{App: "/web"}, ConfigVersion: now, AppVersion: now, State: "TASK_RUNNING",
			Rung: spec.Running, Host: "h", AgentID: "a", CreatedAt: now, StartedAt: now}
	})
	session := mesos.Subscribed{FrameworkID: "f", Master: "m"}
	s.onEngine(session)
	s.onEngine(mesos.Update{Status: spec.TaskStatus{TaskID: id, AgentID: "a", State: "TASK_RUNNING"}})
	s.turnAt(now)
	s.onEngine(mesos.Disconnected{Err: errors.New("gone")})
	delete(s.state.Apps, "/web")
	s.touchApp("/web")
	s.turnAt(now)
	if s.state.Tasks[id].Rung == spec.Killing {
		t.Fatal("stopped without a session")
	}
	s.onEngine(session) // in which nothing is said of the task
	s.turnAt(now)
	if s.state.Tasks[id].Rung != spec.Killing {
		t.Error("the task of a deleted app waits for the engine's word")
	}
}

// TestTheFenceBeginsWithTheSession: a host that was back between two sessions, unheard, and is cut off again has its address for as
// long as any other.
func TestTheFenceBeginsWithTheSession(t *testing.T) {
	const id = "web.i.1"
	s, now := still(t, "10.0.0.0/24", func(state *store.State, now time.Time) {
		state.Tasks[id] = &spec.Task{Instance: "web.i", ID: id, Seat: spec.SeatID{App: "/web"}, ConfigVersion: now, AppVersion: now, State: "TASK_UNREACHABLE",
			Rung: spec.Running, Host: "h", AgentID: "a", CreatedAt: now.Add(-time.Hour), StartedAt: now.Add(-time.Hour), UnreachableSince: now.Add(-time.Minute)}
	})
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turnAt(now)
	unreachable := mesos.Update{Status: spec.TaskStatus{TaskID: id, AgentID: "a", State: "TASK_UNREACHABLE"}}
	s.onEngine(unreachable)
	since := s.state.Tasks[id].UnreachableSince
	if since.Before(now) {
		t.Errorf("unreachable for %s, says an earlier session", now.Sub(since))
	}
	s.onEngine(unreachable)
	if again := s.state.Tasks[id].UnreachableSince; !again.Equal(since) {
		t.Error("the same session's word begins it anew")
	}
}
