package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// ResizeRequest is the body of POST /berth/v1/resize.
type ResizeRequest struct {
	CPUs float64 `json:"cpus"` // 0: as it is
	// Held is how many cores are to be held for each instance from now on; 0: as many as now, or with Restart as CPUs says.
	Held    float64 `json:"held"`
	Restart bool    `json:"restart"` // where it cannot be done in place, the instances are replaced
}

// Resized is the answer of POST /berth/v1/resize.
type Resized struct {
	App    spec.AppID `json:"app"`
	Before float64    `json:"before"` // cores
	CPUs   float64    `json:"cpus"`
	Held   float64    `json:"held"` // cores that each instance holds of its host now
	// InPlace: the instances that run have the new quota without a restart.
	InPlace      bool   `json:"inPlace"`
	Version      string `json:"version"`
	DeploymentID string `json:"deploymentId"` // "" after a dry run
}

// postResize is POST /berth/v1/resize?app=ID&force=false&dryRun=false: another quota for an app, in place where its instances
// hold enough. The label is settled in the same decision, so that no other client's change of labels is lost.
func (s *Server) postResize(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var want ResizeRequest
	if err := decodeJSON(body, &want); err != nil {
		return err
	}
	o, err := s.definitions(r)
	if err != nil {
		return err
	}
	name := r.URL.Query().Get("app")
	if name == "" {
		return fail(http.StatusBadRequest, "Name the app: /berth/v1/resize?app=ID")
	}
	id := appID(segments(name))
	var before *spec.App
	changed, err := s.change(r, Change{Group: id.Parent(), Force: flag(r, "force", false), Post: true}, func(current apps) (apps, error) {
		if before = current[id]; before == nil {
			return nil, appMissing(id)
		}
		update, err := want.of(before)
		if err != nil {
			return nil, err
		}
		app, err := marathon.UpdateApp(before, update, true, o)
		if err != nil {
			return nil, err
		}
		if !want.Restart && !marathon.InPlace(before, app) {
			return nil, &RefusedError{Message: beyond(before, app)}
		}
		return apps{id: app}, nil
	})
	if err != nil {
		return err
	}
	announce(w, changed)
	after := cmp.Or(changed.Apps[id], before)
	return respond(w, r, http.StatusOK, Resized{
		App: id, Before: before.CPUs, CPUs: after.CPUs, Held: after.Held(), InPlace: marathon.InPlace(before, after),
		Version: spec.FormatTime(changed.Version), DeploymentID: changed.DeploymentID,
	})
}

// of is the update of the definition that the request means.
func (want ResizeRequest) of(app *spec.App) ([]byte, error) {
	cpus := cmp.Or(want.CPUs, app.CPUs)
	switch l := app.ResourceLimits; {
	case app.Pod != nil:
		return nil, &RefusedError{Message: fmt.Sprintf("%s is a pod: each of its containers has a quota of its own, which is fixed when it starts; change them in its definition and apply it.", app.ID)}
	case want.CPUs < 0 || want.Held < 0 || want.CPUs == 0 && want.Held == 0:
		return nil, &RefusedError{Message: "Give a number of cores above 0."}
	case l != nil && l.CPUs != nil && max(*l.CPUs, app.CPULimit()) >= cpus && cpus != app.CPUs:
		return nil, &RefusedError{Message: fmt.Sprintf("The quota of %s is its resourceLimits.cpus (%s), not its cpus: change that in its definition and apply it.", app.ID, cores(*l.CPUs))}
	}
	update := struct {
		CPUs   float64           `json:"cpus"`
		Labels map[string]string `json:"labels"`
	}{cpus, maps.Clone(app.Labels)}
	if update.Labels == nil {
		update.Labels = map[string]string{}
	}
	held := cmp.Or(want.Held, app.Held())
	if want.Held == 0 && want.Restart {
		held = cpus
	}
	if delete(update.Labels, spec.AppLabelMaxCPUs); held != cpus {
		update.Labels[spec.AppLabelMaxCPUs] = cores(held)
	}
	if want.Held == 0 && held < cpus {
		delete(update.Labels, spec.AppLabelMaxCPUs) // refused below with a better reason than the label's
	}
	return json.Marshal(update)
}

// beyond says why an app is not resized in place, and the ways out.
func beyond(was, want *spec.App) string {
	return fmt.Sprintf("%s holds %s cpus of its host for each instance, and would hold %s: what is held cannot change while an instance runs, as the engine cannot be told. "+
		"Ways out: replace the instances (berth resize %s --cpus %s --restart), or have room held for later at the price of one such restart (--held %s --restart, or the label %s in its definition).",
		was.ID, cores(was.Held()), cores(want.Held()), was.ID, cores(want.CPUs), cores(2*want.CPUs), spec.AppLabelMaxCPUs)
}

func cores(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
