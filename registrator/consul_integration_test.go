//go:build integration

package registrator

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/realtest"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// consulServer is a real Consul in development mode, with ports of its own.
type consulServer struct {
	t       *testing.T
	binary  string
	ports   map[string]string
	url     string   // with TLS
	more    []string // arguments
	process *exec.Cmd
	client  *api.Client
}

// needConsul finds a real Consul.
func needConsul(t *testing.T) string {
	t.Helper()
	cache, _ := os.UserCacheDir()
	found, _ := filepath.Glob(filepath.Join(cache, "berth", "consul-[0-9]*"))
	for _, path := range append([]string{os.Getenv("BERTH_CONSUL")}, found...) {
		if path != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path
	}
	realtest.Missing(t, "no Consul binary: neither BERTH_CONSUL nor the cache folder nor PATH has one")
	return ""
}

// consulPorts is one that is still to be started, with free ports.
func consulPorts(t *testing.T, binary string) *consulServer {
	t.Helper()
	c := &consulServer{t: t, binary: binary, ports: map[string]string{}}
	for _, name := range []string{"http", "server", "serf-lan", "serf-wan"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, c.ports[name], _ = net.SplitHostPort(l.Addr().String())
		l.Close()
	}
	c.url = "https://127.0.0.1:" + c.ports["http"]
	return c
}

