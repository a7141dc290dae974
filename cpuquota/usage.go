package cpuquota

import (
	"cmp"
	"math"
	"time"

	"github.com/berth-project/berth/spec"
)

// figures are what is told of one container.
func (w *watched) figures() spec.Usage {
	u := spec.Usage{
		CPUQuota: w.have.Quota.Cores(), MemBytes: w.memory,
		Base: w.want.Base, Weight: w.have.Weight, Lost: w.lost.share, Advice: w.lost.advice,
	}
	u.CPU, u.ThrottledShare = w.window.Rates()
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
		if w.window.Empty() {
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
