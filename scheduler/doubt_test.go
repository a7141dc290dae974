package scheduler

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestStopOutlastsTheSession: an app that was deleted while the engine was away is stopped with the next session. Nothing that is
// not known yet could make its tasks worth keeping, so they do not wait for the master's word of each.
func TestStopOutlastsTheSession(t *testing.T) {
	now := time.Now()
	app := &spec.App{ID: "/web", Cmd: "sleep 1000", Instances: 1, CPUs: 1, Mem: 64, Version: now, LastConfigChange: now}
	state := store.NewState()
	state.Apps[app.ID], state.Versions[app.ID] = app, []*spec.App{app}
	task := &spec.Task{Instance: "web.i", ID: "web.i.1", Seat: spec.SeatID{App: app.ID}, ConfigVersion: now, AppVersion: now, State: "TASK_RUNNING",
		Rung: spec.Running, Host: "h", AgentID: "a", CreatedAt: now, StartedAt: now}
	state.Tasks[task.ID] = task
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}),
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/24")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		t.Fatal(err)
	}
	session := mesos.Subscribed{FrameworkID: "f", Master: "m"}
	s.onEngine(session)
	s.onEngine(mesos.Update{Status: spec.TaskStatus{TaskID: task.ID, AgentID: "a", State: "TASK_RUNNING"}})
	s.turnAt(now)
	s.onEngine(mesos.Disconnected{Err: errors.New("gone")})
	delete(s.state.Apps, app.ID)
	s.touchApp(app.ID)
	s.turnAt(now)
	if s.state.Tasks[task.ID].Rung == spec.Killing {
		t.Fatal("stopped without a session")
	}
	s.onEngine(session) // in which nothing is said of the task
	s.turnAt(now)
	if s.state.Tasks[task.ID].Rung != spec.Killing {
		t.Error("the task of a deleted app waits for the engine's word")
	}
}
