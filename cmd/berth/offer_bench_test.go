package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// engineTimes is the environment variable that names a file to which the engine of a rehearsal writes, when it ends, how many
// microseconds passed from each offer to the ACCEPT that used it for one of the apps that waited.
const engineTimes = "BERTH_TEST_ENGINE_TIMES"

// waiter begins the names of the apps that wait.
const waiter = "waiter-"

// offerID is the end of a simulated master's offer ids.
var offerID = regexp.MustCompile(`-O\d+`)

// stopwatch takes the time of offers at the engine's connections, where they leave and where they come back.
type stopwatch struct {
	net.Listener
	mu    sync.Mutex
	left  map[string]time.Time // by offer
	taken []time.Duration
}

func (w *stopwatch) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	return timedConn{c, w}, err
}

type timedConn struct {
	net.Conn
	watch *stopwatch
}

func (c timedConn) Write(p []byte) (int, error) {
	c.watch.offered(p, time.Now())
	return c.Conn.Write(p)
}

func (c timedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.watch.accepted(p[:n], time.Now())
	return n, err
}

func (w *stopwatch) offered(p []byte, at time.Time) {
	for _, id := range offerID.FindAll(p, -1) {
		w.mu.Lock()
		w.left[string(id)] = at
		w.mu.Unlock()
	}
}

// accepted looks at a call. One that launches a waiting app's task names the app, and its offer once.
func (w *stopwatch) accepted(p []byte, at time.Time) {
	if !bytes.Contains(p, []byte(waiter)) {
		return
	}
	id := string(offerID.Find(p))
	w.mu.Lock()
	defer w.mu.Unlock()
	if began, ok := w.left[id]; ok {
		delete(w.left, id)
		w.taken = append(w.taken, at.Sub(began))
	}
}

// save writes the times.
func (w *stopwatch) save(file string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out bytes.Buffer
	for _, d := range w.taken {
		fmt.Fprintln(&out, d.Microseconds())
	}
	return os.WriteFile(file, out.Bytes(), 0o600)
}

// readTimes reads what save wrote, shortest first.
func readTimes(file string) ([]time.Duration, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []time.Duration
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, err
		}
		out = append(out, time.Duration(n)*time.Microsecond)
	}
	slices.Sort(out)
	return out, lines.Err()
}

// syncs is how long the disk takes to make a page durable, shortest first: each ACCEPT waits for that at least once.
func syncs(dir string) (out []time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	page := make([]byte, 4096)
	for range 300 {
		began := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		out = append(out, time.Since(began))
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(out)
	return out, nil
}

// BenchmarkFreeHost is the time from an offer to the ACCEPT that uses it, taken at the engine's sockets, while 1,000 apps wait: every
// host is full, then one after the other loses its task, and one of the apps gets it. What is launched is durable before its ACCEPT.
func BenchmarkFreeHost(b *testing.B) {
	const waiting, rounds = 1000, 500
	for b.Loop() {
		file := filepath.Join(b.TempDir(), "times")
		b.Setenv(engineTimes, file)
		r := newRehearsal(b, fmt.Sprintf("hosts=%d,cpus=1,mem=1024,start=20ms,stop=20ms", rounds))
		r.start()
		r.ready()
		app := func(id string, instances int) {
			text := fmt.Sprintf(`{"id":"/%s","cmd":"sleep 1000","cpus":1,"mem":1024,"instances":%d}`, id, instances)
			if err := r.ask("PUT", "/v2/apps/"+id+"?force=true", text, nil); err != nil {
				b.Fatal(err)
			}
		}
		if err := r.ask("PUT", "/v2/apps/first?force=true", `{"instances":0}`, nil); err != nil {
			b.Fatal(err)
		}
		app("full", rounds)
		r.fill("full", rounds, time.Now())
		for i := range waiting {
			app(fmt.Sprintf("%s%04d", waiter, i), 1)
		}
		for i := range rounds {
			app("full", rounds-1-i)
			time.Sleep(50 * time.Millisecond) // hosts become free one after the other, each before it is asked for the next
		}
		r.until(func() bool { n, err := r.running("full"); return err == nil && n == 0 })
		r.until(func() bool {
			var list struct{ Apps []struct{ TasksRunning int } }
			if err := r.ask("GET", "/v2/apps?embed=apps.counts&id="+waiter, "", &list); err != nil {
				b.Fatal(err)
			}
			n := 0
			for _, a := range list.Apps {
				n += a.TasksRunning
			}
			return n == rounds
		})
		r.stop()
		r.end()
		times, err := readTimes(file)
		if err != nil || len(times) < rounds*99/100 {
			b.Fatalf("%d of %d offers were used: %v", len(times), rounds, err)
		}
		ms := func(share float64) float64 {
			return float64(times[int(share*float64(len(times)-1))].Microseconds()) / 1000
		}
		disk, err := syncs(r.dir)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(disk[len(disk)*99/100].Microseconds())/1000, "sync-p99-ms")
		b.ReportMetric(ms(0.5), "offer-p50-ms")
		b.ReportMetric(ms(0.99), "offer-p99-ms")
		b.ReportMetric(ms(1), "offer-max-ms")
	}
	b.ReportMetric(0, "ns/op")
}
