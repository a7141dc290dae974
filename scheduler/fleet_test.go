package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// TestFleet deploys 200 apps in nested groups with dependencies, changes a third of them while some go and come, and changes
// some of those again in the middle of that, while the scheduler is killed, commits fail and tasks die at random. In the first deployment
// no instance starts before all that its app depends on was healthy; no seat and no address ever lives twice; what the
// scheduler stops never takes an app below its floor; and each time everything ends as it is wanted.
// BERTH_SEED replays a failure; BERTH_ROUNDS asks for more rounds.
func TestFleet(t *testing.T) {
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("BERTH_ROUNDS")); err == nil {
		rounds = n
	}
	first := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("BERTH_SEED"), 10, 64); err == nil {
		first, rounds = n, 1
	}
	for i := range rounds {
		seed := first + uint64(i)
		t.Logf("seed %d", seed)
		synctest.Test(t, func(t *testing.T) { newFleet(t, seed).voyage() })
		if t.Failed() {
			t.Fatalf("replay with BERTH_SEED=%d", seed)
		}
	}
}

// fleet is the tree as it is wanted, and what was seen of it.
type fleet struct {
	*play
	rnd    *rand.Rand
	tree   api.Tree
	faults int // how much may still go wrong
	fresh  bool
	well   map[spec.AppID]bool // every instance was healthy at some moment
	// alive are the tasks that answer their checks, since when, told those of them that the present scheduler was told of; failed counts
	// the deaths that were not its doing.
	alive  map[string]time.Time
	told   map[string]bool
	before map[spec.AppID]*spec.App // as wanted before the last change: what was decided for that may still go on
	toldTo *Scheduler
	failed map[spec.AppID]int
}

func newFleet(t *testing.T, seed uint64) *fleet {
	f := &fleet{rnd: rand.New(rand.NewPCG(seed, 2)), well: map[spec.AppID]bool{}, alive: map[string]time.Time{}, failed: map[spec.AppID]int{},
		tree: api.Tree{Apps: map[spec.AppID]*spec.App{}, Groups: map[spec.AppID]*spec.Group{}}}
	f.play = newPlay(t)
	f.play.stop()
	f.pools = []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/18")}}
	for i := range 20 {
		name := fmt.Sprintf("h%d", i)
		f.w.hosts[name] = &worldHost{name: name, cpus: 100, mem: 1e6}
		f.hosts[name] = true
	}
	f.w.launched, f.w.stopping = f.onLaunch, f.onStop
	f.play.start()
	return f
}

func (f *fleet) voyage() {
	defer func() { f.play.stop() }()
	f.design()
	f.fresh, f.faults = true, 12
	f.change(false)
	f.settle()
	f.fresh, f.faults = false, 12
	f.alter(3)
	f.change(false)
	f.steps(2 + f.rnd.IntN(20))
	f.alter(20)
	f.change(true)
	f.settle()
}

func (f *fleet) some(n int) bool { return f.rnd.IntN(n) == 0 }

// design makes 8 groups of 5 groups of 5 apps. Whatever depends on something depends on what was designed before it.
func (f *fleet) design() {
	for i := range 8 {
		outer := spec.AppID(fmt.Sprintf("/g%d", i))
		f.tree.Groups[outer] = &spec.Group{ID: outer}
		if i > 0 && f.some(2) {
			f.tree.Groups[outer].Dependencies = []spec.AppID{spec.AppID(fmt.Sprintf("/g%d", f.rnd.IntN(i)))}
		}
		for j := range 5 {
			inner := spec.AppID(fmt.Sprintf("%s/s%d", outer, j))
			f.tree.Groups[inner] = &spec.Group{ID: inner}
			if j > 0 && f.some(3) {
				f.tree.Groups[inner].Dependencies = []spec.AppID{spec.AppID(fmt.Sprintf("%s/s%d", outer, f.rnd.IntN(j)))}
			}
			for k := range 5 {
				var deps []spec.AppID
				if k > 0 && f.some(3) {
					deps = append(deps, spec.AppID(fmt.Sprintf("%s/a%d", inner, f.rnd.IntN(k))))
				}
				f.define(spec.AppID(fmt.Sprintf("%s/a%d", inner, k)), deps)
			}
		}
	}
}

// define wants an app in some form.
func (f *fleet) define(id spec.AppID, deps []spec.AppID) {
	checks := ""
	if f.some(2) {
		checks = `"healthChecks":[{"protocol":"TCP","maxConsecutiveFailures":0}],`
	}
	body := fmt.Sprintf(`{"id":%q,"cmd":"v%d","instances":%d,"cpus":0.1,"mem":32,%s"labels":{"BERTH_IDENTITY":%q},"upgradeStrategy":{"minimumHealthCapacity":%g,"maximumOverCapacity":%g}}`,
		id, f.rnd.Uint32(), f.rnd.IntN(5), checks, []string{"seat", "seat", "float"}[f.rnd.IntN(3)], []float64{0, 0.5, 1}[f.rnd.IntN(3)], []float64{0, 0.5, 1}[f.rnd.IntN(3)])
	app, err := marathon.DecodeApp([]byte(body), marathon.Options{DefaultNetworkName: "p"})
	if err != nil {
		f.t.Fatal(err)
	}
	app.Dependencies = deps
	f.tree.Apps[id] = app
}

