package api

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// postApp is POST /v2/apps. The answer is the normalised app without versionInfo, as Marathon's is.
func (s *Server) postApp(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	o, err := s.definitions(r)
	if err != nil {
		return err
	}
	app, err := marathon.DecodeApp(body, o)
	if err != nil {
		return err
	}
	changed, err := s.change(r, Change{Group: app.ID.Parent(), Force: flag(r, "force", false), Post: true}, func(current apps) (apps, error) {
		if before := current[app.ID]; before != nil {
			return nil, exists(before)
		}
		return apps{app.ID: app}, nil
	})
	if err != nil {
		return err
	}
	if changed.DeploymentID == "" {
		return respondDeployment(w, r, http.StatusOK, changed)
	}
	if stored := changed.Apps[app.ID]; stored != nil {
		app = stored
	}
	out := appInfo{AppJSON: marathon.Encode(app), taskCounts: &taskCounts{}, Tasks: &[]taskJSON{}, Deployments: &[]deploymentID{{changed.DeploymentID}}}
	announce(w, changed)
	w.Header().Set("Location", location(r, app.ID))
	return respond(w, r, http.StatusCreated, out)
}

// location is Marathon's odd address of an app, which is no API address.
func location(r *http.Request, id spec.AppID) string { return "http://" + r.Host + string(id) }

