package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/standalone"
)

// rehearsal is a simulated fleet with a scheduler that can be stopped and started again while the fleet goes on.
type rehearsal struct {
	b      testing.TB
	fleet  standalone.Fleet
	dir    string
	engine string
	secret string
	client *http.Client
	stop   func()
}

func newRehearsal(b testing.TB, fleet string) *rehearsal {
	b.Helper()
	f, err := standalone.ParseFleet(fleet)
	if err != nil {
		b.Fatal(err)
	}
	r := &rehearsal{b: b, fleet: f, dir: b.TempDir(), secret: "secret"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	r.engine = "http://" + l.Addr().String()
	sim, err := standalone.NewSimulation(standalone.SimulationOptions{Fleet: f, Principal: enginePrincipal, Secret: r.secret, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	r.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(r.dir, "api.sock"))
	}}}
	return r
}

func quiet() *logrus.Logger {
	l := logrus.New()
	l.SetLevel(logrus.ErrorLevel)
	l.SetOutput(os.Stderr)
	return l
}

// start starts the scheduler with its API and the simulated agents.
func (r *rehearsal) start() {
	r.b.Helper()
	o := standaloneOptions{
		daemonOptions: daemonOptions{StateDir: r.dir, RunDir: r.dir, LogLevel: "error"}, Simulate: "hosts=1",
		schedulerOptions: schedulerOptions{AddressRest: time.Minute, KillGrace: time.Second},
	}
	s, err := o.settle(&cli{err: os.Stderr})
	if err != nil {
		r.b.Fatal(err)
	}
	s.fleet = &r.fleet
	c := &composition{settings: s}
	ctx, cancel := context.WithCancel(r.b.Context())
	sched, err := c.addScheduler(ctx, simulatedSide(r.engine, r.secret))
	if err != nil {
		r.b.Fatal(err)
	}
	c.addSimulatedAgents(sched)
	done := make(chan error, 1)
	go func() { done <- c.group.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				r.b.Error(err)
			}
		}
	}
	r.b.Cleanup(r.stop)
}

// ask makes a request and decodes the answer.
func (r *rehearsal) ask(method, path, body string, into any) error {
	req, err := http.NewRequest(method, "http://berth"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text.String())
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text.Bytes(), into)
}

// running asks the API how many instances of an app run.
func (r *rehearsal) running(app string) (int, error) {
	var list struct {
		Apps []struct {
			ID    string
			Tasks int `json:"tasksRunning"`
		}
	}
	if err := r.ask("GET", "/v2/apps?embed=apps.counts&id="+app, "", &list); err != nil {
		return 0, err
	}
	for _, a := range list.Apps {
		if a.ID == "/"+app {
			return a.Tasks, nil
		}
	}
	return 0, fmt.Errorf("no app %s", app)
}

// sample is how many instances ran at a time.
type sample struct {
	at time.Duration
	n  int
}

// fill waits until n instances run and returns what was seen on the way.
func (r *rehearsal) fill(app string, n int, began time.Time) []sample {
	r.b.Helper()
	var out []sample
	clock := time.NewTicker(100 * time.Millisecond)
	defer clock.Stop()
	for range clock.C {
		got, err := r.running(app)
		if err != nil {
			r.b.Fatal(err)
		}
		out = append(out, sample{time.Since(began), got})
		if os.Getenv("BERTH_BENCH_SAMPLES") != "" {
			fmt.Fprintf(os.Stderr, "%8.1fs %d\n", time.Since(began).Seconds(), got)
		}
		if got >= n {
			break
		}
		if time.Since(began) > 10*time.Minute {
			r.b.Fatalf("%d of %d instances run after %s", got, n, time.Since(began))
		}
	}
	return out
}

// rate is how many instances a second began to run while from..to of n ran.
func rate(samples []sample, n int, from, to float64) float64 {
	at := func(share float64) sample {
		for i, s := range samples {
			if s.n >= int(share*float64(n)) {
				return samples[i]
			}
		}
		return samples[len(samples)-1]
	}
	a, b := at(from), at(to)
	if b.at <= a.at {
		return 0
	}
	return float64(b.n-a.n) / (b.at - a.at).Seconds()
}

// peakMiB is the most memory that this process had.
func peakMiB() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			return n / 1024
		}
	}
	return 0
}

func fleetSize(b *testing.B, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}

// BenchmarkFleet is the whole path: one POST until every instance runs, through the Mesos stream, a durable store, and
// updates that carry what real agents send; then a restart of the scheduler until it knows everything again.
// BERTH_BENCH_HOSTS and BERTH_BENCH_INSTANCES choose other sizes than 10,000 and 100,000.
func BenchmarkFleet(b *testing.B) {
	hosts, n := fleetSize(b, "BERTH_BENCH_HOSTS", 10_000), fleetSize(b, "BERTH_BENCH_INSTANCES", 100_000)
	for b.Loop() {
		r := newRehearsal(b, fmt.Sprintf("hosts=%d,cpus=16,mem=65536,start=200ms", hosts))
		r.start()
		app := fmt.Sprintf(`{"id":"/bench","cmd":"sleep 1000","cpus":1,"mem":64,"instances":%d}`, n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		for r.ask("GET", "/ping", "", nil) != nil && time.Since(began) < 10*time.Second {
			runtime.Gosched()
		}
		began = time.Now()
		if err := r.ask("POST", "/v2/apps", app, nil); err != nil {
			b.Fatal(err)
		}
		samples := r.fill("bench", n, began)
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(n)/samples[len(samples)-1].at.Seconds(), "instances/s")
		b.ReportMetric(rate(samples, n, 0.05, 0.15), "instances/s@10%")
		b.ReportMetric(rate(samples, n, 0.85, 0.95), "instances/s@90%")
		b.ReportMetric(peakMiB(), "MiB-peak")
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/instance")
		r.stop()
	}
	b.ReportMetric(0, "ns/op")
}
