package policy

import (
	"math"
	"time"
)

// Tally is what the kernel counted of a container under its quota.
type Tally struct {
	Periods   uint64        // in which it wanted to run
	Throttled uint64        // those in which it ran out of quota
	Waited    time.Duration // for which it was held back, of all processors together
}

func (t Tally) plus(o Tally) Tally {
	return Tally{t.Periods + o.Periods, t.Throttled + o.Throttled, t.Waited + o.Waited}
}

// Since is what was counted after an earlier reading; counters that went back began anew.
func (t Tally) Since(o Tally) Tally {
	if t.Periods < o.Periods || t.Throttled < o.Throttled || t.Waited < o.Waited {
		return t
	}
	return Tally{t.Periods - o.Periods, t.Throttled - o.Throttled, t.Waited - o.Waited}
}

// minutes is the length of a History.
const minutes = 60

// History is the last hour of one container, minute by minute.
type History struct {
	slots [minutes]slot
}

type slot struct {
	minute int64 // since 1970; 0: empty
	tally  Tally
}

// Add counts what happened just before now.
func (h *History) Add(now time.Time, t Tally) {
	minute := minuteOf(now)
	s := &h.slots[minute%minutes]
	if s.minute != minute {
		*s = slot{minute: minute}
	}
	s.tally = s.tally.plus(t)
}

// Hour is what happened in the hour before now.
func (h *History) Hour(now time.Time) Tally {
	var sum Tally
	last := minuteOf(now)
	for _, s := range h.slots {
		if s.minute > last-minutes && s.minute <= last {
			sum = sum.plus(s.tally)
		}
	}
	return sum
}

// minuteOf is never negative, whatever the clock says.
func minuteOf(t time.Time) int64 { return max(t.Unix()/60, 0) }

// What is too little to advise from: a container that is hardly ever held back, or has hardly run.
const (
	fewLost    = 0.05
	fewPeriods = 100
)

// Lost is the share of periods in which a container was held back.
func (t Tally) Lost() float64 {
	if t.Periods == 0 {
		return 0
	}
	return min(float64(t.Throttled)/float64(t.Periods), 1)
}

// Advise is the quota in cores, rounded up to a tenth, with which a container would hardly be held back; 0: its quota will
// do, or is as large as it can become.
//
// In a period that it lost, a container used its quota up and then waited. The kernel counts the wait of each processor on
// which something of it could have run, so quota and wait together are what it could have used in such a period: the whole
// of one processor for one busy thread, of two for two. Some of it may not have been needed, as what waits for a short
// while waits until the period ends. So the advice would certainly do, and for work in short spurts less might.
func Advise(t Tally, base float64, period time.Duration, ceiling float64) float64 {
	if t.Periods < fewPeriods || t.Lost() < fewLost || base <= 0 || period <= 0 {
		return 0
	}
	wanted := base + t.Waited.Seconds()/(float64(t.Throttled)*period.Seconds())
	advice := math.Ceil(wanted*10-1e-6) / 10
	if ceiling > 0 {
		advice = min(advice, math.Floor(ceiling*10+1e-6)/10)
	}
	if advice <= base {
		return 0
	}
	return advice
}
