// Package apitest is a small world behind the API: an in-memory api.Backend in which apps start, scale, restart and end
// step by step, without goroutines or timers. Its clock, ids and addresses are the same in every run.
package apitest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/ipcheck"
	"github.com/berth-project/berth/scheduler/marathon"
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

// rest lets the leases rest whose seats nobody wants.
func (w *World) rest() {
	for seat, l := range w.leases {
		app := w.apps[seat.App]
		tasks := slices.ContainsFunc(w.tasks[seat.App], func(t *spec.Task) bool { return t.Seat == seat })
		switch wanted := tasks || app != nil && app.HasSeat(seat.Index); {
		case wanted:
			l.IdleSince = time.Time{}
		case l.IdleSince.IsZero():
			l.IdleSince = w.now
		}
		w.leases[seat] = l
	}
}

// View implements api.Backend.
func (w *World) View(ctx context.Context) (*api.View, error) {
	s, err := w.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &s.View, nil
}

// TreeChanges implements api.Backend: this world forgets them.
func (w *World) TreeChanges(context.Context) ([]spec.TreeChange, error) { return nil, nil }

// Versions implements api.Backend.
func (w *World) Versions(_ context.Context, app spec.AppID) ([]*spec.App, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.versions[app]) == 0 {
		return nil, api.ErrNotFound
	}
	return slices.Clone(w.versions[app]), nil
}

// Change implements api.Backend.
func (w *World) Change(_ context.Context, c api.Change) (*api.Changed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tree := marathon.Tree{Apps: w.apps, Groups: w.groups}
	decided, err := c.Decide(api.Tree{Apps: maps.Clone(w.apps), Groups: maps.Clone(w.groups)})
	if err != nil {
		return nil, err
	}
	next := decided.Apps
	groups := tree.Apply(marathon.Settle(tree, marathon.Tree(decided))).Groups
	var locks []string
	for _, d := range w.deployments {
		if slices.ContainsFunc(slices.Collect(maps.Keys(next)), d.Affects) {
			locks = append(locks, d.ID)
		}
	}
	if len(locks) > 0 && !c.Force && !c.DryRun {
		return nil, &api.LockedError{Deployments: locks}
	}
	if c.DryRun {
		return w.try(next, c)
	}
	for _, id := range locks {
		w.endDeployment(id, "cancelled by a newer one")
	}
	w.groups = groups
	return w.store(next, c)
}

// try says what store would do, in a copy of the world that is thrown away.
func (w *World) try(next map[spec.AppID]*spec.App, c api.Change) (*api.Changed, error) {
	copied := &World{Warnings: w.Warnings, now: w.now, apps: maps.Clone(w.apps), versions: maps.Clone(w.versions)}
	out, err := copied.store(next, c)
	if err == nil {
		out.DeploymentID = ""
	}
	return out, err
}

// store makes the decided apps true and starts the deployment towards them.
func (w *World) store(next map[spec.AppID]*spec.App, c api.Change) (*api.Changed, error) {
	w.now = w.now.Add(time.Second)
	out := &api.Changed{Version: w.now, DeploymentID: w.uuid(), Apps: map[spec.AppID]*spec.App{}, Created: map[spec.AppID]bool{}}
	d := &spec.Deployment{ID: out.DeploymentID, Version: w.now, Original: map[spec.AppID]*spec.App{}}
	tree := maps.Clone(w.apps)
	for id, app := range next {
		if app != nil {
			copied := *app
			tree[id] = &copied
		} else {
			delete(tree, id)
		}
	}
	if err := marathon.AssignServicePorts(tree, w.apps, 10000, 20000); err != nil {
		return nil, err
	}
	var starts, rest []spec.Action
	for _, id := range slices.Sorted(maps.Keys(next)) {
		before, app := w.apps[id], tree[id] // with its service ports
		if app != nil {
			out.Apps[id] = app
		}
		kind := kindOf(before, app, slices.Contains(c.Restart, id))
		if before == nil && app != nil {
			out.Created[id] = true
			starts = append(starts, spec.Action{Kind: spec.StartApplication, App: id, Pod: app.Pod != nil})
		}
		if kind != "" {
			rest = append(rest, spec.Action{Kind: kind, App: id, Pod: isPod(app) || app == nil && isPod(before)})
			d.Original[id] = before
		}
		if inPlace(before, app) && kind != spec.RestartApplication {
			out.InPlace = append(out.InPlace, id)
		}
		w.keep(id, before, app, kind)
		if c.Post && app != nil {
			w.publish(api.APIPost(app, c.ClientIP, c.URI, w.now))
		}
	}
	for _, actions := range [][]spec.Action{starts, rest} {
		if len(actions) > 0 {
			d.Steps = append(d.Steps, spec.Step{Actions: actions})
		}
	}
	out.Steps, out.Warnings = d.Steps, w.Warnings
	w.publish(api.GroupChangeSuccess("/", w.now, w.now))
	if len(d.Steps) > 0 {
		d.StepSince = w.now
		w.deployments = append(w.deployments, d)
		w.publish(api.DeploymentInfo(d, 0, w.now))
	} else {
		w.publish(api.DeploymentSuccess(d, w.now))
	}
	return out, nil
}

