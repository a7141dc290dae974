package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/spec"
)

// Instance is one row of GET /berth/v1/instances: a wanted seat, or a task that is still there though its seat is not
// wanted any more.
type Instance struct {
	App       spec.AppID `json:"app"`
	Seat      int        `json:"seat"`
	Temporary bool       `json:"temporary"` // a helper of a rolling update
	Surplus   bool       `json:"surplus"`   // not wanted: on its way out
	Hostname  string     `json:"hostname"`
	HostKeys  []string   `json:"hostKeys"` // public, in authorized_keys form
	Address   string     `json:"address,omitempty"`
	Pool      string     `json:"pool,omitempty"`
	// State is waiting, created, launched, starting, running, unreachable or stopping.
	State    string  `json:"state"`
	Healthy  *bool   `json:"healthy"` // null: no check, or no result yet
	Checks   int     `json:"checks"`  // how many health checks the app has
	Ready    bool    `json:"ready"`   // runs, is healthy, and passed its readiness check
	Outdated bool    `json:"outdated"`
	TaskID   string  `json:"taskId,omitempty"`
	Version  string  `json:"version,omitempty"`
	CPUs     float64 `json:"cpus"` // wanted quota
	Held     float64 `json:"held"` // cores held of the host, up to which the quota can go in place
	// The measured figures are null until the host has sent some.
	CPUQuota *float64 `json:"cpuQuota"`
	CPUUsed  *float64 `json:"cpuUsed"`
	// CPUBase is the quota without a start-up allowance.
	CPUBase   *float64 `json:"cpuBase"`
	Throttled *float64 `json:"throttledShare"`
	// Lost is the share of scheduling periods in which the instance was held back in the last hour; CPUAdvice is the quota with which
	// it would hardly be, null: the present one will do.
	Lost      *float64 `json:"lostShare"`
	CPUAdvice *float64 `json:"cpuAdvice"`
	MemUsed   *int64   `json:"memBytes"`
	Mem       float64  `json:"mem"` // wanted, MiB
	Host      string   `json:"host,omitempty"`
	Since     string   `json:"since,omitempty"` // when State began
	// Containers are a pod's.
	Containers  []InstanceContainer `json:"containers,omitempty"`
	Weight      int                 `json:"weight"`                // its share of requests
	Maintenance string              `json:"maintenance,omitempty"` // why none are to be sent to it
	Why         []string            `json:"why"`
}

// InstanceContainer is one container of a pod's instance.
type InstanceContainer struct {
	Name    string `json:"name"`
	State   string `json:"state"` // Mesos's, "TASK_RUNNING"
	Message string `json:"message,omitempty"`
}

// InstanceList is the answer of GET /berth/v1/instances.
type InstanceList struct {
	Instances []Instance `json:"instances"`
	Now       string     `json:"now"` // the server's clock, against which Since counts
	Connected bool       `json:"connected"`
}

// getInstances is GET /berth/v1/instances, with app=ID (repeatable) for some apps only.
func (s *Server) getInstances(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	wanted := make(map[spec.AppID]bool)
	for _, id := range r.URL.Query()["app"] {
		wanted[appID(segments(id))] = true
	}
	out := InstanceList{Instances: []Instance{}, Now: spec.FormatTime(snap.Now), Connected: snap.Connected}
	for _, row := range instances(snap) {
		if len(wanted) == 0 || wanted[row.App] {
			out.Instances = append(out.Instances, row)
		}
	}
	return respond(w, r, http.StatusOK, out)
}

