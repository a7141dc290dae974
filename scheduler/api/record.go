package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// DeploymentRecord is what became of a deployment, with the stops that were part of it.
type DeploymentRecord struct {
	Deployment *spec.Deployment
	State      DeploymentState
	Ended      time.Time // zero while it runs
	Stops      []Stop    // in the order in which they were decided
	Omitted    int       // stops that are no longer known one by one
	// InPlace are the apps and pods that it changed in place, and Resized their CPU quotas as far as those changed. A deployment that did
	// nothing else has no steps, and is over at once.
	InPlace []spec.AppID
	Resized []Resize
}

// Touches says whether it did something with the app.
func (r DeploymentRecord) Touches(app spec.AppID) bool {
	return r.Deployment.Affects(app) || slices.Contains(r.InPlace, app)
}

// Resize is one change of an app's CPU quota in place. The times are by the scheduler's clock.
type Resize struct {
	App    spec.AppID `json:"app"`
	At     time.Time  `json:"at"`     // when it was decided
	Before float64    `json:"before"` // the app's cpus, in cores
	CPUs   float64    `json:"cpus"`
	Held   float64    `json:"held"`             // cores that each instance holds of its host
	Client string     `json:"client,omitempty"` // the address that asked for it
	// Instances is how many ran then and were to get it, Have of how many their hosts have said that the kernel has it. InForce is when that
	// was said of the last; absent: not yet, or never, as the next change came before.
	Instances int       `json:"instances"`
	Have      int       `json:"have"`
	InForce   time.Time `json:"inForce,omitzero"`
}

// DeploymentState is how a deployment stands.
type DeploymentState string

// The states of a deployment.
const (
	DeploymentRunning   DeploymentState = "running"
	DeploymentFinished  DeploymentState = "finished"
	DeploymentCancelled DeploymentState = "cancelled"
)

// Records are the deployments and stops that the scheduler remembers, oldest first.
type Records struct {
	Deployments []DeploymentRecord
	// Stops are those of no deployment: instances that were killed by name, or as they were unhealthy.
	Stops []Stop
}

// Stop is one stop of an instance. Heard, Out and Over are by the host's clock, the others by the scheduler's; steps that were not reached, or
// that nobody told of, have no time.
type Stop struct {
	Task   string      `json:"task"`
	Seat   spec.SeatID `json:"-"`
	App    spec.AppID  `json:"app"`
	Index  int         `json:"seat"`
	Host   string      `json:"host"`
	Reason string      `json:"reason"`
	// Wanted is when it was decided, Heard when the host knew of it, Out when the catalog of Consul had it no more, Over when its clients
	// had left or the wait for them had lasted long enough, Kill when the engine was told to end it, Ended when that was done.
	Wanted time.Time `json:"wanted"`
	Heard  time.Time `json:"heard,omitzero"`
	Out    time.Time `json:"outOfConsul,omitzero"`
	Over   time.Time `json:"clientsLeft,omitzero"`
	Kill   time.Time `json:"killSent,omitzero"`
	Ended  time.Time `json:"ended,omitzero"`
	// Open and Left are the connections at the beginning and at the end of the wait for clients.
	Open int `json:"connections"`
	Left int `json:"connectionsLeft"`
	// Note is what did not go as it should: Consul was not sure, or the host did not answer.
	Note  string `json:"note,omitempty"`
	State string `json:"state,omitempty"` // in which it ended
}

type recordJSON struct {
	planJSON
	State   DeploymentState `json:"state"`
	Ended   time.Time       `json:"ended,omitzero"`
	Apps    []spec.AppID    `json:"affectedApps"`
	Pods    []spec.AppID    `json:"affectedPods"`
	Stops   []Stop          `json:"stops"`
	Omitted int             `json:"stopsOmitted,omitempty"`
	InPlace []spec.AppID    `json:"inPlace"`
	Resized []Resize        `json:"resized"`
}

// getRecords is GET /berth/v1/deployments, with app=ID or id=DEPLOYMENT only what is of it.
func (s *Server) getRecords(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	id := q.Get("id")
	app := spec.AppID("")
	if name := q.Get("app"); name != "" {
		app = appID(segments(name))
	}
	found, err := s.o.Backend.Records(r.Context(), app, id)
	if err != nil {
		return err
	}
	out := struct {
		Deployments []recordJSON `json:"deployments"`
		Stops       []Stop       `json:"stops"` // of no deployment
	}{[]recordJSON{}, shownStops(found.Stops)}
	for _, d := range found.Deployments {
		out.Deployments = append(out.Deployments, recordJSON{
			planJSON: encodePlan(d.Deployment), State: d.State, Ended: d.Ended, Apps: d.affected(false), Pods: d.affected(true),
			Stops: shownStops(d.Stops), Omitted: d.Omitted, InPlace: append([]spec.AppID{}, d.InPlace...), Resized: append([]Resize{}, d.Resized...),
		})
	}
	return respond(w, r, http.StatusOK, out)
}

// affected are the apps of the deployment's steps and those that it changed in place, or the pods.
func (r DeploymentRecord) affected(pods bool) []spec.AppID {
	out := affected(r.Deployment, pods)
	for _, id := range r.InPlace {
		if was := r.Deployment.Original[id]; (was != nil && was.Pod != nil) == pods {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func shownStops(stops []Stop) []Stop {
	out := make([]Stop, 0, len(stops))
	for _, s := range stops {
		s.App, s.Index = s.Seat.App, s.Seat.Index
		out = append(out, s)
	}
	return out
}
