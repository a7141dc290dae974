package apitest

import (
	"reflect"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// kindOf is the action that leads from one definition to the other; "" when nothing is to be done.
func kindOf(before, after *spec.App, restart bool) spec.ActionKind {
	switch {
	case after == nil && before == nil:
		return ""
	case after == nil:
		return spec.StopApplication
	case before == nil:
		return spec.ScaleApplication
	case restart || !sameConfig(before, after):
		return spec.RestartApplication
	case before.Instances != after.Instances:
		return spec.ScaleApplication
	}
	return ""
}

// inPlace says that a change needs no restart although it is one.
func inPlace(before, after *spec.App) bool {
	return before != nil && after != nil && marathon.InPlace(before, after) && !marathon.ConfigEqual(before, after)
}

func sameConfig(a, b *spec.App) bool {
	if inPlace(a, b) {
		return true
	}
	x, y := *a, *b
	for _, app := range []*spec.App{&x, &y} {
		app.Instances, app.Version, app.LastScaling, app.LastConfigChange = 0, time.Time{}, time.Time{}, time.Time{}
	}
	return reflect.DeepEqual(x, y)
}

// Step moves the world on: staged tasks run, missing ones are staged, finished deployments end.
func (w *World) Step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step()
}

// Settle steps until nothing changes any more.
func (w *World) Settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.step() {
	}
}

func (w *World) step() (moved bool) {
	w.now = w.now.Add(time.Second)
	for id, tasks := range w.tasks {
		for _, t := range tasks {
			if _, drained := w.drains[t.Host]; drained && id != "/stays" {
				t.Host, moved = "host-2", true
			}
		}
	}
	for id, app := range w.apps {
		if len(w.deployments) == 0 && !w.scale(id, app) { // replaces what was killed
			moved = true
		}
	}
	for _, d := range slices.Clone(w.deployments) {
		done := true
		for _, a := range d.Steps[d.Current].Actions {
			done = w.act(a) && done
		}
		if !done {
			moved = moved || !slices.ContainsFunc(d.Steps[d.Current].Actions, func(a spec.Action) bool { _, stuck := w.stuck[a.App]; return stuck })
			continue
		}
		moved = true
		w.publish(api.DeploymentStepSuccess(still(d), d.Current, w.now))
		d.Current, d.StepSince = d.Current+1, w.now
		if d.Current < len(d.Steps) {
			w.publish(api.DeploymentInfo(still(d), d.Current, w.now))
			continue
		}
		w.deployments = slices.DeleteFunc(w.deployments, func(x *spec.Deployment) bool { return x == d })
		w.publish(api.DeploymentSuccess(still(d), w.now))
	}
	return moved
}

// act does a part of an action and says whether it is done.
func (w *World) act(a spec.Action) bool {
	app := w.apps[a.App]
	switch a.Kind {
	case spec.StartApplication:
		return true
	case spec.StopApplication:
		delete(w.tasks, a.App)
		w.publish(api.AppTerminated(a.App, w.now))
		return true
	case spec.RestartApplication:
		if app == nil {
			return true
		}
		w.tasks[a.App] = slices.DeleteFunc(w.tasks[a.App], func(t *spec.Task) bool { return t.ConfigVersion.Before(app.LastConfigChange) })
	}
	return app == nil || w.scale(a.App, app)
}

// scale moves the app's tasks one rung and says whether all wanted ones run.
func (w *World) scale(id spec.AppID, app *spec.App) bool {
	tasks := slices.DeleteFunc(w.tasks[id], func(t *spec.Task) bool { return t.Seat.Index >= app.Instances })
	done := true
	for _, t := range tasks {
		if t.Rung != spec.Running {
			w.run(app, t)
			done = false
		}
	}
	if _, stuck := w.stuck[id]; !stuck {
		for n := range app.Instances {
			seat := spec.SeatID{App: id, Index: n}
			if !slices.ContainsFunc(tasks, func(t *spec.Task) bool { return t.Seat == seat }) {
				tasks = append(tasks, w.launch(app, seat))
				done = false
			}
		}
	}
	slices.SortFunc(tasks, func(a, b *spec.Task) int { return a.Seat.Index - b.Seat.Index })
	w.tasks[id] = tasks
	return done && len(tasks) == app.Instances
}

