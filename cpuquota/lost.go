package cpuquota

import (
	"time"

	"github.com/berth-project/berth/cpuquota/policy"
	"github.com/berth-project/berth/internal/cgroup"
)

// lost is what a container lost to its quota in the last hour, and what follows from it.
type lost struct {
	history policy.History
	last    policy.Tally
	known   bool // last is a reading
	allowed bool // there was an allowance then
	minute  int64
	share   float64
	advice  float64
}

// add counts what happened since the last reading, unless the container had a start-up allowance meanwhile: it says nothing
// about the quota. Share and advice change once a minute, so that they are not published for every period that is lost.
func (h *lost) add(now time.Time, s cgroup.Stats, want policy.Assignment, ceiling float64) {
	t := policy.Tally{Periods: s.Periods, Throttled: s.Throttled, Waited: s.ThrottledTime}
	allowed := !want.Until.IsZero()
	if h.known && !allowed && !h.allowed {
		h.history.Add(now, t.Since(h.last))
	}
	h.last, h.known, h.allowed = t, true, allowed
	if minute := now.Unix() / 60; minute != h.minute {
		hour := h.history.Hour(now)
		h.minute, h.share, h.advice = minute, hour.Lost(), policy.Advise(hour, want.Base, want.Period, ceiling)
	}
}
