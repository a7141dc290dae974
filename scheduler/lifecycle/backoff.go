package lifecycle

import (
	"time"

	"github.com/berth-project/berth/spec"
)

// Delay is an app's launch delay (Marathon's backoff). The zero value is no delay.
type Delay struct {
	Wait  time.Duration // the present length, from which the next is made
	Grew  time.Time     // the failure that made it so long
	Until time.Time     // no launch before
}

// Failed is the delay after the failure, at now, of a task that was created at launched: backoffSeconds first, then times
// backoffFactor, at most maxLaunchDelaySeconds. Tasks that were launched before the last counted failure are part of the
// same event: fifty instances that die together count once (Marathon multiplies fifty times, which its users suffer from).
func (d Delay) Failed(app *spec.App, launched, now time.Time) Delay {
	if d.Wait > 0 && launched.Before(d.Grew) {
		return d
	}
	next := app.Backoff
	if d.Wait > 0 {
		next = time.Duration(float64(d.Wait) * app.BackoffFactor)
	}
	next = min(next, app.MaxLaunchDelay)
	return Delay{Wait: next, Grew: now, Until: now.Add(next)}
}

// Launched is the delay after a start at now: starts of a failing app are spaced by the delay, which neither grows nor resets.
func (d Delay) Launched(now time.Time) Delay {
	if d.Wait > 0 {
		d.Until = now.Add(d.Wait)
	}
	return d
}

// Expires is when the memory of failures is over: nothing failed or started for maxLaunchDelaySeconds.
func (d Delay) Expires(app *spec.App) time.Time {
	return d.Until.Add(app.MaxLaunchDelay - min(d.Wait, app.MaxLaunchDelay))
}
