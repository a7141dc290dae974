package registrator

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator/consultest"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// world is one host with its Consul agent. Its fields change between publish calls.
type world struct {
	t         *testing.T
	host      string
	owner     string
	consul    *consultest.Agent
	state     watch.Value[spec.HostState]
	inventory watch.Value[docker.Snapshot]
	seats     []spec.HostSeat
	health    map[string][]spec.CheckHealth
	running   map[string]bool
	r         *Registrator
	log       bytes.Buffer // read it when the registrator has stopped
	stop      context.CancelFunc
}

var httpProbe = spec.Probe{Protocol: "HTTP", Path: "/ping", Port: 80, Interval: 5 * time.Second, Timeout: 2 * time.Second}

func seat(n int, probe spec.Probe) spec.HostSeat {
	id := spec.SeatID{App: "/prod/web", Index: n}
	return spec.HostSeat{
		Seat: id, TaskID: "task-" + id.Safe(), Instance: "inst", Pool: "pool", AppVersion: "v1",
		Address: netip.AddrFrom4([4]byte{10, 9, 0, byte(10 + n)}), Probes: []spec.Probe{probe},
		Services: []spec.Service{{Name: "prod-web", Port: 80, Tags: []string{"b", "a"}, Meta: map[string]string{"team": "x"}, Check: &probe}},
	}
}

func service(n int) string {
	return "berth:h1:" + spec.SeatID{App: "/prod/web", Index: n}.Safe() + ":80"
}

func newWorld(t *testing.T, seats ...spec.HostSeat) *world {
	w := &world{t: t, host: "h1", owner: "o1", consul: consultest.New(), seats: seats, health: map[string][]spec.CheckHealth{}, running: map[string]bool{}}
	for _, s := range seats {
		w.running[s.TaskID] = true
		w.alive(s.TaskID, true)
	}
	return w
}

func (w *world) alive(task string, alive bool) {
	w.health[task] = []spec.CheckHealth{{Alive: alive, Known: true}}
}

func (w *world) publish() {
	health := map[string][]spec.CheckHealth{}
	for k, v := range w.health {
		health[k] = v
	}
	w.state.Set(spec.HostState{Document: spec.HostDocument{Version: 1, Host: w.host, Seats: append([]spec.HostSeat(nil), w.seats...)}, Health: health})
	var snapshot docker.Snapshot
	snapshot.Connected = true
	for task, running := range w.running {
		snapshot.Containers = append(snapshot.Containers, docker.Container{ID: task, Running: running, Labels: map[string]string{spec.LabelTask: task}})
	}
	w.inventory.Set(snapshot)
	synctest.Wait()
}

func (w *world) start() {
	w.t.Helper()
	log := logrus.New()
	log.SetOutput(&w.log)
	r, err := New(Options{Host: w.host, Owner: w.owner, State: &w.state, Inventory: &w.inventory, Log: log, HTTPClient: w.consul.Client()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	w.r = r
	w.stop = func() {
		stop()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		synctest.Wait()
	}
	synctest.Wait()
}

func (w *world) want(ids ...string) {
	w.t.Helper()
	synctest.Wait()
	if d := cmp.Diff(append([]string(nil), ids...), w.consul.IDs()); d != "" {
		w.t.Errorf("services (-want +got):\n%s", d)
	}
}

func (w *world) drained(task string) bool {
	got, _ := w.r.Drained().Get()
	_, done := got[task]
	return done
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRegistersOnceProbesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.alive("task-prod_web.0", false)
		w.start()
		defer func() { w.stop() }()
		w.publish()
		w.want()
		w.alive("task-prod_web.0", true)
		w.publish()
		w.want(service(0))

		got := w.consul.Services()[service(0)]
		want := api.AgentService{
			ID: service(0), Service: "prod-web", Tags: []string{"a", "b"}, Address: "10.9.0.10", Port: 80, Weights: api.AgentWeights{Passing: 1, Warning: 1},
			Meta: map[string]string{
				"berth-owner": "o1", "berth-app": "/prod/web", "berth-seat": "0", "berth-instance": "inst",
				"berth-task": "task-prod_web.0", "berth-version": "v1", "berth-check": got.Meta[services.MetaCheck], "team": "x",
			},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("service (-want +got):\n%s", d)
		}
		if c := w.consul.Check("service:" + service(0)); c.Status != "passing" || c.Definition.HTTP != "http://10.9.0.10:80/ping" {
			t.Errorf("check %+v", c)
		}

		w.alive("task-prod_web.0", false)
		w.publish()
		w.want(service(0)) // an unhealthy instance stays: Consul's own check shows it

		w.running["task-prod_web.0"] = false
		w.publish()
		w.want()
	})
}

func TestResyncWritesOnlyDifferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe), seat(1, spec.Probe{Protocol: "COMMAND", Command: "true"}))
		w.start()
		defer func() { w.stop() }()
		w.publish()
		w.want(service(0), service(1))
		index := w.consul.Index()
		pass(10 * time.Minute)
		// The TTL check's first refresh brings its text; later ones change nothing.
		if got := w.consul.Index(); got > index+1 {
			t.Errorf("the index went from %d to %d without a change: %v", index, got, w.consul.Writes())
		}
		index = w.consul.Index()
		pass(10 * time.Minute)
		if got := w.consul.Index(); got != index {
			t.Errorf("the index went from %d to %d without a change", index, got)
		}

		writes := len(w.consul.Writes())
		w.seats[0].Services[0].Tags = []string{"c"}
		w.publish()
		if d := cmp.Diff([]string{"register " + service(0)}, w.consul.Writes()[writes:]); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}

		// What others broke is mended.
		w.consul.RemoveCheck("service:" + service(0))
		w.consul.RemoveCheck("service:" + service(1))
		pass(31 * time.Second)
		if w.consul.Check("service:"+service(0)).Status != "passing" || w.consul.Check("service:"+service(1)).Status != "passing" {
			t.Errorf("removed checks did not come back: %v", w.consul.Writes()[writes:])
		}
	})
}

func TestTTLFollowsTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, spec.Probe{Protocol: "COMMAND", Command: "true"}))
		w.start()
		w.publish()
		status := func() string { return w.consul.Check("service:" + service(0)).Status }
		if status() != "passing" {
			t.Errorf("status %q after registration", status())
		}
		w.alive("task-prod_web.0", false)
		w.publish()
		if status() != "critical" {
			t.Errorf("status %q after the probe failed", status())
		}
		// A new Berth without results leaves the check as it is.
		w.stop()
		w.health = map[string][]spec.CheckHealth{}
		w.publish()
		w.start()
		defer func() { w.stop() }()
		pass(time.Minute)
		if status() != "critical" {
			t.Errorf("status %q after a restart", status())
		}
	})
}

func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*consultest.Agent)
		after time.Duration
		gone  bool
	}{
		{"consul answers", func(*consultest.Agent) {}, 0, true},
		{"consul is down", func(a *consultest.Agent) { a.SetDown(true) }, 5 * time.Second, false},
		{"consul hangs", func(a *consultest.Agent) { a.SetHang(true) }, 5 * time.Second, false},
		{"consul refuses", func(a *consultest.Agent) { a.Refuse(service(0), 500) }, 5 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seat(0, httpProbe), seat(1, httpProbe))
				w.alive("task-prod_web.1", false) // never registered
				w.start()
				defer func() { w.stop() }()
				w.publish()
				w.want(service(0))
				c.fault(w.consul)
				w.seats[0].Drain, w.seats[1].Drain = true, true
				w.publish()
				if c.after > 0 {
					if w.drained("task-prod_web.0") {
						t.Error("acknowledged although it is still in Consul")
					}
					pass(c.after)
				}
				if !w.drained("task-prod_web.0") || !w.drained("task-prod_web.1") {
					t.Error("not acknowledged")
				}
				if c.gone {
					w.want()
				}
				w.consul.SetDown(false)
				w.consul.SetHang(false)
				w.consul.Refuse(service(0), 0)
				pass(time.Minute)
				w.want()
				w.seats = nil
				w.publish()
				if w.drained("task-prod_web.0") {
					t.Error("a task that is gone is still acknowledged")
				}
			})
		})
	}
}

