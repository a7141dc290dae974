package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/spec"
)

// stream is a client of the event stream without a network: its reader may hang.
type stream struct {
	header http.Header
	code   int
	hang   chan struct{} // not nil: writes wait for it

	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *stream) Header() http.Header { return s.header }
func (s *stream) WriteHeader(c int)   { s.code = c }
func (s *stream) Flush()              {}

func (s *stream) Write(b []byte) (int, error) {
	if s.hang != nil && len(b) > 0 {
		<-s.hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// take is what came since the last call.
func (s *stream) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

func streamServer(t *testing.T, backlog int) (*api.Server, *api.Log) {
	t.Helper()
	events := api.NewLog(backlog)
	o := options(apitest.New(events))
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, events
}

// attach starts a stream; done closes when the server has ended it.
func attach(ctx context.Context, s *api.Server, out *stream, path string, header ...string) (done chan struct{}) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	done = make(chan struct{})
	out.header = http.Header{}
	go func() { s.Handler("").ServeHTTP(out, r); close(done) }()
	return done
}

func TestEventStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := streamServer(t, 0)
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{}
		done := attach(ctx, s, out, "/v2/events")
		synctest.Wait()
		want := "id: " + events.Token(1) + "\r\nevent: event_stream_attached\r\ndata: " +
			`{"eventType":"event_stream_attached","remoteAddress":"192.0.2.1","timestamp":"2026-01-02T03:04:05.678Z"}` + "\r\n\r\n"
		if diff := cmp.Diff(want, out.take()); diff != "" {
			t.Errorf("first frame (-want +got):\n%s", diff)
		}
		if out.header.Get("Content-Type") != "text/event-stream" || out.header.Get("Cache-Control") == "" {
			t.Errorf("headers: %v", out.header)
		}
		time.Sleep(25 * time.Second) // the bubble's clock: no real time passes
		synctest.Wait()
		if got := out.take(); got != "\r\n\r\n" {
			t.Errorf("two heartbeats expected in 25 s, got %q", got)
		}
		leave()
		<-done
		last := events.Subscribe(api.SubscribeOptions{After: events.Token(1)})
		if e, _ := last.Next(apitest.Start); e.Type != api.EventStreamDetached {
			t.Errorf("after the client left: %s", e.Type)
		}
	})
}

func TestEventStreamFiltersAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := streamServer(t, 0)
		for _, id := range []spec.AppID{"/a", "/b", "/c"} {
			events.Publish(api.AppTerminated(id, apitest.Start))
			events.Publish(api.RemoveHealthCheck(id, apitest.Start))
		}
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{}
		done := attach(ctx, s, out, "/v2/events?event_type=app_terminated_event&event_type=deployment_success", "Last-Event-ID", events.Token(2))
		synctest.Wait()
		events.Publish(api.RemoveHealthCheck("/d", apitest.Start))
		events.Publish(api.AppTerminated("/d", apitest.Start))
		synctest.Wait()
		var ids []string
		for _, line := range strings.Split(out.take(), "\r\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var e struct{ AppID string }
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, e.AppID)
			}
		}
		if diff := cmp.Diff([]string{"/b", "/c", "/d"}, ids); diff != "" {
			t.Errorf("apps of the events (-want +got):\n%s", diff)
		}
		leave()
		<-done
	})
}

// A reader that hangs costs the others nothing and is told what it missed when it reads again, in place.
func TestSlowEventReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := streamServer(t, 8)
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{hang: make(chan struct{})}
		done := attach(ctx, s, out, "/v2/events?event_type=app_terminated_event")
		synctest.Wait()
		events.Publish(api.AppTerminated("/first", apitest.Start))
		synctest.Wait() // it hangs in this frame
		for range 20 {
			events.Publish(api.AppTerminated("/a", apitest.Start)) // and nobody waits for it
		}
		close(out.hang)
		synctest.Wait()
		got := out.take()
		want := "id: " + events.Token(14) + "\r\nevent: event_stream_gap\r\ndata: " +
			`{"eventType":"event_stream_gap","firstMissedId":"` + events.Token(3) + `","lastMissedId":"` + events.Token(14) +
			`","missed":12,"nextId":"` + events.Token(15) + `","reason":"the reader was too slow","timestamp":"2026-01-02T03:04:05.678Z"}` + "\r\n\r\n"
		if !strings.Contains(got, want) {
			t.Errorf("no gap\n%s\nin\n%s", want, got)
		}
		if n := strings.Count(got, "app_terminated_event\r\n"); n != 1+8 {
			t.Errorf("%d events, want the first and the 8 remembered ones:\n%s", n, got)
		}
		leave()
		<-done
	})
}

