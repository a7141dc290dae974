package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// The golden calls in testdata/mesos are what a master gets, in the JSON form of Mesos's documentation ("Scheduler HTTP API");
// on the wire they are protobuf. NAME.app.json is the definition, NAME.json the ACCEPT that launches it.
const callsDir = "testdata/mesos"

// recorder is a master that takes down calls. SUBSCRIBE is answered with one offer, of which a part is reserved for a role.
type recorder struct{ calls chan []byte }

const offered = `{"type":"OFFERS","offers":{"offers":[{"id":{"value":"O1"},"framework_id":{"value":"F1"},"agent_id":{"value":"S1"},"hostname":"node1.example.com",` +
	`"allocation_info":{"role":"web"},"resources":[` +
	`{"name":"cpus","type":"SCALAR","scalar":{"value":8},"role":"*","allocation_info":{"role":"web"}},` +
	`{"name":"cpus","type":"SCALAR","scalar":{"value":0.2},"role":"web","allocation_info":{"role":"web"}},` +
	`{"name":"mem","type":"SCALAR","scalar":{"value":16384},"role":"*","allocation_info":{"role":"web"}},` +
	`{"name":"mem","type":"SCALAR","scalar":{"value":64},"role":"web","allocation_info":{"role":"web"}},` +
	`{"name":"disk","type":"SCALAR","scalar":{"value":100000},"role":"*","allocation_info":{"role":"web"}},` +
	`{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":32000}]},"role":"*","allocation_info":{"role":"web"}}]}]}}`

const subscribed = `{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F1"},"heartbeat_interval_seconds":15}}`

// RoundTrip implements http.RoundTripper.
func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.calls <- body
	if !bytes.Contains(body, []byte(`"SUBSCRIBE"`)) {
		return &http.Response{StatusCode: http.StatusAccepted, Body: http.NoBody, Request: req}, nil
	}
	stream, w := io.Pipe() // open until the client goes
	go func() {
		_, _ = fmt.Fprintf(w, "%d\n%s%d\n%s", len(subscribed), subscribed, len(offered), offered)
		<-req.Context().Done()
		_ = w.CloseWithError(req.Context().Err())
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Mesos-Stream-Id": {"s"}}, Body: stream, Request: req}, nil
}

// subscribedClient is a client that has been subscribed and offered to.
func subscribedClient(t *testing.T, id string) (*mesos.Client, recorder) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	r := recorder{make(chan []byte, 1)}
	c, err := mesos.New(mesos.Options{
		Masters: []string{"m1:5050"}, JSON: true, Transport: r, Log: log, Principal: "berth", Secret: "not in a call",
		Framework: mesos.Framework{ID: id, Name: "berth", Roles: []string{"web", "*"}, Hostname: "berth.example.com", WebURL: "http://berth.example.com:8080"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan mesos.Event, 2), make(chan error, 1)
	go func() { done <- c.Run(ctx, events) }()
	t.Cleanup(func() { cancel(); <-done })
	<-events
	<-events
	return c, r
}

// said is a call without its nulls, which is how empty lists are written here; protobuf has no such thing.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if v[k] = said(x); x == nil {
				delete(v, k)
			}
		}
	case []any:
		for i := range v {
			v[i] = said(v[i])
		}
	}
	return v
}

// golden compares a call with its file.
func golden(t *testing.T, name string, call []byte) {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(call, &v); err != nil {
		t.Fatalf("%v in %s", err, call)
	}
	text := &bytes.Buffer{}
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(said(v)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(callsDir, name+".json")
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("%s: (-want +got; -update rewrites)\n%s", file, diff)
	}
}

func TestMesosCalls(t *testing.T) {
	ctx := t.Context()
	_, r := subscribedClient(t, "")
	golden(t, "SUBSCRIBE", <-r.calls)
	c, r := subscribedClient(t, "F1")
	golden(t, "SUBSCRIBE-again", <-r.calls)
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"DECLINE", func() error { return c.Decline(ctx, []string{"O1", "O2"}, time.Hour) }},
		{"KILL", func() error { return c.Kill(ctx, "demo_web.instance-1._app.1", "S1", 3*time.Second) }},
		{"ACKNOWLEDGE", func() error {
			return c.Acknowledge(ctx, spec.TaskStatus{TaskID: "demo_web.instance-1._app.1", AgentID: "S1", State: "TASK_RUNNING", UUID: []byte("0123456789abcdef")})
		}},
		{"RECONCILE", func() error {
			return c.Reconcile(ctx, []mesos.TaskRef{{TaskID: "demo_web.instance-1._app.1", AgentID: "S1"}})
		}},
		{"RECONCILE-implicit", func() error { return c.Reconcile(ctx, nil) }},
		{"SUPPRESS", func() error { return c.Suppress(ctx) }},
		{"REVIVE", func() error { return c.Revive(ctx) }},
		{"TEARDOWN", func() error { return c.Teardown(ctx) }},
	} {
		if err := call.do(); err != nil {
			t.Fatalf("%s: %v", call.name, err)
		}
		golden(t, call.name, <-r.calls)
	}
}

// TestMesosLaunches takes each definition the whole way: decoded, built into a launch, and accepted.
func TestMesosLaunches(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(callsDir, "*.app.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".app.json")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			app, err := marathon.DecodeApp(text, marathon.Options{DefaultNetworkName: "berth", Roles: []string{"*", "web"}, Features: map[string]bool{marathon.FeaturePullConfig: true}})
			if err != nil {
				t.Fatal(err)
			}
			app.Version = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
			var taken []int
			for i := range launch.HostPorts(app) {
				taken = append(taken, 31000+i)
			}
			c, r := subscribedClient(t, "F1")
			<-r.calls
			l := launchOf(app, taken)
			if err := c.Accept(t.Context(), []string{"O1"}, []spec.Launch{l}, 0); err != nil {
				t.Fatal(err)
			}
			golden(t, name, <-r.calls)
		})
	}
}

// launchOf is the app's first seat on the offered host.
func launchOf(app *spec.App, taken []int) spec.Launch {
	seat := spec.Seat{ID: spec.SeatID{App: app.ID}, Hostname: "web-0"}
	task := &spec.Task{ID: "demo_app.instance-11111111-2222-3333-4444-555555555555._app.1", Seat: seat.ID, Pool: "berth", Address: netip.MustParseAddr("10.88.0.2")}
	if launch.HostNetwork(app) {
		task.Pool, task.Address = "", netip.Addr{}
	}
	offer := spec.Offer{ID: "O1", AgentID: "S1", Host: "node1.example.com"}
	ids := 0
	task.Volumes = launch.SeatVolumes(app, seat, offer.Host, func() string { ids++; return fmt.Sprint("volume-", ids) })
	return within(app.AcceptedResourceRoles, launch.Build(app, seat, task, offer, taken, launch.Options{
		BaseImage: spec.BaseImage, SeatsDir: "/var/lib/berth/seats", VolumesDir: "/var/lib/berth/volumes", PullConfigDir: "/etc/berth/pull",
		KillGrace: 10 * time.Second, NativeChecks: true,
	}))
}
