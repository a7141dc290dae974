package apitest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

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
	original := maps.Clone(w.apps)
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
		w.publish(api.DeploymentInfo(still(d), 0, w.now))
	} else {
		if len(out.InPlace) > 0 {
			w.inPlace = append(w.inPlace, w.recordInPlace(d, original, out))
		}
		w.publish(api.DeploymentSuccess(still(d), w.now))
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
			w.publish(api.InstanceChanged(still(t), "Killed", w.now))
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

// recordInPlace is the record of a deployment that only changed something in place, which the host did at once.
func (w *World) recordInPlace(d *spec.Deployment, before map[spec.AppID]*spec.App, c *api.Changed) api.DeploymentRecord {
	r := api.DeploymentRecord{Deployment: d, State: api.DeploymentFinished, Ended: w.now, InPlace: c.InPlace}
	for _, id := range c.InPlace {
		x := api.Resize{App: id, At: w.now, Before: before[id].CPUs, CPUs: c.Apps[id].CPUs, Held: c.Apps[id].Held(), Instances: len(w.tasks[id])}
		if x.Have = x.Instances; x.Have > 0 {
			x.InForce = w.now.Add(34 * time.Millisecond)
		}
		r.Resized = append(r.Resized, x)
	}
	return r
}

// Records implements api.Backend: the deployments that run, and those that only changed something in place.
func (w *World) Records(_ context.Context, app spec.AppID, id string) (*api.Records, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &api.Records{}
	for _, r := range w.inPlace {
		if (id == "" || r.Deployment.ID == id) && (app == "" || r.Touches(app)) {
			out.Deployments = append(out.Deployments, r)
		}
	}
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
