package scheduler_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	marathon "github.com/gambol99/go-marathon"

	"github.com/berth-project/berth/scheduler"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	decode "github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// patience bounds every wait of these tests; on a quiet machine each is over in a fraction of a second.
const patience = 30 * time.Second

// desk is a whole scheduler with its API over simulated hosts, and go-marathon as its client. The scheduler can be started
// again in the middle: its socket stays open, as a load balancer's would.
type desk struct {
	t      *testing.T
	world  *enginetest.World
	store  *store.Memory
	door   net.Listener
	conns  chan net.Conn
	stop   func()
	client marathon.Marathon
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, store: store.NewMemory(), door: door, conns: make(chan net.Conn)}
	d.world = enginetest.New(enginetest.Options{Hosts: 3, CPUs: 8, Mem: 8192, Pools: []string{"p"}, StartTime: 10 * time.Millisecond})
	gone := make(chan struct{})
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			select {
			case d.conns <- c:
			case <-gone:
				_ = c.Close()
			}
		}
	}()
	d.start()
	t.Cleanup(func() { close(gone); _ = door.Close(); d.stop() })
	return d
}

// connect makes a client of its own: one that met a server's end holds it for down for some seconds.
func (d *desk) connect() marathon.Marathon {
	d.t.Helper()
	config := marathon.NewDefaultConfig()
	config.URL, config.PollingWaitTime, config.EventsTransport = "http://"+d.door.Addr().String(), 5*time.Millisecond, marathon.EventsTransportSSE
	client, err := marathon.NewClient(config)
	if err != nil {
		d.t.Fatal(err)
	}
	return client
}