func isPod(app *spec.App) bool { return app != nil && app.Pod != nil }

// keep stores one app and its version.
func (w *World) keep(id spec.AppID, before, app *spec.App, kind spec.ActionKind) {
	if app == nil {
		delete(w.apps, id)
		return
	}
	app.Version, app.LastScaling, app.LastConfigChange = w.now, w.now, w.now
	if before != nil {
		switch {
		case kind == spec.ScaleApplication, kind == "" && inPlace(before, app):
			app.LastConfigChange = before.LastConfigChange
			w.requota(app)
		case kind == spec.RestartApplication:
			app.LastScaling = before.LastScaling
		default:
			app.Version, app.LastScaling, app.LastConfigChange = before.Version, before.LastScaling, before.LastConfigChange
		}
	}
	w.apps[id] = app
	if kind != "" || inPlace(before, app) {
		w.versions[id] = append([]*spec.App{app}, w.versions[id]...)
	}
}

// requota has the host give the running tasks the app's quota.
func (w *World) requota(app *spec.App) {
	for _, t := range w.tasks[app.ID] {
		if u, ok := w.usage[t.ID]; ok {
			u.CPUQuota = app.CPULimit()
			w.usage[t.ID] = u
		}
	}
}

// UpdateSeats implements api.Backend.
func (w *World) UpdateSeats(_ context.Context, id spec.AppID, index int, u api.SeatUpdate) ([]int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	app := w.apps[id]
	if app == nil {
		return nil, &api.NotFoundError{Message: fmt.Sprintf("App '%s' does not exist", id)}
	}
	out := app.Seats()
	if index >= 0 {
		if !app.HasSeat(index) {
			return nil, &api.NotFoundError{Message: fmt.Sprintf("App '%s' has no instance %d", id, index)}
		}
		out = []int{index}
	}
	for _, n := range out {
		seat := spec.SeatID{App: id, Index: n}
		w.kept[seat] = u.Apply(w.kept[seat])
	}
	return out, nil
}

// Starve has the hosts say that the app's running instances are held back by their quota, and what would do.
func (w *World) Starve(app spec.AppID, lost, advice float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks[app] {
		u := w.usage[t.ID]
		u.Lost, u.Advice = lost, advice
		w.usage[t.ID] = u
	}
}

// Kill implements api.Backend.
func (w *World) Kill(_ context.Context, ids []string, o api.KillOptions) ([]*spec.Task, *api.Changed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var killed []*spec.Task
	fewer := make(map[spec.AppID]*spec.App)
	for _, app := range slices.Sorted(maps.Keys(w.tasks)) {
		w.tasks[app] = slices.DeleteFunc(w.tasks[app], func(t *spec.Task) bool {
			if !slices.Contains(ids, t.ID) {
				return false
			}
			t.Rung, t.KillWanted, t.KillReason = spec.Killing, w.now, "killed through the API"
			killed = append(killed, t)
			w.publish(api.InstanceChanged(t, "Killed", w.now))
			if a := w.apps[app]; a != nil && o.Scale {
				if fewer[app] == nil {
					copied := *a
					fewer[app] = &copied
				}
				fewer[app].Instances--
			}
			return true
		})
	}
	if len(fewer) == 0 {
		return killed, nil, nil
	}
	changed, err := w.store(fewer, api.Change{})
	return killed, changed, err
}

