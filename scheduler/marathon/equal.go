package marathon

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/berth-project/berth/spec"
)

// ConfigEqual says whether the two definitions differ in nothing but the number of instances and the versions: the change
// from one to the other is then a pure scale, and tasks of either are up to date.
func ConfigEqual(a, b *spec.App) bool {
	if a == b {
		return true // apps are immutable, and most of a tree is shared with the one before
	}
	x, errA := json.Marshal(canonical(sansScale(a)))
	y, errB := json.Marshal(canonical(sansScale(b)))
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// canonical is the form of an app or a pod. No app has the form of a pod: the latter has containers.
func canonical(app *spec.App) any {
	if app.Pod != nil {
		return EncodePod(app)
	}
	return Encode(app)
}

// sansScale is the app without what a scale changes. Its checks name their port: leaving out index 0 is no difference.
func sansScale(app *spec.App) *spec.App {
	c := *app
	c.Instances, c.Version = 0, time.Time{}
	c.HealthChecks = make([]spec.HealthCheck, len(app.HealthChecks))
	for i, h := range app.HealthChecks {
		if h.Protocol != healthCommand {
			h = explicitIndex(h)
		}
		c.HealthChecks[i] = h
	}
	return &c
}
