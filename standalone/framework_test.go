package standalone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/recordio"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker/dockertest"
)

// pipes is a listener without sockets: time in a synctest bubble only passes when nothing waits for the network.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5050} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// world is an engine over a Docker double, and what is needed to talk to it.
type world struct {
	t      *testing.T // the running test or subtest: what fails now fails it
	whole  *testing.T // the test that the world lives as long as
	docker *dockertest.Engine
	opts   Options
	engine *Engine
	client *http.Client
	url    string
	user   string
	secret string
	stop   func()
}

func quiet() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// newWorld starts an engine with 2 CPUs and 4096 MiB.
func newWorld(t *testing.T) *world {
	t.Helper()
	d, state := dockertest.New("bb:1"), t.TempDir()
	w := &world{t: t, whole: t, docker: d, url: "http://engine" + APIPath, opts: Options{StateDir: state, Log: quiet(), Hosts: []Host{{
		Docker: d, Inventory: d, Hostname: "host1", StateDir: state, VolumesDir: filepath.Join(state, "volumes"), CPUs: 2, MemMiB: 4096, DiskMiB: 1000,
	}}}}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// host is the first of the world's hosts, before it is started.
func (w *world) host() *Host { return &w.opts.Hosts[0] }

// agentID is that of the first host.
func (w *world) agentID() string { return w.engine.AgentID("host1") }

// step is a subtest in the same world. The steps build on each other, so a failed one is the last.
func (w *world) step(name string, f func(t *testing.T)) {
	w.whole.Helper()
	ok := w.whole.Run(name, func(t *testing.T) {
		w.t = t
		defer func() { w.t = w.whole }()
		f(t)
	})
	if !ok {
		w.whole.FailNow()
	}
}

// start runs a new engine on the same Docker and state folder.
func (w *world) start() {
	w.t.Helper()
	e, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
	l := newPipes()
	transport := &http.Transport{DialContext: l.dial}
	w.client = &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, l) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.whole.Errorf("run: %v", err)
		}
		transport.CloseIdleConnections()
	})
}

// fw is a framework.
type fw struct {
	w      *world
	id     string
	stream string
	events chan *scheduler.Event // closed when the stream ends
	hangUp func()
	auto   bool          // acknowledge whatever comes
	passed []mesos.Offer // offers that came while something else was waited for; they stand until they are used
}

func info(id string) *mesos.FrameworkInfo {
	timeout, checkpoint := 3600.0, true
	f := &mesos.FrameworkInfo{Checkpoint: &checkpoint, User: "root", Name: "berth", Roles: []string{"berth"}, FailoverTimeout: &timeout, Capabilities: []mesos.FrameworkInfo_Capability{
		{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}, {Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
	}}
	if id != "" {
		f.ID = &mesos.FrameworkID{Value: id}
	}
	return f
}

func (w *world) post(ctx context.Context, body []byte, media, stream string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", media)
	r.Header.Set("Accept", media)
	if stream != "" {
		r.Header.Set(streamIDHeader, stream)
	}
	if w.user != "" {
		r.SetBasicAuth(w.user, w.secret)
	}
	return w.client.Do(r)
}

// open subscribes and returns the framework before its first event.
func (w *world) open(i *mesos.FrameworkInfo) *fw {
	w.t.Helper()
	f := &fw{w: w, events: make(chan *scheduler.Event, 10000)}
	c := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE, FrameworkID: i.ID, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: i}}
	body, err := json.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.hangUp = cancel
	w.whole.Cleanup(cancel)
	r, err := w.post(ctx, body, mediaJSON, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(r.Body)
		w.t.Fatalf("SUBSCRIBE: %d %s", r.StatusCode, text)
	}
	f.stream = r.Header.Get(streamIDHeader)
	go func() {
		defer close(f.events)
		defer r.Body.Close()
		frames := recordio.NewReader(r.Body)
		for {
			raw, err := frames.ReadFrame()
			if err != nil {
				return
			}
			e := new(scheduler.Event)
			if err := json.Unmarshal(raw, e); err != nil {
				w.whole.Errorf("%s: %v", raw, err)
				return
			}
			f.events <- e
		}
	}()
	return f
}

// subscribe opens a stream and reads SUBSCRIBED.
func (w *world) subscribe(i *mesos.FrameworkInfo) *fw {
	w.t.Helper()
	f := w.open(i)
	e := f.want(scheduler.Event_SUBSCRIBED)
	f.id = e.Subscribed.FrameworkID.Value
	f.auto = true
	return f
}

func (f *fw) post(c *scheduler.Call) int {
	f.w.t.Helper()
	if c.FrameworkID == nil && f.id != "" {
		c.FrameworkID = &mesos.FrameworkID{Value: f.id}
	}
	body, err := json.Marshal(c)
	if err != nil {
		f.w.t.Fatal(err)
	}
	r, err := f.w.post(context.Background(), body, mediaJSON, f.stream)
	if err != nil {
		f.w.t.Fatal(err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

func (f *fw) call(c *scheduler.Call) {
	f.w.t.Helper()
	if code := f.post(c); code != http.StatusAccepted {
		f.w.t.Fatalf("%s: %d", c.Type, code)
	}
}

// next is the next event within d that is no heartbeat; nil when there is none, or the stream ended.
func (f *fw) next(d time.Duration) *scheduler.Event {
	f.w.t.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		select {
		case e := <-f.events:
			if e == nil {
				return nil
			}
			if e.Type == scheduler.Event_HEARTBEAT {
				continue
			}
			if s := e.GetUpdate().GetStatus(); f.auto && len(s.UUID) > 0 {
				f.ack(s)
			}
			return e
		case <-timeout.C:
			return nil
		}
	}
}

func (f *fw) want(kind scheduler.Event_Type) *scheduler.Event {
	f.w.t.Helper()
	e := f.next(time.Minute)
	if e == nil || e.Type != kind {
		f.w.t.Fatalf("got %s, want %s", brief(e), kind)
	}
	return e
}

func (f *fw) ack(s mesos.TaskStatus) {
	f.w.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE, Acknowledge: &scheduler.Call_Acknowledge{AgentID: *s.AgentID, TaskID: s.TaskID, UUID: s.UUID}})
}

