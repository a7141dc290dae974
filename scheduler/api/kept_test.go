package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// changing is a state that changes as the scheduler's does: by new values, never in place.
type changing struct {
	t *rapid.T
	v View
	n int
}

func newChanging(t *rapid.T) *changing {
	return &changing{t: t, v: View{Apps: map[spec.AppID]*spec.App{}, Tasks: map[spec.AppID][]*spec.Task{}, LastFailure: map[spec.AppID]*spec.TaskFailure{}}}
}

func (c *changing) id() spec.AppID {
	return spec.AppID(fmt.Sprintf("/app-%d", rapid.IntRange(0, 4).Draw(c.t, "app")))
}

// step makes the next view; the one before stays as it was.
func (c *changing) step() {
	c.n++
	v := c.v
	v.Apps, v.Tasks, v.LastFailure = maps.Clone(v.Apps), maps.Clone(v.Tasks), maps.Clone(v.LastFailure)
	v.Generation++
	now := time.Unix(int64(c.n), 0)
	id := c.id()
	switch rapid.IntRange(0, 6).Draw(c.t, "step") {
	case 0, 1:
		v.Apps[id] = &spec.App{ID: id, Cmd: fmt.Sprintf("echo '\"tasks\":[] <%d>'", c.n), Instances: c.n, Version: now, LastConfigChange: now,
			Labels: map[string]string{"tasks": "[]", "n": fmt.Sprint(c.n % 2)}, PortDefinitions: []spec.PortDefinition{{Port: 10000 + c.n%3, Protocol: "tcp"}}}
	case 2:
		delete(v.Apps, id)
		if rapid.Bool().Draw(c.t, "with its tasks") {
			delete(v.Tasks, id)
		}
	case 3:
		count := rapid.SampledFrom([]int{0, 1, 5, 31, 32, 33, 90}).Draw(c.t, "tasks")
		list := []*spec.Task{}
		for seat := range count {
			c.n++
			list = append(list, &spec.Task{ID: fmt.Sprintf("%s.%d.%d", id.Safe(), seat, c.n), Seat: spec.SeatID{App: id, Index: seat}, Rung: spec.Running, State: "TASK_RUNNING"})
		}
		v.Tasks[id] = list
	case 4:
		list := slices.Clone(v.Tasks[id])
		if len(list) > 0 {
			i := rapid.IntRange(0, len(list)-1).Draw(c.t, "which")
			if rapid.Bool().Draw(c.t, "gone") {
				list = slices.Delete(list, i, i+1)
			} else {
				list[i] = c.task(id, list[i].Seat.Index)
			}
		}
		v.Tasks[id] = list
	case 5:
		v.LastFailure[id] = &spec.TaskFailure{App: id, Message: fmt.Sprintf(`it said "tasks":[] %d`, c.n), Timestamp: now}
	case 6:
		v.Deployments = slices.Clone(v.Deployments)
		if len(v.Deployments) > 0 && rapid.Bool().Draw(c.t, "end") {
			v.Deployments = v.Deployments[1:]
		} else {
			v.Deployments = append(v.Deployments, &spec.Deployment{ID: fmt.Sprint(c.n), Steps: []spec.Step{{Actions: []spec.Action{{App: id}, {App: c.id()}}}}})
		}
	}
	c.v = v
}

func (c *changing) task(id spec.AppID, seat int) *spec.Task {
	c.n++
	rung := rapid.SampledFrom([]spec.Rung{spec.Staged, spec.Running, spec.Killing}).Draw(c.t, "rung")
	return &spec.Task{ID: fmt.Sprintf("%s.%d.%d", id.Safe(), seat, c.n), Seat: spec.SeatID{App: id, Index: seat}, Rung: rung, State: "TASK_RUNNING",
		Host: "h", StartedAt: time.Unix(int64(c.n), 0), Ports: []int{80}}
}

// what a client is told, made anew without anything that is kept.
func (c *changing) afresh(f form, ids []spec.AppID, around frame) string {
	var texts []string
	for _, id := range ids {
		switch f := f.(type) {
		case appForm:
			raw, err := encode(encodeApp(&c.v, c.v.Apps[id], f.embed))
			if err != nil {
				c.t.Fatal(err)
			}
			texts = append(texts, string(raw))
		case taskForm:
			for _, t := range c.v.Tasks[id] {
				j := encodeTask(t)
				j.ServicePorts = servicePorts(c.v.Apps[id])
				raw, err := encode(j)
				if err != nil {
					c.t.Fatal(err)
				}
				texts = append(texts, string(raw))
			}
		case textForm:
			texts = append(texts, tasksText(&c.v, []*spec.App{c.v.Apps[id]}, strings.Split(f.networks, ",")))
		}
	}
	comma := ","
	if !f.separated() {
		comma = ""
	}
	return around.before + strings.Join(texts, comma) + around.after
}