// putApp is PUT (create) and PATCH of one app.
func (s *Server) putApp(id spec.AppID, create bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		o, err := s.definitions(r)
		if err != nil {
			return err
		}
		u := update{id: id, body: body, create: create, partial: !create || flag(r, "partialUpdate", true)}
		if u.partial {
			decoded, err := marathon.DecodeUpdate(body)
			if err != nil {
				return err
			}
			if err := s.prepare(r, &u, decoded.Version); err != nil {
				return err
			}
		}
		changed, err := s.change(r, Change{Group: id.Parent(), Force: flag(r, "force", false), Post: true}, func(current apps) (apps, error) {
			app, err := u.decide(current[id], o)
			return apps{id: app}, err
		})
		if err != nil {
			return err
		}
		if changed.Created[id] && changed.DeploymentID != "" {
			w.Header().Set("Location", location(r, id))
			return respondDeployment(w, r, http.StatusCreated, changed)
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

// putApps is PUT (create) and PATCH of many apps in one deployment: all or none.
func (s *Server) putApps(create bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.readBody(w, r)
		if err != nil {
			return err
		}
		o, err := s.definitions(r)
		if err != nil {
			return err
		}
		decoded, err := marathon.DecodeUpdates(body)
		if err != nil {
			return err
		}
		partial := !create || flag(r, "partialUpdate", true)
		updates := make([]update, 0, len(decoded))
		for _, d := range decoded {
			if d.ID == "" {
				return &RefusedError{Message: "App Update must have app id set"}
			}
			u := update{id: d.ID, body: d.Raw, partial: partial, create: create}
			if err := s.prepare(r, &u, d.Version); err != nil {
				return err
			}
			updates = append(updates, u)
		}
		changed, err := s.change(r, Change{Force: flag(r, "force", false)}, func(current apps) (apps, error) {
			return decideAll(current, updates, o)
		})
		if err != nil {
			return err
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

// decideAll applies the updates one after the other, so that two of one app add up, and joins all faults.
func decideAll(current apps, updates []update, o marathon.Options) (apps, error) {
	next := make(apps, len(updates))
	var found faultList
	for i, u := range updates {
		before, seen := next[u.id]
		if !seen {
			before = current[u.id]
		}
		app, err := u.decide(before, o)
		if err := found.addPart("/("+strconv.Itoa(i)+")", err); err != nil {
			return nil, err
		}
		if app != nil {
			next[u.id] = app
		}
	}
	return next, found.err()
}

// deleteApp is DELETE /v2/apps/{id}; unlike everywhere else force is on unless refused.
func (s *Server) deleteApp(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		changed, err := s.change(r, Change{Group: id.Parent(), Force: flag(r, "force", true)}, func(current apps) (apps, error) {
			if before := current[id]; before == nil || before.Pod != nil {
				return nil, appMissing(id)
			}
			return apps{id: nil}, nil
		})
		if err != nil {
			return err
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

// restartApp is POST /v2/apps/{id}/restart: the same definition under a new version.
func (s *Server) restartApp(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c := Change{Group: id.Parent(), Force: flag(r, "force", false), Restart: []spec.AppID{id}}
		changed, err := s.change(r, c, func(current apps) (apps, error) {
			app := current[id]
			if app == nil || app.Pod != nil {
				return nil, appMissing(id)
			}
			again := *app
			return apps{id: &again}, nil
		})
		if err != nil {
			return err
		}
		return respondDeployment(w, r, http.StatusOK, changed)
	}
}

// killOptions reads the flags of the kill calls.
func killOptions(r *http.Request) (KillOptions, error) {
	o := KillOptions{Scale: flag(r, "scale", false), Wipe: flag(r, "wipe", false), Force: flag(r, "force", false)}
	if o.Scale && o.Wipe {
		return o, fail(http.StatusBadRequest, "You cannot use scale and wipe at the same time.")
	}
	return o, noDryRun(r)
}

// respondKilled answers a kill of many tasks.
func respondKilled(w http.ResponseWriter, r *http.Request, o KillOptions, killed []*spec.Task, changed *Changed) error {
	if o.Scale && changed != nil {
		return respondDeployment(w, r, http.StatusOK, changed)
	}
	return respond(w, r, http.StatusOK, map[string]any{"tasks": encodeTasks(killed)})
}

// deleteAppTasks is DELETE /v2/apps/{id}/tasks.
func (s *Server) deleteAppTasks(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		o, err := killOptions(r)
		if err != nil {
			return err
		}
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		if snap.app(id) == nil {
			return appMissing(id)
		}
		host := r.URL.Query().Get("host")
		ids := make([]string, 0, len(snap.Tasks[id]))
		for _, t := range snap.Tasks[id] {
			if host == "" || host == "*" || host == t.Host || host == t.VisibleHost() {
				ids = append(ids, t.ID)
			}
		}
		if host == "" || host == "*" {
			o.Idle = id
		}
		killed, changed, err := s.o.Backend.Kill(r.Context(), ids, o)
		if err != nil {
			return err
		}
		return respondKilled(w, r, o, killed, changed)
	}
}

// deleteAppTask is DELETE /v2/apps/{id}/tasks/{taskId}. The app is not compared when it is unknown: go-marathon takes what
// stands before the last dot of the task id for the app, which is wrong for ids of Marathon 1.8 and later.
func (s *Server) deleteAppTask(id spec.AppID, taskID string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		o, err := killOptions(r)
		if err != nil {
			return err
		}
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		t := findTask(snap, taskID)
		if snap.Apps[id] != nil && t != nil && t.Seat.App != id {
			t = nil
		}
		if t == nil {
			if snap.app(id) == nil {
				return appMissing(id)
			}
			return &NotFoundError{Message: "Task '" + taskID + "' does not exist"}
		}
		killed, changed, err := s.o.Backend.Kill(r.Context(), []string{t.ID}, o)
		if err != nil {
			return err
		}
		if o.Scale && changed != nil {
			return respondDeployment(w, r, http.StatusOK, changed)
		}
		if len(killed) > 0 {
			t = killed[0]
		}
		return respond(w, r, http.StatusOK, map[string]any{"task": encodeTask(t)})
	}
}

// findTask finds a live task by its id, its instance's, or that of one of a pod's containers.
func findTask(snap *View, id string) *spec.Task {
	for _, tasks := range snap.Tasks {
		if i := slices.IndexFunc(tasks, func(t *spec.Task) bool { return isTask(t, id) }); i >= 0 {
			return tasks[i]
		}
	}
	return nil
}

func isTask(t *spec.Task, id string) bool {
	return t.ID == id || t.Instance == id ||
		slices.ContainsFunc(t.Containers, func(c spec.TaskContainer) bool { return c.TaskID == id })
}