// alter changes one of n apps, scales some, removes some and adds a few.
func (f *fleet) alter(n int) {
	f.before = maps.Clone(f.tree.Apps)
	for _, id := range slices.Sorted(maps.Keys(f.tree.Apps)) {
		app := f.tree.Apps[id]
		switch {
		case f.some(n):
			f.define(id, app.Dependencies)
		case f.some(20):
			own := *app
			own.Instances = f.rnd.IntN(6)
			f.tree.Apps[id] = &own
		case f.some(20):
			delete(f.tree.Apps, id)
		case f.some(40):
			f.define(id+"-new", nil)
		}
	}
}

// change asks until the scheduler has taken it, as a client does.
func (f *fleet) change(force bool) {
	for {
		f.revive()
		_, err := f.s.Change(context.Background(), api.Change{Force: force, Decide: func(current api.Tree) (api.Tree, error) {
			out := api.Tree{Apps: maps.Clone(f.tree.Apps), Groups: f.tree.Groups}
			for id := range current.Apps {
				if out.Apps[id] == nil {
					out.Apps[id] = nil
				}
			}
			return out, nil
		}})
		var locked *api.LockedError
		var faults *marathon.Faults
		switch {
		case err == nil:
			return
		case errors.As(err, &locked):
			f.steps(1) // the end of the last deployment died with the scheduler that said so
		case errors.As(err, &faults):
			f.t.Fatal(err)
		}
	}
}

// dependencies are the apps that must be healthy before the app starts for the first time.
func (f *fleet) dependencies(id spec.AppID) []spec.AppID {
	deps := slices.Clone(f.tree.Apps[id].Dependencies)
	for g := id.Parent(); g != "/"; g = g.Parent() {
		deps = append(deps, f.tree.Groups[g].Dependencies...)
	}
	var out []spec.AppID
	for other := range f.tree.Apps {
		if slices.ContainsFunc(deps, other.In) {
			out = append(out, other)
		}
	}
	return out
}

// onLaunch is called under the world's lock.
func (f *fleet) onLaunch(t *worldTask) {
	if !f.fresh {
		return
	}
	for _, dep := range f.dependencies(t.seat.App) {
		if !f.well[dep] {
			f.t.Errorf("%s starts before %s, which it depends on, was healthy", t.seat, dep)
		}
	}
}

// onStop is called under the world's lock, before the task counts as killed. Tasks that died by themselves, or had not been
// seen to live, are not the scheduler's doing.
func (f *fleet) onStop(t *worldTask) {
	app := f.tree.Apps[t.seat.App]
	if app == nil || !f.healthy(t) || f.fresh || f.decidedBeforeItLived(t) {
		return
	}
	left := 0
	for _, x := range f.w.live() {
		if x.seat.App == app.ID && x != t && f.healthy(x) {
			left++
		}
	}
	floor, _ := deploy.Bounds(app.Instances, app.Upgrade)
	if was := f.before[app.ID]; was != nil {
		old, _ := deploy.Bounds(was.Instances, was.Upgrade)
		floor = min(floor, old)
	}
	if left < floor-f.failed[app.ID] {
		f.t.Errorf("%s is stopped, %d healthy ones are left of %d", t.seat, left, floor)
	}
}

// decidedBeforeItLived says that nobody knew yet that a checked task was healthy when it was decided to stop it.
func (f *fleet) decidedBeforeItLived(t *worldTask) bool {
	view, err := f.s.View(context.Background())
	if err != nil {
		return false
	}
	for _, x := range view.Tasks[t.seat.App] {
		if x.ID == t.TaskID {
			return !f.alive[x.ID].Before(x.KillWanted)
		}
	}
	return false
}

// healthy says whether a task counts. What the definition before did not check counted by running, and a stop that was
// decided then may be sent only now.
func (f *fleet) healthy(t *worldTask) bool {
	if t.state != "TASK_RUNNING" || t.killed {
		return false
	}
	was := f.before[t.seat.App]
	return !f.alive[t.TaskID].IsZero() || len(f.tree.Apps[t.seat.App].HealthChecks) == 0 || was != nil && len(was.HealthChecks) == 0
}

// settle goes on until all is as wanted.
func (f *fleet) settle() {
	for step := 0; ; step++ {
		if f.steps(1); f.t.Failed() {
			return
		}
		if f.arrived() {
			return
		}
		if step > 3000 {
			f.t.Fatalf("no end: %s", f.state())
		}
	}
}

