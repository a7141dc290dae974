package ipcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})
}

// world is a fleet in order: app /a with as many seats as there are, seat n on address 10.1.0.(n+2) and host h(n%hosts).
type world struct {
	in    Input
	tasks []*spec.Task
	hosts []*spec.HostEndpoints
}

func newWorld(hosts, seats int) *world {
	app := &spec.App{ID: "/a", Instances: seats}
	w := &world{in: Input{
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}}, Apps: map[spec.AppID]*spec.App{"/a": app},
		Tasks: map[spec.AppID][]*spec.Task{}, Settling: map[spec.AppID]bool{}, Now: now,
	}}
	for n := range hosts {
		e := &spec.HostEndpoints{Mode: "routed", Engine: true, BGP: true}
		w.hosts = append(w.hosts, e)
		w.in.Hosts = append(w.in.Hosts, Host{Name: fmt.Sprintf("h%d", n), Seen: e, At: now, Fresh: true})
	}
	for n := range seats {
		seat := spec.SeatID{App: "/a", Index: n}
		t := &spec.Task{ID: fmt.Sprintf("a.%d", n), Seat: seat, Rung: spec.Running, Host: w.in.Hosts[n%hosts].Name, Pool: "p", Address: addr(n + 2), StartedAt: now.Add(-time.Hour)}
		w.tasks = append(w.tasks, t)
		w.in.Leases = append(w.in.Leases, spec.Lease{Seat: seat, Pool: "p", Address: t.Address})
		w.run(n%hosts, "c"+t.ID, t.Address, t.ID, seat)
	}
	w.in.Tasks["/a"] = w.tasks
	return w
}

// run has a container run on a host; task "" is docker run's.
func (w *world) run(host int, id string, a netip.Addr, task string, seat spec.SeatID) {
	w.hosts[host].List = append(w.hosts[host].List, spec.HostEndpoint{
		Address: a, Container: id, Name: "name-of-" + id, Since: now.Add(-time.Hour), TaskID: task, Seat: seat, Link: "brt" + id, Route: "brt" + id, Announced: true,
	})
}

// end takes the container of a task away.
func (w *world) end(task string) {
	for _, h := range w.hosts {
		h.List = slices.DeleteFunc(h.List, func(e spec.HostEndpoint) bool { return e.TaskID == task })
	}
}

// endpoint is what the task's host has for it.
func (w *world) endpoint(task string) *spec.HostEndpoint {
	for _, h := range w.hosts {
		for i := range h.List {
			if h.List[i].TaskID == task {
				return &h.List[i]
			}
		}
	}
	return nil
}

// over ends a task in the store; its seat stays wanted.
func (w *world) over(n int) {
	w.in.Tasks["/a"] = slices.DeleteFunc(slices.Clone(w.in.Tasks["/a"]), func(t *spec.Task) bool { return t.ID == w.tasks[n].ID })
}

func seat(n int) spec.SeatID { return spec.SeatID{App: "/a", Index: n} }

// scale is what happens to the store when the app gets smaller.
func (w *world) scale(n int) {
	for i := n; i < len(w.tasks); i++ {
		w.over(i)
		w.end(w.tasks[i].ID)
		w.in.Leases[i].IdleSince = now
	}
	app := *w.in.Apps["/a"]
	app.Instances = n
	w.in.Apps["/a"] = &app
}