// CancelDeployment implements api.Backend.
func (w *World) CancelDeployment(_ context.Context, id string, force bool) (*api.Changed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.deployments, func(d *spec.Deployment) bool { return d.ID == id })
	if i < 0 {
		return nil, api.ErrNotFound
	}
	original := w.deployments[i].Original
	w.endDeployment(id, "cancelled")
	if force {
		return nil, nil
	}
	return w.store(original, api.Change{})
}

// Records implements api.Backend: the deployments that run.
func (w *World) Records(_ context.Context, app spec.AppID, id string) (*api.Records, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &api.Records{}
	for _, d := range w.deployments {
		if (id == "" || d.ID == id) && (app == "" || d.Affects(app)) {
			out.Deployments = append(out.Deployments, api.DeploymentRecord{Deployment: d, State: api.DeploymentRunning, Stops: w.Stops})
		}
	}
	if id != "" && len(out.Deployments) == 0 {
		return nil, &api.NotFoundError{Message: "Deployment " + id + " is not known"}
	}
	return out, nil
}

// ResetDelay implements api.Backend.
func (w *World) ResetDelay(_ context.Context, app spec.AppID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	item, ok := w.stuck[app]
	if !ok {
		return api.ErrNotFound
	}
	item.BackoffUntil = time.Time{}
	w.stuck[app] = item
	return nil
}

// HostDocument implements api.Backend.
func (w *World) HostDocument(ctx context.Context, host string, version uint64) (*spec.HostDocument, error) {
	for {
		w.mu.Lock()
		doc, changed := w.documents[host], w.changed
		w.mu.Unlock()
		if doc != nil && doc.Version > version {
			return doc, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// NetDocument implements api.Backend.
func (w *World) NetDocument(ctx context.Context, host string, version, _ uint64) (*spec.HostDocument, error) {
	return w.HostDocument(ctx, host, version)
}

// HostDead implements api.Backend: what ran on the host is over.
func (w *World) HostDead(_ context.Context, host string) (*api.HostDeath, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &api.HostDeath{Host: host, Tasks: []string{}, Addresses: []netip.Addr{}}
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			if t.Host == host {
				out.Tasks, out.Addresses = append(out.Tasks, t.ID), append(out.Addresses, t.Address)
			}
		}
	}
	if len(out.Tasks) == 0 {
		return nil, &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	return out, nil
}

// DrainHost implements api.Backend. What runs on the host goes elsewhere at the next step.
func (w *World) DrainHost(_ context.Context, host, reason string) (*api.HostDrain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host != Host {
		return nil, &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	w.drains[host] = spec.HostDrain{Host: host, Reason: reason, Since: w.now}
	return w.drain(host), nil
}

// UndrainHost implements api.Backend.
func (w *World) UndrainHost(_ context.Context, host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host != Host {
		return &api.NotFoundError{Message: "Host '" + host + "' is not known"}
	}
	delete(w.drains, host)
	return nil
}

// drain is how far a host is with being emptied. Tasks of /stays stay.
func (w *World) drain(host string) *api.HostDrain {
	d, ok := w.drains[host]
	if !ok {
		return nil
	}
	out := &api.HostDrain{HostDrain: d}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		for _, t := range w.tasks[id] {
			if t.Host != host {
				continue
			}
			copied := *t
			x := api.DrainTask{Task: &copied}
			if x.Stays = id == "/stays"; x.Stays {
				x.Why = "its persistent volume data is on " + host
			} else {
				out.Deployment = "drain-1"
			}
			out.Tasks = append(out.Tasks, x)
		}
	}
	return out
}

// Report implements api.Backend.
func (w *World) Report(_ context.Context, r spec.HostReport) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, r)
	return nil
}

