package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

// TestInstances holds the rows of one app against every way in which a seat can stand.
func TestInstances(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	web := &spec.App{ID: "/web", Instances: 2, CPUs: 0.5, Mem: 64, Version: now, LastConfigChange: now}
	checked := *web
	checked.HealthChecks = make([]spec.HealthCheck, 1)
	task := func(seat int, rung spec.Rung, edit func(*spec.Task)) *spec.Task {
		x := &spec.Task{
			ID: "t", Seat: spec.SeatID{App: "/web", Index: seat}, Rung: rung, AppVersion: now, ConfigVersion: now, Ready: true, Host: "h1",
			CreatedAt: now, StagedAt: now, StartedAt: now,
		}
		if edit != nil {
			edit(x)
		}
		return x
	}
	running := task(0, spec.Running, nil)
	restart := []*spec.Deployment{{Steps: []spec.Step{{Actions: []spec.Action{{Kind: spec.RestartApplication, App: "/web"}}}}}}
	alive := []spec.CheckHealth{{Known: true, Alive: true}}
	for name, c := range map[string]struct {
		app   *spec.App
		tasks []*spec.Task
		edit  func(*Snapshot)
		row   int
		want  func(*Instance)
	}{
		"running without checks": {app: web, tasks: []*spec.Task{running}, want: func(i *Instance) { i.Ready = true }},
		"checks without result":  {app: &checked, tasks: []*spec.Task{running}, want: func(i *Instance) { i.Checks = 1 }},
		"healthy": {app: &checked, tasks: []*spec.Task{task(0, spec.Running, func(x *spec.Task) { x.Health = alive })}, want: func(i *Instance) {
			i.Checks, i.Ready, i.Healthy = 1, true, &alive[0].Alive
		}},
		"not ready": {app: web, tasks: []*spec.Task{task(0, spec.Running, func(x *spec.Task) { x.Ready = false })}},
		"old": {app: web, tasks: []*spec.Task{task(0, spec.Running, func(x *spec.Task) { x.ConfigVersion = now.Add(-1) })}, want: func(i *Instance) {
			i.Ready, i.Outdated = true, true
		}},
		"unreachable": {app: web, tasks: []*spec.Task{task(0, spec.Running, func(x *spec.Task) { x.UnreachableSince = now })}, want: func(i *Instance) {
			i.State, i.Why = "unreachable", []string{"the engine cannot reach host h1"}
		}},
		"stopping": {app: web, tasks: []*spec.Task{task(0, spec.Killing, func(x *spec.Task) { x.KillWanted, x.KillReason = now, "scaled down" })}, want: func(i *Instance) {
			i.State, i.Why = "stopping", []string{"scaled down"}
		}},
		"starting": {app: web, tasks: []*spec.Task{task(0, spec.Staged, func(x *spec.Task) { x.Message = "pulling" })}, want: func(i *Instance) {
			i.State, i.Why = "starting", []string{"pulling"}
		}},
		"launched": {app: web, tasks: []*spec.Task{task(0, spec.Launched, nil)}, want: func(i *Instance) { i.State = "launched" }},
		"helper": {
			app: web, tasks: []*spec.Task{task(2, spec.Running, nil)}, edit: func(s *Snapshot) { s.Deployments = restart }, row: 2,
			want: func(i *Instance) { i.Ready, i.Temporary = true, true },
		},
		"surplus":     {app: web, tasks: []*spec.Task{task(2, spec.Running, nil)}, row: 2, want: func(i *Instance) { i.Ready, i.Surplus = true, true }},
		"app is gone": {tasks: []*spec.Task{running}, want: func(i *Instance) { i.Ready, i.Surplus, i.CPUs, i.Held, i.Weight, i.Mem = true, true, 0, 0, 0, 0 }},
		"waits with its address": {
			app: web, edit: func(s *Snapshot) {
				s.Queue = []QueueItem{{App: web, Since: now, BackoffUntil: now.Add(90 * time.Second)}}
				s.Leases = []spec.Lease{{Seat: spec.SeatID{App: "/web"}, Pool: "p", Address: netip.MustParseAddr("10.0.0.1")}}
				s.LastFailure = map[spec.AppID]*spec.TaskFailure{"/web": {State: "TASK_FAILED", Message: "no such image", AppVersion: now}}
			},
			want: func(i *Instance) {
				i.State, i.TaskID, i.Host, i.Address, i.Pool = "waiting", "", "", "10.0.0.1", "p"
				i.Why = []string{"next launch in 1m30s", "last failure: TASK_FAILED no such image"}
			},
		},
		"no engine": {app: web, edit: func(s *Snapshot) { s.Connected = false }, want: func(i *Instance) {
			i.State, i.TaskID, i.Host, i.Since = "waiting", "", "", ""
			i.Why = []string{"the scheduler has no connection to the engine"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			snap := &Snapshot{View: View{Now: now, Connected: true, Tasks: map[spec.AppID][]*spec.Task{"/web": c.tasks}}}
			if c.app != nil {
				snap.Apps = map[spec.AppID]*spec.App{"/web": c.app}
			}
			if c.edit != nil {
				c.edit(snap)
			}
			rows := instances(snap)
			if c.app != nil && len(rows) < 2 {
				t.Fatalf("%d rows: every wanted seat needs one", len(rows))
			}
			want := Instance{
				App: "/web", Seat: c.row, Hostname: spec.SeatID{App: "/web", Index: c.row}.Hostname(), HostKeys: []string{}, State: "running",
				TaskID: "t", Version: spec.FormatTime(now), CPUs: 0.5, Held: 0.5, Weight: 1, Mem: 64, Host: "h1", Since: spec.FormatTime(now), Why: []string{},
			}
			if c.want != nil {
				c.want(&want)
			}
			if diff := cmp.Diff(want, rows[c.row]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