// outBeforeDrained lets time go by and fails when a task is acknowledged while Consul has a service of it.
func (w *world) outBeforeDrained(task string, d time.Duration) {
	w.t.Helper()
	for range d / (50 * time.Millisecond) {
		pass(50 * time.Millisecond)
		for id, s := range w.consul.Services() {
			if w.drained(task) && s.Meta[services.MetaTask] == task {
				w.t.Fatalf("%s is acknowledged while %s is in Consul", task, id)
			}
		}
	}
}

// TestDrainAfterUnansweredRegistration: what Consul carried out without telling us is taken out before the acknowledgement.
func TestDrainAfterUnansweredRegistration(t *testing.T) {
	const task = "task-prod_web.0"
	for _, c := range []struct {
		name  string
		late  time.Duration // of the registration
		drain time.Duration // after the registration was sent
	}{
		{"under way", 0, 4500 * time.Millisecond},
		{"carried out after we gave up", 5100 * time.Millisecond, 4500 * time.Millisecond},
		{"given up before", 0, 5100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seat(0, httpProbe))
				w.consul.Mute(service(0), c.late)
				w.start()
				defer func() { w.stop() }()
				w.publish()
				w.consul.Mute(service(0), -1)
				pass(c.drain)
				w.seats[0].Drain = true
				w.publish()
				if c.name != "given up before" && w.drained(task) {
					t.Fatal("acknowledged with a registration under way")
				}
				w.outBeforeDrained(task, 3*time.Second)
				w.want()
				if !w.drained(task) {
					t.Error("not acknowledged although it is out")
				}
			})
		})
	}
}

func TestUnansweredRegistrationHoldsADrainNoLongerThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.consul.Mute(service(0), 0)
		w.start()
		defer func() { w.stop() }()
		w.publish()
		pass(time.Second)
		w.consul.SetHang(true)
		w.seats[0].Drain = true
		w.publish()
		pass(5*time.Second - time.Millisecond)
		if w.drained("task-prod_web.0") {
			t.Error("acknowledged although Consul may have it")
		}
		pass(2 * time.Millisecond)
		if !w.drained("task-prod_web.0") {
			t.Error("not acknowledged after the limit")
		}
	})
}

// TestDrainBesideSuccessor: the next task of the seat has the same service ids, and hides nothing of the draining one.
func TestDrainBesideSuccessor(t *testing.T) {
	const task = "task-prod_web.0"
	for name, fault := range map[string]func(*consultest.Agent){
		"slow":      func(a *consultest.Agent) { a.Delay(service(0), 3*time.Second) },
		"no answer": func(a *consultest.Agent) { a.Mute(service(0), 3*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seat(0, httpProbe))
				fault(w.consul)
				w.start()
				defer func() { w.stop() }()
				w.publish()
				w.consul.Delay(service(0), 0)
				w.consul.Mute(service(0), -1)
				pass(2 * time.Second)
				next := seat(0, httpProbe)
				next.TaskID = "task-next"
				w.seats[0].Drain = true
				w.seats = append(w.seats, next)
				w.running[next.TaskID] = true
				w.alive(next.TaskID, true)
				w.publish()
				if w.drained(task) {
					t.Error("acknowledged with its registration under way")
				}
				w.outBeforeDrained(task, 4500*time.Millisecond)
				if !w.drained(task) || w.consul.Services()[service(0)].Meta[services.MetaTask] != next.TaskID {
					t.Errorf("acknowledged: %v; in Consul: %v", w.drained(task), w.consul.Services())
				}
			})
		})
	}
}

func TestPredecessorsLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.start()
		w.publish()
		w.stop()
		w.consul.Put(api.AgentService{ID: "berth:h1:old.3:80", Service: "old", Meta: map[string]string{services.MetaOwner: "o1"}})
		foreign := []string{"berth:h1:foreign.0:80", "berth:h2:web.0:80", "web"}
		for _, id := range foreign {
			w.consul.Put(api.AgentService{ID: id, Service: "x", Meta: map[string]string{services.MetaOwner: "o2"}})
		}
		index := w.consul.Index()

		w.health = map[string][]spec.CheckHealth{} // nothing probed yet
		w.inventory.Set(docker.Snapshot{})         // nothing listed yet
		w.state.Set(spec.HostState{})
		w.start()
		defer func() { w.stop() }()
		pass(time.Minute)
		if got := w.consul.Index(); got != index {
			t.Errorf("wrote before the state was known: %v", w.consul.Writes())
		}
		w.publish()
		w.want("berth:h1:foreign.0:80", service(0), "berth:h2:web.0:80", "web")
		if got := w.consul.Index(); got != index+1 {
			t.Errorf("%d changes, want the one removal: %v", got-index, w.consul.Writes())
		}
	})
}

func TestForeignServiceWithOurIDIsNotOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.consul.Put(api.AgentService{ID: service(0), Service: "theirs"})
		w.start()
		defer func() { w.stop() }()
		w.publish()
		pass(time.Minute)
		if got := w.consul.Services()[service(0)].Service; got != "theirs" {
			t.Errorf("the service is now %q", got)
		}
	})
}

// TestTwoBerthsOneAgent: two of them on one machine, with one host name, keep out of each other's services.
func TestTwoBerthsOneAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(t, seat(0, httpProbe), seat(1, httpProbe)), newWorld(t)
		b.consul, b.owner = a.consul, "o2"
		for _, w := range []*world{a, b} {
			w.start()
			w.publish()
		}
		a.want(service(0), service(1))

		// Both have /prod/web.1; B listed before A had it.
		a.seats, a.running["task-prod_web.1"] = a.seats[:1], false
		a.publish()
		pass(time.Minute)
		b.seats = []spec.HostSeat{seat(1, httpProbe), seat(2, httpProbe)}
		for _, s := range b.seats {
			b.running[s.TaskID] = true
			b.alive(s.TaskID, true)
		}
		b.publish()
		a.seats, a.running["task-prod_web.1"] = []spec.HostSeat{seat(0, httpProbe), seat(1, httpProbe)}, true
		a.publish()
		for range 10 {
			pass(time.Minute)
			a.want(service(0), service(1), service(2))
		}
		for n, owner := range []string{"o1", "o2", "o2"} {
			if got := a.consul.Services()[service(n)].Meta[services.MetaOwner]; got != owner {
				t.Errorf("service %d belongs to %q, want %q", n, got, owner)
			}
		}

		// Its holder lets go, and the other one has it at its next look.
		b.seats = b.seats[1:]
		b.publish()
		pass(31 * time.Second)
		if got := a.consul.Services()[service(1)].Meta[services.MetaOwner]; got != "o1" {
			t.Errorf("the service that B left belongs to %q", got)
		}
		a.stop()
		b.stop()
		if n := strings.Count(a.log.String(), "Another owner has a service"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, a.log.String())
		}
	})
}

func TestRenamedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.start()
		w.publish()
		w.want(service(0))
		w.stop()
		w.host, w.health = "h2", map[string][]spec.CheckHealth{} // nothing probed yet: what was in stays in
		w.start()
		defer func() { w.stop() }()
		w.publish()
		w.want(strings.Replace(service(0), ":h1:", ":h2:", 1))
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seats []spec.HostSeat
		var all []string
		for n := range 5 {
			seats = append(seats, seat(n, httpProbe))
			all = append(all, service(n))
		}
		w := newWorld(t, seats...)
		w.consul.SetDown(true)
		w.start()
		defer func() { w.stop() }()
		w.publish()
		pass(5 * time.Minute)
		w.consul.SetDown(false)
		w.consul.Delay(service(0), time.Hour)
		w.consul.Refuse(service(1), 500)
		pass(31 * time.Second)
		w.want(all[2:]...) // one slow and one refused service hold up no other
		w.consul.Delay(service(0), 0)
		w.consul.Refuse(service(1), 0)
		pass(time.Minute)
		w.want(all...)

		w.consul.Wipe()
		pass(31 * time.Second)
		w.want(all...)

		// While the Docker Engine is away, what it said last counts.
		w.inventory.Set(docker.Snapshot{Connected: false, Containers: func() []docker.Container { s, _ := w.inventory.Get(); return s.Containers }()})
		pass(time.Minute)
		w.want(all...)
	})
}

func TestOptions(t *testing.T) {
	_, err := New(Options{CertFile: "x", DeregisterAfter: time.Second})
	if err == nil {
		t.Fatal("empty options were accepted")
	}
	for _, part := range []string{"host name", "owner's id", "State, Inventory and Log", "below 10m", "needs its key"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	o := Options{Host: "h", Owner: "o", State: new(watch.Value[spec.HostState]), Inventory: new(watch.Value[docker.Snapshot]), Log: logrus.New(), TokenFile: "/nowhere"}
	if _, err := New(o); err == nil {
		t.Error("a token file that is not there was accepted")
	}
}

// A pod whose container fails is taken out although its sandbox, which has the address, runs on; one that ended well is fine.
func TestPodLosesAContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := seat(0, httpProbe)
		pod.Containers = []spec.SeatContainer{{Name: "web", TaskID: pod.TaskID + ".web"}, {Name: "init", TaskID: pod.TaskID + ".init"}}
		w := newWorld(t, pod)
		w.publish()
		w.start()
		defer w.stop()
		w.want(service(0))
		lose := func(code int) {
			s, _ := w.inventory.Get()
			s.Containers = append(append([]docker.Container(nil), s.Containers...), docker.Container{
				ID: "x", State: "exited", ExitCode: code, Labels: map[string]string{spec.LabelTask: pod.TaskID + ".init"},
			})
			w.inventory.Set(s)
		}
		lose(0)
		w.want(service(0))
		lose(1)
		w.want()
	})
}

// TestWeightAndMaintenance: both change while the task runs, without a moment in which clients would come, and without
// touching the check; somebody's own maintenance at Consul stays.
func TestWeightAndMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe))
		w.start()
		defer func() { w.stop() }()
		w.publish()
		id, note := service(0), "_service_maintenance:"+service(0)
		w.seats[0].Weight = 20
		w.publish()
		if got := w.consul.Services()[id].Weights.Passing; got != 20 {
			t.Errorf("weight %d", got)
		}
		w.seats[0].Maintenance = "release 7"
		w.publish()
		if c := w.consul.Check(note); c.Status != api.HealthCritical || c.Notes != "Berth: release 7" {
			t.Errorf("maintenance: %+v", c)
		}
		w.seats[0].Weight = 1 // another write does not end it
		w.publish()
		if c := w.consul.Check(note); c.Status != api.HealthCritical {
			t.Errorf("maintenance: %+v", c)
		}
		writes := len(w.consul.Writes())
		pass(2 * time.Minute)
		if n := len(w.consul.Writes()) - writes; n != 0 {
			t.Errorf("%d writes although nothing changed", n)
		}
		w.seats[0].Maintenance = ""
		w.publish()
		if c := w.consul.Check(note); c.CheckID != "" {
			t.Errorf("maintenance: %+v", c)
		}
		w.consul.Wipe()
		w.seats[0].Maintenance = "release 8"
		w.publish()
		pass(time.Minute)
		if c := w.consul.Check(note); c.Notes != "Berth: release 8" {
			t.Errorf("after Consul lost its data: %+v", c)
		}
	})
}
