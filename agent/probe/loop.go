package probe

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/berth-project/berth/spec"
)

// Where a definition leaves a time out, Marathon's default holds.
const (
	defaultInterval = time.Minute
	defaultTimeout  = 20 * time.Second
)

// A task that has not come up yet is probed more often, as going live must not wait for the interval: after a pause that
// is a part of its age, between the first of these and the second. A connection that is refused costs next to nothing; a
// command is a process in the container, so commands pause longer.
const (
	fastest        = 40 * time.Millisecond
	fastestCommand = 100 * time.Millisecond
	fast           = time.Second

	ageParts        = 16
	ageCommandParts = 2
)

// comingUp is the pause between two probes of a task of that age that has not come up yet.
func comingUp(p spec.Probe, age time.Duration) time.Duration {
	if isCommand(p) {
		return min(p.Interval, fast, max(fastestCommand, age/ageCommandParts))
	}
	return min(p.Interval, fast, max(fastest, age/ageParts))
}

// loop performs one probe again and again until ctx ends, and sends each outcome to the owner.
func (m *Manager) loop(ctx context.Context, of *running, index int, h spec.CheckHealth, results chan<- result) {
	p := of.target.Probes[index]
	if p.Interval <= 0 {
		p.Interval = defaultInterval
	}
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	phase := phaseOf(of.target.TaskID, index, p.Interval)
	slots := m.slots
	if isCommand(p) {
		slots = m.commands
	}
	if p.Once && h.Alive {
		return // it succeeded while less was known of the target
	}
	timer := time.NewTimer(first(time.Now(), of.target.Since, p, phase))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		began := time.Now()
		answer, err := attempt(ctx, m.o.Prober, of.target, p)
		<-slots
		now := time.Now()
		h = Next(h, err, now, began.Sub(of.target.Since) < p.GracePeriod)
		h.Response = answer
		select {
		case <-ctx.Done():
			return
		case results <- result{of: of, index: index, health: h}:
		}
		if p.Once && err == nil {
			return
		}
		timer.Reset(max(0, following(h, began, of.target.Since, p, phase).Sub(now)))
	}
}

// attempt is one probe with its timeout.
func attempt(ctx context.Context, prober Prober, t Target, p spec.Probe) (spec.ProbeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	answer, err := prober.Probe(ctx, t, p)
	if err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
		return answer, fmt.Errorf("timeout after %v", p.Timeout)
	}
	return answer, err
}

// Next is the health after one more outcome (nil: success) of a probe that began inside the grace period or not. A failure
// before the first success inside the grace period is not a result: only its cause is kept, so that people see why an
// instance is not up yet.
func Next(h spec.CheckHealth, err error, now time.Time, grace bool) spec.CheckHealth {
	if err == nil {
		if h.FirstSuccess.IsZero() {
			h.FirstSuccess = now
		}
		h.Alive, h.Known, h.ConsecutiveFailures, h.LastSuccess = true, true, 0, now
		return h
	}
	h.LastFailure, h.LastFailureCause = now, err.Error()
	if h.FirstSuccess.IsZero() && grace {
		return h
	}
	h.Alive, h.Known = false, true
	h.ConsecutiveFailures++
	return h
}

// first is the pause before the first probe: none for a task that is coming up; for one that runs for long (the agent has
// just started) a part of a second, so that a thousand of them do not fire at once.
func first(now, since time.Time, p spec.Probe, phase time.Duration) time.Duration {
	if now.Sub(since) < p.GracePeriod || now.Sub(since) < p.Delay {
		return max(0, since.Add(p.Delay).Sub(now))
	}
	return phase % fast
}

// following is when the probe after one that began at the given time is due. In the steady state every (task, check) has
// its own place within the interval.
func following(h spec.CheckHealth, began, since time.Time, p spec.Probe, phase time.Duration) time.Time {
	if age := began.Sub(since); h.FirstSuccess.IsZero() && age < p.GracePeriod {
		return began.Add(comingUp(p, age))
	}
	// The next moment after began whose distance from the epoch, modulo the interval, is the phase.
	gone := (time.Duration(began.UnixNano()) - phase) % p.Interval
	if gone < 0 {
		gone += p.Interval
	}
	return began.Add(p.Interval - gone)
}

// phaseOf is a fixed place in the interval for each check of each task.
func phaseOf(task string, index int, interval time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(task + "/" + strconv.Itoa(index))) // never fails
	return time.Duration(h.Sum64() % uint64(interval))
}
