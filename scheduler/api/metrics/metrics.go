// Package metrics measures rates and durations, and writes figures as JSON (in the form of Dropwizard's library, which
// Marathon uses) and as Prometheus text.
//
// In come marks with their time; out goes a Set, the figures of one moment. Measuring costs a lock and a few additions;
// percentiles are computed when somebody asks. It has no clock and no goroutine.
package metrics

import (
	"math"
	"slices"
	"sync"
	"time"
)

// tick is the step of the moving averages, the same as Dropwizard's.
const tick = 5 * time.Second

// windows are the times that the three moving averages look back.
const (
	m1 = iota
	m5
	m15
	windows
)

func minutes(window int) float64 { return []float64{1, 5, 15}[window] }

// Meter counts events and knows their rate: since the start, and as averages over about 1, 5 and 15 minutes.
type Meter struct {
	mu     sync.Mutex // guards all below
	begun  time.Time
	ticked time.Time
	count  uint64
	fresh  uint64 // since ticked
	warm   bool   // the averages have a first value
	rates  [windows]float64
}

// NewMeter makes a meter that counts from now.
func NewMeter(now time.Time) *Meter { return &Meter{begun: now, ticked: now} }

// Mark counts one event.
func (m *Meter) Mark(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.catchUp(now)
	m.count++
	m.fresh++
}

// catchUp makes the steps that are due. The caller holds mu.
func (m *Meter) catchUp(now time.Time) {
	if now.Sub(m.ticked) > 100*15*time.Minute { // nothing is left of what was before
		m.rates, m.fresh, m.ticked = [windows]float64{}, 0, now
	}
	for now.Sub(m.ticked) >= tick {
		rate := float64(m.fresh) / tick.Seconds()
		for w := range windows {
			if !m.warm {
				m.rates[w] = rate
				continue
			}
			m.rates[w] += (1 - math.Exp(-tick.Minutes()/minutes(w))) * (rate - m.rates[w])
		}
		m.warm, m.fresh, m.ticked = true, 0, m.ticked.Add(tick)
	}
}

// Rates are a meter's figures, per second.
type Rates struct {
	Count       uint64
	Mean        float64
	M1, M5, M15 float64
}

// Rates are the figures of now.
func (m *Meter) Rates(now time.Time) Rates {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.catchUp(now)
	out := Rates{Count: m.count, M1: m.rates[m1], M5: m.rates[m5], M15: m.rates[m15]}
	if age := now.Sub(m.begun).Seconds(); age > 0 {
		out.Mean = float64(m.count) / age
	}
	return out
}

// samples is how many durations a timer remembers.
const samples = 1024

// Timer measures durations: how many, how often, and how the last 1024 of them were.
type Timer struct {
	*Meter
	mu   sync.Mutex // guards all below
	sum  float64
	ring [samples]float64
	n    uint64
}

// NewTimer makes a timer that counts from now.
func NewTimer(now time.Time) *Timer { return &Timer{Meter: NewMeter(now)} }

// Record takes one duration in.
func (t *Timer) Record(d time.Duration, now time.Time) {
	t.Mark(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum += d.Seconds()
	t.ring[t.n%samples] = d.Seconds()
	t.n++
}

// Durations are a timer's figures, in seconds. All but Rates and Sum are of the last 1024 durations.
type Durations struct {
	Rates
	Sum                    float64 // of all
	Min, Max, Mean, StdDev float64
	P50, P75, P95          float64
	P98, P99, P999         float64
}

// Durations are the figures of now.
func (t *Timer) Durations(now time.Time) Durations {
	out := Durations{Rates: t.Rates(now)}
	t.mu.Lock()
	last := slices.Clone(t.ring[:min(t.n, samples)])
	out.Sum = t.sum
	t.mu.Unlock()
	if len(last) == 0 {
		return out
	}
	slices.Sort(last)
	sum := 0.0
	for _, v := range last {
		sum += v
	}
	out.Min, out.Max, out.Mean = last[0], last[len(last)-1], sum/float64(len(last))
	for _, v := range last {
		out.StdDev += (v - out.Mean) * (v - out.Mean)
	}
	out.StdDev = math.Sqrt(out.StdDev / float64(len(last)))
	at := func(q float64) float64 { return last[min(len(last)-1, int(q*float64(len(last))))] }
	out.P50, out.P75, out.P95, out.P98, out.P99, out.P999 = at(0.5), at(0.75), at(0.95), at(0.98), at(0.99), at(0.999)
	return out
}
