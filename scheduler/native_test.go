package scheduler

import (
	"net/netip"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

const checkedApp = `{"id":"/a","cpus":0.1,"mem":32,"networks":[{"mode":"container"}],"container":{"type":"DOCKER","docker":{"image":"i:1"},"portMappings":[{"containerPort":80}]},
	"healthChecks":[{"protocol":"TCP","portIndex":0},{"protocol":"MESOS_HTTP","path":"/","portIndex":0,"maxConsecutiveFailures":3}]}`

// TestTheEnginesOwnCheck: what Mesos's executor finds out counts as the app's check, beside what the host's agent finds out
// of the others, and the host is told of the services only while it passes.
func TestTheEnginesOwnCheck(t *testing.T) {
	app, err := marathon.DecodeApp([]byte(checkedApp), marathon.Options{DefaultNetworkName: "p"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Hour)
	app.Version, app.LastConfigChange = began, began
	state := store.NewState()
	seat, addr := spec.SeatID{App: "/a"}, netip.MustParseAddr("10.0.0.2")
	state.Apps["/a"], state.Versions["/a"] = app, []*spec.App{app}
	state.Seats[seat] = spec.Seat{ID: seat, Hostname: "a-0", LastHost: "h1"}
	state.Leases[addr] = spec.Lease{Seat: seat, Pool: "p", Address: addr}
	state.Tasks["t"] = &spec.Task{ID: "t", Instance: "t", Seat: seat, AppVersion: began, ConfigVersion: began, Rung: spec.Running, State: "TASK_RUNNING", Ready: true,
		Host: "h1", AgentID: "a-h1", Pool: "p", Address: addr, CreatedAt: began, StagedAt: began, StartedAt: began}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}),
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/24")}}, Launch: launch.Options{SeatsDir: "/seats", NativeChecks: true}})
	if err != nil {
		t.Fatal(err)
	}
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})

	tell := func(reason string, healthy bool, at time.Time) {
		s.onEngine(mesos.Update{Status: spec.TaskStatus{TaskID: "t", AgentID: "a-h1", State: "TASK_RUNNING", Reason: reason, Healthy: &healthy, Timestamp: at}})
	}
	agent := func(alive bool) {
		if err := s.report(spec.HostReport{Host: "h1", Networks: map[string]string{}, Health: map[string][]spec.CheckHealth{"t": {{Known: true, Alive: alive}}}}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(tcp, native bool, failures, services int) {
		t.Helper()
		s.turn()
		h, doc := s.state.Tasks["t"].Health, s.hosts["h1"].last.Seats[0]
		if len(h) != 2 || h[0].Alive != tcp || h[1].Alive != native || h[1].ConsecutiveFailures != failures {
			t.Errorf("health is %+v", h)
		}
		if len(doc.Probes) != 1 || doc.Probes[0].Protocol != "TCP" || len(doc.Services) != services {
			t.Errorf("the host is told of probes %+v and services %+v", doc.Probes, doc.Services)
		}
	}
	at := began
	later := func() time.Time { at = at.Add(time.Second); return at }

	tell(nativeResult, true, later())
	expect(false, true, 0, 1)
	agent(true)
	expect(true, true, 0, 1)
	tell(nativeResult, false, later())
	expect(true, false, 1, 0)
	tell(nativeResult, false, at) // sent again
	tell("REASON_RECONCILIATION", false, later())
	expect(true, false, 1, 0)
	agent(false)
	tell(nativeResult, true, later())
	expect(false, true, 0, 1)
	for range 3 {
		tell(nativeResult, false, later())
	}
	expect(false, false, 3, 0)
	if s.state.Failures["/a"] == nil || s.state.Tasks["t"].KillWanted.IsZero() {
		t.Error("the task may live on after three failures in a row")
	}
}
