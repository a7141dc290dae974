package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// appInfo is Marathon's app with what is known of its tasks. Which keys are there is the client's choice (embed).
type appInfo struct {
	*marathon.AppJSON
	*taskCounts
	VersionInfo     *versionInfoJSON `json:"versionInfo,omitempty"`
	Tasks           *[]taskJSON      `json:"tasks,omitempty"`
	Deployments     *[]deploymentID  `json:"deployments,omitempty"`
	LastTaskFailure *failureJSON     `json:"lastTaskFailure,omitempty"`
	Readiness       *[]readinessJSON `json:"readinessCheckResults,omitempty"`
	TaskStats       *taskStats       `json:"taskStats,omitempty"`
}

type versionInfoJSON struct {
	LastScaling      string `json:"lastScalingAt"`
	LastConfigChange string `json:"lastConfigChangeAt"`
}

type failureJSON struct {
	AppID     spec.AppID `json:"appId"`
	Host      string     `json:"host"`
	Message   string     `json:"message"`
	State     string     `json:"state"`
	TaskID    string     `json:"taskId"`
	Timestamp string     `json:"timestamp"`
	Version   string     `json:"version"`
	SlaveID   string     `json:"slaveId,omitempty"`
}

// embed says which parts of an appInfo are wanted.
type embed struct{ tasks, counts, deployments, readiness, lastFailure, stats bool }

// embeds reads the embed parameters on top of what the call includes anyway. Unknown values are ignored.
func embeds(r *http.Request, e embed) embed {
	for _, v := range r.URL.Query()["embed"] {
		for _, prefix := range []string{"group.apps.", "apps.", "app."} {
			if rest, ok := strings.CutPrefix(v, prefix); ok {
				v = rest
				break
			}
		}
		switch v {
		case "tasks":
			e.tasks, e.deployments = true, true
		case "counts":
			e.counts = true
		case "deployments":
			e.deployments = true
		case "readiness":
			e.readiness = true
		case "lastTaskFailure":
			e.lastFailure = true
		case "failures":
			e.tasks, e.deployments, e.lastFailure = true, true, true
		case "taskStats":
			e.stats = true
		}
	}
	return e
}

func encodeApp(s *View, app *spec.App, e embed) appInfo {
	out := appInfo{AppJSON: marathon.Encode(app), VersionInfo: &versionInfoJSON{
		LastScaling: spec.FormatTime(app.LastScaling), LastConfigChange: spec.FormatTime(app.LastConfigChange),
	}}
	if e == (embed{}) {
		return out // the definition alone; there may be no state to look at
	}
	tasks := s.Tasks[app.ID]
	if e.counts {
		c := countTasks(tasks)
		out.taskCounts = &c
	}
	if e.tasks {
		list := encodeTasks(tasks)
		out.Tasks = &list
	}
	if e.deployments {
		list := []deploymentID{}
		for _, d := range s.Deployments {
			if d.Affects(app.ID) {
				list = append(list, deploymentID{d.ID})
			}
		}
		out.Deployments = &list
	}
	if f := s.LastFailure[app.ID]; e.lastFailure && f != nil {
		out.LastTaskFailure = &failureJSON{
			AppID: f.App, Host: f.Host, Message: f.Message, State: f.State, TaskID: f.TaskID,
			Timestamp: spec.FormatTime(f.Timestamp), Version: spec.FormatTime(f.AppVersion), SlaveID: f.AgentID,
		}
	}
	if e.readiness {
		list := readinessResults(app, tasks)
		out.Readiness = &list
	}
	if e.stats {
		out.TaskStats = newTaskStats(app, tasks, s.Now)
	}
	return out
}

// sortedApps lists the apps that keep accepts, by id.
func sortedApps(s *View, keep func(*spec.App) bool) []*spec.App {
	var out []*spec.App
	for _, id := range slices.Sorted(maps.Keys(s.Apps)) {
		if app := s.Apps[id]; app.Pod == nil && keep(app) {
			out = append(out, app)
		}
	}
	return out
}

func encodeApps(s *View, apps []*spec.App, e embed) []appInfo {
	out := make([]appInfo, 0, len(apps))
	for _, app := range apps {
		out = append(out, encodeApp(s, app, e))
	}
	return out
}

// listApps is GET /v2/apps.
func (s *Server) listApps(w http.ResponseWriter, r *http.Request) error {
	keep, err := appFilter(r)
	if err != nil {
		return err
	}
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	e := embeds(r, embed{counts: true, deployments: true})
	q := r.URL.Query()
	whole := q.Get("id") == "" && q.Get("cmd") == "" && q.Get("label") == ""
	return s.respondApps(w, r, snap, func() []*spec.App { return sortedApps(snap, keep) }, whole, e, frame{`{"apps":[`, `]}`})
}

func appFilter(r *http.Request) (func(*spec.App) bool, error) {
	q := r.URL.Query()
	id, cmd := strings.ToLower(q.Get("id")), strings.ToLower(q.Get("cmd"))
	var labels Selector
	if text := q.Get("label"); text != "" {
		var err error
		if labels, err = ParseSelector(text); err != nil {
			return nil, &RefusedError{Message: err.Error()}
		}
	}
	return func(app *spec.App) bool {
		command := strings.ToLower(app.Cmd + strings.Join(app.Args, " "))
		return strings.Contains(strings.ToLower(string(app.ID)), id) && strings.Contains(command, cmd) && labels.Matches(app.Labels)
	}, nil
}

// getGroupApps is GET /v2/apps/{group}/*: all apps below the group.
func (s *Server) getGroupApps(group spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		apps := sortedApps(snap, func(app *spec.App) bool { return app.ID != group && app.ID.In(group) })
		if !snap.tree().HasGroup(group) {
			return groupMissing(group)
		}
		e := embeds(r, embed{counts: true, deployments: true})
		return s.respondApps(w, r, snap, func() []*spec.App { return apps }, false, e, frame{`{"*":[`, `]}`})
	}
}

// getApp is GET /v2/apps/{id}.
func (s *Server) getApp(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		app := snap.app(id)
		if app == nil {
			return appMissing(id)
		}
		e := embeds(r, embed{counts: true, tasks: true, lastFailure: true, deployments: true})
		return s.respondApps(w, r, snap, func() []*spec.App { return []*spec.App{app} }, false, e, frame{`{"app":`, `}`})
	}
}

// getVersions is GET /v2/apps/{id}/versions.
func (s *Server) getVersions(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		stored, err := s.storedVersions(r, id)
		if err != nil {
			return err
		}
		list := make([]string, 0, len(stored))
		for _, app := range stored {
			list = append(list, spec.FormatTime(app.Version))
		}
		return respond(w, r, http.StatusOK, map[string]any{"versions": list})
	}
}

// getVersion is GET /v2/apps/{id}/versions/{ts}.
func (s *Server) getVersion(id spec.AppID, version string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := marathon.ParseTime(version)
		if err != nil {
			return err
		}
		app, err := s.storedVersion(r, id, at)
		if err != nil {
			return err
		}
		return respond(w, r, http.StatusOK, encodeApp(nil, app, embed{}))
	}
}
