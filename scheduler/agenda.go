package scheduler

import "time"

// agenda remembers when to look at something again.
type agenda[K comparable] struct {
	at   map[K]time.Time
	next time.Time // not later than any of at; zero: nothing is there
}

// set keeps a time for k instead of the one before; zero: none.
func (a *agenda[K]) set(k K, at time.Time) {
	if at.IsZero() {
		delete(a.at, k)
		return
	}
	if a.at == nil {
		a.at = map[K]time.Time{}
	}
	a.at[k] = at
	if a.next.IsZero() || at.Before(a.next) {
		a.next = at
	}
}

// due takes out everything whose time has come.
func (a *agenda[K]) due(now time.Time) []K {
	if a.next.IsZero() || now.Before(a.next) {
		return nil
	}
	var out []K
	a.next = time.Time{}
	for k, at := range a.at {
		switch {
		case !now.Before(at):
			out = append(out, k)
			delete(a.at, k)
		case a.next.IsZero() || at.Before(a.next):
			a.next = at
		}
	}
	return out
}

// asking runs f and returns the time that it wanted to be woken at, which is kept out of the loop's own.
func (s *Scheduler) asking(f func()) time.Time {
	kept := s.wake
	s.wake = time.Time{}
	f()
	asked := s.wake
	s.wake = kept
	return asked
}