// instances lists all rows, by seat.
func instances(snap *Snapshot) []Instance {
	leases := make(map[spec.SeatID]spec.Lease, len(snap.Leases))
	for _, l := range snap.Leases {
		leases[l.Seat] = l
	}
	queue := make(map[spec.AppID]QueueItem, len(snap.Queue))
	for _, q := range snap.Queue {
		queue[q.App.ID] = q
	}
	var out []Instance
	for id, app := range snap.Apps {
		for _, n := range emptySeats(app, snap.Tasks[id]) {
			seat := spec.SeatID{App: id, Index: n}
			out = append(out, waitingRow(snap, app, seat, leases[seat], queue[id]))
		}
	}
	for id, tasks := range snap.Tasks {
		for _, t := range tasks {
			if t.Live() {
				out = append(out, taskRow(snap, snap.Apps[id], t))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Instance) int {
		if a.App != b.App {
			return strings.Compare(string(a.App), string(b.App))
		}
		if a.Seat != b.Seat {
			return a.Seat - b.Seat
		}
		return strings.Compare(a.Version+a.TaskID, b.Version+b.TaskID)
	})
	return out
}

// emptySeats are the wanted seats without a task. For instances that float they are the lowest free numbers, as many as
// instances are missing.
func emptySeats(app *spec.App, tasks []*spec.Task) []int {
	taken := map[int]bool{}
	for _, t := range tasks {
		taken[t.Seat.Index] = taken[t.Seat.Index] || t.Live()
	}
	if !app.Floats() {
		return slices.DeleteFunc(app.Seats(), func(n int) bool { return taken[n] })
	}
	var out []int
	for n := 0; len(taken) < app.Instances; n++ {
		if !taken[n] {
			taken[n] = true
			out = append(out, n)
		}
	}
	return out
}

// row is what a seat has with and without a task.
func row(snap *Snapshot, app *spec.App, id spec.SeatID) Instance {
	out := Instance{App: id.App, Seat: id.Index, Hostname: id.Hostname(), HostKeys: []string{}, Why: []string{}}
	if app != nil {
		out.Weight = app.ServiceWeight(snap.Seats[id])
	}
	if seat, ok := snap.Seats[id]; ok {
		out.Maintenance = seat.Maintenance
		if seat.Hostname != "" {
			out.Hostname = seat.Hostname
		}
		for _, k := range seat.HostKeys {
			out.HostKeys = append(out.HostKeys, strings.TrimSpace(k.Public))
		}
	}
	if app == nil {
		out.Surplus = true
		return out
	}
	out.CPUs, out.Held, out.Mem, out.Checks = app.CPUs, app.Held(), app.Mem, len(app.HealthChecks)
	if deploy.Temporary(app, id.Index) {
		out.Temporary = slices.ContainsFunc(snap.Deployments, func(d *spec.Deployment) bool { return restarts(d, app.ID) })
		out.Surplus = !out.Temporary
	}
	return out
}

// restarts says whether a rolling update of the app is part of the deployment: only then are seats beyond the wanted ones
// helpers, otherwise they are left over.
func restarts(d *spec.Deployment, app spec.AppID) bool {
	for _, step := range d.Steps {
		for _, a := range step.Actions {
			if a.App == app && a.Kind == spec.RestartApplication {
				return true
			}
		}
	}
	return false
}

func waitingRow(snap *Snapshot, app *spec.App, id spec.SeatID, lease spec.Lease, q QueueItem) Instance {
	out := row(snap, app, id)
	out.State, out.Since, out.Version = "waiting", optionalTime(q.Since), spec.FormatTime(app.Version)
	if lease.Address.IsValid() {
		out.Address, out.Pool = lease.Address.String(), lease.Pool
	}
	out.Why = append(out.Why, Texts(q.Why)...)
	if left := q.BackoffUntil.Sub(snap.Now); left > 0 && len(q.Why) == 0 {
		out.Why = append(out.Why, fmt.Sprintf("next launch in %s", left.Round(time.Second)))
	}
	if f := snap.LastFailure[id.App]; f != nil && len(q.Why) == 0 && !f.AppVersion.Before(app.LastConfigChange) {
		out.Why = append(out.Why, fmt.Sprintf("last failure: %s %s", f.State, f.Message))
	}
	if len(out.Why) == 0 && !snap.Connected {
		out.Why = append(out.Why, "the scheduler has no connection to the engine")
	}
	return out
}

func taskRow(snap *Snapshot, app *spec.App, t *spec.Task) Instance {
	out := row(snap, app, t.Seat)
	out.TaskID, out.Version, out.Host, out.Pool = t.ID, spec.FormatTime(t.AppVersion), t.Host, t.Pool
	if t.Address.IsValid() {
		out.Address = t.Address.String()
	}
	if u, ok := snap.Usage[t.ID]; ok {
		out.CPUQuota, out.CPUUsed, out.Throttled, out.MemUsed = &u.CPUQuota, &u.CPU, &u.ThrottledShare, &u.MemBytes
		if u.Base > 0 {
			out.CPUBase = &u.Base
		}
		if out.Lost = &u.Lost; u.Advice > 0 {
			out.CPUAdvice = &u.Advice
		}
	}
	out.Healthy = taskAlive(t)
	out.Outdated = app != nil && t.ConfigVersion.Before(app.LastConfigChange)
	healthy := len(t.Health) >= out.Checks && (out.Healthy == nil && out.Checks == 0 || out.Healthy != nil && *out.Healthy)
	out.Ready = t.Rung == spec.Running && t.UnreachableSince.IsZero() && healthy && t.Ready
	var since time.Time
	out.State, since, out.Why = taskStory(t)
	out.Since = optionalTime(since)
	if f, ok := snap.Fenced[t.ID]; ok {
		out.Why = append(out.Why, f.text(snap.Now))
	}
	for _, c := range t.Containers {
		out.Containers = append(out.Containers, InstanceContainer{Name: c.Name, State: c.State, Message: c.Message})
		if spec.TerminalState(c.State) {
			out.Why = append(out.Why, strings.TrimSpace("container "+c.Name+": "+c.State+" "+c.Message))
		}
	}
	return out
}

// text says what the seat waits for, and the way out.
func (f Fenced) text(now time.Time) string {
	out := fmt.Sprintf("fenced: host %s was last heard of %s ago; its address %s ", f.Host, max(0, now.Sub(f.Heard)).Round(time.Second), f.Address)
	switch {
	case f.Told:
		out += "is free to move as soon as the host says that it has withdrawn it, or at " + clock(f.Until)
	case f.Until.IsZero():
		out += "stays there, as the app's unreachableStrategy is disabled"
	case now.Before(f.Until):
		out += "is free to move at " + clock(f.Until)
	default:
		return out + "is about to move: the engine is asked once more"
	}
	return fmt.Sprintf("%s (or: berth host dead %s)", out, f.Host)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// taskStory says where a task stands, since when, and why it is not simply running.
func taskStory(t *spec.Task) (state string, since time.Time, why []string) {
	why = []string{}
	switch {
	case !t.UnreachableSince.IsZero():
		return "unreachable", t.UnreachableSince, append(why, "the engine cannot reach host "+t.Host)
	case t.Rung == spec.Killing:
		if t.KillReason != "" {
			why = append(why, t.KillReason)
		}
		return "stopping", t.KillWanted, why
	case t.Rung == spec.Running:
		for _, h := range t.Health {
			if h.Known && !h.Alive && h.LastFailureCause != "" {
				why = append(why, "health check fails: "+h.LastFailureCause)
			}
		}
		return "running", t.StartedAt, why
	}
	if t.Message != "" {
		why = append(why, t.Message)
	}
	if t.Rung == spec.Staged {
		return "starting", t.StagedAt, why
	}
	return t.Rung.String(), t.CreatedAt, why
}
