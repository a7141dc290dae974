package metrics

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Set is the figures of one moment by name.
type Set struct {
	Gauges   map[string]float64
	Counters map[string]uint64
	Meters   map[string]Rates
	Timers   map[string]Durations
}

// jsonVersion is the version of Dropwizard's form, not of a program.
const jsonVersion = "4.0.0"

type setJSON struct {
	Version    string                 `json:"version"`
	Gauges     map[string]gaugeJSON   `json:"gauges"`
	Counters   map[string]counterJSON `json:"counters"`
	Histograms map[string]any         `json:"histograms"`
	Meters     map[string]meterJSON   `json:"meters"`
	Timers     map[string]timerJSON   `json:"timers"`
}

type gaugeJSON struct {
	Value float64 `json:"value"`
}

type counterJSON struct {
	Count uint64 `json:"count"`
}

type ratesJSON struct {
	Count uint64  `json:"count"`
	M15   float64 `json:"m15_rate"`
	M1    float64 `json:"m1_rate"`
	M5    float64 `json:"m5_rate"`
	Mean  float64 `json:"mean_rate"`
}

type meterJSON struct {
	ratesJSON
	Units string `json:"units"`
}

type timerJSON struct {
	ratesJSON
	Max           float64 `json:"max"`
	Mean          float64 `json:"mean"`
	Min           float64 `json:"min"`
	P50           float64 `json:"p50"`
	P75           float64 `json:"p75"`
	P95           float64 `json:"p95"`
	P98           float64 `json:"p98"`
	P99           float64 `json:"p99"`
	P999          float64 `json:"p999"`
	StdDev        float64 `json:"stddev"`
	DurationUnits string  `json:"duration_units"`
	RateUnits     string  `json:"rate_units"`
}

func encodeRates(r Rates) ratesJSON {
	return ratesJSON{Count: r.Count, M15: r.M15, M1: r.M1, M5: r.M5, Mean: r.Mean}
}

// JSON is the set in Dropwizard's form, for an encoder.
func (s Set) JSON() any {
	out := setJSON{
		Version: jsonVersion, Gauges: map[string]gaugeJSON{}, Counters: map[string]counterJSON{}, Histograms: map[string]any{},
		Meters: map[string]meterJSON{}, Timers: map[string]timerJSON{},
	}
	for name, v := range s.Gauges {
		out.Gauges[name] = gaugeJSON{v}
	}
	for name, v := range s.Counters {
		out.Counters[name] = counterJSON{v}
	}
	for name, v := range s.Meters {
		out.Meters[name] = meterJSON{encodeRates(v), "events/second"}
	}
	for name, v := range s.Timers {
		out.Timers[name] = timerJSON{
			ratesJSON: encodeRates(v.Rates), Max: v.Max, Mean: v.Mean, Min: v.Min, P50: v.P50, P75: v.P75, P95: v.P95, P98: v.P98,
			P99: v.P99, P999: v.P999, StdDev: v.StdDev, DurationUnits: "seconds", RateUnits: "calls/second",
		}
	}
	return out
}

// WriteText writes the set in Prometheus's text form (version 0.0.4): gauges, counters, meters as counters, timers as
// summaries.
func (s Set) WriteText(w io.Writer) error {
	t := &text{w: w}
	for _, name := range slices.Sorted(maps.Keys(s.Gauges)) {
		t.family(name, "", "gauge").line("", "", s.Gauges[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		t.family(name, "", "counter").line("", "", float64(s.Counters[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Meters)) {
		t.family(name, "_total", "counter").line("", "", float64(s.Meters[name].Count))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Timers)) {
		v := s.Timers[name]
		f := t.family(name, "", "summary")
		for _, q := range []struct {
			label string
			value float64
		}{{"0.5", v.P50}, {"0.75", v.P75}, {"0.95", v.P95}, {"0.98", v.P98}, {"0.99", v.P99}, {"0.999", v.P999}} {
			f.line("", `{quantile="`+q.label+`"}`, q.value)
		}
		f.line("_sum", "", v.Sum)
		f.line("_count", "", float64(v.Count))
	}
	return t.err
}

// text writes lines until one fails.
type text struct {
	w    io.Writer
	name string
	err  error
}

// family begins a metric: Prometheus names know neither dots nor dashes.
func (t *text) family(name, suffix, kind string) *text {
	t.name = strings.NewReplacer(".", "_", "-", "_").Replace(name) + suffix
	t.print("# HELP %s %s\n# TYPE %s %s\n", t.name, name, t.name, kind)
	return t
}

func (t *text) line(suffix, labels string, v float64) {
	t.print("%s%s%s %s\n", t.name, suffix, labels, strconv.FormatFloat(v, 'g', -1, 64))
}

func (t *text) print(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}
