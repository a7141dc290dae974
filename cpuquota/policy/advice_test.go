package policy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAdvise(t *testing.T) {
	const period = DefaultPeriod
	for _, c := range []struct {
		name    string
		t       Tally
		base    float64
		ceiling float64
		want    float64
	}{
		{"one busy thread", Tally{1000, 1000, 1000 * 80 * time.Millisecond}, 0.2, 2, 1},
		{"two of them", Tally{1000, 1000, 1000 * 150 * time.Millisecond}, 0.5, 2, 2},
		{"31 % of its periods", Tally{1000, 310, 310 * 60 * time.Millisecond}, 0.75, 4, 1.4},
		{"capped by the ceiling", Tally{1000, 1000, 1000 * 700 * time.Millisecond}, 1, 2, 2},
		{"at the ceiling", Tally{1000, 1000, 1000 * 700 * time.Millisecond}, 2, 2, 0},
		{"a ceiling that is no tenth", Tally{1000, 1000, 1000 * 700 * time.Millisecond}, 1, 1.95, 1.9},
		{"no ceiling", Tally{1000, 1000, 1000 * 700 * time.Millisecond}, 1, 0, 8},
		{"hardly ever", Tally{1000, 40, 40 * 80 * time.Millisecond}, 0.2, 2, 0},
		{"hardly ran", Tally{50, 50, 50 * 80 * time.Millisecond}, 0.2, 2, 0},
		{"no quota", Tally{1000, 1000, time.Hour}, 0, 2, 0},
		{"nothing", Tally{}, 1, 2, 0},
	} {
		if got := Advise(c.t, c.base, period, c.ceiling); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAdviceIsMoreInTenthsWithinTheCeiling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		periods := rapid.Uint64Range(0, 36_000).Draw(t, "periods")
		tally := Tally{periods, rapid.Uint64Range(0, periods).Draw(t, "throttled"), time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "waited"))}
		base, ceiling := rapid.Float64Range(0, 8).Draw(t, "base"), rapid.Float64Range(0, 8).Draw(t, "ceiling")
		got := Advise(tally, base, DefaultPeriod, ceiling)
		if got == 0 {
			return
		}
		if got <= base || ceiling > 0 && got > ceiling+1e-9 || math.Abs(got*10-math.Round(got*10)) > 1e-6 || tally.Lost() < fewLost || math.IsInf(got, 0) {
			t.Fatalf("%v cores for %+v with %v of at most %v", got, tally, base, ceiling)
		}
	})
}

// The hour is the sum of what was added in its sixty minutes, whatever was added before.
func TestHistoryIsOneHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h History
		type added struct {
			minute int
			n      uint64
		}
		var all []added
		minute := 0
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 90), 1, 40).Draw(t, "steps") {
			minute += step
			n := rapid.Uint64Range(0, 600).Draw(t, "periods")
			all = append(all, added{minute, n})
			h.Add(start.Add(time.Duration(minute)*time.Minute), Tally{Periods: n, Throttled: n / 2})
		}
		minute += rapid.IntRange(0, 90).Draw(t, "idle")
		var want uint64
		for _, a := range all {
			if a.minute > minute-60 {
				want += a.n
			}
		}
		if got := h.Hour(start.Add(time.Duration(minute) * time.Minute)); got.Periods != want {
			t.Fatalf("%d periods, want %d", got.Periods, want)
		}
	})
}

func TestTallies(t *testing.T) {
	a, b := Tally{10, 5, time.Second}, Tally{30, 6, 3 * time.Second}
	if got := b.Since(a); got != (Tally{20, 1, 2 * time.Second}) {
		t.Errorf("since: %+v", got)
	}
	if got := a.Since(b); got != a {
		t.Errorf("counters that began anew: %+v", got)
	}
	if (Tally{}).Lost() != 0 || b.Lost() != 0.2 {
		t.Error("lost")
	}
}
