package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/agent/probe"
	"github.com/berth-project/berth/agent/router/routertest"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// scheduler is the other side of the agent's API: one document, the reports so far.
type scheduler struct {
	doc watch.Value[*spec.HostDocument]
	ask watch.Value[spec.HostAsk]

	mu     sync.Mutex
	away   bool
	report *spec.HostReport // the newest
	inUse  string           // the version of the document that the host said last is in force
}

func (s *scheduler) applied() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse
}

func (s *scheduler) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body []byte) (*http.Response, error) {
		ask, _ := s.ask.Get()
		header := http.Header{}
		header.Set(spec.HeaderSurvey, fmt.Sprint(ask.Survey))
		header.Set(spec.HeaderAnew, fmt.Sprint(ask.Anew))
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
	away := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if v := r.URL.Query().Get("applied"); v != "" && !s.away {
			s.inUse = v
		}
		return s.away
	}
	if away() {
		return nil, errors.New("connection refused")
	}
	if r.Method == http.MethodPost {
		var report spec.HostReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if report.Endpoints == nil && s.report != nil {
			report.Endpoints = s.report.Endpoints // they are told when they change
		}
		s.report = &report
		s.mu.Unlock()
		return answer(204, nil)
	}
	for {
		doc, changed := s.doc.Get()
		ask, asked := s.ask.Get()
		if q := r.URL.Query(); q.Get("survey") != fmt.Sprint(ask.Survey) || q.Get("anew") != fmt.Sprint(ask.Anew) {
			return answer(204, nil)
		}
		if doc != nil && r.URL.Query().Get("version") != string('0'+rune(doc.Version)) {
			b, err := json.Marshal(doc)
			if err != nil {
				return nil, err
			}
			return answer(200, b)
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-changed:
			if away() {
				return nil, errors.New("connection reset")
			}
		case <-asked:
		case <-time.After(30 * time.Second):
			return answer(204, nil)
		}
	}
}

func (s *scheduler) last(t *testing.T) spec.HostReport {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		t.Fatal("no report")
	}
	return *s.report
}

// healthy is a Prober for which everything is well unless told otherwise.
type healthy struct {
	mu  sync.Mutex
	err error
}

func (h *healthy) Probe(context.Context, probe.Target, spec.Probe) (spec.ProbeResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return spec.ProbeResponse{}, h.err
}

// hostWorld is one host in memory with an agent on it.
type hostWorld struct {
	engine  *dockertest.Engine
	router  *routertest.Fake
	sched   *scheduler
	prober  *healthy
	drained *watch.Value[map[string]spec.Drain]
	// intruder is an interface that someone else put on a network around the pool's; "" for none.
	intruder watch.Value[string]
	dir      string
	external bool // another process keeps the network
	agent    *Agent
	stop     func()
}

