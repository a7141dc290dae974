package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// TestWhims lets people change their minds about apps that keep seats, float, pin addresses, keep data or depend on each
// other, and about a pod: put, scale, restart, delete, cancel, revert and kill, while tasks fail, hosts go away and the
// scheduler crashes. After each step all that the loop keeps follows from the state. Once there is room and peace all is as
// wanted, and nothing is kept of what is gone. BERTH_SEED replays a failure; BERTH_ROUNDS asks for more rounds.
func TestWhims(t *testing.T) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("BERTH_ROUNDS")); err == nil {
		rounds = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("BERTH_SEED"), 10, 64); err == nil {
		first, rounds = n, 1
	}
	for i := range rounds {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) {
			w := whims{play: newPlay(t), rnd: rand.New(rand.NewPCG(seed, 7)), away: map[string]bool{}}
			defer func() { w.stop() }()
			w.run()
		})
		if t.Failed() {
			t.Fatalf("replay with BERTH_SEED=%d", seed)
		}
	}
}

type whims struct {
	*play
	rnd  *rand.Rand
	away map[string]bool
}

// may runs a command of the scenarios, which may fail: there may be no such task.
func (w whims) may(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	for _, out := range append([]string{line}, w.do(line)...) {
		if os.Getenv("BERTH_SEED") != "" {
			w.t.Log(out)
		}
	}
}

func (w whims) one(of ...string) string { return of[w.rnd.IntN(len(of))] }

func (w whims) run() {
	for _, h := range []string{"h1", "h2", "h3"} {
		w.may("host %s %s 100000", h, w.one("1.04", "1.04", "2.04", "2.04", "100"))
	}
	for range 25 {
		if w.rnd.IntN(3) == 0 {
			w.accident()
		} else {
			w.whim()
		}
		if w.rnd.IntN(2) == 0 {
			w.may("advance %ds", 1+w.rnd.IntN(40))
		}
		if w.t.Failed() {
			return
		}
	}
	w.peace()
	w.over()
}

// whim is something that people do.
func (w whims) whim() {
	app := w.one("/web", "/db", "/api", "/pod")
	switch w.rnd.IntN(10) {
	case 0, 1, 2:
		w.app(w.one("/web", "/db", "/api"))
	case 3:
		_ = w.pod(fmt.Sprintf(`{"id":"/pod","containers":[{"name":"a","exec":{"command":{"shell":"v%d"}},"resources":{"cpus":0.3,"mem":32}},
			{"name":"b","exec":{"command":{"shell":"b"}},"resources":{"cpus":0.2,"mem":32}}],"scaling":{"kind":"fixed","instances":%d},"networks":[{"mode":"container","name":"p"}]}`,
			w.rnd.IntN(3), w.rnd.IntN(3)), true)
	case 4:
		w.may(`force {"id":"%s","instances":%d}`, w.one("/web", "/db", "/api"), w.rnd.IntN(4))
	case 5:
		w.may("%s", w.one("cancel", "revert"))
	case 6:
		w.may("restart %s", app)
	case 7:
		_, _ = w.s.Change(context.Background(), api.Change{Force: true, Decide: func(api.Tree) (api.Tree, error) {
			return api.Tree{Apps: map[spec.AppID]*spec.App{spec.AppID(app): nil}}, nil
		}})
	default:
		w.may("kill %s.%d%s", app, w.rnd.IntN(4), w.one("", " scale"))
	}
	synctest.Wait()
	consistent(w.t, w.s)
}

// app creates or changes one of three apps of different kinds.
func (w whims) app(id string) {
	n, cpus, more := w.rnd.IntN(4), "0.5", ""
	switch id {
	case "/db":
		cpus, more = "0.01", `"container":{"type":"MESOS","volumes":[{"containerPath":"data","mode":"RW","persistent":{"size":10}}]}`
	case "/web":
		more = `"dependencies":["/db"],"labels":` + w.one(`{}`, `{"BERTH_IPS":"10.1.0.10,10.1.0.11,10.1.0.12,10.1.0.13,10.1.0.14"}`)
	default:
		more = `"labels":` + w.one(`{}`, `{"BERTH_IDENTITY":"float"}`)
	}
	w.may(`force {"id":"%s","cmd":"v%d","instances":%d,"cpus":%s,%s,"upgradeStrategy":{"minimumHealthCapacity":%s,"maximumOverCapacity":%s}}`,
		id, w.rnd.IntN(3), n, cpus, more, w.one("0", "0.5", "1"), w.one("0", "0.5", "1"))
}

