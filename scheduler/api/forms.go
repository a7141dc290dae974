package api

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// chunk is a run of an app's tasks that is encoded together.
type chunk struct {
	tasks []*spec.Task
	part  *part
}

// chunkSeats is how many seats make a chunk: in an app with many tasks a changed one costs as much as this many.
const chunkSeats = 32

// chunked encodes an app's tasks in chunks by seat; those of old that are still right are used again. The first one has no
// comma at its beginning unless asked for.
func chunked(tasks []*spec.Task, old *unit, comma bool, one func([]*spec.Task) ([]byte, error)) (map[int]chunk, []*part, error) {
	chunks := map[int]chunk{}
	var parts []*part
	for len(tasks) > 0 {
		n := tasks[0].Seat.Index / chunkSeats
		end := slices.IndexFunc(tasks, func(t *spec.Task) bool { return t.Seat.Index/chunkSeats != n })
		if end < 0 {
			end = len(tasks)
		}
		c := chunk{tasks: tasks[:end]}
		separated := comma || len(parts) > 0
		if old != nil {
			if was, ok := old.chunks[n]; ok && slices.Equal(was.tasks, c.tasks) && (was.part.raw[0] == ',') == separated {
				c.part = was.part
			}
		}
		if c.part == nil {
			list, err := one(c.tasks)
			if err != nil {
				return nil, nil, err
			}
			raw := list[1 : len(list)-1] // without the brackets
			if separated {
				list[0] = ','
				raw = list[:len(list)-1]
			}
			c.part = &part{raw: raw}
		}
		chunks[n] = c
		parts = append(parts, c.part)
		tasks = tasks[end:]
	}
	return chunks, parts, nil
}

// appForm is an app with what embed asks for.
type appForm struct{ embed }

func (appForm) separated() bool { return true }

func (f appForm) write(v *View, id spec.AppID, old *unit) (*unit, error) {
	tasks := v.Tasks[id]
	if !f.tasks || len(tasks) <= chunkSeats {
		raw, err := encode(encodeApp(v, v.Apps[id], f.embed))
		if err != nil {
			return nil, err
		}
		return &unit{parts: []*part{{raw: append([]byte{','}, raw...)}}}, nil
	}
	without := f.embed
	without.tasks = false
	info := encodeApp(v, v.Apps[id], without)
	info.Tasks = &[]taskJSON{}
	raw, err := encode(info)
	if err != nil {
		return nil, err
	}
	// What stands behind the tasks has no key of that name, and a text would have its quotes escaped.
	at := bytes.LastIndex(raw, []byte(`"tasks":[]`))
	if at < 0 {
		return nil, fmt.Errorf("no place for the tasks of %s", id)
	}
	at += len(`"tasks":[`)
	chunks, list, err := chunked(tasks, old, false, func(t []*spec.Task) ([]byte, error) { return encode(encodeTasks(t)) })
	if err != nil {
		return nil, err
	}
	parts := append([]*part{{raw: append([]byte{','}, raw[:at]...)}}, list...)
	return &unit{parts: append(parts, &part{raw: raw[at:]}), chunks: chunks}, nil
}

// taskForm are an app's tasks as the list of all tasks has them.
type taskForm struct{}

func (taskForm) separated() bool { return true }

func (taskForm) write(v *View, id spec.AppID, old *unit) (*unit, error) {
	if old != nil && old.app != v.Apps[id] {
		old = nil // other service ports
	}
	chunks, parts, err := chunked(tasksOfApp(v, id), old, true, func(tasks []*spec.Task) ([]byte, error) {
		list := encodeTasks(tasks)
		for i := range list {
			list[i].ServicePorts = servicePorts(v.Apps[id])
		}
		return encode(list)
	})
	return &unit{parts: parts, chunks: chunks}, err
}

// textForm are the lines of an app's endpoints; networks is the parameter as it was given.
type textForm struct{ networks string }

func (textForm) separated() bool { return false }

func (f textForm) write(v *View, id spec.AppID, _ *unit) (*unit, error) {
	text := tasksText(v, []*spec.App{v.Apps[id]}, strings.Split(f.networks, ","))
	return &unit{parts: []*part{{raw: []byte(text)}}}, nil
}

// respondKept answers with a list of what one form says of some apps.
func (s *Server) respondKept(w http.ResponseWriter, r *http.Request, v *View, f form, ids func() []spec.AppID, whole bool, around frame) error {
	contentType := "application/json"
	if _, text := f.(textForm); text {
		contentType = "text/plain; charset=utf-8"
	}
	a, err := s.kept.answer(v, f, ids, whole, around, acceptsGzip(r))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Add("Vary", "Accept-Encoding")
	if a.packed {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(a.size))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	out := bufio.NewWriterSize(w, 64<<10) // few large writes instead of one a piece
	for _, piece := range a.pieces {
		if _, err := out.Write(piece); err != nil {
			return nil // the client went away
		}
	}
	_ = out.Flush()
	return nil
}

// respondApps answers with apps. Statistics depend on the time of day, so those are made anew.
func (s *Server) respondApps(w http.ResponseWriter, r *http.Request, v *View, apps func() []*spec.App, whole bool, e embed, around frame) error {
	if !e.stats {
		return s.respondKept(w, r, v, appForm{e}, func() []spec.AppID { return idsOf(apps()) }, whole, around)
	}
	body := []byte(around.before)
	for i, app := range apps() {
		raw, err := encode(encodeApp(v, app, e))
		if err != nil {
			return err
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, raw...)
	}
	return respondBytes(w, r, http.StatusOK, "application/json", append(body, around.after...))
}

// idsOf are the apps' ids.
func idsOf(apps []*spec.App) []spec.AppID {
	out := make([]spec.AppID, 0, len(apps))
	for _, app := range apps {
		out = append(out, app.ID)
	}
	return out
}