// faults are ways in which the world can be out of order, each with what must be found. Each is of the world of seat 0 alone.
var faults = []struct {
	name string
	do   func(w *world)
	want string // "KIND ADDRESS HOSTS ACTION: a part of the text"
}{
	{"two containers", func(w *world) { w.run(1, "other", addr(2), "", spec.SeatID{}) },
		`duplicate 10.1.0.2 h0,h1 : leased to /a.0, is on 2 containers: container "name-of-ca.0" of /a.0 on h0, container "name-of-other" on h1`},
	{"two tasks", func(w *world) {
		w.in.Tasks["/b"] = []*spec.Task{{ID: "b.0", Seat: spec.SeatID{App: "/b"}, Rung: spec.Created, Host: "h1", Address: addr(2)}}
	}, `duplicate 10.1.0.2 h0,h1 : was given to 2 live tasks: a.0 of /a.0 on h0, b.0 of /b.0 on h1 && wrong-seat 10.1.0.2 h1 : task b.0 of /b.0 is on 10.1.0.2, which is leased to /a.0`},
	{"a task on a lease of another's", func(w *world) { w.in.Leases[0].Seat = spec.SeatID{App: "/a", Index: 1} },
		"wrong-seat 10.1.0.2 h0 : which is leased to /a.1"},
	{"a container on another address", func(w *world) { w.endpoint("a.0").Address = addr(900) },
		`wrong-seat 10.1.3.132 h0 : of /a.0 on h0 is on 10.1.3.132, its task's address is 10.1.0.2`},
	{"a container on another host", func(w *world) {
		w.end("a.0")
		w.run(1, "ca.0", addr(2), "a.0", seat(0))
	}, "wrong-host 10.1.0.2 h1 : of task a.0, which runs on h0"},
	{"docker run on a waiting seat's address", func(w *world) {
		w.over(0)
		w.end("a.0")
		w.run(1, "x", addr(2), "", spec.SeatID{})
	}, `foreign 10.1.0.2 h1 : container "name-of-x" on h1 is on 10.1.0.2, which is leased to /a.0, which waits for it`},
	{"a host's own interface on a seat's address", func(w *world) {
		w.over(0)
		w.end("a.0")
		w.in.Hosts[1].Held = []spec.Held{{Address: addr(2), By: "this host's own interface eth0"}}
	}, "foreign 10.1.0.2 h1 : this host's own interface eth0 of h1 is on 10.1.0.2"},
	{"a container outlives its task", func(w *world) { w.over(0) },
		"no-task 10.1.0.2 h0 stop: its task a.0 is over"},
	{"a container outlives its task, the address is another's", func(w *world) { w.over(0); w.in.Leases[0].Seat.Index = 1 },
		"no-task 10.1.0.2 h0 : leased to /a.1; the container's task a.0 is over"},
	{"a task without a container", func(w *world) { w.end("a.0") },
		"no-container 10.1.0.2 h0 ask-engine: task a.0 of /a.0 runs on h0 by what the engine said last, but no container"},
	{"no route", func(w *world) { *w.endpoint("a.0") = faulty(*w.endpoint("a.0"), "the host has no route to it") },
		"not-connected 10.1.0.2 h0 set-network: by Docker, but not by the kernel: the host has no route to it"},
	{"not announced", func(w *world) { w.endpoint("a.0").Announced = false },
		"not-announced 10.1.0.2 h0 set-network: does not announce"},
	{"a route without a container", func(w *world) {
		w.hosts[1].List = append(w.hosts[1].List, spec.HostEndpoint{Address: addr(2), Link: "brtold", Route: "brtold"})
	}, "stale-route 10.1.0.2 h1 set-network: host h1 has link brtold for 10.1.0.2, but no container there"},
	{"a task without a lease", func(w *world) { w.in.Leases = w.in.Leases[1:] },
		"no-lease 10.1.0.2 h0 : is on 10.1.0.2, which is leased to nobody"},
	{"a lease of no seat", func(w *world) {
		w.in.Leases = append(w.in.Leases, spec.Lease{Seat: seat(999), Pool: "p", Address: addr(900)})
	},
		"orphan 10.1.3.132  drop-lease: leased to /a.999 as if it were wanted, but /a has 2 instances, and the seat has no task"},
	{"a lease of no app", func(w *world) {
		w.in.Leases = append(w.in.Leases, spec.Lease{Seat: spec.SeatID{App: "/gone"}, Pool: "p", Address: addr(900)})
	}, "orphan 10.1.3.132  drop-lease: leased to /gone.0 as if it were wanted, but there is no app /gone"},
	{"an idle lease of a pool that is gone", func(w *world) {
		w.in.Leases = append(w.in.Leases, spec.Lease{Seat: spec.SeatID{App: "/gone"}, Pool: "q", Address: netip.MustParseAddr("10.9.0.2"), IdleSince: now})
	}, `outside-pools 10.9.0.2  drop-lease: from pool "q", but there is no such pool any more`},
	{"a wanted lease of a pool that is smaller now", func(w *world) {
		w.in.Pools[0].CIDR = netip.MustParsePrefix("10.2.0.0/16")
		w.in.Leases = w.in.Leases[:1]
		w.scaleNone()
	}, `outside-pools 10.1.0.2  : from pool "p", but that pool is 10.2.0.0/16 now`},
	{"a silent host", func(w *world) { w.in.Hosts[0].Fresh = false },
		"silent  h0 : host h0 did not answer; it was heard of last at 2026-01-02T03:04:05.000Z"},
	{"a host that has never told", func(w *world) { w.in.Hosts[0].Fresh, w.in.Hosts[0].Seen = false, nil },
		"silent  h0 : host h0 has never told of its addresses"},
	{"a host without Docker", func(w *world) { w.hosts[0].Engine = false }, "unread  h0 : the Docker Engine of host h0 does not answer"},
	{"a host that cannot read its kernel", func(w *world) { w.hosts[0].Kernel = "permission denied" },
		"unread  h0 set-network: links and routes of host h0 could not be read: permission denied"},
}

