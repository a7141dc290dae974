package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// bench is a scheduler with its API over simulated hosts.
type bench struct {
	size
	dir   string
	store *store.Bolt
	world *enginetest.World
	sched *scheduler.Scheduler
	api   http.Handler
	url   string
	stop  context.CancelFunc
	all   sync.WaitGroup
	apps  []map[string]any
	begun int
	also  *http.Server // serves from memory
}

// begin starts everything; nothing is deployed yet.
func begin(ctx context.Context, z size) (*bench, error) {
	ctx, stop := context.WithCancel(ctx)
	b := &bench{size: z, stop: stop, apps: definitions(z)}
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	b.dir = dir
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	if b.store, err = store.Open(filepath.Join(dir, "state.db"), store.BoltOptions{Log: quiet}); err != nil {
		return nil, err
	}
	state, err := b.store.Load(ctx)
	if err != nil {
		return nil, err
	}
	b.world = enginetest.New(enginetest.Options{Hosts: z.hosts, CPUs: float64(3*z.tasks) / float64(z.hosts), Mem: float64(3*z.tasks) / float64(z.hosts) * 1024,
		Pools: []string{"bench"}, StartTime: 300 * time.Millisecond})
	events := api.NewLog(api.DefaultEventBacklog)
	b.sched, err = scheduler.New(scheduler.Options{Store: b.store, State: state, Engine: b.world, Events: events, Log: quiet,
		Pools: []spec.Pool{{Name: "bench", CIDR: netip.MustParsePrefix("10.0.0.0/14")}}, ServicePortMin: 10000, ServicePortMax: 60000,
		Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: dir}})
	if err != nil {
		return nil, err
	}
	server, err := api.New(api.Options{Backend: b.sched, Events: events, Log: quiet, Marathon: marathon.Options{DefaultNetworkName: "bench"}, MaxBody: 64 << 20})
	if err != nil {
		return nil, err
	}
	b.api = server.Handler("")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	b.url = "http://" + listener.Addr().String()
	b.all.Go(func() { _ = b.sched.Run(ctx) })
	b.all.Go(func() { b.world.Agents(ctx, b.sched) })
	b.all.Go(func() { _ = server.Serve(ctx, []api.Listener{{Listener: listener}}) })
	return b, nil
}

func (b *bench) end() {
	b.stop()
	if b.also != nil {
		_ = b.also.Close()
	}
	b.all.Wait()
	_ = b.store.Close()
	_ = os.RemoveAll(b.dir)
}

// definitions are apps as teams write them: one large, the others alike in size.
func definitions(z size) []map[string]any {
	var out []map[string]any
	left := z.tasks
	for i := range z.apps {
		n := z.big
		if i > 0 {
			n = left / (z.apps - i)
		}
		left -= n
		out = append(out, map[string]any{
			"id": fmt.Sprintf("/team-%02d/service-%04d", i%40, i), "instances": n, "cpus": 0.5, "mem": 512,
			"env":          map[string]string{"RELEASE": "1", "LOG_LEVEL": "info", "DATABASE_URL": fmt.Sprintf("postgres://db-%d.example.org/service", i), "JAVA_OPTS": "-Xmx384m -XX:+UseG1GC"},
			"labels":       map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": fmt.Sprintf("service-%d.example.org", i), "team": fmt.Sprintf("team-%02d", i%40), "tier": "backend"},
			"container":    map[string]any{"type": "DOCKER", "docker": map[string]any{"image": fmt.Sprintf("registry.example.org/service-%d:1.0", i)}, "portMappings": []any{map[string]any{"containerPort": 8080, "name": "http"}, map[string]any{"containerPort": 9090, "name": "admin"}}},
			"networks":     []any{map[string]any{"mode": "container", "name": "bench"}},
			"healthChecks": []any{map[string]any{"protocol": "HTTP", "path": "/health", "portIndex": 0, "intervalSeconds": 10, "maxConsecutiveFailures": 3}},
		})
	}
	return out
}

