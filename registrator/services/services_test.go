package services

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var probe = spec.Probe{Protocol: "HTTP", Path: "/health", Port: 80, Interval: 5 * time.Second, Timeout: time.Second}

// seat is /prod/web.0 with one service and one probe.
func seat(change func(*spec.HostSeat)) spec.HostSeat {
	s := spec.HostSeat{
		Seat: spec.SeatID{App: "/prod/web"}, TaskID: "t", Instance: "i", Pool: "pool", AppVersion: "v",
		Address: netip.MustParseAddr("10.9.0.1"), Probes: []spec.Probe{probe},
		Services: []spec.Service{{Name: "prod-web", Port: 80, Check: &probe}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func input(s ...spec.HostSeat) Input {
	in := Input{Host: "h", Owner: "o", Admitted: map[string]bool{}}
	in.State.Document.Seats = s
	in.State.Health = map[string][]spec.CheckHealth{"t": {{Known: true, Alive: true}}}
	in.Running = []Container{{Task: "t"}}
	return in
}

func TestWhoIsIn(t *testing.T) {
	for _, c := range []struct {
		name   string
		seat   func(*spec.HostSeat)
		input  func(*Input)
		reason string // "" when registered
	}{
		{"probe passes", nil, nil, ""},
		{"no probes", func(s *spec.HostSeat) { s.Probes = nil }, func(in *Input) { in.State.Health = nil }, ""},
		{"probe fails", nil, func(in *Input) { in.State.Health["t"][0].Alive = false }, ReasonNotPassed},
		{"no result yet", nil, func(in *Input) { in.State.Health = nil }, ReasonNotPassed},
		{"fails after it was in", nil, func(in *Input) { in.State.Health = nil; in.Admitted["t"] = true }, ""},
		{"container gone", nil, func(in *Input) { in.Running = nil; in.Admitted["t"] = true }, ReasonNoContainer},
		{"draining", func(s *spec.HostSeat) { s.Drain = true }, nil, ReasonDraining},
		{"draining wins over death", func(s *spec.HostSeat) { s.Drain = true }, func(in *Input) { in.Running = nil }, ReasonDraining},
		{"no address", func(s *spec.HostSeat) { s.Address = netip.Addr{} }, nil, ReasonNoAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(seat(c.seat))
			if c.input != nil {
				c.input(&in)
			}
			wanted, withheld := From(in)
			if c.reason == "" {
				if len(wanted) != 1 || len(withheld) != 0 || wanted[0].ID != "berth:h:prod_web.0:80" {
					t.Errorf("wanted %+v, withheld %+v", wanted, withheld)
				}
				return
			}
			want := []Withheld{{ID: "berth:h:prod_web.0:80", Task: "t", Seat: spec.SeatID{App: "/prod/web"}, Reason: c.reason}}
			if d := cmp.Diff(want, withheld); d != "" || len(wanted) != 0 {
				t.Errorf("wanted %+v, withheld (-want +got):\n%s", wanted, d)
			}
		})
	}
}

func TestAddressIsTheContainersOwn(t *testing.T) {
	in := input(seat(nil))
	in.Running[0].Addresses = map[string]netip.Addr{"another": netip.MustParseAddr("172.17.0.9"), "pool": netip.MustParseAddr("10.9.0.77")}
	if got, _ := From(in); got[0].Address != "10.9.0.77" || got[0].Check.HTTP != "http://10.9.0.77:80/health" {
		t.Errorf("%+v", got[0])
	}
	delete(in.Running[0].Addresses, "pool")
	if got, _ := From(in); got[0].Address != "10.9.0.1" {
		t.Errorf("address %s, want the lease, not one of another network", got[0].Address)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		probe spec.Probe
		want  Check
	}{
		{probe, Check{HTTP: "http://10.9.0.1:80/health", Interval: 5 * time.Second, Timeout: time.Second}},
		{spec.Probe{Protocol: "HTTPS", Path: "x", Port: 443}, Check{HTTP: "https://10.9.0.1:443/x", Interval: time.Minute, Timeout: 20 * time.Second}},
		{spec.Probe{Protocol: "MESOS_HTTP", Port: 81}, Check{HTTP: "http://10.9.0.1:81/", Interval: time.Minute, Timeout: 20 * time.Second}},
		{spec.Probe{Protocol: "TCP", Interval: time.Millisecond, Timeout: time.Second}, Check{TCP: "10.9.0.1:80", Interval: time.Second, Timeout: time.Second}},
		{spec.Probe{Protocol: "COMMAND", Command: "true", Interval: time.Second}, Check{TTL: TTL}},
	} {
		t.Run(c.probe.Protocol, func(t *testing.T) {
			got, _ := From(input(seat(func(s *spec.HostSeat) { s.Services[0].Check, s.Probes[0] = &c.probe, c.probe })))
			c.want.Passing, c.want.Known = true, true
			if d := cmp.Diff(&c.want, got[0].Check); d != "" {
				t.Errorf("check (-want +got):\n%s", d)
			}
		})
	}
}

func TestMetaKeepsWhatConsulTakes(t *testing.T) {
	in := input(seat(func(s *spec.HostSeat) {
		s.Services[0].Meta = map[string]string{
			"team": "x", "berth-owner": "forged", "consul-x": "reserved", "bad key": "y", "": "z", "long": strings.Repeat("v", 513),
		}
		for i := range 80 {
			s.Services[0].Meta[fmt.Sprintf("z%02d", i)] = "1"
		}
	}))
	got, _ := From(in)
	m := got[0].Meta
	if m[MetaOwner] != "o" || m["team"] != "x" || len(m) != maxMetaPairs {
		t.Errorf("%d pairs: %v", len(m), m)
	}
	for _, k := range []string{"consul-x", "bad key", "", "long"} {
		if _, ok := m[k]; ok {
			t.Errorf("%q got through", k)
		}
	}
}

func TestSamePortTwice(t *testing.T) {
	got, _ := From(input(seat(func(s *spec.HostSeat) {
		s.Services = append(s.Services, spec.Service{Name: "admin", Port: 80}, spec.Service{Name: "admin", Port: 80})
	})))
	var ids []string
	for _, s := range got {
		ids = append(ids, s.ID)
	}
	if d := cmp.Diff([]string{"berth:h:prod_web.0:80", "berth:h:prod_web.0:80:admin", "berth:h:prod_web.0:80:admin+"}, ids); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
}

func TestTwoTasksOfOneSeat(t *testing.T) {
	in := input(seat(func(s *spec.HostSeat) { s.Drain = true }), seat(func(s *spec.HostSeat) { s.TaskID = "t2"; s.Probes = nil }))
	in.Running = append(in.Running, Container{Task: "t2"})
	wanted, withheld := From(in)
	if len(wanted) != 1 || wanted[0].Task != "t2" || len(withheld) != 1 || withheld[0].Reason != ReasonDraining {
		t.Errorf("wanted %+v, withheld %+v", wanted, withheld)
	}
	in.State.Document.Seats[0].Drain = false
	if _, withheld = From(in); len(withheld) != 1 || withheld[0].Reason != ReasonTaken {
		t.Errorf("withheld %+v", withheld)
	}
}

func TestDiffers(t *testing.T) {
	services, _ := From(input(seat(func(s *spec.HostSeat) { s.Services[0].Tags = []string{"b", "a", "b"} })))
	s := services[0]
	for name, change := range map[string]func(*Registered){
		"":                   func(r *Registered) { r.Tags = []string{"b", "a"} },
		"name":               func(r *Registered) { r.Name = "x" },
		"address":            func(r *Registered) { r.Address = "1.1.1.1" },
		"port":               func(r *Registered) { r.Port = 1 },
		"tags":               func(r *Registered) { r.Tags = nil },
		"check":              func(r *Registered) { r.HasCheck = false },
		"task":               func(r *Registered) { r.Meta = map[string]string{} },
		"meta":               func(r *Registered) { r.Meta = mapWith(r.Meta, "more", "x") },
		"meta berth-version": func(r *Registered) { r.Meta = mapWith(r.Meta, MetaVersion, "old") },
	} {
		r := s.Registered()
		change(&r)
		if got := s.Differs(r); got != name {
			t.Errorf("got %q, want %q", got, name)
		}
	}
}

func mapWith(m map[string]string, k, v string) map[string]string {
	c := map[string]string{k: v}
	for key, value := range m {
		if key != k {
			c[key] = value
		}
	}
	return c
}

// TestProperties: whatever the host looks like, each service of each seat is either wanted or withheld, ids are unique and
// carry the prefix, the answer does not depend on the order of the input, and what was written needs no writing.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Host: "h", Admitted: map[string]bool{}}
		in.State.Health = map[string][]spec.CheckHealth{}
		total := 0
		for i := range rapid.IntRange(0, 8).Draw(t, "seats") {
			s := seat(nil)
			s.Seat.Index, s.TaskID = rapid.IntRange(0, 5).Draw(t, "index"), fmt.Sprint("t", i)
			s.Drain = rapid.Bool().Draw(t, "drain")
			if rapid.Bool().Draw(t, "runs") {
				in.Running = append(in.Running, Container{Task: s.TaskID})
			}
			in.State.Health[s.TaskID] = []spec.CheckHealth{{Alive: rapid.Bool().Draw(t, "alive"), Known: true}}
			in.Admitted[s.TaskID] = rapid.Bool().Draw(t, "admitted")
			in.State.Document.Seats = append(in.State.Document.Seats, s)
			total += len(s.Services)
		}
		wanted, withheld := From(in)
		if len(wanted)+len(withheld) != total {
			t.Fatalf("%d wanted and %d withheld of %d", len(wanted), len(withheld), total)
		}
		seen := map[string]bool{}
		for _, s := range wanted {
			if seen[s.ID] || !strings.HasPrefix(s.ID, Prefix+"h:") || s.Differs(s.Registered()) != "" || s.Meta[MetaTask] != TaskValue(s.Task) {
				t.Fatalf("%+v", s)
			}
			seen[s.ID] = true
		}
		slices.Reverse(in.State.Document.Seats)
		slices.Reverse(in.Running)
		again, _ := From(in)
		if d := cmp.Diff(wanted, again); d != "" {
			t.Fatalf("depends on the order:\n%s", d)
		}
	})
}
