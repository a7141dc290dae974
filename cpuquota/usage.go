package cpuquota

import (
	"cmp"
	"math"
	"time"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/spec"
)

// sample is a group's counters at one moment.
type sample struct {
	at    time.Time
	stats cgroup.Stats
}

// window holds the samples of the last while, oldest first.
type window struct{ samples []sample }

// add appends a sample and drops those that are too old. A pass between two ticks replaces the newest sample, so that many
// changes of the inventory do not make the window long.
func (w *window) add(s sample, length, every time.Duration) {
	n := len(w.samples)
	if n > 1 && s.at.Sub(w.samples[n-2].at) < every {
		w.samples[n-1] = s
		return
	}
	w.samples = append(w.samples, s)
	drop := 0
	// One sample may be older, as the window spans the time between samples; half a tick is for timers that come late.
	for len(w.samples)-drop > 2 && s.at.Sub(w.samples[drop+1].at) >= length-every/2 {
		drop++
	}
	w.samples = append(w.samples[:0], w.samples[drop:]...)
}

// usage is what the window says; CPU and throttling are known from the second sample on.
func (w *window) usage(quota cgroup.Quota) spec.Usage {
	if len(w.samples) == 0 {
		return spec.Usage{CPUQuota: quota.Cores()}
	}
	first, last := w.samples[0], w.samples[len(w.samples)-1]
	u := spec.Usage{CPUQuota: quota.Cores(), MemBytes: last.stats.Memory}
	if took := last.at.Sub(first.at); took > 0 && last.stats.CPU >= first.stats.CPU {
		u.CPU = float64(last.stats.CPU-first.stats.CPU) / float64(took)
	}
	if last.stats.Periods > first.stats.Periods && last.stats.Throttled >= first.stats.Throttled {
		u.ThrottledShare = float64(last.stats.Throttled-first.stats.Throttled) / float64(last.stats.Periods-first.stats.Periods)
	}
	return u
}

// figures are what is told of one container.
func (w *watched) figures() spec.Usage {
	u := w.window.usage(w.have.Quota)
	u.Base, u.Weight, u.Lost, u.Advice = w.want.Base, w.have.Weight, w.lost.share, w.lost.advice
	return u
}

// publish sets the usage when it is time and something moved; a task that came or went, or has another quota, does not wait.
func (l *loop) publish(now time.Time) {
	if !l.news && now.Sub(l.looked) < l.o.Publish {
		return
	}
	l.news, l.looked = false, now
	next := map[string]spec.Usage{}
	for id, w := range l.watched {
		if len(w.window.samples) == 0 {
			continue
		}
		u, key := w.figures(), cmp.Or(w.want.Task, id)
		next[key] = plus(next[key], u)
		if pod, ok := l.pods[key]; ok {
			next[pod] = plus(next[pod], u)
		}
	}
	if sameTasks(l.last, next) && !moved(l.last, next) {
		return
	}
	l.last = next
	l.usage.Set(next)
}

// plus adds the usage of a pod's containers up: the sum, and of the shares that were lost the largest, as one container that
// is held back holds the pod back.
func plus(a, b spec.Usage) spec.Usage {
	return spec.Usage{
		CPUQuota: a.CPUQuota + b.CPUQuota, ThrottledShare: max(a.ThrottledShare, b.ThrottledShare), CPU: a.CPU + b.CPU, MemBytes: a.MemBytes + b.MemBytes,
		Base: a.Base + b.Base, Weight: a.Weight + b.Weight, Lost: max(a.Lost, b.Lost), Advice: sumOfAdvice(a, b),
	}
}

// sumOfAdvice: a container for which there is no advice goes on with what it has.
func sumOfAdvice(a, b spec.Usage) float64 {
	if a.Advice == 0 && b.Advice == 0 {
		return 0
	}
	return math.Round((cmp.Or(a.Advice, a.Base)+cmp.Or(b.Advice, b.Base))*100) / 100
}

func sameTasks(a, b map[string]spec.Usage) bool {
	for task := range b {
		if _, ok := a[task]; !ok {
			return false
		}
	}
	return len(a) == len(b)
}

// moved says whether any figure changed so much that a person would care.
func moved(a, b map[string]spec.Usage) bool {
	for task, now := range b {
		was := a[task]
		if now.CPUQuota != was.CPUQuota || now.Base != was.Base || now.Weight != was.Weight || now.Advice != was.Advice ||
			far(was.Lost, now.Lost, 0.01, 0) ||
			far(was.CPU, now.CPU, 0.001, 0.005) ||
			far(was.ThrottledShare, now.ThrottledShare, 0.01, 0) ||
			far(float64(was.MemBytes), float64(now.MemBytes), 1<<20, 0.02) {
			return true
		}
	}
	return false
}

// far says whether two figures differ by more than both the least and the share of the larger one.
func far(a, b, least, share float64) bool {
	return math.Abs(a-b) > max(least, share*max(math.Abs(a), math.Abs(b)))
}