func (f *fleet) arrived() bool {
	snap, err := f.s.Snapshot(context.Background())
	if err != nil || len(snap.Deployments) > 0 || len(snap.Apps) != len(f.tree.Apps) {
		return false
	}
	total := 0
	for id, want := range f.tree.Apps {
		app := snap.Apps[id]
		if app == nil || app.Cmd != want.Cmd || app.Instances != want.Instances || len(snap.Tasks[id]) != app.Instances || !allWell(snap.Tasks[id], app) {
			return false
		}
		total += app.Instances
	}
	return len(f.w.alive()) == total
}

func (f *fleet) state() string {
	snap, err := f.s.Snapshot(context.Background())
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprintf("%d apps, %d wanted, %d live tasks in the world", len(snap.Apps), len(f.tree.Apps), len(f.w.alive()))
	for _, d := range snap.Deployments {
		out += fmt.Sprintf("\ndeployment step %d of %d", d.Current, len(d.Steps))
		for _, a := range d.Steps[d.Current].Actions {
			app := snap.Apps[a.App]
			if tasks := snap.Tasks[a.App]; app == nil && len(tasks) > 0 || app != nil && (len(tasks) != app.Instances || !allWell(tasks, app)) {
				out += fmt.Sprintf("\n%s %s: %d tasks", a.Kind, a.App, len(tasks))
				for _, t := range tasks {
					out += fmt.Sprintf(" [%s %s %s]", t.Seat, t.Rung, t.KillReason)
				}
			}
		}
	}
	for _, q := range snap.Queue {
		out += fmt.Sprintf("\nqueue %s x%d %v", q.App.ID, q.Count, q.Why)
	}
	return out
}

// steps lets the world go on: faults, a part of the tasks one step further, time.
func (f *fleet) steps(n int) {
	for range n {
		f.revive()
		f.fault()
		f.move()
		time.Sleep(time.Duration(f.rnd.IntN(3000)) * time.Millisecond)
		synctest.Wait()
		f.w.mu.Lock()
		f.w.log = nil
		if err := f.w.doubled(); err != nil {
			f.t.Error(err)
		}
		f.w.mu.Unlock()
	}
}

func (f *fleet) fault() {
	if f.faults == 0 || !f.some(4) {
		return
	}
	f.faults--
	switch f.rnd.IntN(3) {
	case 0:
		f.play.stop()
		f.play.start()
	case 1:
		f.store.FailCommit(1+f.rnd.IntN(8), errors.New("disk is gone"))
	case 2:
		live := f.w.alive()
		for range min(len(live), 5) {
			t := live[f.rnd.IntN(len(live))]
			f.failed[t.seat.App]++
			f.finish(t, "TASK_FAILED")
		}
	}
}

// move takes about half of the tasks that wait for the world one step on.
func (f *fleet) move() {
	reports := map[string]spec.HostReport{}
	if f.s != f.toldTo { // what the last one was told it may not have kept: the agents tell again
		f.toldTo, f.told = f.s, map[string]bool{}
	}
	f.w.mu.Lock()
	for _, t := range f.w.live() {
		switch {
		case f.some(2):
		case t.killed:
			f.w.set(t, "TASK_KILLED", "")
		case t.state == "TASK_STAGING":
			f.w.set(t, "TASK_RUNNING", "")
		case !f.told[t.TaskID]:
			r, ok := reports[t.host]
			if !ok {
				r = spec.HostReport{Host: t.host, Networks: map[string]string{"p": ""}, Health: map[string][]spec.CheckHealth{}}
				reports[t.host] = r
			}
			r.Health[t.TaskID] = []spec.CheckHealth{{Known: true, Alive: true, LastSuccess: time.Now()}}
		}
	}
	f.w.offer()
	f.note()
	f.w.mu.Unlock()
	synctest.Wait()
	for _, host := range slices.Sorted(maps.Keys(reports)) {
		r := reports[host]
		f.w.mu.Lock()
		for id := range r.Health {
			if f.told[id] = true; f.alive[id].IsZero() {
				f.alive[id] = time.Now()
			}
		}
		f.note()
		f.w.mu.Unlock()
		_ = f.s.Report(context.Background(), r)
	}
}

// note remembers the apps all of whose instances are healthy now.
func (f *fleet) note() {
	healthy := map[spec.AppID]int{}
	for _, t := range f.w.live() {
		if app := f.tree.Apps[t.seat.App]; app != nil && f.healthy(t) {
			healthy[app.ID]++
		}
	}
	for id, app := range f.tree.Apps {
		f.well[id] = f.well[id] || healthy[id]+f.failed[id] >= app.Instances // the scheduler may not know of a death yet
	}
}
