// Package apitest is a small world behind the API: an in-memory api.Backend in which apps start, scale, restart and end
// step by step, without goroutines or timers. Its clock, ids and addresses are the same in every run.
package apitest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/spec"
)

// Start is the world's first moment.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// Host is the only host's name.
const Host = "host-1"

// World is the double. Its exported fields may be set before it is used.
type World struct {
	// Events, when set, receives what a scheduler would publish.
	Events *api.Log
	// Warnings come back from every change.
	Warnings []string
	// Stops are those that every deployment is said to have made.
	Stops []api.Stop

	mu          sync.Mutex // guards all below
	stepOnRead  bool
	now         time.Time
	ids         int
	apps        map[spec.AppID]*spec.App
	groups      map[spec.AppID]*spec.Group
	versions    map[spec.AppID][]*spec.App // newest first
	tasks       map[spec.AppID][]*spec.Task
	deployments []*spec.Deployment
	inPlace     []api.DeploymentRecord // without steps
	failures    map[spec.AppID]*spec.TaskFailure
	leases      map[spec.SeatID]spec.Lease
	usage       map[string]spec.Usage
	kept        map[spec.SeatID]spec.Seat // what UpdateSeats said
	stuck       map[spec.AppID]api.QueueItem
	documents   map[string]*spec.HostDocument
	changed     chan struct{} // closed when a document changes
	reports     []spec.HostReport
	strangers   []spec.HostEndpoint
	policies    *spec.NetworkPolicies
	policed     *spec.PolicyReport
	pulls       prepull.Book
	drains      map[string]spec.HostDrain
}

// New makes an empty world.
func New(events *api.Log) *World {
	return &World{
		Events: events, now: Start, apps: map[spec.AppID]*spec.App{}, groups: map[spec.AppID]*spec.Group{}, versions: map[spec.AppID][]*spec.App{},
		tasks: map[spec.AppID][]*spec.Task{}, failures: map[spec.AppID]*spec.TaskFailure{}, leases: map[spec.SeatID]spec.Lease{},
		usage: map[string]spec.Usage{}, kept: map[spec.SeatID]spec.Seat{}, stuck: map[spec.AppID]api.QueueItem{}, documents: map[string]*spec.HostDocument{},
		changed: make(chan struct{}), drains: map[string]spec.HostDrain{},
	}
}

// StepOnRead moves the world one step at every Snapshot from now on, so that whoever polls sees progress.
func (w *World) StepOnRead() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stepOnRead = true
}

// Snapshot implements api.Backend.
func (w *World) Snapshot(context.Context) (*api.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stepOnRead {
		w.step()
	}
	s := &api.Snapshot{View: api.View{
		Apps: maps.Clone(w.apps), Groups: maps.Clone(w.groups), Tasks: map[spec.AppID][]*spec.Task{}, Deployments: []*spec.Deployment{},
		LastFailure: maps.Clone(w.failures),
		FrameworkID: "framework-1", EngineURL: "http://127.0.0.1:5050", Connected: true, Version: w.now, Now: w.now,
	}, Seats: map[spec.SeatID]spec.Seat{}, Usage: maps.Clone(w.usage)}
	for id, tasks := range w.tasks {
		for _, t := range tasks {
			copied := *t
			s.Tasks[id] = append(s.Tasks[id], &copied)
		}
	}
	for _, d := range w.deployments {
		copied := *d
		s.Deployments = append(s.Deployments, &copied)
	}
	for _, id := range slices.Sorted(maps.Keys(w.stuck)) {
		if app := w.apps[id]; app != nil && len(w.tasks[id]) < app.Instances {
			item := w.stuck[id]
			item.App, item.Count = app, app.Instances-len(w.tasks[id])
			s.Queue = append(s.Queue, item)
		}
	}
	s.Pools = []spec.Pool{{Name: "default", CIDR: netip.MustParsePrefix("10.90.0.0/24")}}
	s.Hosts = []api.HostView{{Name: Host, Reported: true, Endpoints: w.endpoints(), ToldAt: w.now, Policies: w.policed, Drain: w.drain(Host)}}
	s.Policies = w.policies
	w.rest()
	for seat, lease := range w.leases {
		s.Leases = append(s.Leases, lease)
		kept := w.kept[seat]
		s.Seats[seat] = spec.Seat{ID: seat, Weight: kept.Weight, Maintenance: kept.Maintenance, Hostname: seat.Hostname(), HostKeys: []spec.HostKey{{
			Type: "ed25519", Private: "SECRET", Public: "ssh-ed25519 AAAA" + seat.Safe() + " berth\n",
		}}}
	}
	return s, nil
}

// View implements api.Backend.
func (w *World) View(ctx context.Context) (*api.View, error) {
	s, err := w.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &s.View, nil
}

// still is a copy for an event, which is read when its reader comes to it: by then the world has moved on.
func still[T any](x *T) *T {
	copied := *x
	return &copied
}

func (w *World) publish(e api.Event) {
	if w.Events != nil {
		w.Events.Publish(e)
	}
}

func (w *World) uuid() string {
	w.ids++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.ids)
}