func startConsul(t *testing.T) *consulServer {
	t.Helper()
	c := consulPorts(t, needConsul(t))
	var err error
	if c.client, err = api.NewClient(&api.Config{Address: c.address()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.start()
	return c
}

func (c *consulServer) address() string { return "127.0.0.1:" + c.ports["http"] }

func (c *consulServer) start() {
	c.t.Helper()
	args := []string{"agent", "-dev", "-bind", "127.0.0.1", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-log-level=warn"}
	for name, port := range c.ports {
		args = append(args, "-"+name+"-port="+port)
	}
	c.process = exec.Command(c.binary, append(args, c.more...)...)
	if err := c.process.Start(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 30*time.Second, "Consul has a leader", func() string {
		if leader, err := c.client.Status().Leader(); err != nil || leader == "" {
			return fmt.Sprintf("leader %q, %v", leader, err)
		}
		return ""
	})
}

func (c *consulServer) kill() {
	if c.process != nil {
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
		c.process = nil
	}
}

// catalog is what clients of Consul see: service id -> its modify index and aggregated health.
func (c *consulServer) catalog(service string) map[string]string {
	entries, _, err := c.client.Health().Service(service, "", false, nil)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	got := map[string]string{}
	for _, e := range entries {
		index := e.Service.ModifyIndex
		for _, check := range e.Checks {
			index = max(index, check.ModifyIndex)
		}
		got[e.Service.ID] = fmt.Sprintf("%s:%d %s at %d", e.Service.Address, e.Service.Port, e.Checks.AggregatedStatus(), index)
	}
	return got
}

func (c *consulServer) wantIDs(within time.Duration, service string, ids ...string) {
	c.t.Helper()
	slices.Sort(ids)
	eventually(c.t, within, "the services of "+service, func() string {
		return cmp.Diff(append([]string(nil), ids...), slices.Sorted(maps.Keys(c.catalog(service))))
	})
}

// eventually polls until check has no complaint.
func eventually(t *testing.T, within time.Duration, what string, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %s", what, within, complaint)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// realHost publishes states and inventories to a registrator on the real Consul.
type realHost struct {
	name      string // of the host; empty: it
	owner     string
	state     watch.Value[spec.HostState]
	inventory watch.Value[docker.Snapshot]
}

func (h *realHost) set(seats []spec.HostSeat, health map[string][]spec.CheckHealth, running ...string) {
	h.state.Set(spec.HostState{Document: spec.HostDocument{Version: 1, Host: "it", Seats: seats}, Health: health})
	snapshot := docker.Snapshot{Connected: true}
	for _, task := range running {
		snapshot.Containers = append(snapshot.Containers, docker.Container{ID: task, Running: true, Labels: map[string]string{spec.LabelTask: task}})
	}
	h.inventory.Set(snapshot)
}

func (h *realHost) run(t *testing.T, address string) (*Registrator, func()) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	host := "it"
	if h.name != "" {
		host = h.name
	}
	r, err := New(Options{
		Host: host, Owner: h.owner, State: &h.state, Inventory: &h.inventory, Log: log, Address: address, AntiEntropy: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var stopped bool
	end := func() {
		if stopped {
			return
		}
		stopped = true
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(end)
	return r, end
}

// realSeats are three instances with an HTTP, a TCP and a TTL check; all answer on one loopback server.
func realSeats(t *testing.T) ([]spec.HostSeat, map[string][]spec.CheckHealth, []string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	target := netip.MustParseAddrPort(server.Listener.Addr().String())
	return seatsAt(target)
}

func seatsAt(target netip.AddrPort) ([]spec.HostSeat, map[string][]spec.CheckHealth, []string) {
	var seats []spec.HostSeat
	var ids []string
	health := map[string][]spec.CheckHealth{}
	for n, protocol := range []string{"HTTP", "TCP", "COMMAND"} {
		probe := spec.Probe{Protocol: protocol, Path: "/", Port: int(target.Port()), Interval: time.Second, Timeout: time.Second}
		id := spec.SeatID{App: "/it/web", Index: n}
		seats = append(seats, spec.HostSeat{
			Seat: id, TaskID: fmt.Sprintf("t%d", n), Instance: "i", AppVersion: "v", Address: target.Addr(), Probes: []spec.Probe{probe},
			Services: []spec.Service{{Name: "it-web", Port: int(target.Port()), Tags: []string{"x"}, Meta: map[string]string{"k": "v"}, Check: &probe}},
		})
		health[seats[n].TaskID] = []spec.CheckHealth{{Known: true, Alive: true}}
		ids = append(ids, fmt.Sprintf("berth:it:it_web.%d:%d", n, target.Port()))
	}
	return seats, health, ids
}

func TestRealConsul(t *testing.T) {
	consul := startConsul(t)
	seats, health, ids := realSeats(t)
	foreign := &api.AgentServiceRegistration{ID: "berth:it:theirs", Name: "theirs", Meta: map[string]string{services.MetaOwner: "other"}}
	if err := consul.client.Agent().ServiceRegister(foreign); err != nil {
		t.Fatal(err)
	}
	h := &realHost{owner: "it-1"}
	r, stop := h.run(t, consul.address())
	h.set(seats, health, "t0", "t1", "t2")
	consul.wantIDs(5*time.Second, "it-web", ids...)

	t.Run("a resync writes nothing", func(t *testing.T) {
		// The first results of Consul's own checks, and the first TTL refresh, are changes; wait until they are over.
		time.Sleep(5 * time.Second)
		before := consul.catalog("it-web")
		for id, text := range before {
			if !strings.Contains(text, " passing ") {
				t.Errorf("%s: %s", id, text)
			}
		}
		time.Sleep(5 * time.Second)
		if d := cmp.Diff(before, consul.catalog("it-web")); d != "" {
			t.Errorf("the catalog changed during five resyncs (-before +after):\n%s", d)
		}
	})
	t.Run("a failing probe shows and stays", func(t *testing.T) {
		sick := maps.Clone(health)
		sick["t2"] = []spec.CheckHealth{{Known: true}}
		h.set(seats, sick, "t0", "t1", "t2")
		eventually(t, 3*time.Second, "the TTL check", func() string {
			if text := consul.catalog("it-web")[ids[2]]; !strings.Contains(text, " critical ") {
				return text
			}
			return ""
		})
		h.set(seats, health, "t0", "t1", "t2")
	})
	t.Run("death", func(t *testing.T) {
		h.set(seats, health, "t0", "t1")
		consul.wantIDs(time.Second, "it-web", ids[0], ids[1])
		h.set(seats, health, "t0", "t1", "t2")
		consul.wantIDs(3*time.Second, "it-web", ids...)
	})
	t.Run("drain", func(t *testing.T) {
		draining := slices.Clone(seats)
		draining[1].Drain = true
		h.set(draining, health, "t0", "t1", "t2")
		eventually(t, time.Second, "the acknowledgement", func() string {
			if done, _ := r.Drained().Get(); done["t1"].Out.IsZero() {
				return "not acknowledged"
			}
			return ""
		})
		all, err := consul.client.Agent().Services()
		if err != nil || all[ids[1]] != nil {
			t.Errorf("acknowledged, but still at the agent (%v)", err)
		}
		consul.wantIDs(time.Second, "it-web", ids[0], ids[2])
		h.set(seats, health, "t0", "t1", "t2")
		consul.wantIDs(3*time.Second, "it-web", ids...)
	})
	t.Run("weight and maintenance", func(t *testing.T) {
		other := slices.Clone(seats)
		other[0].Weight, other[1].Maintenance = 7, "release"
		h.set(other, health, "t0", "t1", "t2")
		eventually(t, 3*time.Second, "both are there", func() string {
			entries, _, err := consul.client.Health().Service("it-web", "", false, nil)
			if err != nil {
				return err.Error()
			}
			got := map[string]string{}
			for _, e := range entries {
				got[e.Service.ID] = fmt.Sprintf("%s %d", e.Checks.AggregatedStatus(), e.Service.Weights.Passing)
			}
			return cmp.Diff(map[string]string{ids[0]: "passing 7", ids[1]: "maintenance 1", ids[2]: "passing 1"}, got)
		})
		byHand := ids[2]
		if err := consul.client.Agent().EnableServiceMaintenance(byHand, "somebody's own"); err != nil {
			t.Fatal(err)
		}
		other[2].Weight = 3
		h.set(other, health, "t0", "t1", "t2")
		maintained := func() string {
			entries, _, err := consul.client.Health().Service("it-web", "", false, nil)
			if err != nil {
				return err.Error()
			}
			var in []string
			for _, e := range entries {
				if e.Checks.AggregatedStatus() == api.HealthMaint {
					in = append(in, e.Service.ID)
				}
			}
			slices.Sort(in)
			return cmp.Diff([]string{byHand}, in)
		}
		time.Sleep(3 * time.Second) // some resyncs
		h.set(seats, health, "t0", "t1", "t2")
		eventually(t, 3*time.Second, "Berth's maintenance is over, somebody's own is not", maintained)
		if err := consul.client.Agent().DisableServiceMaintenance(byHand); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "all pass", func() string {
			for id, text := range consul.catalog("it-web") {
				if !strings.Contains(text, " passing ") {
					return id + ": " + text
				}
			}
			return ""
		})
	})
	t.Run("data wiped", func(t *testing.T) {
		consul.kill()
		consul.start()
		consul.wantIDs(40*time.Second, "it-web", ids...)
		if err := consul.client.Agent().ServiceRegister(foreign); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a dead Consul does not block a stop", func(t *testing.T) {
		consul.kill()
		draining := slices.Clone(seats)
		draining[0].Drain = true
		h.set(draining, health, "t0", "t1", "t2")
		eventually(t, 8*time.Second, "the acknowledgement", func() string {
			if done, _ := r.Drained().Get(); done["t0"].Unsure == "" {
				return "not acknowledged"
			}
			return ""
		})
		consul.start()
		consul.wantIDs(40*time.Second, "it-web", ids[1], ids[2])
		if err := consul.client.Agent().ServiceRegister(foreign); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("another Berth on this machine", func(t *testing.T) {
		other := &realHost{owner: "it-2"}
		_, end := other.run(t, consul.address())
		index := consul.catalog("it-web")
		more := slices.Clone(seats[:2])
		more[0].Seat.App, more[1].TaskID = "/it/other", "t9"
		other.set(more, map[string][]spec.CheckHealth{"t0": health["t0"], "t9": health["t1"]}, "t0", "t9")
		theirs := strings.Replace(ids[0], "it_web", "it_other", 1)
		consul.wantIDs(3*time.Second, "it-web", theirs, ids[1], ids[2])
		time.Sleep(3 * time.Second) // three resyncs of both
		consul.wantIDs(time.Second, "it-web", theirs, ids[1], ids[2])
		all, err := consul.client.Agent().Services()
		if err != nil || all[ids[1]].Meta[services.MetaTask] != "t1" {
			t.Errorf("%v: the service was overwritten: %+v, was %s", err, all[ids[1]], index[ids[1]])
		}
		other.set(nil, nil)
		consul.wantIDs(3*time.Second, "it-web", ids[1], ids[2])
		end()
	})
	stop()
	consul.wantIDs(time.Second, "it-web", ids[1], ids[2]) // instances outlive Berth
	h.name = "it2"                                        // the machine got another name
	_, stop = h.run(t, consul.address())
	consul.wantIDs(3*time.Second, "it-web", strings.Replace(ids[1], ":it:", ":it2:", 1), strings.Replace(ids[2], ":it:", ":it2:", 1))
	stop()
	h.set(nil, nil)
	h.run(t, consul.address())
	consul.wantIDs(3*time.Second, "it-web")
	consul.wantIDs(time.Second, "theirs", "berth:it:theirs")
}

// childEnv makes TestKilledChild run a registrator until it is killed; it holds Consul's address and the checks' target.
const childEnv = "BERTH_TEST_REGISTRATOR"

func TestKilledChild(t *testing.T) {
	address, target, ok := strings.Cut(os.Getenv(childEnv), "|")
	if !ok {
		return // not the child of TestKill9
	}
	h := &realHost{owner: "it-1"}
	seats, health, _ := seatsAt(netip.MustParseAddrPort(target))
	h.run(t, address)
	h.set(seats, health, "t0", "t1", "t2")
	<-t.Context().Done() // never: the parent kills this process
}

func TestKill9(t *testing.T) {
	consul := startConsul(t)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	target := server.Listener.Addr().String()
	seats, health, ids := seatsAt(netip.MustParseAddrPort(target))

	child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
	child.Env = append(os.Environ(), childEnv+"="+consul.address()+"|"+target)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	consul.wantIDs(20*time.Second, "it-web", ids...)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	// While nobody looked, instance 1 died. Nothing has been probed yet, and the two others stay where they are.
	h := &realHost{owner: "it-1"}
	_, stop := h.run(t, consul.address())
	before := consul.catalog("it-web")
	h.set(seats, map[string][]spec.CheckHealth{}, "t0", "t2")
	consul.wantIDs(3*time.Second, "it-web", ids[0], ids[2])
	for _, id := range []string{ids[0], ids[2]} {
		if after := consul.catalog("it-web")[id]; !strings.Contains(after, " passing ") {
			t.Errorf("%s went from %q to %q", id, before[id], after)
		}
	}
	h.set(seats, health, "t0", "t1", "t2")
	consul.wantIDs(3*time.Second, "it-web", ids...)
	stop()
}
