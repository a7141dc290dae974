package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// getAppTasks is GET /v2/apps/{id}/tasks, also of the form {group}/*/tasks.
func (s *Server) getAppTasks(id spec.AppID) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		snap, err := s.o.Backend.View(r.Context())
		if err != nil {
			return err
		}
		var list []*spec.App
		if group, ok := strings.CutSuffix(string(id), "/*"); ok {
			if group == "" {
				group = "/"
			}
			list = sortedApps(snap, func(app *spec.App) bool { return app.ID.In(spec.AppID(group)) })
		} else if app := snap.app(id); app != nil {
			list = []*spec.App{app}
		} else {
			return appMissing(id)
		}
		return s.respondTasks(w, r, snap, list, false, func() any {
			var tasks []*spec.Task
			for _, app := range list {
				tasks = append(tasks, snap.Tasks[app.ID]...)
			}
			return encodeTasks(tasks)
		})
	}
}

// getTasks is GET /v2/tasks.
func (s *Server) getTasks(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	list := sortedApps(snap, func(*spec.App) bool { return true })
	if q := r.URL.Query(); len(q["status"])+len(q["status[]"]) == 0 && negotiate(r, "application/json", "text/plain") == "application/json" {
		ids := func() []spec.AppID { return slices.Sorted(maps.Keys(snap.Tasks)) }
		return s.respondKept(w, r, snap, taskForm{}, ids, true, frame{`{"tasks":[`, `]}`})
	}
	wanted := statusFilter(r)
	return s.respondTasks(w, r, snap, list, true, func() any {
		out := []taskJSON{}
		for _, id := range slices.Sorted(maps.Keys(snap.Tasks)) {
			for _, t := range tasksOfApp(snap, id) {
				if j := encodeTask(t); wanted(j.State) {
					j.ServicePorts = servicePorts(snap.Apps[id])
					out = append(out, j)
				}
			}
		}
		return out
	})
}

// tasksOfApp are those that the list of all tasks has. Marathon's has apps only; see /v2/pods/::status.
func tasksOfApp(v *View, id spec.AppID) []*spec.Task {
	tasks := v.Tasks[id]
	if v.pod(id) != nil || slices.ContainsFunc(tasks, func(t *spec.Task) bool { return t.Containers != nil }) {
		return nil
	}
	return tasks
}

// statusFilter reads status and status[].
func statusFilter(r *http.Request) func(state string) bool {
	q := r.URL.Query()
	given := append(q["status"], q["status[]"]...)
	states := make(map[string]bool)
	for _, v := range given {
		switch strings.ToLower(v) {
		case "running":
			states["TASK_RUNNING"] = true
		case "staging":
			states["TASK_STAGING"] = true
		}
	}
	return func(state string) bool { return len(states) == 0 || states[state] }
}

// respondTasks answers with JSON, or with lines when the client prefers text/plain. whole says that list are all apps.
func (s *Server) respondTasks(w http.ResponseWriter, r *http.Request, snap *View, list []*spec.App, whole bool, tasks func() any) error {
	switch negotiate(r, "application/json", "text/plain") {
	case "application/json":
		return respond(w, r, http.StatusOK, map[string]any{"tasks": tasks()})
	case "text/plain":
		f := textForm{r.URL.Query().Get("containerNetworks")}
		return s.respondKept(w, r, snap, f, func() []spec.AppID { return idsOf(list) }, whole, frame{})
	}
	return notAcceptable(r, "application/json and text/plain")
}