func (w *World) launch(app *spec.App, seat spec.SeatID) *spec.Task {
	instance := spec.InstanceID(seat.App, w.uuid())
	t := &spec.Task{
		ID: spec.TaskID(instance, 1), Instance: instance, Seat: seat, AppVersion: app.Version, ConfigVersion: app.LastConfigChange,
		Rung: spec.Staged, State: "TASK_STAGING", Host: Host, AgentID: "agent-1", Pool: "default", Address: w.address(seat),
		CreatedAt: w.now, StagedAt: w.now, Ready: len(app.ReadinessChecks) == 0,
	}
	if app.Pod != nil {
		t.ID = instance
		t.Containers, t.HostPorts = containers(app, instance, w.now)
	}
	if app.Container != nil {
		for _, m := range app.Container.PortMappings {
			t.Ports = append(t.Ports, m.ContainerPort)
			t.ClientPorts = t.Ports // as if the host published them
		}
	}
	w.publish(api.InstanceChanged(still(t), "Staging", w.now))
	return t
}

// containers are those of a pod's task that is being staged, and the host's ports for its endpoints: 31000 and up.
func containers(app *spec.App, instance string, now time.Time) (out []spec.TaskContainer, hostPorts []int) {
	for _, c := range app.Pod.Containers {
		out = append(out, spec.TaskContainer{Name: c.Name, TaskID: instance + "." + c.Name, State: "TASK_STAGING", Since: now})
		for _, e := range c.Endpoints {
			if e.HostPort != nil {
				hostPorts = append(hostPorts, 31000+len(hostPorts))
			}
		}
	}
	return out, hostPorts
}

func (w *World) run(app *spec.App, t *spec.Task) {
	t.Rung, t.State, t.StartedAt, t.HealthySince, t.Ready = spec.Running, "TASK_RUNNING", w.now, w.now, true
	t.Containers = slices.Clone(t.Containers)
	for i := range t.Containers {
		c := &t.Containers[i]
		c.State, c.ContainerID, c.Since, c.StartedAt = "TASK_RUNNING", "container-"+c.Name, w.now, w.now
	}
	for range app.HealthChecks {
		t.Health = append(t.Health, spec.CheckHealth{Alive: true, Known: true, FirstSuccess: w.now, LastSuccess: w.now})
	}
	w.usage[t.ID] = spec.Usage{CPUQuota: app.CPUs, CPU: app.CPUs / 2, ThrottledShare: 0.125, MemBytes: 32 << 20}
	w.publish(api.StatusUpdate(still(t), w.now))
	w.publish(api.InstanceChanged(still(t), "Running", w.now))
}

func (w *World) endDeployment(id, reason string) {
	w.deployments = slices.DeleteFunc(w.deployments, func(d *spec.Deployment) bool {
		if d.ID == id {
			w.publish(api.DeploymentFailed(still(d), reason, w.now))
		}
		return d.ID == id
	})
}

// Hold makes the app wait: no task of it is launched, and the queue says why.
func (w *World) Hold(app spec.AppID, item api.QueueItem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck[app] = item
}

// Release ends Hold.
func (w *World) Release(app spec.AppID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.stuck, app)
}

// Fail records a failure of the app.
func (w *World) Fail(f spec.TaskFailure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures[f.App] = &f
}

// Edit changes a task in place.
func (w *World) Edit(seat spec.SeatID, change func(*spec.Task)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks[seat.App] {
		if t.Seat == seat {
			change(t)
		}
	}
}

// SetDocument gives a host a new document.
func (w *World) SetDocument(d spec.HostDocument) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.documents[d.Host] = &d
	close(w.changed)
	w.changed = make(chan struct{})
}

// Reports are the reports that came in.
func (w *World) Reports() []spec.HostReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reports)
}
