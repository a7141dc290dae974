package cgroup

import "time"

// Window holds what a group had used at some moments of the last while, oldest first, and makes rates of it.
type Window struct{ samples []sample }

// sample is a group's counters at one moment.
type sample struct {
	at                 time.Time
	cpu                time.Duration
	periods, throttled uint64
}

// Empty says whether there is no sample.
func (w *Window) Empty() bool { return len(w.samples) == 0 }

// Add appends a sample and forgets those that are older than the length, but for the one at which the window begins: it spans the
// time between samples. They are taken every so often; half of that is for timers that come late.
func (w *Window) Add(at time.Time, s Stats, length, every time.Duration) {
	w.samples = append(w.samples, sample{at: at, cpu: s.CPU, periods: s.Periods, throttled: s.Throttled})
	drop := 0
	for len(w.samples)-drop > 2 && at.Sub(w.samples[drop+1].at) >= length-every/2 {
		drop++
	}
	w.samples = append(w.samples[:0], w.samples[drop:]...)
}

// Rates are the cores used and the share of throttled periods over the window; they are known from the second sample on, and not
// while counters in it have begun anew.
func (w *Window) Rates() (cores, throttled float64) {
	if w.Empty() {
		return 0, 0
	}
	first, last := w.samples[0], w.samples[len(w.samples)-1]
	if took := last.at.Sub(first.at); took > 0 && last.cpu >= first.cpu {
		cores = float64(last.cpu-first.cpu) / float64(took)
	}
	if last.periods > first.periods && last.throttled >= first.throttled {
		throttled = float64(last.throttled-first.throttled) / float64(last.periods-first.periods)
	}
	return cores, throttled
}
