package api

import (
	"slices"

	"github.com/berth-project/berth/spec"
)

type actionJSON struct {
	Action    spec.ActionKind  `json:"action"`
	App       spec.AppID       `json:"app,omitempty"`
	Pod       spec.AppID       `json:"pod,omitempty"`                   // instead of App
	Readiness *[]readinessJSON `json:"readinessCheckResults,omitempty"` // currentActions only, then present even when empty
}

type stepJSON struct {
	Actions []actionJSON `json:"actions"`
}

type planJSON struct {
	ID      string     `json:"id"`
	Version string     `json:"version"`
	Steps   []stepJSON `json:"steps"`
}

type deploymentJSON struct {
	planJSON
	AffectedApps   []spec.AppID `json:"affectedApps"`
	AffectedPods   []spec.AppID `json:"affectedPods"`
	CurrentActions []actionJSON `json:"currentActions"`
	CurrentStep    int          `json:"currentStep"` // from 1; 0 before the first step
	TotalSteps     int          `json:"totalSteps"`
	Reason         string       `json:"reason,omitempty"` // Berth's own: what it is for when no change began it
}

func encodeAction(a spec.Action) actionJSON {
	if a.Pod {
		return actionJSON{Action: a.Kind.ForPod(), Pod: a.App}
	}
	return actionJSON{Action: a.Kind, App: a.App}
}

func encodeStep(s spec.Step) stepJSON {
	out := stepJSON{Actions: make([]actionJSON, 0, len(s.Actions))}
	for _, a := range s.Actions {
		out.Actions = append(out.Actions, encodeAction(a))
	}
	return out
}

func encodePlan(d *spec.Deployment) planJSON {
	out := planJSON{ID: d.ID, Version: spec.FormatTime(d.Version), Steps: make([]stepJSON, 0, len(d.Steps))}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, encodeStep(s))
	}
	return out
}

func encodeDeployment(snap *View, d *spec.Deployment) deploymentJSON {
	out := deploymentJSON{
		planJSON: encodePlan(d), AffectedApps: affected(d, false), AffectedPods: affected(d, true),
		CurrentActions: []actionJSON{}, TotalSteps: len(d.Steps),
	}
	if d.Drain != "" {
		out.Reason = "host drain " + d.Drain
	}
	if d.StepSince.IsZero() || len(d.Steps) == 0 {
		return out
	}
	out.CurrentStep = min(d.Current+1, len(d.Steps))
	for _, a := range d.Steps[out.CurrentStep-1].Actions {
		results := readinessResults(snap.Apps[a.App], snap.Tasks[a.App])
		action := encodeAction(a)
		action.Readiness = &results
		out.CurrentActions = append(out.CurrentActions, action)
	}
	return out
}

// affected are the deployment's apps, or its pods.
func affected(d *spec.Deployment, pods bool) []spec.AppID {
	out := []spec.AppID{}
	for _, s := range d.Steps {
		for _, a := range s.Actions {
			if a.Pod == pods {
				out = append(out, a.App)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
