package metrics

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestMeter(t *testing.T) {
	m, now := NewMeter(t0), t0
	for range 600 { // two a second for five minutes
		now = now.Add(500 * time.Millisecond)
		m.Mark(now)
	}
	r := m.Rates(now)
	if r.Count != 600 || !near(r.Mean, 2) || math.Abs(r.M1-2) > 0.05 || math.Abs(r.M5-2) > 0.2 || math.Abs(r.M15-2) > 0.2 {
		t.Errorf("steady: %+v", r)
	}
	r = m.Rates(now.Add(time.Minute))
	if want := 2 / math.E; math.Abs(r.M1-want) > 0.15 || r.M15 < 1.7 {
		t.Errorf("after a minute of silence: %+v, want about %.2f", r, want)
	}
	r = m.Rates(now.Add(1000 * time.Hour))
	if r.M1 != 0 || r.M15 != 0 || r.Count != 600 {
		t.Errorf("after long silence: %+v", r)
	}
	if r := NewMeter(t0).Rates(t0); r != (Rates{}) {
		t.Errorf("at the beginning: %+v", r)
	}
}

func TestTimer(t *testing.T) {
	timer := NewTimer(t0)
	if d := timer.Durations(t0); d != (Durations{}) {
		t.Errorf("nothing measured: %+v", d)
	}
	for range 500 {
		timer.Record(time.Hour, t0) // forgotten below
	}
	for i := range 1024 {
		timer.Record(time.Duration(i)*time.Millisecond, t0)
	}
	d := timer.Durations(t0.Add(time.Second))
	if d.Count != 1524 || !near(d.Min, 0) || !near(d.Max, 1.023) || !near(d.Mean, 0.5115) || !near(d.P50, 0.512) || !near(d.P99, 1.013) {
		t.Errorf("got %+v", d)
	}
	if !near(d.Sum, 500*3600+0.5115*1024) {
		t.Errorf("sum %v", d.Sum)
	}
}

func figures() Set {
	return Set{
		Gauges:   map[string]float64{"a.b-c.gauge": 1.5},
		Counters: map[string]uint64{"tasks.counter": 7},
		Meters:   map[string]Rates{"rate.meter": {Count: 3, Mean: 0.5}},
		Timers:   map[string]Durations{"timer.seconds": {Rates: Rates{Count: 2, Mean: 9}, Sum: 0.75, Mean: 0.25, P50: 0.125, P999: 1e-7}},
	}
}

func TestJSON(t *testing.T) {
	got, err := json.Marshal(figures().JSON())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":"4.0.0","gauges":{"a.b-c.gauge":{"value":1.5}},"counters":{"tasks.counter":{"count":7}},"histograms":{},` +
		`"meters":{"rate.meter":{"count":3,"m15_rate":0,"m1_rate":0,"m5_rate":0,"mean_rate":0.5,"units":"events/second"}},` +
		`"timers":{"timer.seconds":{"count":2,"m15_rate":0,"m1_rate":0,"m5_rate":0,"mean_rate":9,"max":0,"mean":0.25,"min":0,` +
		`"p50":0.125,"p75":0,"p95":0,"p98":0,"p99":0,"p999":1e-7,"stddev":0,"duration_units":"seconds","rate_units":"calls/second"}}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := figures().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `# HELP a_b_c_gauge a.b-c.gauge
# TYPE a_b_c_gauge gauge
a_b_c_gauge 1.5
# HELP tasks_counter tasks.counter
# TYPE tasks_counter counter
tasks_counter 7
# HELP rate_meter_total rate.meter
# TYPE rate_meter_total counter
rate_meter_total 3
# HELP timer_seconds timer.seconds
# TYPE timer_seconds summary
timer_seconds{quantile="0.5"} 0.125
timer_seconds{quantile="0.75"} 0
timer_seconds{quantile="0.95"} 0
timer_seconds{quantile="0.98"} 0
timer_seconds{quantile="0.99"} 0
timer_seconds{quantile="0.999"} 1e-07
timer_seconds_sum 0.75
timer_seconds_count 2
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
