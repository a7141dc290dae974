package standalone

import (
	"container/heap"
	"time"
)

// timetable is what is to be done later, in order of time; what is planned for the same moment is done in the order of planning.
type timetable struct {
	plans plans
	seq   uint64
}

type planned struct {
	at  time.Time
	seq uint64
	do  func()
}

// at plans f for a moment.
func (t *timetable) at(when time.Time, f func()) {
	t.seq++
	heap.Push(&t.plans, planned{when, t.seq, f})
}

// wait is the time until something is due.
func (t *timetable) wait(now time.Time) time.Duration {
	if len(t.plans) == 0 {
		return idle
	}
	return t.plans[0].at.Sub(now)
}

// run does what is due; it may plan more.
func (t *timetable) run(now time.Time) {
	for len(t.plans) > 0 && !t.plans[0].at.After(now) {
		heap.Pop(&t.plans).(planned).do()
	}
}

// plans is a heap.
type plans []planned

func (p plans) Len() int { return len(p) }
func (p plans) Less(i, j int) bool {
	if c := p[i].at.Compare(p[j].at); c != 0 {
		return c < 0
	}
	return p[i].seq < p[j].seq
}
func (p plans) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *plans) Push(x any)   { *p = append(*p, x.(planned)) }
func (p *plans) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = planned{} // its function must not live on
	*p = old[:len(old)-1]
	return last
}