// start starts a scheduler from the store, as after a crash.
func (d *desk) start() {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	state, err := d.store.Load(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	events := api.NewLog(0)
	s, err := scheduler.New(scheduler.Options{
		Store: d.store, State: state, Engine: d.world, Events: events, Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/24")}},
		Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	server, err := api.New(api.Options{
		Backend: s, Events: events, Marathon: decode.Options{DefaultNetworkName: "p"}, Info: api.Info{Leader: d.door.Addr().String(), Hostname: "here"},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan error, 3)
	go func() { ended <- s.Run(ctx) }()
	go func() { d.world.Agents(ctx, s); ended <- nil }()
	l := &hallway{desk: d, closed: make(chan struct{})}
	go func() { ended <- server.Serve(ctx, []api.Listener{{Listener: l}}) }()
	d.client = d.connect()
	d.stop = func() {
		cancel()
		for range 3 {
			if err := <-ended; err != nil {
				d.t.Error(err)
			}
		}
	}
}

// hallway hands the door's connections to one server.
type hallway struct {
	desk   *desk
	closed chan struct{}
}

func (h *hallway) Accept() (net.Conn, error) {
	select {
	case c := <-h.desk.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *hallway) Close() error   { close(h.closed); return nil }
func (h *hallway) Addr() net.Addr { return h.desk.door.Addr() }

// must ends the test when a call failed.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused ends the test unless the call failed for the reason.
func refused(t *testing.T, err error, code int) {
	t.Helper()
	var e *marathon.APIError
	if !errors.As(err, &e) || e.ErrCode != code {
		t.Fatalf("got %v, want an error of kind %d", err, code)
	}
}

// app is one that runs at once.
func app(id string, instances int) *marathon.Application {
	a := marathon.NewDockerApplication().Name(id).CPU(0.1).Memory(32).Count(instances)
	a.Container.Docker.Container("web:1").Bridged().Expose(80)
	return a.AddHealthCheck(*marathon.NewDefaultHealthCheck().SetPath("/").SetPortIndex(0))
}

// run creates an app and waits until it runs.
func (d *desk) run(t *testing.T, id string, instances int) *marathon.Application {
	t.Helper()
	created := must[*marathon.Application](t)(d.client.CreateApplication(app(id, instances)))
	d.settled(t, created.DeploymentIDs()[0])
	return must[*marathon.Application](t)(d.client.Application(id))
}

// waiting creates an app that no host has room for.
func (d *desk) waiting(t *testing.T, id string) *marathon.Application {
	t.Helper()
	return must[*marathon.Application](t)(d.client.CreateApplication(app(id, 1).CPU(1000)))
}

func (d *desk) settled(t *testing.T, id *marathon.DeploymentID) {
	t.Helper()
	check(t, d.client.WaitOnDeployment(id.DeploymentID, patience))
}

// calls are the tests, each named after the method of the client that it is about.
func calls() map[string]func(t *testing.T, d *desk) {
	all := map[string]func(t *testing.T, d *desk){}
	for _, part := range []map[string]func(t *testing.T, d *desk){appCalls(), taskCalls(), groupCalls(), otherCalls()} {
		for name, f := range part {
			all[name] = f
		}
	}
	return all
}

// TestGoMarathon calls every method of go-marathon's client; those of pods have tests beside the API.
func TestGoMarathon(t *testing.T) {
	d := newDesk(t)
	tests := calls()
	client := reflect.TypeFor[marathon.Marathon]()
	for i := range client.NumMethod() {
		name := client.Method(i).Name
		if strings.Contains(name, "Pod") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if tests[name] == nil {
				t.Fatal("no test")
			}
			tests[name](t, d)
		})
	}
}

func appCalls() map[string]func(t *testing.T, d *desk) {
	return map[string]func(t *testing.T, d *desk){
		"CreateApplication": func(t *testing.T, d *desk) {
			created := must[*marathon.Application](t)(d.client.CreateApplication(app("create/a", 1)))
			if created.ID != "/create/a" || created.Version == "" || len(created.Deployments) != 1 {
				t.Errorf("created %+v", created)
			}
			d.settled(t, created.DeploymentIDs()[0])
			_, err := d.client.CreateApplication(app("create/a", 1))
			refused(t, err, marathon.ErrCodeDuplicateID)
			_, err = d.client.CreateApplication(app("create/b", 1).CPU(-1))
			refused(t, err, marathon.ErrCodeInvalidBean)
		},
		"Application": func(t *testing.T, d *desk) {
			got := d.run(t, "/get/a", 2)
			if got.TasksRunning != 2 || got.TasksHealthy != 2 || len(got.Tasks) != 2 || !got.AllTaskRunning() || got.VersionInfo == nil {
				t.Errorf("got %+v", got)
			}
			_, err := d.client.Application("/get/missing")
			refused(t, err, marathon.ErrCodeNotFound)
		},
		"ApplicationBy": func(t *testing.T, d *desk) {
			d.run(t, "/by/a", 1)
			got := must[*marathon.Application](t)(d.client.ApplicationBy("/by/a", &marathon.GetAppOpts{Embed: []string{"app.taskStats"}}))
			if n := got.TaskStats["totalSummary"].Stats.Counts["running"]; n != 1 {
				t.Errorf("statistics count %d", n)
			}
		},
		"Applications": func(t *testing.T, d *desk) {
			d.run(t, "/list/a", 1)
			got := must[*marathon.Applications](t)(d.client.Applications(url.Values{"id": {"list/"}}))
			if len(got.Apps) != 1 || got.Apps[0].TasksRunning != 1 {
				t.Errorf("got %+v", got)
			}
		},
		"ListApplications": func(t *testing.T, d *desk) {
			d.run(t, "/names/a", 1)
			if got := must[[]string](t)(d.client.ListApplications(url.Values{"id": {"names/"}})); !slices.Equal(got, []string{"/names/a"}) {
				t.Errorf("got %v", got)
			}
		},
		"ApplicationOK": func(t *testing.T, d *desk) {
			d.run(t, "/ok/a", 1)
			if !must[bool](t)(d.client.ApplicationOK("/ok/a")) {
				t.Error("not OK")
			}
			d.waiting(t, "/ok/b")
			if must[bool](t)(d.client.ApplicationOK("/ok/b")) {
				t.Error("OK without a task")
			}
		},
		"WaitOnApplication": func(t *testing.T, d *desk) {
			must[*marathon.Application](t)(d.client.CreateApplication(app("/wait/a", 2)))
			check(t, d.client.WaitOnApplication("/wait/a", patience))
			if got := must[*marathon.Application](t)(d.client.Application("/wait/a")); got.TasksRunning != 2 {
				t.Errorf("%d run", got.TasksRunning)
			}
		},
		"ApplicationVersions":   versions,
		"ApplicationByVersion":  versions,
		"HasApplicationVersion": versions,
		"SetApplicationVersion": versions,
		"ApplicationDeployments": func(t *testing.T, d *desk) {
			created := d.waiting(t, "/plans/a")
			got := must[[]*marathon.DeploymentID](t)(d.client.ApplicationDeployments("/plans/a"))
			if len(got) != 1 || got[0].DeploymentID != created.DeploymentIDs()[0].DeploymentID {
				t.Errorf("got %v", got)
			}
		},
		"UpdateApplication": func(t *testing.T, d *desk) {
			before := d.run(t, "/update/a", 1)
			change := &marathon.Application{ID: "/update/a", Env: &map[string]string{"A": "1"}}
			d.settled(t, must[*marathon.DeploymentID](t)(d.client.UpdateApplication(change, false)))
			got := must[*marathon.Application](t)(d.client.Application("/update/a"))
			if (*got.Env)["A"] != "1" || got.TasksRunning != 1 || got.Tasks[0].ID == before.Tasks[0].ID || len(*got.HealthChecks) != 1 {
				t.Errorf("got %+v", got)
			}
			d.waiting(t, "/update/b")
			_, err := d.client.UpdateApplication(app("/update/b", 2), false)
			refused(t, err, marathon.ErrCodeAppLocked)
			_, err = d.client.UpdateApplication(&marathon.Application{ID: "/update/a", CPUs: -1}, false)
			refused(t, err, marathon.ErrCodeInvalidBean)
		},
		"ScaleApplicationInstances": func(t *testing.T, d *desk) {
			d.run(t, "/scale/a", 1)
			for _, n := range []int{3, 0, 2} {
				d.settled(t, must[*marathon.DeploymentID](t)(d.client.ScaleApplicationInstances("/scale/a", n, false)))
				if got := must[*marathon.Application](t)(d.client.Application("/scale/a")); got.TasksRunning != n {
					t.Errorf("%d run, want %d", got.TasksRunning, n)
				}
			}
		},
		"RestartApplication": func(t *testing.T, d *desk) {
			before := d.run(t, "/restart/a", 1)
			d.settled(t, must[*marathon.DeploymentID](t)(d.client.RestartApplication("/restart/a", false)))
			got := must[*marathon.Application](t)(d.client.Application("/restart/a"))
			if got.TasksRunning != 1 || got.Tasks[0].ID == before.Tasks[0].ID || got.Version == before.Version {
				t.Errorf("got %+v", got)
			}
			_, err := d.client.RestartApplication("/restart/missing", false)
			refused(t, err, marathon.ErrCodeNotFound)
		},
		"DeleteApplication": func(t *testing.T, d *desk) {
			d.run(t, "/delete/a", 1)
			d.settled(t, must[*marathon.DeploymentID](t)(d.client.DeleteApplication("/delete/a", false)))
			_, err := d.client.Application("/delete/a")
			refused(t, err, marathon.ErrCodeNotFound)
			_, err = d.client.DeleteApplication("/delete/a", false)
			refused(t, err, marathon.ErrCodeNotFound)
		},
	}
}

// versions goes back to an older definition.
func versions(t *testing.T, d *desk) {
	id := "/older/" + strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
	first := d.run(t, id, 1)
	d.settled(t, must[*marathon.DeploymentID](t)(d.client.ScaleApplicationInstances(id, 2, false)))
	list := must[*marathon.ApplicationVersions](t)(d.client.ApplicationVersions(id))
	if len(list.Versions) != 2 || list.Versions[1] != first.Version {
		t.Fatalf("versions %v, the first is %s", list.Versions, first.Version)
	}
	if !must[bool](t)(d.client.HasApplicationVersion(id, first.Version)) || must[bool](t)(d.client.HasApplicationVersion(id, "2001-01-01T00:00:00.000Z")) {
		t.Error("which versions there are is wrong")
	}
	if old := must[*marathon.Application](t)(d.client.ApplicationByVersion(id, first.Version)); *old.Instances != 1 || old.Version != first.Version {
		t.Errorf("old: %+v", old)
	}
	d.settled(t, must[*marathon.DeploymentID](t)(d.client.SetApplicationVersion(id, &marathon.ApplicationVersion{Version: first.Version})))
	if now := must[*marathon.Application](t)(d.client.Application(id)); *now.Instances != 1 || now.TasksRunning != 1 {
		t.Errorf("after going back: %+v", now)
	}
}
