package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// apps is a set of apps by id; a nil value removes.
type apps = map[spec.AppID]*spec.App

// deploymentJSONResult is Marathon's short answer to a change.
type deploymentResultJSON struct {
	Version      string `json:"version"`
	DeploymentID string `json:"deploymentId"`
}

func deploymentResult(c *Changed) deploymentResultJSON {
	return deploymentResultJSON{Version: spec.FormatTime(c.Version), DeploymentID: c.DeploymentID}
}

// change has the scheduler decide and store: decide proposes, admission and the checks of the whole tree follow in the
// same decision, so that nothing can come between.
//
// Every change of apps can be tried: with dryRun=true nothing is stored.
func (s *Server) change(r *http.Request, c Change, decide func(current apps) (apps, error)) (*Changed, error) {
	c.DryRun = dryRun(r)
	return s.changeTree(r, c, func(current Tree) (Tree, error) {
		next, err := decide(current.Apps)
		return Tree{Apps: next}, err
	})
}

// changeTree is change for groups and apps together.
func (s *Server) changeTree(r *http.Request, c Change, decide func(current Tree) (Tree, error)) (*Changed, error) {
	c.ClientIP, c.URI = clientIP(r), r.URL.EscapedPath()
	c.Decide = func(current Tree) (Tree, error) {
		next, err := decide(current)
		if err != nil {
			return Tree{}, err
		}
		var found faultList
		for _, id := range slices.Sorted(maps.Keys(next.Apps)) {
			if next.Apps[id] == nil {
				continue
			}
			part := ""
			if len(next.Apps) > 1 || len(next.Groups) > 0 {
				part = "/apps/" + string(id) // which of many
			}
			if err := found.addPart(part, s.o.Admit(next.Apps[id])); err != nil {
				return Tree{}, err
			}
		}
		before := marathon.Tree(current)
		if err := found.add(marathon.ValidateTree(before.Apply(marathon.Settle(before, marathon.Tree(next))))); err != nil {
			return Tree{}, err
		}
		return next, found.err()
	}
	return s.o.Backend.Change(r.Context(), c)
}

// faultList joins the faults of several definitions, so that a client sees all at once.
type faultList struct{ all *marathon.Faults }

// add takes in faults and returns any other error.
func (l *faultList) add(err error) error { return l.addPart("", err) }

// addPart is add for one part of the request, which its path names.
func (l *faultList) addPart(part string, err error) error {
	var f *marathon.Faults
	if err == nil {
		return nil
	}
	if !errors.As(err, &f) || len(f.Details) == 0 {
		return err
	}
	if l.all == nil {
		l.all = &marathon.Faults{Message: f.Message}
	}
	for _, d := range f.Details {
		for _, text := range d.Errors {
			path := d.Path
			if part != "" {
				path = part + strings.TrimSuffix(path, "/")
			}
			l.all.Add(path, "%s", text)
		}
	}
	return nil
}

func (l *faultList) err() error {
	if l.all == nil {
		return nil
	}
	return l.all.Err()
}

// definitions are the options for reading definitions of apps: which groups enforce their role is a matter of the tree.
func (s *Server) definitions(r *http.Request) (marathon.Options, error) {
	snap, err := s.o.Backend.View(r.Context())
	if err != nil {
		return marathon.Options{}, err
	}
	return s.o.Marathon.WithGroups(snap.Groups), nil
}

// update is one element of a PUT or PATCH, ready to be decided.
type update struct {
	id      spec.AppID
	body    json.RawMessage
	partial bool
	create  bool      // a missing app is created
	stored  *spec.App // roll back to this version instead
}

// decide is the app as the update wants it.
func (u update) decide(current *spec.App, o marathon.Options) (*spec.App, error) {
	o.ID = u.id // the path's id wins over the body's
	switch {
	case current != nil && current.Pod != nil && u.create:
		return nil, exists(current)
	case current != nil && current.Pod != nil:
		return nil, appMissing(u.id)
	case u.stored != nil:
		if current == nil {
			return nil, appMissing(u.id)
		}
		back := *u.stored
		return &back, nil
	case current == nil && !u.create:
		return nil, appMissing(u.id)
	case current == nil:
		if err := checkID(u.id); err != nil {
			return nil, err
		}
	}
	return marathon.UpdateApp(current, u.body, u.partial, o)
}

// checkID holds an id that came in a path against the rules for ids in bodies: it will name files and containers.
func checkID(id spec.AppID) error {
	body, err := json.Marshal(map[string]spec.AppID{"id": id})
	if err != nil {
		return fmt.Errorf("encode id %s: %w", id, err)
	}
	read, err := marathon.DecodeUpdate(body)
	if err == nil && read.ID != id { // it had ".." in it
		f := &marathon.Faults{Message: "Invalid JSON"}
		f.Add("/id", "error.pattern")
		return f
	}
	return err
}

// prepare resolves a roll-back, which needs stored versions and so cannot wait for the decision.
func (s *Server) prepare(r *http.Request, u *update, version *time.Time) error {
	if version == nil || !u.partial {
		return nil // with partialUpdate=false the version is ignored
	}
	stored, err := s.storedVersion(r, u.id, *version)
	u.stored = stored
	return err
}

func (s *Server) storedVersions(r *http.Request, id spec.AppID) ([]*spec.App, error) {
	return s.versionsOf(r, id, func(app *spec.App) bool { return app.Pod == nil }, appMissing)
}

// podVersions is storedVersions for pods.
func (s *Server) podVersions(r *http.Request, id spec.AppID) ([]*spec.App, error) {
	return s.versionsOf(r, id, func(app *spec.App) bool { return app.Pod != nil }, podMissing)
}

// versionsOf lists the stored versions that keep accepts: an id may have been an app first and a pod later.
func (s *Server) versionsOf(r *http.Request, id spec.AppID, keep func(*spec.App) bool, missing func(spec.AppID) error) ([]*spec.App, error) {
	stored, err := s.o.Backend.Versions(r.Context(), id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var out []*spec.App
	for _, app := range stored {
		if keep(app) {
			out = append(out, app)
		}
	}
	if len(out) == 0 {
		return nil, missing(id)
	}
	return out, nil
}

func (s *Server) storedVersion(r *http.Request, id spec.AppID, at time.Time) (*spec.App, error) {
	stored, err := s.storedVersions(r, id)
	if err != nil {
		return nil, err
	}
	if app := ofVersion(stored, at); app != nil {
		return app, nil
	}
	return nil, &NotFoundError{Message: fmt.Sprintf("App '%s' does not exist in version %s", id, spec.FormatTime(at))}
}

// ofVersion finds a version by its time; nil when there is none.
func ofVersion(stored []*spec.App, at time.Time) *spec.App {
	want := spec.FormatTime(at) // what clients see has milliseconds only
	for _, app := range stored {
		if spec.FormatTime(app.Version) == want {
			return app
		}
	}
	return nil
}
