package lifecycle

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// Delay is an app's launch delay (Marathon's backoff): the next launch is not before Reference+Wait.
type Delay struct {
	Wait      time.Duration
	Reference time.Time
}

// Until is when the next launch may happen.
func (d Delay) Until() time.Time { return d.Reference.Add(d.Wait) }

// Failed is the delay after one more failure at now: backoffSeconds first, then times backoffFactor, at most
// maxLaunchDelaySeconds. Failures within one running delay count once: fifty instances that die together are one event
// (Marathon multiplies fifty times, which its users complain of).
func (d Delay) Failed(app *spec.App, now time.Time) Delay {
	if d.Wait > 0 && now.Before(d.Until()) {
		return d
	}
	next := app.Backoff
	if d.Wait > 0 {
		next = time.Duration(float64(d.Wait) * app.BackoffFactor)
	}
	return Delay{Wait: min(next, app.MaxLaunchDelay), Reference: now}
}

// Launched is the delay after a start at now: the reference moves, the wait neither grows nor resets.
func (d Delay) Launched(now time.Time) Delay {
	if d.Wait == 0 {
		return d
	}
	d.Reference = now
	return d
}

// Expired says that the memory of failures is over: nothing failed or started for maxLaunchDelaySeconds.
func (d Delay) Expired(app *spec.App, now time.Time) bool {
	return d.Wait > 0 && now.Sub(d.Reference) > app.MaxLaunchDelay
}