// tasksText lists the endpoints of running tasks: one line an app and service port, tab separated.
func tasksText(snap *View, list []*spec.App, networks []string) string {
	var b strings.Builder
	for _, app := range list {
		var running []*spec.Task
		for _, t := range snap.Tasks[app.ID] {
			if t.VisibleState() == "TASK_RUNNING" {
				running = append(running, t)
			}
		}
		ports := servicePorts(app)
		if len(ports) == 0 {
			b.WriteString(app.ID.Safe() + "\t \t")
			for _, t := range running {
				b.WriteString(t.VisibleHost() + "\t")
			}
			b.WriteByte('\n')
		}
		for i, port := range ports {
			b.WriteString(app.ID.Safe() + "\t" + strconv.Itoa(port) + "\t")
			for _, t := range running {
				if e := endpoint(app, t, i, networks); e != "" {
					b.WriteString(e + "\t")
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// endpoint is where a task's port i answers: on its host, or, when asked for, on the container's own address.
func endpoint(app *spec.App, t *spec.Task, i int, networks []string) string {
	if i >= len(t.Ports) {
		return ""
	}
	port := strconv.Itoa(t.Ports[i])
	if !ownAddress(app) || app.Container.PortMappings[i].HostPort != nil {
		return net.JoinHostPort(t.VisibleHost(), port)
	}
	for _, n := range app.Networks {
		if t.Address.IsValid() && (slices.Contains(networks, "*") || n.Name != "" && slices.Contains(networks, n.Name)) {
			return net.JoinHostPort(t.Address.String(), port)
		}
	}
	return ""
}

// ownAddress says whether the app's ports are mappings of a container with an address of its own.
func ownAddress(app *spec.App) bool {
	return app.Container != nil && len(app.Networks) > 0 && app.Networks[0].Mode != spec.NetworkHost
}

func servicePorts(app *spec.App) []int {
	if app == nil {
		return nil
	}
	var out []int
	if ownAddress(app) {
		for _, m := range app.Container.PortMappings {
			out = append(out, m.ServicePort)
		}
		return out
	}
	for _, d := range app.PortDefinitions {
		out = append(out, d.Port)
	}
	return out
}

// taskIDForm is what any version of Marathon may have made: "<app>.<uuid>", "<app>.instance-<uuid>._app.<n>" and the like.
var taskIDForm = regexp.MustCompile(`^.+\.(instance-|marathon-)?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(\..+)?$`)

// deleteTasks is POST /v2/tasks/delete.
func (s *Server) deleteTasks(w http.ResponseWriter, r *http.Request) error {
	o, err := killOptions(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var in struct {
		IDs *[]string `json:"ids"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return err
	}
	if in.IDs == nil {
		return missing("/ids")
	}
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(*in.IDs))
	for _, id := range *in.IDs {
		if t := findTask(snap, id); t != nil {
			ids = append(ids, t.ID)
		} else if !taskIDForm.MatchString(id) {
			return fail(http.StatusBadRequest, "Invalid task id '%s'. [The id of an instance or of a task is expected.]", id)
		}
	}
	killed, changed, err := s.o.Backend.Kill(r.Context(), ids, o)
	if err != nil {
		return err
	}
	return respondKilled(w, r, o, killed, changed)
}

// decodeJSON reads a small body of Berth's own knowing, with errors in Marathon's shape.
func decodeJSON(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		f := &marathon.Faults{Message: "Invalid JSON"}
		f.Add("/"+strings.ReplaceAll(t.Field, ".", "/"), "%s", expected(t.Type.Kind()))
		return f
	}
	return &marathon.Faults{Message: "Invalid JSON", Syntax: err.Error()}
}

// expected is Marathon's text for a value of the wrong type.
func expected(k reflect.Kind) string {
	switch k {
	case reflect.Slice, reflect.Array:
		return "error.expected.jsarray"
	case reflect.String:
		return "error.expected.jsstring"
	case reflect.Bool:
		return "error.expected.jsboolean"
	case reflect.Map, reflect.Struct:
		return "error.expected.jsobject"
	}
	return "error.expected.jsnumber"
}

func missing(path string) error {
	f := &marathon.Faults{Message: "Invalid JSON"}
	f.Add(path, "error.path.missing")
	return fmt.Errorf("read body: %w", f)
}