// TestEventBodies holds the keys of every event type against Marathon's.
func TestEventBodies(t *testing.T) {
	task := &spec.Task{
		ID: "a.instance-1._app.1", Instance: "a.instance-1", Seat: spec.SeatID{App: "/a"}, AppVersion: apitest.Start, State: "TASK_RUNNING",
		Host: "host-1", AgentID: "agent-1",
	}
	d := &spec.Deployment{ID: "d1", Version: apitest.Start, Steps: []spec.Step{{Actions: []spec.Action{{Kind: spec.StopApplication, App: "/a"}}}}}
	check := spec.HealthCheck{Protocol: "TCP", IPProtocol: "IPv4"}
	app := &spec.App{ID: "/a", Version: apitest.Start}
	now := apitest.Start
	for _, c := range []struct {
		event api.Event
		keys  string
	}{
		{api.APIPost(app, "1.2.3.4", "/v2/apps", now), "appDefinition clientIp uri"},
		{api.StatusUpdate(task, now), "appId host ipAddresses message ports slaveId taskId taskStatus version"},
		{api.InstanceChanged(task, "Running", now), "agentId condition host instanceId runSpecId runSpecVersion"},
		{api.InstanceHealthChanged(task, true, now), "healthy instanceId runSpecId runSpecVersion"},
		{api.HealthStatusChanged(task, true, now), "alive appId instanceId taskId version"},
		{api.FailedHealthCheck(task, check, now), "appId healthCheck taskId"},
		{api.AddHealthCheck(app, check, now), "appId healthCheck version"},
		{api.RemoveHealthCheck("/a", now), "appId"},
		{api.UnhealthyInstanceKill(task, "why", now), "appId host instanceId reason slaveId taskId version"},
		{api.AppTerminated("/a", now), "appId"},
		{api.GroupChangeSuccess("/", now, now), "groupId version"},
		{api.GroupChangeFailed("/", now, "why", now), "groupId reason version"},
		{api.DeploymentInfo(d, 0, now), "currentStep plan"},
		{api.DeploymentStepSuccess(d, 0, now), "currentStep plan"},
		{api.DeploymentStepFailure(d, 7, now), "currentStep plan"},
		{api.DeploymentSuccess(d, now), "id plan"},
		{api.DeploymentFailed(d, "why", now), "id plan reason"},
		{api.SchedulerRegistered("f", "m", now), "frameworkId master"},
		{api.SchedulerReregistered("m", now), "master"},
		{api.SchedulerDisconnected(now), ""},
	} {
		t.Run(c.event.Type, func(t *testing.T) {
			got := eventBody(t, c.event)
			if got["eventType"] != c.event.Type || got["timestamp"] != "2026-01-02T03:04:05.678Z" {
				t.Errorf("type %v at %v", got["eventType"], got["timestamp"])
			}
			delete(got, "eventType")
			delete(got, "timestamp")
			for _, key := range strings.Fields(c.keys) {
				if _, ok := got[key]; !ok {
					t.Errorf("key %q is missing", key)
				}
				delete(got, key)
			}
			if len(got) > 0 {
				t.Errorf("unexpected keys: %v", got)
			}
			if h, ok := c.event.Fields["healthCheck"]; ok && h == nil {
				t.Error("no health check")
			}
		})
	}
}

// eventBody reads one event back from a stream.
func eventBody(t *testing.T, e api.Event) map[string]any {
	t.Helper()
	var body map[string]any
	synctest.Test(t, func(t *testing.T) {
		s, events := streamServer(t, 0)
		ctx, leave := context.WithCancel(t.Context())
		out := &stream{}
		done := attach(ctx, s, out, "/v2/events?event_type="+e.Type)
		synctest.Wait()
		events.Publish(e)
		synctest.Wait()
		_, data, _ := strings.Cut(out.take(), "data: ")
		if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &body); err != nil {
			t.Errorf("%s: %v", data, err)
		}
		leave()
		<-done
	})
	return body
}
