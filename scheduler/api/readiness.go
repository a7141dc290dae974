package api

import "github.com/berth-project/berth/spec"

// readinessJSON is what is known of one task's readiness.
type readinessJSON struct {
	Name         string            `json:"name"`
	TaskID       string            `json:"taskId"`
	Ready        bool              `json:"ready"`
	LastResponse *lastResponseJSON `json:"lastResponse,omitempty"`
}

type lastResponseJSON struct {
	Status      int    `json:"status"`
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
}

// readinessResults are those of the app's tasks that the readiness check is about: running ones of the newest
// configuration. Older tasks passed the check of their own definition long ago.
func readinessResults(app *spec.App, tasks []*spec.Task) []readinessJSON {
	out := []readinessJSON{}
	if app == nil || len(app.ReadinessChecks) == 0 {
		return out
	}
	for _, t := range tasks {
		if t.Rung != spec.Running || t.ConfigVersion.Before(app.LastConfigChange) {
			continue
		}
		r := readinessJSON{Name: app.ReadinessChecks[0].Name, TaskID: t.ID, Ready: t.Ready}
		if answer := t.Readiness; answer.Status != 0 {
			r.LastResponse = &lastResponseJSON{Status: answer.Status, ContentType: answer.ContentType, Body: answer.Body}
		}
		out = append(out, r)
	}
	return out
}