// scaleNone leaves only seat 0, and that without a task.
func (w *world) scaleNone() {
	w.in.Tasks["/a"] = nil
	for _, h := range w.hosts {
		h.List = nil
	}
	w.in.Apps["/a"] = &spec.App{ID: "/a", Instances: 1}
}

func faulty(e spec.HostEndpoint, why string) spec.HostEndpoint {
	e.Fault = why
	return e
}

func TestFaults(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(2, 2)
			c.do(w)
			wantFindings(t, Compare(w.in), strings.Split(c.want, " && "))
		})
	}
}

// wantFindings compares findings with "KIND ADDRESS HOSTS ACTION: TEXT".
func wantFindings(t interface {
	Errorf(string, ...any)
	Helper()
}, got []Finding, want []string) {
	t.Helper()
	var lines []string
	for _, f := range got {
		a := ""
		if f.Address.IsValid() {
			a = f.Address.String()
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s: %s", f.Kind, a, strings.Join(f.Hosts, ","), f.Action, f.Text))
		if f.Repair == "" {
			t.Errorf("%s: nobody is told what to do", f.Text)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		return
	}
	for i, w := range want {
		head, text, _ := strings.Cut(w, ": ")
		if !strings.HasPrefix(lines[i], head+": ") || !strings.Contains(lines[i], text) {
			t.Errorf("finding %q, want %q", lines[i], w)
		}
	}
}

// TestNoFindings: what differs for a moment, or by right, is none.
func TestNoFindings(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world)
	}{
		{"in order", func(*world) {}},
		{"scaled down", func(w *world) { w.scale(1) }},
		{"an app that is gone, its leases idle", func(w *world) { w.scale(0); delete(w.in.Apps, "/a") }},
		{"leases that have not been looked at yet", func(w *world) { w.scale(1); w.in.Leases[1].IdleSince = time.Time{}; w.in.Settling["/a"] = true }},
		{"a seat that waits", func(w *world) { w.over(0); w.end("a.0") }},
		{"a task on its way up", func(w *world) { w.tasks[0].Rung = spec.Launched; w.end("a.0") }},
		{"one whose link comes", func(w *world) { w.tasks[0].Rung = spec.Staged; w.endpoint("a.0").Container = "" }},
		{"one that is not reachable yet", func(w *world) { w.tasks[0].Rung = spec.Staged; w.endpoint("a.0").Fault = "x" }},
		{"a task that has just started", func(w *world) { w.tasks[0].StartedAt = now.Add(-time.Second); w.end("a.0") }},
		{"a task on its way down", func(w *world) { w.tasks[0].Rung = spec.Killing; w.end("a.0") }},
		{"an unreachable task", func(w *world) { w.tasks[0].UnreachableSince = now; w.end("a.0") }},
		{"docker run on an address of its own", func(w *world) { w.run(0, "x", addr(900), "", spec.SeatID{}) }},
		{"a host that is nothing to anybody", func(w *world) { w.in.Hosts = append(w.in.Hosts, Host{Name: "h9"}) }},
		{"no BGP", func(w *world) { w.hosts[0].BGP, w.endpoint("a.0").Announced = false, false }},
		{"on the host's network", func(w *world) {
			w.in.Tasks["/n"] = []*spec.Task{{ID: "n", Seat: spec.SeatID{App: "/n"}, Rung: spec.Running, Host: "h0"}}
		}},
		{"a helper of a rolling update", func(w *world) {
			s := seat(2)
			w.in.Tasks["/a"] = append(w.in.Tasks["/a"], &spec.Task{ID: "a.2", Seat: s, Rung: spec.Running, Host: "h0", Address: addr(4), StartedAt: now.Add(-time.Hour)})
			w.in.Leases = append(w.in.Leases, spec.Lease{Seat: s, Pool: "p", Address: addr(4)})
			w.run(0, "ca.2", addr(4), "a.2", s)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(2, 2)
			c.do(w)
			wantFindings(t, Compare(w.in), nil)
		})
	}
}

