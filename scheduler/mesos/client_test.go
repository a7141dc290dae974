package mesos_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
	"github.com/berth-project/berth/spec"
)

func silentLog() *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// running is a client with its Run in the background.
type running struct {
	*mesos.Client
	t      testing.TB
	events chan mesos.Event
	stop   context.CancelFunc
	done   chan error
}

func start(t testing.TB, opts mesos.Options) *running {
	t.Helper()
	opts.Log = silentLog()
	c, err := mesos.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Client: c, t: t, events: make(chan mesos.Event), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx, r.events) }()
	return r
}

// end stops Run and waits for it.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; !errors.Is(err, context.Canceled) {
		r.t.Errorf("Run ended with %v", err)
	}
}

// next is the next event, which must be an E.
func next[E mesos.Event](r *running) E {
	r.t.Helper()
	select {
	case e := <-r.events:
		got, ok := e.(E)
		if !ok {
			r.t.Fatalf("got %T %+v, want %T", e, e, *new(E))
		}
		return got
	case err := <-r.done:
		r.t.Fatalf("Run ended with %v", err)
	case <-r.t.Context().Done():
		r.t.Fatal("no event")
	}
	panic("unreachable")
}

var host1 = spec.Offer{
	AgentID: "agent-1", Host: "h1", CPUs: 4, Mem: 4096, Disk: 1000, Ports: []spec.PortRange{{Begin: 31000, End: 31999}},
	Attributes: map[string]string{"rack": "r1"}, Region: "eu", Zone: "eu-1",
}

func fullLaunch(offer spec.Offer) spec.Launch {
	return spec.Launch{
		TaskID: "web.instance-1._app.1", Name: "web", AgentID: offer.AgentID, OfferID: offer.ID,
		CPUs: 0.5, Mem: 64, Disk: 10, HostPorts: []spec.PortRange{{Begin: 31005, End: 31006}},
		Image: "a/b:1", ForcePull: true, Privileged: true, Args: []string{"a", "b c"}, Env: map[string]string{"A": "1", "B": ""},
		Network: "pool", Parameters: []spec.Parameter{{Key: "ip", Value: "10.9.0.2"}, {Key: "label", Value: "x=y"}, {Key: "label", Value: "z=w"}},
		Volumes:      []spec.LaunchVolume{{HostPath: "/a", ContainerPath: "/b", ReadOnly: true}, {HostPath: "/c", ContainerPath: "/d"}},
		PortMappings: []spec.LaunchPort{{Container: 80, Host: 31005, Protocol: "tcp"}},
		Fetch:        []spec.Fetch{{URI: "http://x/y.tgz", Extract: true, DestPath: "z"}},
		KillGrace:    7 * time.Second, Labels: map[string]string{"k": "v"},
	}
}

