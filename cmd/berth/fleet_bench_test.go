package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/standalone"
)

// rehearsal is a simulated fleet with a scheduler that can be stopped and started again while the fleet goes on.
type rehearsal struct {
	b       testing.TB
	fleet   standalone.Fleet
	dir     string
	engine  string
	process *exec.Cmd // the engine's
	client  *http.Client
	stop    func() // the scheduler
	end     func() // the engine
}

// engineFleet is the environment variable that makes the test binary the engine of a fleet: it is a process of its own, so that
// what is measured of this one is the scheduler's.
const engineFleet = "BERTH_TEST_ENGINE_FLEET"

const engineSecret = "secret"

// rehearsalEngine serves a simulated fleet until its standard input ends; the first line of the output is its address.
func rehearsalEngine(text string) int {
	if err := serveFleet(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveFleet(text string) error {
	fleet, err := standalone.ParseFleet(text)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	sim, err := standalone.NewSimulation(standalone.SimulationOptions{Fleet: fleet, Principal: enginePrincipal, Secret: engineSecret, Log: quiet()})
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process that started this one
		cancel()
	}()
	file := os.Getenv(engineTimes)
	if file == "" {
		return sim.Run(ctx, l)
	}
	watch := &stopwatch{Listener: l, left: map[string]time.Time{}}
	err = sim.Run(ctx, watch)
	return errors.Join(err, watch.save(file))
}

func newRehearsal(b testing.TB, fleet string) *rehearsal {
	b.Helper()
	f, err := standalone.ParseFleet(fleet)
	if err != nil {
		b.Fatal(err)
	}
	r := &rehearsal{b: b, fleet: f, dir: b.TempDir()}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	r.process = exec.Command(self)
	// The engine is in the place of a master in C++, which shares the processors but has no collector.
	r.process.Env, r.process.Stderr = append(os.Environ(), engineFleet+"="+fleet, "GOGC=400"), os.Stderr
	life, err := r.process.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := r.process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		b.Fatal(err)
	}
	r.end = sync.OnceFunc(func() {
		if err := errors.Join(life.Close(), r.process.Wait()); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(r.end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	r.engine = strings.TrimSpace(line)
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
		schedulerOptions: schedulerOptions{AddressRest: time.Minute, KillGrace: time.Second, MaxDeployments: 2000, MaxConcurrent: 1000},
	}
	s, err := o.settle(&cli{err: os.Stderr})
	if err != nil {
		r.b.Fatal(err)
	}
	s.fleet = &r.fleet
	c := &composition{settings: s}
	ctx, cancel := context.WithCancel(r.b.Context())
	sched, err := c.addScheduler(ctx, simulatedSide(r.engine, engineSecret))
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

// ready waits until a first small app runs: the engine is there and hosts have offered what they have.
func (r *rehearsal) ready() {
	r.b.Helper()
	began := time.Now()
	for r.ask("GET", "/ping", "", nil) != nil && time.Since(began) < time.Minute {
		runtime.Gosched()
	}
	if err := r.ask("POST", "/v2/apps", `{"id":"/first","cmd":"sleep 1000","cpus":0.1,"mem":16}`, nil); err != nil {
		r.b.Fatal(err)
	}
	r.fill("first", 1, began)
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

// deploying asks whether a deployment is under way.
func (r *rehearsal) deploying() bool {
	r.b.Helper()
	var list []struct{}
	if err := r.ask("GET", "/v2/deployments", "", &list); err != nil {
		r.b.Fatal(err)
	}
	return len(list) > 0
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

// peakMiB is the most memory that a process had, "self" for this one.
func peakMiB(pid string) float64 {
	text, err := os.ReadFile("/proc/" + pid + "/status")
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

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
// updates that carry what real agents send; then a restart of the scheduler until it knows everything again: it answers, and stops
// an instance, which waits for the reconciliation of all. The hosts are nearly full at the end.
// BERTH_BENCH_HOSTS and BERTH_BENCH_INSTANCES choose other sizes than 10,000 and 100,000.
func BenchmarkFleet(b *testing.B) {
	hosts, n := fleetSize(b, "BERTH_BENCH_HOSTS", 10_000), fleetSize(b, "BERTH_BENCH_INSTANCES", 100_000)
	for b.Loop() {
		r := newRehearsal(b, fmt.Sprintf("hosts=%d,cpus=%v,mem=65536,start=200ms", hosts, float64(n)/float64(hosts)+0.5))
		r.start()
		r.ready()
		app := fmt.Sprintf(`{"id":"/bench","cmd":"sleep 1000","cpus":1,"mem":64,"instances":%d}`, n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu := cpuTime()
		began := time.Now()
		if err := r.ask("POST", "/v2/apps", app, nil); err != nil {
			b.Fatal(err)
		}
		samples := r.fill("bench", n, began)
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(n)/samples[len(samples)-1].at.Seconds(), "instances/s")
		b.ReportMetric(rate(samples, n, 0.05, 0.15), "instances/s@10%")
		b.ReportMetric(rate(samples, n, 0.85, 0.95), "instances/s@90%")
		b.ReportMetric(peakMiB("self"), "MiB-peak")
		b.ReportMetric(peakMiB(strconv.Itoa(r.process.Process.Pid)), "MiB-peak-engine")
		b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(n), "cpu-µs/instance")
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/instance")
		for r.deploying() {
			time.Sleep(20 * time.Millisecond)
		}
		r.stop()
		began = time.Now()
		r.start()
		for r.ask("GET", "/v2/apps/first", "", nil) != nil && time.Since(began) < time.Minute {
			runtime.Gosched()
		}
		b.ReportMetric(time.Since(began).Seconds(), "restart-answers-s")
		if err := r.ask("PUT", "/v2/apps/first?force=true", `{"instances":0}`, nil); err != nil {
			b.Fatal(err)
		}
		for {
			if left, err := r.running("first"); err != nil {
				b.Fatal(err)
			} else if left == 0 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		b.ReportMetric(time.Since(began).Seconds(), "restart-reconciled-s")
		if left, err := r.running("bench"); err != nil || left != n {
			b.Errorf("after the restart %d of %d instances run: %v", left, n, err)
		}
		r.stop()
	}
	b.ReportMetric(0, "ns/op")
}

// counted asks the API how many offers came, and how many were answered.
func (r *rehearsal) counted() (came, answered float64) {
	r.b.Helper()
	var m struct {
		Counters map[string]struct{ Count float64 }
	}
	if err := r.ask("GET", "/metrics", "", &m); err != nil {
		r.b.Fatal(err)
	}
	of := func(what string) float64 { return m.Counters["marathon.mesos.offers."+what+".counter"].Count }
	return of("incoming"), of("declined") + of("used")
}

// BenchmarkOffers is a fleet of 50,000 hosts that offers everything at once, each time that a new app comes that none of the hosts can
// take. offers/s is how fast they are taken in, answered-s how long it takes until each is answered: that
// includes the 20 s for which offers are held while a deployment has just begun. A change is a request to the API, until it is stored, while the offers come.
// BERTH_BENCH_OFFERING chooses another number of hosts.
func BenchmarkOffers(b *testing.B) {
	hosts, rounds := fleetSize(b, "BERTH_BENCH_OFFERING", 50_000), 5
	large := func(r *rehearsal, id string) time.Duration {
		began := time.Now()
		if err := r.ask("POST", "/v2/apps", fmt.Sprintf(`{"id":"/large-%s","cmd":"sleep 1000","cpus":1000,"mem":64}`, id), nil); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	for b.Loop() {
		r := newRehearsal(b, fmt.Sprintf("hosts=%d", hosts))
		r.start()
		r.ready()
		var taken, answered, change time.Duration
		for i := range rounds {
			r.until(func() bool { came, answered := r.counted(); return came == answered })
			before, _ := r.counted()
			began := time.Now()
			large(r, fmt.Sprint(i))
			change = max(change, large(r, fmt.Sprint("next-", i)))
			r.until(func() bool { came, _ := r.counted(); return came >= before+float64(hosts-1) })
			taken += time.Since(began)
			r.until(func() bool { came, answered := r.counted(); return came == answered })
			answered = max(answered, time.Since(began))
		}
		b.ReportMetric(float64(hosts*rounds)/taken.Seconds(), "offers/s")
		b.ReportMetric(answered.Seconds(), "answered-s")
		b.ReportMetric(float64(change.Milliseconds()), "change-ms")
		b.ReportMetric(peakMiB("self"), "MiB-peak")
		r.stop()
	}
	b.ReportMetric(0, "ns/op")
}

// until waits for something to become true.
func (r *rehearsal) until(is func() bool) {
	r.b.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > time.Minute {
			r.b.Fatal("nothing happens")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
