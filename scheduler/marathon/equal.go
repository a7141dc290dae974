package marathon

import (
	"bytes"
	"encoding/json"
	"maps"
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

// InPlace says whether instances that run one of the two definitions need no restart to run the other: they differ at most in
// their number, in the quota within the cores that each instance holds (spec.App.Held, which stays equal), and in its share
// of requests. The hosts are told of both while the instance runs; all else is fixed when its container is created.
func InPlace(a, b *spec.App) bool {
	if a == b {
		return true
	}
	return a.Held() == b.Held() && ConfigEqual(sansInPlace(a), sansInPlace(b))
}

// sansInPlace is the app without what changes in place. A pod's quotas are its containers', and stay.
func sansInPlace(app *spec.App) *spec.App {
	c := *app
	if c.Pod == nil {
		c.CPUs = 0
	}
	if c.Labels = maps.Clone(app.Labels); c.Labels != nil {
		delete(c.Labels, spec.AppLabelMaxCPUs)
		delete(c.Labels, spec.AppLabelServiceWeight)
	}
	return &c
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