// start runs everything but the plugin's socket, which a test's bubble cannot hold.
func startHost(t *testing.T, w *hostWorld) {
	t.Helper()
	log, _ := test.NewNullLogger()
	a, err := New(Options{
		Host: "h1", StateDir: w.dir, API: "http://scheduler", Engine: w.engine, Inventory: w.engine, Drained: w.drained, Log: log,
		Router: w.router, Prober: w.prober, Transport: w.sched, ExternalNetwork: w.external,
		HostAddresses: func() (map[netip.Prefix]string, error) {
			host := map[netip.Prefix]string{prefix("10.1.0.1/24"): "br-blue", prefix("10.1.0.200/32"): "eth0"}
			if link, _ := w.intruder.Get(); link != "" {
				host[prefix("10.1.0.1/16")] = link
			}
			return host, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.work(ctx, newOwner(a)) }()
	w.agent = a
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	}
}

func newHost(t *testing.T, dir string) *hostWorld {
	t.Helper()
	w := &hostWorld{
		engine: dockertest.New("img"), router: &routertest.Fake{}, sched: &scheduler{}, prober: &healthy{},
		drained: &watch.Value[map[string]spec.Drain]{}, dir: dir,
	}
	startHost(t, w)
	return w
}

func oneSeat(version uint64) *spec.HostDocument {
	s := seat("/web", 0)
	s.Probes = []spec.Probe{{Protocol: "TCP", Port: 22, GracePeriod: time.Minute, Interval: 10 * time.Second, Timeout: time.Second}}
	return &spec.HostDocument{Schema: 1, Version: version, Host: "h1", Pools: []spec.Pool{blue}, AuthorizedKeys: []string{"key"}, Seats: []spec.HostSeat{s}}
}

// run starts the container of a task.
func (w *hostWorld) run(t *testing.T, name, network, address string, labels map[string]string) string {
	t.Helper()
	id, err := w.engine.Create(t.Context(), docker.CreateSpec{Name: name, Image: "img", Network: network, IP: addr(address), Labels: labels})
	if err == nil {
		err = w.engine.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHost(t, t.TempDir())
		synctest.Wait()
		if r, sets := w.router.Rules(); sets != 0 {
			t.Errorf("without a document rules are set: %v", r)
		}
		w.sched.doc.Set(oneSeat(1))
		r := w.sched.last(t)
		if d := cmp.Diff(map[string]string{"blue": ""}, r.Networks); d != "" || r.DocumentVersion != 1 {
			t.Errorf("version %d, %s", r.DocumentVersion, d)
		}
		if d := cmp.Diff([]spec.Held{{Address: addr("10.1.0.200"), By: "this host's own interface eth0"}}, r.Held, compared...); d != "" {
			t.Error(d)
		}
		networks := w.engine.Calls("networks")

		labels := map[string]string{spec.LabelTask: "web.0.task", spec.LabelApp: "/web", spec.LabelSeat: "0"}
		id := w.run(t, "mesos-1", "blue", "10.1.0.10", labels)
		w.run(t, "debug", "blue", "10.1.0.11", nil)
		r = w.sched.last(t)
		if h := r.Health["web.0.task"]; len(h) != 1 || !h[0].Alive {
			t.Errorf("health %+v", r.Health)
		}
		if len(r.Held) != 2 || r.Held[0].By != `container "debug"` {
			t.Errorf("held %+v", r.Held)
		}
		s, _ := w.agent.state.Get()
		if !s.Healthy(s.Document.Seats[0]) {
			t.Errorf("state %+v", s)
		}
		if b, err := os.ReadFile(filepath.Join(w.dir, "seats", "web.0", "motd")); err != nil || !strings.Contains(string(b), "since ") {
			t.Errorf("motd %q, %v", b, err)
		}
		next := oneSeat(2)
		next.Seats[0].Drain = true
		w.sched.doc.Set(next)
		if r = w.sched.last(t); r.DocumentVersion != 2 || len(r.Drained) != 0 {
			t.Errorf("version %d, drained %v", r.DocumentVersion, r.Drained)
		}
		w.drained.Set(map[string]spec.Drain{"web.0.task": {}})
		if r = w.sched.last(t); len(r.Drained) != 1 {
			t.Errorf("drained %v", r.Drained)
		}
		if n := w.engine.Calls("networks"); n != networks {
			t.Errorf("%d calls of Docker although no network changed", n-networks)
		}
		if err := w.engine.Exit(id, 1); err != nil {
			t.Fatal(err)
		}
		if r = w.sched.last(t); len(r.Health) != 0 {
			t.Errorf("health of the dead: %v", r.Health)
		}
		w.sched.doc.Set(&spec.HostDocument{Schema: 1, Version: 3, Host: "h1"})
		time.Sleep(2 * recheck)
		if got := networkNames(t, w.engine); len(got) != 1 { // debug is still on it
			t.Errorf("networks %v", got)
		}
		w.stop()
	})
}

func TestDockerRestartsAndOthersMeddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHost(t, t.TempDir())
		w.sched.doc.Set(oneSeat(1))
		w.sched.last(t)
		w.engine.Leave()
		if r := w.sched.last(t); r.Networks["blue"] != "the Docker Engine does not answer" {
			t.Errorf("networks %v", r.Networks)
		}
		_, before := w.router.Rules()
		w.engine.Return()
		if r := w.sched.last(t); r.Networks["blue"] != "" {
			t.Errorf("networks %v", r.Networks)
		}
		if _, after := w.router.Rules(); after == before {
			t.Error("rules are not checked when Docker returns")
		}
		if err := w.engine.RemoveNetwork(t.Context(), "blue"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		synctest.Wait()
		if got := networkNames(t, w.engine); len(got) != 1 {
			t.Errorf("a network that someone removed is not back: %v", got)
		}
		w.router.Fail(errors.New("locked"))
		time.Sleep(recheck)
		if r := w.sched.last(t); !strings.Contains(r.Networks["blue"], "locked") {
			t.Errorf("networks %v", r.Networks)
		}
		w.router.Fail(nil)
		time.Sleep(recheck)
		if r := w.sched.last(t); r.Networks["blue"] != "" {
			t.Errorf("networks %v", r.Networks)
		}
		w.stop()
	})
}

// A pool on a network that the host already uses gets none; an existing one is only reported.
func TestPoolInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "10.1.0.0/24 overlaps 10.1.0.0/16 of this host's interface cni0"
		w := newHost(t, t.TempDir())
		w.intruder.Set("cni0")
		w.sched.doc.Set(oneSeat(1))
		if r := w.sched.last(t); !strings.Contains(r.Networks["blue"], text) || len(networkNames(t, w.engine)) != 0 {
			t.Errorf("%v, networks %v", r.Networks, networkNames(t, w.engine))
		}
		w.intruder.Set("")
		time.Sleep(recheck)
		if r := w.sched.last(t); r.Networks["blue"] != "" || len(networkNames(t, w.engine)) != 1 {
			t.Errorf("%v, networks %v", r.Networks, networkNames(t, w.engine))
		}
		w.intruder.Set("cni0")
		time.Sleep(recheck)
		if r := w.sched.last(t); !strings.Contains(r.Networks["blue"], text) || len(networkNames(t, w.engine)) != 1 {
			t.Errorf("%v, networks %v", r.Networks, networkNames(t, w.engine))
		}
		w.stop()
	})
}

func TestStartsFromTheKeptDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHost(t, t.TempDir())
		w.sched.doc.Set(oneSeat(1))
		w.sched.last(t)
		w.stop()
		w.engine = dockertest.New("img")
		w.sched = &scheduler{away: true}
		startHost(t, w)
		synctest.Wait()
		s, _ := w.agent.state.Get()
		if len(s.Document.Seats) != 1 || len(networkNames(t, w.engine)) != 1 {
			t.Errorf("without the scheduler: %+v", s)
		}
		w.stop()
	})
}

// A full disk must not make the loop spin, nor claim the document as applied.
func TestSeatFoldersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHost(t, t.TempDir())
		if err := os.WriteFile(filepath.Join(w.dir, "seats"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.sched.doc.Set(oneSeat(1))
		if r := w.sched.last(t); r.DocumentVersion != 0 {
			t.Errorf("version %d", r.DocumentVersion)
		}
		if err := os.Remove(filepath.Join(w.dir, "seats")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		if r := w.sched.last(t); r.DocumentVersion != 1 {
			t.Errorf("version %d after the disk is mended", r.DocumentVersion)
		}
		w.stop()
	})
}

func TestOptions(t *testing.T) {
	log, _ := test.NewNullLogger()
	e := dockertest.New()
	for name, o := range map[string]Options{
		"no engine":    {Inventory: e, Log: log},
		"no inventory": {Engine: e, Log: log, Router: &routertest.Fake{}},
		"no log":       {Engine: e, Inventory: e},
		"bad API":      {Engine: e, Inventory: e, Log: log, Router: &routertest.Fake{}, API: "nowhere"},
		"bad name":     {Engine: e, Inventory: e, Log: log, Router: &routertest.Fake{}, IPAMName: "a/b"},
	} {
		o.StateDir = t.TempDir()
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