// TestTheWayOfOneTask goes over a real socket, in both forms of the API.
func TestTheWayOfOneTask(t *testing.T) {
	for name, json := range map[string]bool{"protobuf": false, "json": true} {
		t.Run(name, func(t *testing.T) {
			m := mesostest.New(mesostest.Options{AutoRun: true})
			t.Cleanup(m.Close)
			m.AddAgent(host1)
			ctx := t.Context()
			r := start(t, mesos.Options{Masters: []string{m.Start()}, JSON: json, Principal: "berth", Secret: "s", Framework: mesos.Framework{Roles: []string{"*"}}})
			defer r.end()

			sub := next[mesos.Subscribed](r)
			if sub.FrameworkID == "" || sub.Version != "1.12.0" || sub.Heartbeat != 15*time.Second || r.FrameworkID() != sub.FrameworkID {
				t.Errorf("got %+v", sub)
			}
			offers := next[mesos.Offers](r).Offers
			want := host1
			want.ID, want.Role = offers[0].ID, "*"
			if diff := cmp.Diff([]spec.Offer{want}, offers); diff != "" {
				t.Fatal(diff)
			}
			launch := fullLaunch(offers[0])
			check(t, r.Accept(ctx, []string{want.ID}, []spec.Launch{launch}, time.Hour))
			for _, state := range []string{"TASK_STARTING", "TASK_RUNNING"} {
				s := next[mesos.Update](r).Status
				if s.State != state || s.TaskID != launch.TaskID || s.AgentID != "agent-1" || s.Reason != "" || s.ContainerID == "" || len(s.UUID) != 16 {
					t.Fatalf("want %s, got %+v", state, s)
				}
				if state == "TASK_RUNNING" && s.Addresses[0] != "10.9.0.2" {
					t.Errorf("got addresses %v", s.Addresses)
				}
				check(t, r.Acknowledge(ctx, s))
			}
			check(t, r.Reconcile(ctx, []mesos.TaskRef{{TaskID: launch.TaskID, AgentID: "agent-1"}, {TaskID: "ghost", AgentID: "agent-1"}}))
			if s := next[mesos.Update](r).Status; s.State != "TASK_RUNNING" || s.UUID != nil || s.Reason != "REASON_RECONCILIATION" {
				t.Errorf("got %+v", s)
			}
			if s := next[mesos.Update](r).Status; s.State != "TASK_GONE" {
				t.Errorf("got %+v", s)
			}
			check(t, r.Kill(ctx, launch.TaskID, "agent-1", 3*time.Second))
			killed := next[mesos.Update](r).Status
			if killed.State != "TASK_KILLED" || !spec.TerminalState(killed.State) {
				t.Errorf("got %+v", killed)
			}
			check(t, r.Acknowledge(ctx, killed))
			check(t, r.Acknowledge(ctx, spec.TaskStatus{TaskID: "no uuid: nothing is sent"}))
			check(t, r.Suppress(ctx))
			check(t, r.Revive(ctx))
			again := next[mesos.Offers](r).Offers[0]
			check(t, r.Decline(ctx, []string{again.ID}, time.Minute))
			check(t, r.Accept(ctx, []string{again.ID}, nil, time.Minute))
			check(t, r.Decline(ctx, nil, 0))

			checkCalls(t, m.Calls(), launch, sub.FrameworkID)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkCalls(t *testing.T, calls []mesostest.Call, launch spec.Launch, frameworkID string) {
	t.Helper()
	var types []string
	for i, c := range calls {
		types = append(types, c.Type)
		if c.User != "berth" || (i > 0) != (c.StreamID != "") || (i > 0 && c.FrameworkID != frameworkID) {
			t.Errorf("call %d: user %q, stream %q, framework %q", i, c.User, c.StreamID, c.FrameworkID)
		}
		switch c.Type {
		case "SUBSCRIBE":
			want := &mesostest.Subscribe{
				Name: "berth", User: "root", Principal: "berth", Roles: []string{"*"}, Capabilities: []string{"PARTITION_AWARE", "MULTI_ROLE"},
				Checkpoint: true, FailoverTimeout: 7 * 24 * time.Hour,
			}
			if diff := cmp.Diff(want, c.Subscribe); diff != "" {
				t.Error(diff)
			}
		case "ACCEPT":
			if diff := cmp.Diff([]spec.Launch{launch}, c.Launches); diff != "" || c.Refuse != time.Hour {
				t.Errorf("refused for %s; %s", c.Refuse, diff)
			}
		case "KILL":
			if c.Grace != 3*time.Second || c.AgentID != "agent-1" {
				t.Errorf("got %+v", c)
			}
		}
	}
	want := "SUBSCRIBE ACCEPT ACKNOWLEDGE ACKNOWLEDGE RECONCILE KILL ACKNOWLEDGE SUPPRESS REVIVE DECLINE DECLINE"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := mesos.New(mesos.Options{
		Masters: []string{"zk://a:1/mesos", "http://user:secret@b:1"}, Framework: mesos.Framework{FailoverTimeout: -1},
		MinBackoff: time.Hour, CallTimeout: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"zk://", "give the principal", "no logger", "failover timeout", "is no range", "must not be negative"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "secret@") {
		t.Errorf("the secret is in: %v", err)
	}
	if _, err := mesos.New(mesos.Options{Log: silentLog()}); err == nil {
		t.Error("no masters, and no error")
	}
}

// hang is a transport whose calls of one kind get no answer until their context ends.
type hang struct {
	http.RoundTripper
	when    func(*http.Request) bool
	waiting chan struct{}
}

func (h hang) RoundTrip(r *http.Request) (*http.Response, error) {
	if !h.when(r) {
		return h.RoundTripper.RoundTrip(r)
	}
	h.waiting <- struct{}{}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func isCall(r *http.Request) bool { return r.Header.Get("Mesos-Stream-Id") != "" }

// TestCallsDoNotHoldTheSessionsEnd: a master that answers no call, and so many calls that no more fit onto the connection, do not
// keep the client from seeing that its stream has ended.
func TestCallsDoNotHoldTheSessionsEnd(t *testing.T) {
	m := mesostest.New(mesostest.Options{})
	defer m.Close()
	called, release := make(chan struct{}, 1), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isCall(r) {
			select {
			case called <- struct{}{}:
			default:
			}
			<-release
			return
		}
		m.ServeHTTP(w, r)
	}))
	defer s.Close()
	defer close(release)
	r := start(t, mesos.Options{Masters: []string{s.URL}, CallTimeout: time.Minute})
	defer r.end()
	next[mesos.Subscribed](r)
	var calls sync.WaitGroup
	defer calls.Wait()
	for range 1000 {
		calls.Go(func() {
			if err := r.Kill(t.Context(), "t", "a", 0); err == nil {
				t.Error("a call was answered")
			}
		})
	}
	<-called
	m.DropStream()
	began := time.Now()
	next[mesos.Disconnected](r)
	if took := time.Since(began); took > 20*time.Second { // a minute is what a call has
		t.Errorf("took %s", took)
	}
}
