package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// A host that is drained gets nothing new (place refuses its offers), and what is on it counts as not up to date, so that the same
// arithmetic as in a rolling update replaces it elsewhere (deploy.Task.Leaving). The wish is kept until an operator ends it. Its deployment
// only shows how far it is: it locks no app, and nothing depends on it.

// DrainHost implements api.Backend.
func (s *Scheduler) DrainHost(ctx context.Context, name, reason string) (*api.HostDrain, error) {
	var out *api.HostDrain
	err := s.doDurably(ctx, func() error {
		if !s.knowsHost(name) {
			return unknownHost(name)
		}
		now := time.Now()
		was, again := s.state.Drains[name]
		d := spec.HostDrain{Host: name, Reason: cmp.Or(reason, was.Reason), Since: now.UTC().Truncate(time.Millisecond)}
		if again {
			d.Since = was.Since
		}
		s.state.Drains[name] = d
		s.batch.txn.PutDrain(d)
		s.fleet.Drain(name, d.Text())
		s.touchHost(name)
		s.log.WithFields(logrus.Fields{"host": name, "tasks": len(s.byHost[name]), "reason": d.Reason}).Warn("the host is drained: it gets nothing new, and its instances go elsewhere")
		if s.drainDeployment(name) == nil {
			s.beginDrain(d, now)
		}
		out = s.drainView(name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// unknownHost refuses a name that is nobody's, or no longer.
func unknownHost(name string) error {
	return &api.NotFoundError{Message: fmt.Sprintf("Host '%s' is not known; berth host ls lists those that are", name)}
}

// knowsHost says whether anything ever told of the host.
func (s *Scheduler) knowsHost(name string) bool {
	if s.hosts[name] != nil || len(s.byHost[name]) > 0 {
		return true
	}
	for _, a := range s.agents {
		if a.Host == name {
			return true
		}
	}
	return false
}

// UndrainHost implements api.Backend.
func (s *Scheduler) UndrainHost(ctx context.Context, name string) error {
	return s.doDurably(ctx, func() error {
		if _, drained := s.state.Drains[name]; !drained && !s.knowsHost(name) {
			return unknownHost(name)
		}
		s.undrain(name, time.Now())
		return nil
	})
}

// undrain ends the wish, and the deployment that followed from it where it stands: what has gone elsewhere stays there.
func (s *Scheduler) undrain(name string, now time.Time) {
	if d := s.drainDeployment(name); d != nil {
		s.cancel(d, "host "+name+" is no longer drained", now)
	}
	if _, drained := s.state.Drains[name]; !drained {
		return
	}
	delete(s.state.Drains, name)
	s.batch.txn.DeleteDrain(name)
	s.fleet.Drain(name, "")
	s.touchHost(name)
	s.wantAnew(now)
	s.log.WithField("host", name).Info("the host is no longer drained")
}

// touchHost has all apps looked at that have tasks on the host.
func (s *Scheduler) touchHost(name string) {
	for _, t := range s.byHost[name] {
		s.touch(t.Seat.App)
		s.looks.forget(t.Seat.App)
	}
}

// beginDrain makes the deployment that people see, of all wanted apps that have something on the host which can go elsewhere.
func (s *Scheduler) beginDrain(h spec.HostDrain, now time.Time) {
	d := &spec.Deployment{ID: s.uuid(), Version: s.nextVersion(now), StepSince: now, Drain: h.Host, Original: map[spec.AppID]*spec.App{}, OriginalGroups: map[spec.AppID]*spec.Group{}}
	for _, t := range s.byHost[h.Host] {
		if app := s.state.Apps[t.Seat.App]; app != nil && s.leaving(t) != "" {
			d.Original[app.ID] = app
		}
	}
	if len(d.Original) == 0 {
		return
	}
	var step spec.Step
	for _, id := range slices.Sorted(maps.Keys(d.Original)) {
		// A Marathon client knows no other name for instances that start and end while nothing of the app changes.
		step.Actions = append(step.Actions, spec.Action{Kind: spec.ScaleApplication, App: id, Pod: d.Original[id].Pod != nil, Reason: "host drain " + h.Host})
	}
	d.Steps = []spec.Step{step}
	s.lastVersion = d.Version
	s.putDeployment(d)
	s.publish(api.DeploymentInfo(d, 0, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "host": h.Host, "apps": len(step.Actions)}).Info("deployment begins")
}

// drainDeployment is the one that empties the host; nil: none does.
func (s *Scheduler) drainDeployment(name string) *spec.Deployment {
	for _, d := range s.state.Deployments {
		if d.Drain == name {
			return d
		}
	}
	return nil
}

// changing is how many deployments there are of changes.
func (s *Scheduler) changing() int {
	n := 0
	for _, d := range s.state.Deployments {
		if d.Drain == "" {
			n++
		}
	}
	return n
}

// leaving is the host that a task must leave; "": it may stay, or has to, as its persistent volumes are there.
func (s *Scheduler) leaving(t *spec.Task) string {
	if len(s.state.Drains) == 0 {
		return ""
	}
	if _, drained := s.state.Drains[t.Host]; !drained || s.bound(t) != "" {
		return ""
	}
	return t.Host
}

// bound says why a task cannot leave its host, whatever room others have; "": it can.
func (s *Scheduler) bound(t *spec.Task) string {
	seat := s.state.Seats[t.Seat]
	if seat.VolumesHost() != t.Host {
		return ""
	}
	var paths []string
	for _, v := range seat.Volumes {
		if !v.Freed {
			paths = append(paths, v.ContainerPath)
		}
	}
	return fmt.Sprintf("its persistent volume %s is on %s", strings.Join(paths, ", "), t.Host)
}

// How often apps are looked at again that cannot leave a host for want of room: when something happened that may have made some, and
// when nothing tells of any.
const (
	drainLookSoon = time.Second
	drainLook     = 5 * time.Second
)

// uncramp has the apps looked at again that may find room now.
func (s *Scheduler) uncramp(now time.Time) {
	switch {
	case len(s.cramped) == 0 || !s.search.stirred:
	case now.Before(s.uncrampAt):
		s.wakeAt(s.uncrampAt)
	default:
		s.uncrampAt = now.Add(drainLookSoon)
		for id := range s.cramped {
			s.dirty[id] = true
		}
	}
}

// roomElsewhere is for how many of the app's tasks that leave their hosts others have room, and why they have for no more.
func (s *Scheduler) roomElsewhere(t target, tasks []deploy.Task, now time.Time) (n int, why string) {
	if len(s.state.Drains) == 0 || t.mode == deploy.Stop {
		return 0, ""
	}
	var leaving []map[string]string
	for _, x := range tasks {
		if x.Leaving != "" && !x.Killing && !x.Unreachable {
			leaving = append(leaving, s.state.Tasks[x.ID].Attributes)
		}
	}
	if len(leaving) == 0 {
		return 0, ""
	}
	if !t.app.Floats() {
		leaving = append(leaving, nil) // a helper
	}
	s.spare.Release(t.app.ID)
	pool, never := s.poolOf(t.app), map[string]string{}
	n, lacks := s.spare.Moves(t.app, s.tallyOf(t.app), leaving, func(host string) string {
		text, known := never[host]
		if !known {
			text = s.neverOn(host, pool)
			never[host] = text
		}
		return text
	})
	if n < len(leaving) {
		s.cramped[t.app.ID] = true
		s.wakeAt(now.Add(drainLook)) // nothing tells of what others leave free
	}
	return n, strings.Join(lacks, "; ")
}

// poolOf is the pool that the app's instances have addresses of; "": they need none.
func (s *Scheduler) poolOf(app *spec.App) string {
	if launch.HostNetwork(app) {
		return ""
	}
	pool, _ := address.PoolOf(app, s.opts.Pools)
	return pool
}

// neverOn says why a host cannot have instances with an address of the pool; "": it can.
func (s *Scheduler) neverOn(name, pool string) string {
	if pool == "" {
		return ""
	}
	if why := s.fleet.Elsewhere(pool, name); why != "" {
		return "pool " + pool + " is for other hosts: " + why
	}
	h := s.hosts[name]
	if h == nil || !h.reported {
		return "its agent has not reported the network yet"
	}
	if why, known := h.attaches()[pool]; !known || why != "" {
		return "network " + pool + " is not ready: " + cmp.Or(why, "its agent has not reported it yet")
	}
	return ""
}

// spareNow is what hosts that are not drained have left beside their tasks, beside the instances that have left others already and
// have no place yet, and beside what apps need that are about to leave. had are the launches of the app that is looked at just now.
func (s *Scheduler) spareNow(id spec.AppID, had []int) *place.Spare {
	var free []place.Known
	at := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(s.agents)) {
		k := s.agents[id].Known
		_, drained := s.state.Drains[k.Host]
		if h := s.hosts[k.Host]; drained || h != nil && !h.dead.IsZero() {
			continue
		}
		at[id] = len(free)
		free = append(free, k)
	}
	for host := range s.byHost {
		if _, drained := s.state.Drains[host]; drained {
			continue
		}
		for _, t := range s.byHost[host] {
			if i, ok := at[t.AgentID]; ok {
				app := s.appOf(t)
				k := &free[i]
				k.CPUs, k.Mem, k.Disk, k.GPUs = k.CPUs-app.Held(), k.Mem-app.Mem, k.Disk-app.Disk, k.GPUs-float64(app.GPUs)
			}
		}
	}
	out := place.NewSpare(free)
	moving := s.moving()
	for _, other := range moving {
		out.Take(s.state.Apps[other], s.unplaced(s.state.Apps[other]))
	}
	for _, other := range moving { // what has left a host goes before what is about to
		launches := s.launches[other]
		if other == id {
			launches = had
		}
		out.Reserve(s.state.Apps[other], s.reservation(s.state.Apps[other], launches))
	}
	return out
}

// reservation is the room that an app which has begun to leave a host needs to go on, beside that for instances without a task: for its
// helpers that are to be launched, and for a seat that each of them is to stand in for.
func (s *Scheduler) reservation(app *spec.App, launches []int) int {
	leaving, helpers, live := 0, 0, 0
	for _, t := range s.byApp[app.ID] {
		switch {
		case t.Rung == spec.Killing:
			continue
		case s.leaving(t) != "":
			leaving++
		case deploy.Temporary(app, t.Seat.Index):
			helpers++
		}
		live++
	}
	if app.Floats() {
		return min(leaving, max(0, len(launches)-max(0, app.Instances-live)))
	}
	begun := 0
	for _, seat := range launches {
		if deploy.Temporary(app, seat) {
			begun++
		}
	}
	return begun + min(leaving, helpers+begun)
}

// moving are the wanted apps that have something on hosts that are drained, or whose drain is not over.
func (s *Scheduler) moving() []spec.AppID {
	ids := map[spec.AppID]bool{}
	for host := range s.state.Drains {
		for _, t := range s.byHost[host] {
			ids[t.Seat.App] = true
		}
	}
	for _, d := range s.state.Deployments {
		if d.Drain != "" {
			for id := range d.Original {
				ids[id] = true
			}
		}
	}
	maps.DeleteFunc(ids, func(id spec.AppID, _ bool) bool { return s.state.Apps[id] == nil })
	return slices.Sorted(maps.Keys(ids))
}

// unplaced is how many of the app's wanted instances have no task but such as end.
func (s *Scheduler) unplaced(app *spec.App) int {
	seats, live := map[int]bool{}, 0
	for _, t := range s.byApp[app.ID] {
		if t.Rung != spec.Killing {
			seats[t.Seat.Index] = true
			live++
		}
	}
	if app.Floats() {
		return max(0, app.Instances-live)
	}
	n := 0
	for _, seat := range app.Seats() {
		if !seats[seat] {
			n++
		}
	}
	return n
}

// drainView is how far a host is with being emptied; nil: it is not being.
func (s *Scheduler) drainView(name string) *api.HostDrain {
	d, ok := s.state.Drains[name]
	if !ok {
		return nil
	}
	out := &api.HostDrain{HostDrain: d}
	if d := s.drainDeployment(name); d != nil {
		out.Deployment = d.ID
	}
	for _, t := range sortedTasks(maps.Values(s.byHost[name])) {
		x := api.DrainTask{Task: t, Why: s.bound(t)}
		switch {
		case t.Rung == spec.Killing:
			x.Why = "it is being stopped"
		case !t.UnreachableSince.IsZero():
			x.Why = "the engine cannot reach it"
		case x.Why != "":
			x.Stays = true
		default:
			x.Why = s.waits[t.Seat.App]
		}
		out.Tasks = append(out.Tasks, x)
	}
	return out
}