// accident is something that happens.
func (w whims) accident() {
	switch w.rnd.IntN(6) {
	case 0:
		w.may("task %s.%d failed", w.one("/web", "/db", "/api"), w.rnd.IntN(4))
	case 1:
		w.may("task /pod.%d:%s %s", w.rnd.IntN(2), w.one("a", "b"), w.one("failed", "finished", "killed"))
	case 2:
		w.may("lose /pod.%d:%s", w.rnd.IntN(2), w.one("a", "b"))
		w.may("crash")
	case 3:
		h := w.one("h1", "h2", "h3")
		w.away[h] = !w.away[h]
		w.may("%s %s", map[bool]string{true: "away", false: "back"}[w.away[h]], h)
	case 4:
		w.may("crash")
	case 5:
		w.may("auto %s", w.one("on", "off"))
	}
}

// peace: all hosts are back, one has room for everything, and what starts or is killed does so.
func (w whims) peace() {
	w.may("auto on")
	for h, away := range w.away {
		if away {
			w.may("back %s", h)
		}
	}
	w.may("host h9 100 100000")
	for range 120 {
		w.w.mu.Lock()
		for _, x := range w.w.live() {
			switch {
			case x.killed:
				w.w.set(x, "TASK_KILLED", "")
			case x.state == "TASK_STAGING":
				w.w.set(x, "TASK_RUNNING", "")
			}
		}
		w.w.offer()
		w.w.mu.Unlock()
		synctest.Wait()
		time.Sleep(20 * time.Second)
		synctest.Wait()
	}
	consistent(w.t, w.s)
}

// over holds the end against what was wanted.
func (w whims) over() {
	snap, err := w.s.Snapshot(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if len(snap.Deployments) > 0 {
		w.t.Errorf("a deployment is left: %+v waits for %v, queue %+v", snap.Deployments[0].Steps, snap.Waiting, snap.Queue)
	}
	taken := map[spec.SeatID]bool{}
	for id, app := range snap.Apps {
		if len(snap.Tasks[id]) != app.Instances {
			w.t.Errorf("%s: %d tasks for %d instances: %v", id, len(snap.Tasks[id]), app.Instances, snap.Waiting)
		}
		for _, x := range snap.Tasks[id] {
			if taken[x.Seat] = true; !app.Floats() && !app.HasSeat(x.Seat.Index) {
				w.t.Errorf("%s is not wanted", x.Seat)
			}
		}
	}
	for _, l := range snap.Leases {
		if l.IdleSince.IsZero() != taken[l.Seat] && l.IdleSince.IsZero() {
			w.t.Errorf("nobody wants the lease %+v", l)
		}
	}
	if err := w.s.do(context.Background(), func() { w.kept(len(taken)) }); err != nil {
		w.t.Fatal(err)
	}
}

// kept: nothing is remembered of apps and tasks that are gone, and nothing is left to be looked at.
func (w whims) kept(tasks int) {
	s := w.s
	gone := func(what string, id spec.AppID) {
		if s.state.Apps[id] == nil {
			w.t.Errorf("%s of %s, which is gone", what, id)
		}
	}
	for id := range s.byApp {
		gone("tasks", id)
	}
	for id := range s.state.Versions {
		gone("versions", id)
	}
	for id := range s.state.Failures {
		gone("a failure", id)
	}
	for id := range s.waits {
		gone("a wait", id)
	}
	for id := range s.appTimes.at {
		gone("a time", id)
	}
	for id := range s.taskTimes.at {
		if s.state.Tasks[id] == nil {
			w.t.Errorf("a time of task %s, which is gone", id)
		}
	}
	if len(s.state.Tasks) != tasks {
		w.t.Errorf("%d tasks in the state, %d are wanted", len(s.state.Tasks), tasks)
	}
	if n := len(s.untimed) + len(s.dirty) + len(s.unsure) + len(s.underway) + len(s.session.unconfirmed); n > 0 {
		w.t.Errorf("left to look at: %v %v %v %v %v", s.untimed, s.dirty, s.unsure, s.underway, s.session.unconfirmed)
	}
}
