// Package mesostest is a Mesos master for tests, as a small working world: agents with resources, offers, tasks that run,
// status updates that are withheld until acknowledged and sent again, reconciliation. It can also misbehave on request.
//
// It serves the v1 scheduler API over httptest (Start) or in memory (Transport); the latter works inside testing/synctest.
package mesostest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/spec"
)

// Path is where the API is served.
const Path = "/api/v1/scheduler"

// Options shape the world.
type Options struct {
	// Heartbeat is the interval of HEARTBEAT events; default 15 s.
	Heartbeat time.Duration
	// AutoRun makes launched tasks run, and killed ones end, without the test's doing.
	AutoRun bool
	// Pause is how long a task takes for each step with AutoRun; nil: no time.
	Pause func() time.Duration
	// Fate says what becomes of an update on its way from an agent to the scheduler; nil: it arrives at once.
	Fate func() Fate
	// Deny says which launches the master refuses, with TASK_ERROR; nil: none that are right.
	Deny func(spec.Launch) bool
	// Split says when an agent's free resources come in two offers; nil: never. With it, resources that become free while an
	// offer is out come in another one.
	Split func() bool
	// Watch is called, with the containers that live, whenever one begins to. It must not call the master.
	Watch func([]Container)
}

// Master is the fake. All methods may be called from any goroutine.
type Master struct {
	opts Options

	mu          sync.Mutex // guards all below
	server      *httptest.Server
	stream      *stream // the present subscription
	framework   string
	removed     bool
	checkpoints bool // the framework does
	epoch       int  // counts Restart
	serial      int  // for ids
	offers      map[string]*offer
	agents      map[string]*agent
	tasks       map[string]*task
	suppress    bool
	silent      bool
	redirect    string
	refusals    map[string]refusal
	calls       []Call
	changed     chan struct{} // closed at every new call and subscription
}

type refusal struct {
	status int
	body   string
}

// stream is one SUBSCRIBE's answer.
type stream struct {
	id     string
	queue  []*scheduler.Event
	wake   chan struct{} // capacity 1
	closed bool
}

// New is a master without agents.
func New(o Options) *Master {
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	return &Master{
		opts: o, offers: map[string]*offer{}, agents: map[string]*agent{}, tasks: map[string]*task{},
		refusals: map[string]refusal{}, changed: make(chan struct{}),
	}
}

// Start serves on loopback and returns the address; Close ends it.
func (m *Master) Start() string {
	s := httptest.NewServer(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = s
	return s.URL
}

// Close drops the stream and ends the server, if there is one.
func (m *Master) Close() {
	m.mu.Lock()
	m.endStream()
	for _, t := range m.tasks {
		t.stop()
	}
	for _, a := range m.agents {
		a.stopTimer()
	}
	s := m.server
	m.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// DropStream closes the present subscription without a word.
func (m *Master) DropStream() { m.locked(m.endStream) }

// Silence holds everything back that would be sent, heartbeats too, until called with false.
func (m *Master) Silence(on bool) {
	m.locked(func() {
		m.silent = on
		m.wake()
	})
}

// Redirect answers SUBSCRIBE with 307 to the address; "" ends that.
func (m *Master) Redirect(location string) { m.locked(func() { m.redirect = location }) }

// Refuse answers calls of the type ("SUBSCRIBE", "ACCEPT", ...) with the status and text; status 0 ends that.
func (m *Master) Refuse(callType string, status int, body string) {
	m.locked(func() {
		if status == 0 {
			delete(m.refusals, callType)
			return
		}
		m.refusals[callType] = refusal{status, body}
	})
}

// Error sends an ERROR event and closes the stream.
func (m *Master) Error(message string) { m.locked(func() { m.endWith(message) }) }

// TakeOver is what happens when another scheduler subscribes with the same framework id.
func (m *Master) TakeOver() { m.Error("Framework failed over") }

// RemoveFramework ends the framework and its tasks for good.
func (m *Master) RemoveFramework() {
	m.locked(func() {
		m.remove()
		m.endWith("Framework has been removed")
	})
}

// Restart is a new leading master: the stream ends, offers are void, and nothing is known of tasks until Reregister.
func (m *Master) Restart() {
	m.locked(func() {
		m.endStream()
		m.epoch++
		for _, a := range m.agents {
			a.away, a.restarts = true, false
		}
	})
}

// Subscribed says whether there is a subscription.
func (m *Master) Subscribed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stream != nil
}

// ServeHTTP is the API.
func (m *Master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != Path {
		http.NotFound(w, r)
		return
	}
	codec, ok := codecs.ByMediaType[encoding.MediaType(r.Header.Get("Content-Type"))]
	if !ok || r.Header.Get("Accept") != r.Header.Get("Content-Type") {
		http.Error(w, "Expecting 'Content-Type' of application/json or application/x-protobuf", http.StatusUnsupportedMediaType)
		return
	}
	wire := &scheduler.Call{}
	if err := codec.NewDecoder(encoding.SourceReader(r.Body)).Decode(wire); err != nil {
		http.Error(w, "Failed to parse body: "+err.Error(), http.StatusBadRequest)
		return
	}
	call := decodeCall(wire, r)
	status, body, s := m.take(&call, wire)
	if location := m.location(status); location != "" {
		w.Header().Set("Location", location)
	}
	if s == nil {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a client that is gone has its own trouble
		return
	}
	w.Header().Set("Content-Type", codec.Type.ContentType())
	w.Header().Set("Mesos-Stream-Id", s.id)
	w.WriteHeader(http.StatusOK)
	m.serve(r.Context(), w, codec, s)
}

func (m *Master) location(status int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if status != http.StatusTemporaryRedirect {
		return ""
	}
	return m.redirect
}

// take judges and records a call, and has it change the world. A stream is returned for SUBSCRIBE.
func (m *Master) take(call *Call, wire *scheduler.Call) (status int, body string, s *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		call.Status, call.At = status, time.Now()
		m.calls = append(m.calls, *call)
		m.notify()
	}()
	if r, ok := m.refusals[call.Type]; ok {
		return r.status, r.body, nil
	}
	if wire.Type == scheduler.Call_SUBSCRIBE {
		return m.subscribe(wire)
	}
	switch {
	case m.stream == nil:
		return http.StatusForbidden, "Framework is not subscribed", nil
	case call.StreamID == "":
		return http.StatusBadRequest, "All non-subscribe calls should include the 'Mesos-Stream-Id' header", nil
	case call.StreamID != m.stream.id:
		return http.StatusBadRequest, "The stream ID '" + call.StreamID + "' included in this request didn't match the stream ID currently associated with framework ID " + m.framework, nil
	case call.FrameworkID != m.framework:
		return http.StatusBadRequest, "Framework cannot be found", nil
	}
	m.perform(call)
	return http.StatusAccepted, "", nil
}