// Prepull implements api.Backend: a host begins at once, and is done at the second look. It cannot have images of missing.example.com.
func (w *World) Prepull(_ context.Context, image string, hosts []string, refresh bool) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(hosts) == 0 {
		hosts = []string{"host-1"}
	}
	n, err := w.pulls.Ask(image, hosts, refresh, w.now)
	if err != nil {
		return 0, &api.ConflictError{Message: err.Error()}
	}
	for _, h := range hosts {
		w.pulls.Heard(h, []spec.PullResult{{Number: n, State: spec.Pulling, Note: "1 of 2 MB"}})
	}
	return n, nil
}

// Prepulled implements api.Backend.
func (w *World) Prepulled(_ context.Context, number uint64) (*prepull.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.pulls.View(number)
	if v == nil {
		return nil, &api.NotFoundError{Message: "Pull is not known"}
	}
	r := spec.PullResult{Number: number, State: spec.PullDone}
	if strings.HasPrefix(v.Image, "missing.example.com/") {
		r.State, r.Note = spec.PullFailed, "no such host"
	}
	for _, h := range v.Hosts {
		w.pulls.Heard(h.Host, []spec.PullResult{r})
	}
	return v, nil
}

// Asked implements api.Backend: nobody is ever asked.
func (w *World) Asked() (spec.HostAsk, <-chan struct{}) { return spec.HostAsk{}, nil }

// Survey implements api.Backend: the host answers at once with what Endpoints says.
func (w *World) Survey(context.Context, bool) (uint64, error) { return 0, nil }

// RepairAddresses implements api.Backend: leases are dropped, containers are stopped.
func (w *World) RepairAddresses(_ context.Context, found []ipcheck.Finding) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make([]string, len(found))
	for i, f := range found {
		switch f.Action {
		case ipcheck.DropLease:
			delete(w.leases, f.Seat)
			done[i] = "the lease was given up"
		case ipcheck.StopOver:
			w.strangers = slices.DeleteFunc(w.strangers, func(e spec.HostEndpoint) bool { return e.Container == f.Container })
			done[i] = "the host was told to stop the container"
		}
	}
	return done, nil
}

// ReleaseAddress implements api.Backend.
func (w *World) ReleaseAddress(_ context.Context, a netip.Addr) (spec.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for seat, l := range w.leases {
		if l.Address != a {
			continue
		}
		if app := w.apps[seat.App]; app != nil && app.HasSeat(seat.Index) {
			return l, &api.ConflictError{Message: fmt.Sprintf("%s is leased to %s, which %s wants", a, seat, seat.App)}
		}
		delete(w.leases, seat)
		return l, nil
	}
	return spec.Lease{}, &api.NotFoundError{Message: fmt.Sprintf("%s is leased to nobody", a)}
}

// Stranger puts a container on an address of the host. One of Berth's has a task that is over.
func (w *World) Stranger(name string, a netip.Addr, seat spec.SeatID, task string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strangers = append(w.strangers, spec.HostEndpoint{
		Address: a, Container: "id-of-" + name, Name: name, TaskID: task, Seat: seat, Since: Start, Link: "veth1", Route: "br-default",
	})
}

// Police puts network policies in force, with what the host tells of them.
func (w *World) Police(p *spec.NetworkPolicies, told *spec.PolicyReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policies, w.policed = p, told
}

// endpoints are the containers of the running tasks, and the strangers.
func (w *World) endpoints() *spec.HostEndpoints {
	out := &spec.HostEndpoints{Mode: "bridge", Engine: true}
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			if t.Rung == spec.Running && t.Address.IsValid() {
				out.List = append(out.List, spec.HostEndpoint{
					Address: t.Address, Container: "id-of-" + t.ID, Name: "mesos-" + t.ID, TaskID: t.ID, Seat: t.Seat, Since: t.StartedAt,
					Link: "veth0", Route: "br-default",
				})
			}
		}
	}
	out.List = append(out.List, w.strangers...)
	slices.SortStableFunc(out.List, func(a, b spec.HostEndpoint) int { return a.Address.Compare(b.Address) })
	return out
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

// address is the seat's own for ever.
func (w *World) address(seat spec.SeatID) netip.Addr {
	lease, ok := w.leases[seat]
	if !ok {
		lease = spec.Lease{Seat: seat, Pool: "default", Address: netip.AddrFrom4([4]byte{10, 90, 0, byte(10 + len(w.leases))})}
		w.leases[seat] = lease
	}
	return lease.Address
}
