package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/spec"
)

// What is remembered of deployments and stops, in memory only: it is for people who ask how the last ones went, and each stop would
// otherwise be stored three more times.
const (
	recordedDeployments = 50  // and as many of those that only changed something in place
	recordedStops       = 200 // of one deployment
	recordedLoose       = 500 // of none
)

// history is that. Only the loop touches it.
type history struct {
	stops    map[string]*api.Stop     // under way, by task
	resizes  map[spec.AppID]*resizing // under way
	running  map[string]*course       // of running deployments, by id; "": of none
	finished []finishedRecord         // oldest first
}

// course is what one deployment did: its stops and its changes in place, each in the order in which they were decided.
type course struct {
	stops   []*api.Stop
	omitted int
	inPlace []spec.AppID
	resizes []*resizing
}

type finishedRecord struct {
	api.DeploymentRecord // without what the deployment did
	course               *course
}

func newHistory() *history {
	return &history{stops: map[string]*api.Stop{}, resizes: map[spec.AppID]*resizing{}, running: map[string]*course{}}
}

// courseOf is what a running deployment did so far.
func (h *history) courseOf(deployment string) *course {
	if h.running[deployment] == nil {
		h.running[deployment] = &course{}
	}
	return h.running[deployment]
}

// wanted begins the record of a stop.
func (h *history) wanted(t *spec.Task, deployment string) {
	x := &api.Stop{Task: t.ID, Seat: t.Seat, Host: t.Host, Reason: t.KillReason, Wanted: t.KillWanted}
	h.stops[t.ID] = x
	c, most := h.courseOf(deployment), recordedStops
	if deployment == "" {
		most = recordedLoose
	}
	if c.stops = append(c.stops, x); len(c.stops) > most {
		c.stops[0], c.omitted = nil, c.omitted+1
		c.stops = c.stops[1:]
	}
}

// of is the record of a task's stop. After a restart of the scheduler those under way have none left.
func (h *history) of(t *spec.Task) *api.Stop {
	if h.stops[t.ID] == nil {
		h.wanted(t, "")
	}
	return h.stops[t.ID]
}

// over ends the record of a deployment.
func (h *history) over(d *spec.Deployment, state api.DeploymentState, now time.Time) {
	c := h.courseOf(d.ID)
	delete(h.running, d.ID)
	h.finished = append(h.finished, finishedRecord{api.DeploymentRecord{Deployment: d, State: state, Ended: now}, c})
	alike := func(f finishedRecord) bool { return (len(f.Deployment.Steps) == 0) == (len(d.Steps) == 0) }
	n := 0
	for _, f := range h.finished {
		if alike(f) {
			n++
		}
	}
	if n > recordedDeployments { // quotas that change each minute do not push out how the last rollout went
		i := slices.IndexFunc(h.finished, alike)
		h.finished = slices.Delete(h.finished, i, i+1)
	}
}

// copies are the stops as values, those of one app if it is named.
func (c *course) copies(app spec.AppID) []api.Stop {
	var out []api.Stop
	if c != nil {
		for _, x := range c.stops {
			if app == "" || x.Seat.App == app {
				out = append(out, *x)
			}
		}
	}
	return out
}

// noteWanted begins the record of a stop that was just decided, as a part of the newest deployment of its app.
func (s *Scheduler) noteWanted(t *spec.Task) {
	deployment := ""
	for _, id := range s.deploysOf[t.Seat.App] {
		if d := s.state.Deployments[id]; d != nil && (deployment == "" || inTurn(s.state.Deployments[deployment], d) < 0) {
			deployment = id
		}
	}
	s.history.wanted(t, deployment)
}

// drained takes in the host's word that a task may be killed.
func (s *Scheduler) drained(t *spec.Task, d spec.Drain, now time.Time) {
	if t.Rung == spec.Killing && !t.Drained {
		x := s.history.of(t)
		x.Heard, x.Out, x.Over, x.Open, x.Left, x.Note = d.Heard, d.Out, d.Over, d.Open, d.Left, d.Unsure
	}
	s.step(t, lifecycle.Drained{}, now)
}

// Records implements api.Backend.
func (s *Scheduler) Records(ctx context.Context, app spec.AppID, id string) (*api.Records, error) {
	var out *api.Records
	if err := s.tell(ctx, func() { out = s.records(app, id) }); err != nil {
		return nil, err
	}
	if id != "" && len(out.Deployments) == 0 {
		return nil, &api.NotFoundError{Message: fmt.Sprintf("Deployment %s is not known, or no longer", id)}
	}
	return out, nil
}

func (s *Scheduler) records(app spec.AppID, id string) *api.Records {
	out := &api.Records{}
	add := func(r api.DeploymentRecord, c *course) {
		r.InPlace, r.Resized = c.changedInPlace(app)
		if (id == "" || r.Deployment.ID == id) && (app == "" || r.Touches(app)) {
			if r.Stops = c.copies(app); c != nil {
				r.Omitted = c.omitted
			}
			out.Deployments = append(out.Deployments, r)
		}
	}
	for _, f := range s.history.finished {
		add(f.DeploymentRecord, f.course)
	}
	for _, d := range s.deployments() {
		add(api.DeploymentRecord{Deployment: d, State: api.DeploymentRunning}, s.history.running[d.ID])
	}
	slices.SortStableFunc(out.Deployments, func(a, b api.DeploymentRecord) int { return inTurn(a.Deployment, b.Deployment) })
	if id == "" {
		out.Stops = s.history.running[""].copies(app)
	}
	return out
}
