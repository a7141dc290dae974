package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/scheduler/api/metrics"
	"github.com/berth-project/berth/spec"
)

// measured is what the server knows of its own requests.
type measured struct {
	begun     time.Time
	requests  *metrics.Timer    // streams and long polls left out: they last as long as somebody listens
	responses [5]*metrics.Meter // 1xx to 5xx
	active    atomic.Int64      // requests under way, streams left out
	streams   atomic.Int64      // event streams alone
}

func newMeasured(now time.Time) *measured {
	m := &measured{begun: now, requests: metrics.NewTimer(now)}
	for i := range m.responses {
		m.responses[i] = metrics.NewMeter(now)
	}
	return m
}

// recorder sees the status of an answer.
type recorder struct {
	http.ResponseWriter
	m      *measured
	began  time.Time
	code   int
	stream bool
	head   bool // the answer has no body
}

// recorderKey finds the recorder of a request, for those that turn out to be streams.
type recorderKey struct{}

// begin notes that a request has come. The caller calls end when it is over.
func (m *measured) begin(w http.ResponseWriter, r *http.Request, now time.Time) (*recorder, *http.Request) {
	m.active.Add(1)
	rec := &recorder{ResponseWriter: w, m: m, began: now, head: r.Method == http.MethodHead}
	return rec, r.WithContext(context.WithValue(r.Context(), recorderKey{}, rec))
}

// streaming says that the request is a stream or a long poll.
func streaming(r *http.Request) {
	if rec, ok := r.Context().Value(recorderKey{}).(*recorder); ok && !rec.stream {
		rec.stream = true
		rec.m.active.Add(-1)
	}
}

func (rec *recorder) end(now time.Time) {
	if !rec.stream {
		rec.m.active.Add(-1)
		rec.m.requests.Record(now.Sub(rec.began), now)
	}
	if class := rec.code/100 - 1; class >= 0 && class < len(rec.m.responses) {
		rec.m.responses[class].Mark(now)
	}
}

// WriteHeader notes the status.
func (rec *recorder) WriteHeader(code int) {
	if rec.code == 0 || rec.code < 200 { // informational ones come before the real one
		rec.code = code
	}
	rec.ResponseWriter.WriteHeader(code)
}

// Write implies status 200. A HEAD's answer has no body, whoever writes one.
func (rec *recorder) Write(b []byte) (int, error) {
	if rec.code == 0 {
		rec.code = http.StatusOK
	}
	if rec.head {
		return len(b), nil
	}
	return rec.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the connection.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// figures are all figures of now, under the names of Marathon 1.7 and later.
func (s *Server) figures(ctx context.Context) (metrics.Set, error) {
	snap, err := s.o.Backend.View(ctx)
	if err != nil {
		return metrics.Set{}, err
	}
	now := s.o.Now()
	age := now.Sub(s.measured.begun).Seconds()
	c := countTree(snap)
	out := metrics.Set{
		Gauges: map[string]float64{
			"marathon.apps.active.gauge":                 float64(c.apps),
			"marathon.pods.active.gauge":                 float64(c.pods),
			"marathon.groups.active.gauge":               float64(c.groups),
			"marathon.deployments.active.gauge":          float64(len(snap.Deployments)),
			"marathon.instances.running.gauge":           float64(c.running),
			"marathon.instances.staged.gauge":            float64(c.staged),
			"marathon.uptime.gauge.seconds":              age,
			"marathon.leadership.duration.gauge.seconds": age,
			"marathon.http.requests.active.gauge":        float64(s.measured.active.Load()),
			"marathon.http.event-streams.active.gauge":   float64(s.measured.streams.Load()),
			"berth.engine.connected.gauge":               flagGauge(snap.Connected),
		},
		Counters: map[string]uint64{
			"marathon.tasks.launched.counter":        snap.Counters.TasksLaunched,
			"marathon.mesos.offers.incoming.counter": snap.Counters.OffersReceived,
			"marathon.mesos.offers.used.counter":     snap.Counters.OffersUsed,
			"marathon.mesos.offers.declined.counter": snap.Counters.OffersDeclined,
			"marathon.mesos.calls.revive.counter":    snap.Counters.Revives,
			"marathon.mesos.calls.suppress.counter":  snap.Counters.Suppresses,
			"berth.events.published.counter":         s.o.Events.Last(),
		},
		Meters: map[string]metrics.Rates{},
		Timers: map[string]metrics.Durations{"marathon.http.requests.duration.timer.seconds": s.measured.requests.Durations(now)},
	}
	for i, meter := range s.measured.responses {
		out.Meters["marathon.http.responses."+strconv.Itoa(i+1)+"xx.rate.meter"] = meter.Rates(now)
	}
	return out, nil
}

func flagGauge(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

type treeCounts struct{ apps, pods, groups, running, staged int }

// countTree counts what is wanted and what is there. A group is there when something lies in it or it has a record; the root
// always is.
func countTree(snap *View) treeCounts {
	var c treeCounts
	groups := map[spec.AppID]bool{"/": true}
	for id, app := range snap.Apps {
		if app.Pod != nil {
			c.pods++
		} else {
			c.apps++
		}
		for g := id.Parent(); !groups[g]; g = g.Parent() {
			groups[g] = true
		}
	}
	for id := range snap.Groups {
		for g := id; !groups[g]; g = g.Parent() {
			groups[g] = true
		}
	}
	c.groups = len(groups)
	for _, tasks := range snap.Tasks {
		for _, t := range tasks {
			switch t.VisibleState() {
			case "TASK_RUNNING":
				c.running++
			case "TASK_STAGING", "TASK_STARTING":
				c.staged++
			}
		}
	}
	return c
}

// getMetrics is GET /metrics.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	set, err := s.figures(r.Context())
	if err != nil {
		return err
	}
	return respond(w, r, http.StatusOK, set.JSON())
}

// getPrometheus is GET /metrics/prometheus.
func (s *Server) getPrometheus(w http.ResponseWriter, r *http.Request) error {
	set, err := s.figures(r.Context())
	if err != nil {
		return err
	}
	var text strings.Builder
	_ = set.WriteText(&text) // a strings.Builder never fails
	return respondBytes(w, r, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(text.String()))
}