// put sends definitions and waits for the answer.
func (b *bench) put(ctx context.Context, apps []map[string]any) error {
	body, err := json.Marshal(apps)
	if err != nil {
		return fmt.Errorf("write definitions: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, b.url+"/v2/apps?force=true", strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("put definitions: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("put definitions: %w", err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("put definitions: %s: %.300s", answer.Status, text)
	}
	return nil
}

// idle waits until no deployment runs.
func (b *bench) idle(ctx context.Context) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		snap, err := b.sched.View(ctx)
		if err != nil {
			return err
		}
		if len(snap.Deployments) == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *bench) deploy(ctx context.Context) error {
	for chunk := range slices.Chunk(b.apps, 100) {
		if err := b.put(ctx, chunk); err != nil {
			return err
		}
	}
	return b.idle(ctx)
}

// update runs one rolling update after the other in the background. The function it returns ends that and says how many
// are done.
func (b *bench) update(ctx context.Context) func() (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	var done int
	var failed error
	var all sync.WaitGroup
	all.Go(func() {
		for round := 1; ctx.Err() == nil && failed == nil; round++ {
			var apps []map[string]any
			for i := range b.batch {
				app := maps.Clone(b.apps[((round-1)*b.batch+i)%len(b.apps)])
				env := maps.Clone(app["env"].(map[string]string))
				env["RELEASE"] = fmt.Sprint(round + 1)
				app["env"] = env
				apps = append(apps, app)
				b.begun += app["instances"].(int)
			}
			if failed = b.put(ctx, apps); failed == nil {
				failed = b.idle(ctx)
			}
			done = round
		}
	})
	return func() (int, error) {
		cancel()
		all.Wait()
		if failed != nil && ctx.Err() != nil {
			failed = nil // it was we who ended it
		}
		return done, failed
	}
}

// started is how many tasks the updates replace.
func (b *bench) started() int { return b.begun }

// watchLoop asks the owner loop something small all the time: the longest wait is a bound of its longest decision.
func (b *bench) watchLoop(ctx context.Context) func() answers {
	ctx, cancel := context.WithCancel(ctx)
	var out answers
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			began := time.Now()
			if _, err := b.sched.TreeChanges(ctx); err == nil {
				out.took = append(out.took, time.Since(began))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() answers { cancel(); all.Wait(); slices.Sort(out.took); return out }
}

// nowhere takes an answer and keeps its size only.
type nowhere struct {
	header http.Header
	n      int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(int)             {}
func (w *nowhere) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// quiet measures one request after the other without a network and without changes: what each allocates.
func (b *bench) quiet(ctx context.Context) error {
	for _, packed := range []bool{false, true} {
		const n = 10
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if packed {
			request.Header.Set("Accept-Encoding", "gzip")
		}
		w := &nowhere{header: http.Header{}}
		b.api.ServeHTTP(w, request) // what is kept, is kept from now on
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		for range n {
			w = &nowhere{header: http.Header{}}
			b.api.ServeHTTP(w, request)
		}
		took := time.Since(began) / n
		runtime.ReadMemStats(&after)
		fmt.Printf("%s without changes  %s a request   %d bytes   allocated: %d objects, %d bytes\n", encoding(packed), ms(took), w.n,
			(after.Mallocs-before.Mallocs)/n, (after.TotalAlloc-before.TotalAlloc)/n)
	}
	return nil
}

// static serves the list as it is now from memory, plain and packed.
func (b *bench) static(ctx context.Context) (string, error) {
	bodies := map[bool][]byte{}
	for _, packed := range []bool{false, true} {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if packed {
			r.Header.Set("Accept-Encoding", "gzip")
		}
		w := httptest.NewRecorder()
		b.api.ServeHTTP(w, r)
		bodies[packed] = w.Body.Bytes()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packed := r.Header.Get("Accept-Encoding") == "gzip"
		w.Header().Set("Content-Type", "application/json")
		if packed {
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(bodies[packed])))
		_, _ = w.Write(bodies[packed])
	})}
	b.all.Go(func() { _ = server.Serve(listener) })
	b.also = server
	return "http://" + listener.Addr().String(), nil
}