func (m *Master) subscribe(wire *scheduler.Call) (int, string, *stream) {
	if m.redirect != "" {
		return http.StatusTemporaryRedirect, "", nil
	}
	info := wire.Subscribe.GetFrameworkInfo()
	if info.GetUser() == "" || info.GetName() == "" {
		return http.StatusBadRequest, "Failed to validate scheduler::Call: Expecting 'framework_info' with 'user' and 'name'", nil
	}
	m.serial++
	s := &stream{id: fmt.Sprintf("stream-%d", m.serial), wake: make(chan struct{}, 1)}
	id := info.GetID().GetValue()
	if id != "" && id == m.framework && m.removed {
		s.queue = append(s.queue, errorEvent("Framework has been removed"))
		s.closed = true
		return http.StatusOK, "", s
	}
	if m.stream != nil {
		m.endWith("Framework failed over")
	}
	if id == "" {
		m.serial++
		id = fmt.Sprintf("framework-%d", m.serial)
	}
	m.framework, m.removed, m.suppress, m.stream = id, false, false, s
	m.checkpoints = info.GetCheckpoint()
	clearOffers(m)
	interval, version, port := m.opts.Heartbeat.Seconds(), "1.12.0", uint32(5050) // a port is required
	m.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID:              &mesos.FrameworkID{Value: id},
		HeartbeatIntervalSeconds: &interval,
		MasterInfo:               &mesos.MasterInfo{ID: fmt.Sprintf("master-%d", m.epoch), Port: &port, Version: &version},
	}})
	m.send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	m.offerAll()
	m.resendAll()
	return http.StatusOK, "", s
}

// serve writes the stream until it is closed or the client goes.
func (m *Master) serve(ctx context.Context, w io.Writer, codec encoding.Codec, s *stream) {
	beat := time.NewTicker(m.opts.Heartbeat)
	defer beat.Stop()
	defer m.locked(func() {
		if m.stream == s { // the client is gone
			m.stream = nil
			m.notify()
		}
	})
	for {
		events, closed := m.pull(s)
		for _, e := range events {
			if err := writeEvent(w, codec, e); err != nil {
				return
			}
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		if closed {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-beat.C:
			m.locked(func() {
				if m.stream == s {
					m.send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
				}
			})
		}
	}
}

// pull takes what is to be written now.
func (m *Master) pull(s *stream) ([]*scheduler.Event, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.silent {
		return nil, s.closed
	}
	events := s.queue
	s.queue = nil
	return events, s.closed
}

func writeEvent(w io.Writer, codec encoding.Codec, e *scheduler.Event) error {
	var b bytes.Buffer
	if err := codec.NewEncoder(encoding.SinkWriter(&b)).Encode(e); err != nil {
		panic(fmt.Sprintf("mesostest: encode %s: %v", e.Type, err)) // a required field is not set: a fault of this package
	}
	_, err := io.WriteString(w, strconv.Itoa(b.Len())+"\n"+b.String())
	return err
}

func (m *Master) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// send queues an event for the present subscription; without one it is lost, as on a real master. Needs the lock, as all
// unexported methods from here on.
func (m *Master) send(e *scheduler.Event) {
	if m.stream != nil {
		m.stream.queue = append(m.stream.queue, e)
		m.wake()
	}
}

func (m *Master) wake() {
	if m.stream != nil {
		select {
		case m.stream.wake <- struct{}{}:
		default:
		}
	}
}

func (m *Master) endWith(message string) {
	m.send(errorEvent(message))
	m.endStream()
}

func (m *Master) endStream() {
	if m.stream == nil {
		return
	}
	m.stream.closed = true
	m.wake()
	m.stream = nil
	clearOffers(m)
	m.notify()
}

func (m *Master) remove() {
	m.removed = true
	for id, t := range m.tasks {
		t.stop()
		delete(m.tasks, id)
	}
}

func (m *Master) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func errorEvent(message string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: message}}
}

// Calls are all calls so far, refused ones too.
func (m *Master) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// WaitCall waits for a call, from the n-th on (0: from the beginning), for which match holds. next is where to go on.
func (m *Master) WaitCall(ctx context.Context, n int, match func(Call) bool) (call Call, next int, err error) {
	for {
		m.mu.Lock()
		calls, changed := m.calls, m.changed
		m.mu.Unlock()
		for ; n < len(calls); n++ {
			if match(calls[n]) {
				return calls[n], n + 1, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Call{}, n, fmt.Errorf("wait for a call, %d seen: %w", len(calls), ctx.Err())
		}
	}
}

// OfType matches calls by type, for WaitCall.
func OfType(t string) func(Call) bool { return func(c Call) bool { return c.Type == t } }