func read(a *answer) (string, error) {
	body := bytes.Join(a.pieces, nil)
	if len(body) != a.size {
		return "", fmt.Errorf("%d bytes, said to be %d", len(body), a.size)
	}
	if !a.packed {
		return string(body), nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	z.Multistream(false) // clients that read only the first member must get everything
	text, err := io.ReadAll(z)
	return string(text), err
}

// Whatever changes, what is kept says the same as what is made anew.
func TestKeptAnswersEqualNewOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, k := newChanging(t), &kept{}
		forms := []form{
			appForm{embed{counts: true, deployments: true}}, appForm{embed{tasks: true, counts: true, deployments: true, lastFailure: true, readiness: true}},
			appForm{embed{tasks: true}}, taskForm{}, textForm{"*"}, textForm{},
			appForm{embed{counts: true}}, appForm{embed{deployments: true}}, appForm{embed{lastFailure: true}}, appForm{embed{readiness: true}},
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			c.step()
			f := rapid.SampledFrom(forms).Draw(t, "form")
			whole := rapid.Bool().Draw(t, "whole")
			ids := slices.Sorted(maps.Keys(c.v.Apps))
			if _, all := f.(taskForm); all && whole {
				ids = slices.Sorted(maps.Keys(c.v.Tasks))
			}
			if !whole && len(ids) > 0 {
				ids = ids[rapid.IntRange(0, len(ids)-1).Draw(t, "from"):]
			}
			around := frame{`{"apps":[`, `]}`}
			a, err := k.answer(&c.v, f, func() []spec.AppID { return ids }, whole, around, rapid.Bool().Draw(t, "packed"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(a)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.afresh(f, ids, around); got != want {
				t.Fatalf("%#v\ngot  %s\nwant %s", f, got, want)
			}
		}
		if len(k.forms) > maxForms {
			t.Fatalf("%d forms are kept", len(k.forms))
		}
		for f, of := range k.forms {
			for id := range of.units {
				if _, listed := c.v.Tasks[id]; of.generation == c.v.Generation && c.v.Apps[id] == nil && !listed {
					t.Fatalf("%v: %s is gone and kept", f, id)
				}
			}
		}
	})
}

// One app changed: only its part is made again, and of an app with many tasks only the chunk.
func TestOnlyWhatChangedIsEncoded(t *testing.T) {
	v := &View{Generation: 1, Apps: map[spec.AppID]*spec.App{}, Tasks: map[spec.AppID][]*spec.Task{}}
	for _, id := range []spec.AppID{"/a", "/b"} {
		v.Apps[id] = &spec.App{ID: id}
		for seat := range 100 {
			v.Tasks[id] = append(v.Tasks[id], &spec.Task{ID: fmt.Sprint(seat), Seat: spec.SeatID{App: id, Index: seat}})
		}
	}
	k, f := &kept{}, appForm{embed{tasks: true}}
	ids := func() []spec.AppID { return []spec.AppID{"/a", "/b"} }
	ask := func() *answer {
		a, err := k.answer(v, f, ids, true, frame{"[", "]"}, true)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := ask()
	if ask() != first {
		t.Error("the same view was answered anew")
	}
	next := *v
	next.Generation, next.Tasks = 2, maps.Clone(v.Tasks)
	next.Tasks["/b"] = slices.Clone(v.Tasks["/b"])
	changed := *next.Tasks["/b"][40]
	changed.Rung = spec.Running
	next.Tasks["/b"][40] = &changed
	v = &next
	second := ask()
	var fresh int
	for _, piece := range second.pieces {
		if !slices.ContainsFunc(first.pieces, func(p []byte) bool { return &p[0] == &piece[0] }) {
			fresh++
		}
	}
	// The gzip head and tail, what stands around the list, the app's head and tail, and the chunk.
	if fresh != 7 {
		t.Errorf("%d of %d pieces are new", fresh, len(second.pieces))
	}
}

func TestKeptAnswersAreShared(t *testing.T) {
	v := &View{Generation: 1, Apps: map[spec.AppID]*spec.App{"/a": {ID: "/a", Cmd: strings.Repeat("x", 2000)}}}
	var k kept
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			w := *v
			for n := range 50 {
				w.Generation = uint64(n + 1)
				a, err := k.answer(&w, appForm{embed{counts: i%2 == 0}}, func() []spec.AppID { return []spec.AppID{"/a"} }, true, frame{"[", "]"}, n%2 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				if text, err := read(a); err != nil || !strings.Contains(text, `"id":"/a"`) {
					t.Errorf("%.80s, %v", text, err)
				}
			}
		})
	}
	all.Wait()
}