// TestStale: nothing is said of a host by what it said before it was asked.
func TestStale(t *testing.T) {
	for _, c := range faults {
		w := newWorld(2, 2)
		c.do(w)
		for i := range w.in.Hosts {
			w.in.Hosts[i].Fresh = false
		}
		for _, f := range Compare(w.in) {
			if !slices.Contains([]Kind{Silent, Orphan, OutsidePools, NoLease}, f.Kind) && !strings.Contains(f.Text, "task") {
				t.Errorf("%s: %s, by stale facts: %s", c.name, f.Kind, f.Text)
			}
		}
	}
}

// TestWorlds: a world in order has no finding, whatever its size; each fault in it is found and named, and nothing else.
func TestWorlds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(2, 6).Draw(t, "hosts"), rapid.IntRange(2, 40).Draw(t, "seats"))
		for n := range rapid.IntRange(0, 5).Draw(t, "strangers") {
			w.run(n%2, fmt.Sprint("x", n), addr(1000+n), "", spec.SeatID{})
		}
		for _, task := range w.tasks[2:] {
			switch rapid.SampledFrom([]string{"runs", "starts", "ends", "unreachable"}).Draw(t, task.ID) {
			case "starts":
				task.Rung = spec.Launched
				w.end(task.ID)
			case "ends":
				task.Rung = spec.Killing
				w.end(task.ID)
			case "unreachable":
				task.UnreachableSince = now
				w.end(task.ID)
			}
		}
		wantFindings(t, Compare(w.in), nil)
		c := rapid.SampledFrom(faults).Draw(t, "fault")
		c.do(w)
		kinds := map[Kind]bool{}
		for _, f := range Compare(w.in) {
			kinds[f.Kind] = true
		}
		for want := range strings.SplitSeq(c.want, " && ") {
			if kind, _, _ := strings.Cut(want, " "); !kinds[Kind(kind)] {
				t.Errorf("%s: no finding %s, but %v", c.name, kind, kinds)
			}
		}
	})
}

// TestLasting: what differs only once is no finding.
func TestLasting(t *testing.T) {
	w := newWorld(2, 2)
	w.over(0)
	first := Compare(w.in)
	w.end("a.0")
	w.end("a.1")
	if got := Lasting(first, Compare(w.in)); len(got) != 0 {
		t.Errorf("lasting: %v", got)
	}
	second := Compare(w.in)
	second[0].Text = "in other words"
	if got := Lasting(second, Compare(w.in)); len(got) != 1 || got[0].Kind != NoContainer {
		t.Errorf("lasting: %v", got)
	}
}

// BenchmarkFleetWithoutAnswer is a check of 10,000 hosts with 100,000 tasks of which half do not answer and the others lost all links.
func BenchmarkFleetWithoutAnswer(b *testing.B) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := Input{Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/8")}}, Tasks: map[spec.AppID][]*spec.Task{}, Now: now}
	a := netip.MustParseAddr("10.0.0.1")
	for h := range 10_000 {
		host := Host{Name: fmt.Sprintf("h%d", h), Fresh: h%2 == 0, Seen: &spec.HostEndpoints{Engine: true}}
		for n := range 10 {
			a = a.Next()
			seat := spec.SeatID{App: "/gone", Index: 10*h + n}
			t := &spec.Task{ID: fmt.Sprintf("t%d.%d", h, n), Seat: seat, Host: host.Name, Address: a, Pool: "p", Rung: spec.Running, StartedAt: now.Add(-time.Hour)}
			in.Tasks[seat.App] = append(in.Tasks[seat.App], t)
			in.Leases = append(in.Leases, spec.Lease{Seat: seat, Pool: "p", Address: a})
			host.Seen.List = append(host.Seen.List, spec.HostEndpoint{Address: a, Container: t.ID, Name: t.ID, TaskID: t.ID, Seat: seat, Fault: "no link"})
		}
		in.Hosts = append(in.Hosts, host)
	}
	for b.Loop() {
		found := Compare(in)
		if n := len(Lasting(found, found)); n < 50_000 {
			b.Fatal(n)
		}
	}
}