// update is the next status update; offers that come before it are kept for offer.
func (f *fw) update(task string, state mesos.TaskState) mesos.TaskStatus {
	f.w.t.Helper()
	for {
		e := f.next(time.Minute)
		if e != nil && e.Type == scheduler.Event_OFFERS {
			f.passed = append(f.passed, e.Offers.Offers...)
			continue
		}
		if e == nil || e.Type != scheduler.Event_UPDATE || e.Update.Status.TaskID.Value != task || e.Update.Status.GetState() != state {
			f.w.t.Fatalf("got %s, want %s of %s", brief(e), state, task)
		}
		return e.Update.Status
	}
}

// until reads until the newest state of each task is the wanted one, in whatever order and however often they are told.
func (f *fw) until(want map[string]mesos.TaskState) map[string]mesos.TaskStatus {
	f.w.t.Helper()
	newest := map[string]mesos.TaskStatus{}
	done := func() bool {
		for id, state := range want {
			if s, ok := newest[id]; !ok || s.GetState() != state {
				return false
			}
		}
		return true
	}
	for !done() {
		switch e := f.next(time.Minute); {
		case e == nil:
			f.w.t.Fatalf("got %v, want %v", newest, want)
		case e.Type == scheduler.Event_OFFERS:
			f.passed = append(f.passed, e.Offers.Offers...)
		case e.Type == scheduler.Event_UPDATE:
			newest[e.Update.Status.TaskID.Value] = e.Update.Status
		default:
			f.w.t.Fatalf("got %s, want %v", brief(e), want)
		}
	}
	return newest
}

// offer is the next offer; updates before it are a failure.
func (f *fw) offer() mesos.Offer {
	f.w.t.Helper()
	if len(f.passed) > 0 {
		of := f.passed[0]
		f.passed = f.passed[1:]
		return of
	}
	return f.want(scheduler.Event_OFFERS).Offers.Offers[0]
}

// quietFor says that nothing comes for d.
func (f *fw) quietFor(d time.Duration) {
	f.w.t.Helper()
	if e := f.next(d); e != nil {
		f.w.t.Fatalf("got %s, want nothing", brief(e))
	}
}

func brief(e *scheduler.Event) string {
	if e == nil {
		return "nothing"
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func cpus(of mesos.Offer) float64 {
	for _, r := range of.Resources {
		if r.Name == "cpus" {
			return r.GetScalar().GetValue()
		}
	}
	return 0
}

// accept launches tasks on an offer.
func (f *fw) accept(of mesos.Offer, refuse float64, tasks ...mesos.TaskInfo) {
	f.w.t.Helper()
	c := &scheduler.Call_Accept{OfferIDs: []mesos.OfferID{of.ID}, Filters: &mesos.Filters{RefuseSeconds: &refuse}}
	if len(tasks) > 0 {
		c.Operations = []mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: tasks}}}
	}
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: c})
}

func (f *fw) decline(of mesos.Offer, refuse float64) {
	f.w.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &scheduler.Call_Decline{OfferIDs: []mesos.OfferID{of.ID}, Filters: &mesos.Filters{RefuseSeconds: &refuse}}})
}

func (f *fw) kill(task string, grace time.Duration) {
	f.w.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_KILL, Kill: &scheduler.Call_Kill{
		TaskID: mesos.TaskID{Value: task}, AgentID: &mesos.AgentID{Value: f.w.agentID()},
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(grace)}},
	}})
}

// task is a Docker task of 0.1 CPU and 64 MiB.
func (w *world) task(id string, change ...func(*mesos.TaskInfo)) mesos.TaskInfo {
	kind, net, shell, value := mesos.ContainerInfo_DOCKER, mesos.ContainerInfo_DockerInfo_BRIDGE, true, "sleep 1000"
	scalar := func(name string, v float64) mesos.Resource {
		k := mesos.SCALAR
		return mesos.Resource{Name: name, Type: &k, Scalar: &mesos.Value_Scalar{Value: v}}
	}
	t := mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: mesos.AgentID{Value: w.agentID()},
		Command:   &mesos.CommandInfo{Shell: &shell, Value: &value},
		Resources: []mesos.Resource{scalar("cpus", 0.1), scalar("mem", 64)},
		Container: &mesos.ContainerInfo{Type: &kind, Docker: &mesos.ContainerInfo_DockerInfo{Image: "bb:1", Network: &net}},
	}
	for _, c := range change {
		c(&t)
	}
	return t
}

func parameter(key, value string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		t.Container.Docker.Parameters = append(t.Container.Docker.Parameters, mesos.Parameter{Key: key, Value: value})
	}
}

// run launches one task and waits until it runs; the container's name is returned.
func (f *fw) run(id string, change ...func(*mesos.TaskInfo)) string {
	f.w.t.Helper()
	f.accept(f.offer(), 1e7, f.w.task(id, change...))
	f.update(id, mesos.TASK_STARTING)
	s := f.update(id, mesos.TASK_RUNNING)
	return containerName(s.ContainerStatus.ContainerID.Value)
}

func hasPrefix(t *testing.T, got, want string) {
	t.Helper()
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return v
}
