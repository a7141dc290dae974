package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// getLogs is GET /berth/v1/logs?task=ID or ?app=ID&seat=N, with follow=true and tail=LINES. The answer is the task's
// standard output and error as they are. Of a pod it is those of the container that container=NAME or the task's id names,
// otherwise of its first. With unit=NAME, repeatable, it is what services inside the instance have logged.
func (s *Server) getLogs(w http.ResponseWriter, r *http.Request) error {
	if s.o.Logs == nil {
		return fail(http.StatusNotFound, "This scheduler does not hold the instances' output.")
	}
	q := r.URL.Query()
	o := LogOptions{Follow: flag(r, "follow", false) && r.Method != http.MethodHead, Tail: -1, Units: q["unit"]}
	for _, u := range o.Units {
		if !unitName.MatchString(u) {
			return fail(http.StatusBadRequest, "unit=%q is no name of a service", u)
		}
	}
	if text := q.Get("tail"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fail(http.StatusBadRequest, "tail=%q is no number of lines", text)
		}
		o.Tail = n
	}
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return err
	}
	t, err := logTask(snap, q.Get("task"), q.Get("app"), q.Get("seat"))
	if err != nil {
		return err
	}
	id, err := logID(t, q.Get("task"), q.Get("container"))
	if err != nil {
		return err
	}
	ctx, cancel := streamContext(r)
	defer cancel()
	out := &logWriter{eventWriter: eventWriter{w: w, rc: http.NewResponseController(w)}}
	err = s.o.Logs(ctx, id, o, out)
	if err != nil && !out.begun && ctx.Err() == nil {
		return fmt.Errorf("output of task %s: %w", id, err)
	}
	if err != nil && ctx.Err() == nil {
		s.log.WithError(err).WithField("task", id).Warn("output broke off")
		panic(http.ErrAbortHandler) // the client must see that the rest is missing
	}
	if !out.begun {
		_ = out.begin()
	}
	return nil
}

// unitName is what a unit of systemd may be called (systemd.unit(5)), with or without its suffix, and patterns of those.
var unitName = regexp.MustCompile(`^[A-Za-z0-9_.\\@*?\[\]][A-Za-z0-9_.\\@*?:\[\]-]{0,255}$`)

// logTask finds the task that is meant: by id, or the newest of a seat. Without a seat the app's first.
func logTask(snap *View, task, app, seat string) (*spec.Task, error) {
	if task != "" {
		if t := findTask(snap, task); t != nil {
			return t, nil
		}
		return nil, &NotFoundError{Message: "Task '" + task + "' does not exist"}
	}
	if app == "" {
		return nil, fail(http.StatusBadRequest, "task=ID or app=ID is needed")
	}
	id := appID(segments(app))
	if snap.Apps[id] == nil && len(snap.Tasks[id]) == 0 {
		return nil, appMissing(id)
	}
	index := 0
	if seat != "" {
		n, err := strconv.Atoi(seat)
		if err != nil || n < 0 {
			return nil, fail(http.StatusBadRequest, "seat=%q is no seat number", seat)
		}
		index = n
	}
	of := slices.DeleteFunc(slices.Clone(snap.Tasks[id]), func(t *spec.Task) bool { return t.Seat.Index != index })
	if len(of) == 0 {
		return nil, &NotFoundError{Message: fmt.Sprintf("Instance '%s' has no task", spec.SeatID{App: id, Index: index})}
	}
	return of[len(of)-1], nil
}

// logID is the engine's id of what wrote the output: the task's own, or that of one of a pod's containers.
func logID(t *spec.Task, task, container string) (string, error) {
	if len(t.Containers) == 0 && container == "" {
		return t.ID, nil
	}
	var names []string
	for _, c := range t.Containers {
		if c.Name == container || container == "" && c.TaskID == task {
			return c.TaskID, nil
		}
		names = append(names, c.Name)
	}
	switch {
	case container == "":
		return t.Containers[0].TaskID, nil
	case names == nil:
		return "", &NotFoundError{Message: fmt.Sprintf("Instance '%s' is no pod's and has no containers to choose from", t.Seat)}
	}
	return "", &NotFoundError{Message: fmt.Sprintf("Instance '%s' has no container '%s'; it has %s", t.Seat, container, strings.Join(names, ", "))}
}

// logWriter passes every piece on at once.
type logWriter struct {
	eventWriter
	begun bool
}

func (l *logWriter) begin() error {
	l.begun = true
	l.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	l.w.WriteHeader(http.StatusOK)
	return l.rc.Flush()
}

// Write sends b to the client.
func (l *logWriter) Write(b []byte) (int, error) {
	if !l.begun {
		if err := l.begin(); err != nil {
			return 0, err
		}
	}
	if err := l.write(string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
