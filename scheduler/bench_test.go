package scheduler

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// large is a scheduler with ten tasks in each app, all running; nobody runs its loop, so that one event can be measured.
func large(b *testing.B, apps int) *Scheduler {
	b.Helper()
	state := store.NewState()
	version := time.Now().Add(-time.Hour)
	addr := netip.MustParseAddr("10.0.0.9")
	for i := range apps {
		app := &spec.App{ID: spec.AppID(fmt.Sprintf("/app-%05d", i)), Cmd: "sleep 1000", Instances: 10, CPUs: 0.1, Version: version, LastConfigChange: version}
		state.Apps[app.ID], state.Versions[app.ID] = app, []*spec.App{app}
		for n := range app.Instances {
			addr = addr.Next()
			seat := spec.SeatID{App: app.ID, Index: n}
			t := &spec.Task{ID: fmt.Sprintf("%s.%d", app.ID.Safe(), n), Seat: seat, AppVersion: version, ConfigVersion: version, Rung: spec.Running,
				State: "TASK_RUNNING", Ready: true, Host: fmt.Sprintf("h%d", i%200), Pool: "p", Address: addr, CreatedAt: version, StagedAt: version, StartedAt: version, HealthySince: version}
			state.Tasks[t.ID] = t
			state.Seats[seat] = spec.Seat{ID: seat, Hostname: seat.Hostname(), LastHost: t.Host}
			state.Leases[addr] = spec.Lease{Seat: seat, Pool: "p", Address: addr}
		}
	}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}),
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/12")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		b.Fatal(err)
	}
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turn()
	s.turn()
	return s
}

// turn is what the loop does after an event.
func (s *Scheduler) turn() {
	s.decide(time.Now())
	s.show()
	s.batch = batch{}
}

// BenchmarkStatusUpdate is one event about one of many tasks, decided and shown: it must not depend on how many there are.
func BenchmarkStatusUpdate(b *testing.B) {
	for _, apps := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d tasks", 10*apps), func(b *testing.B) {
			s := large(b, apps)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				state := []string{"TASK_UNREACHABLE", "TASK_RUNNING"}[i/(10*apps)%2]
				id := fmt.Sprintf("%s.%d", spec.AppID(fmt.Sprintf("/app-%05d", i%apps)).Safe(), i/apps%10)
				s.onEngine(mesos.Update{Status: spec.TaskStatus{TaskID: id, State: state, Timestamp: time.Now()}})
				s.turn()
			}
		})
	}
}

// BenchmarkDeployment is the decision about a change of a thousand apps.
func BenchmarkDeployment(b *testing.B) {
	s := large(b, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := s.change(api.Change{Force: true, Decide: func(current api.Tree) (api.Tree, error) {
			out := api.Tree{Apps: map[spec.AppID]*spec.App{}}
			for id, app := range current.Apps {
				own := *app
				own.Cmd = fmt.Sprintf("sleep %d", i)
				out.Apps[id] = &own
			}
			return out, nil
		}}, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		s.turn()
	}
}
