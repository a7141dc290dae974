package cgroup

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	var w Window
	if cores, throttled := w.Rates(); cores != 0 || throttled != 0 || !w.Empty() {
		t.Errorf("rates of nothing: %v and %v", cores, throttled)
	}
	at := time.Unix(0, 0)
	add := func(cpu time.Duration, periods, throttled uint64) {
		at = at.Add(time.Second)
		w.Add(at, Stats{CPU: cpu, Periods: periods, Throttled: throttled}, 10*time.Second, time.Second)
	}
	want := func(cores, throttled float64) {
		t.Helper()
		if c, th := w.Rates(); c != cores || th != throttled {
			t.Errorf("%v cores and %v throttled, want %v and %v", c, th, cores, throttled)
		}
	}
	for range 50 {
		add(0, 0, 0)
	}
	for n := range 50 {
		add(time.Duration(n+1)*time.Second, uint64(10*(n+1)), uint64(4*(n+1)))
	}
	want(1, 0.4)
	if len(w.samples) != 11 {
		t.Errorf("%d samples, want both ends of ten seconds", len(w.samples))
	}
	add(0, 0, 0) // the counters began anew
	want(0, 0)
	for range 10 {
		add(0, 0, 0)
	}
	add(time.Second, 10, 5)
	want(0.1, 0.5)
}
