package place

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

func offer(id, host string, cpus, mem float64) spec.Offer {
	return spec.Offer{ID: id, AgentID: "a-" + host, Host: host, CPUs: cpus, Mem: mem, Disk: 1000, Ports: []spec.PortRange{{Begin: 31000, End: 31003}}}
}

// fleetOf offers; h3 is not ready for the pool, h9 has said nothing yet.
func fleetOf(offers ...spec.Offer) *Fleet {
	f := NewFleet()
	for _, o := range offers {
		why := ""
		if o.Host == "h3" {
			why = "bridge is missing"
		}
		if o.Host != "h9" {
			f.Ready(o.Host, map[string]string{"p": why})
		}
		f.Add(o)
	}
	return f
}

// pace: h4 may be starting three tasks and starts one.
func pace(host string) (starting, most int) {
	if host == "h4" {
		return 1, 3
	}
	return 0, 0
}

func tallies(app *spec.App, running ...map[string]string) map[spec.AppID]*Tally {
	t := NewTally(app)
	for _, fields := range running {
		t.Add(fields)
	}
	return map[spec.AppID]*Tally{app.ID: t}
}

func TestMatch(t *testing.T) {
	in := func(zone string, o spec.Offer) spec.Offer { o.Zone = zone; return o }
	groupBy := spec.Constraint{Field: "@zone", Operator: "GROUP_BY", Value: "3"}
	app := func(cpus, mem float64, cs ...spec.Constraint) *spec.App {
		return &spec.App{ID: "/web", CPUs: cpus, Mem: mem, Constraints: cs}
	}
	for _, c := range []struct {
		name    string
		offers  []spec.Offer
		app     *spec.App
		n       int
		last    string
		ports   []int
		running []map[string]string
		want    string
	}{
		{"best fit keeps the large hole", []spec.Offer{offer("o1", "h1", 8, 999), offer("o2", "h2", 1, 999)}, app(1, 1), 1, "", nil, nil, "h2"},
		{"the last host is preferred", []spec.Offer{offer("o1", "h1", 8, 999), offer("o2", "h2", 1, 999)}, app(1, 1), 1, "h1", nil, nil, "h1"},
		{"never more than offered", []spec.Offer{offer("o1", "h1", 1, 999)}, app(0.4, 1), 3, "", nil, nil, "h1 h1; InsufficientCpus 1/1: h1: cpus: 0.4 wanted, 0.2 free"},
		{"memory", []spec.Offer{offer("o1", "h1", 1, 64)}, app(0.1, 65), 1, "", nil, nil, "; InsufficientMemory 1/1: h1: memory: 65 MiB wanted, 64 MiB free"},
		{"no offers", nil, app(1, 1), 1, "", nil, nil, "; 0"},
		{"network not ready", []spec.Offer{offer("o1", "h3", 1, 64)}, app(1, 1), 1, "", nil, nil, "; NetworkNotReady 1/1: h3: network p is not ready: bridge is missing"},
		{"unknown host", []spec.Offer{offer("o1", "h9", 1, 64)}, app(1, 1), 1, "", nil, nil, "; NetworkNotReady 1/1: h9: network p is not ready: its agent has not reported the network yet"},
		{"ports", []spec.Offer{offer("o1", "h1", 9, 999)}, app(1, 1), 3, "", []int{0, 31001}, nil, "h1; InsufficientPorts 1/1: h1: host port 31001 is not free"},
		{"unique", []spec.Offer{offer("o1", "h1", 9, 999), offer("o2", "h2", 9, 999)}, app(1, 1, spec.Constraint{Field: "hostname", Operator: "UNIQUE"}), 3, "", nil, nil,
			`h1 h2; UnfulfilledConstraint 2/2: h1: constraint hostname UNIQUE: 1 instances are on "h1" already`},
		{"running tasks count", []spec.Offer{offer("o1", "h1", 9, 999), offer("o2", "h2", 9, 999)}, app(1, 1, spec.Constraint{Field: "hostname", Operator: "UNIQUE"}), 1, "", nil,
			[]map[string]string{Fields(offer("", "h1", 0, 0))}, "h2"},
		{"attributes of running tasks count", []spec.Offer{in("a", offer("o1", "h1", 9, 999)), in("b", offer("o2", "h2", 9, 999))}, app(1, 1, spec.Constraint{Field: "@zone", Operator: "MAX_PER", Value: "1"}), 2, "", nil,
			[]map[string]string{{"@zone": "a"}}, `h2; UnfulfilledConstraint 2/2: h1: constraint @zone MAX_PER: 1 instances are on "a", at most 1 may be`},
		{"group by spreads", []spec.Offer{in("a", offer("o1", "h1", 9, 999)), in("b", offer("o2", "h2", 9, 999))}, app(1, 1, groupBy), 5, "", nil, nil, "h1 h2 h1 h2 h1"},
		{"group by does not wait for a full group", []spec.Offer{in("a", offer("o1", "h1", 9, 999)), in("b", offer("o2", "h2", 1, 999))}, app(1, 1, groupBy), 4, "", nil, nil, "h1 h2 h1 h1"},
		{"a host without the attribute", []spec.Offer{offer("o1", "h1", 9, 999)}, app(1, 1, groupBy), 1, "", nil, nil, "; UnfulfilledConstraint 1/1: h1: constraint @zone GROUP_BY: the host has no such attribute"},
		{"cluster on the first's value", []spec.Offer{in("a", offer("o1", "h1", 2, 999)), in("b", offer("o2", "h2", 9, 999))}, app(1, 1, spec.Constraint{Field: "@zone", Operator: "CLUSTER"}), 3, "", nil, nil,
			`h1 h1; UnfulfilledConstraint 1/InsufficientCpus 1/2: h1: cpus: 1 wanted, 0 free`},
		{"is, as numbers", []spec.Offer{in("1.0", offer("o1", "h1", 2, 999))}, app(1, 1, spec.Constraint{Field: "@zone", Operator: "IS", Value: "1"}), 1, "", nil, nil, "h1"},
		{"unlike is fulfilled by absence", []spec.Offer{offer("o1", "h1", 2, 999)}, app(1, 1, spec.Constraint{Field: "@zone", Operator: "UNLIKE", Value: "b"}), 1, "", nil, nil, "h1"},
		{"a busy host", []spec.Offer{offer("o1", "h4", 9, 999)}, app(1, 1), 3, "", nil, nil, "h4 h4; HostBusy 1/1: h4: the host is starting 3 tasks, at most 3 at a time"},
		{"like", []spec.Offer{offer("o1", "h1", 9, 999), offer("o2", "h2", 9, 999)}, app(1, 1, spec.Constraint{Field: "hostname", Operator: "LIKE", Value: "h[2-9]"}), 1, "", nil, nil, "h2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			input := Input{Tallies: tallies(c.app, c.running...), Pace: pace}
			for i := range c.n {
				input.Intents = append(input.Intents, Intent{Seat: spec.SeatID{App: "/web", Index: i}, App: c.app, Pool: "p", LastHost: c.last, HostPorts: c.ports})
			}
			r := fleetOf(c.offers...).Match(input)
			var hosts []string
			for _, p := range r.Placements {
				hosts = append(hosts, p.Offer.Host)
			}
			got := strings.Join(hosts, " ")
			if ref, ok := r.Refused["/web"]; ok {
				got += "; "
				for _, reason := range append(Order(), NetworkNotReady, HostBusy) {
					if n := ref.Declined[reason]; n > 0 {
						got += fmt.Sprintf("%s %d/", reason, n)
					}
				}
				got += fmt.Sprint(ref.Processed)
				if len(ref.Why) > 0 {
					got += ": " + ref.Why[0]
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPinnedAndDisks(t *testing.T) {
	offers := []spec.Offer{offer("o1", "h1", 8, 999), offer("o2", "h2", 1, 999)}
	app := &spec.App{ID: "/db", CPUs: 1, Mem: 1}
	seat := spec.SeatID{App: "/db", Index: 3}
	for _, c := range []struct {
		name   string
		intent Intent
		host   string
		reason Reason
		why    string
	}{
		{"where the volumes are", Intent{Seat: seat, App: app, Pool: "p", Pinned: "h1"}, "h1", "", ""},
		{"nowhere else", Intent{Seat: seat, App: app, Pool: "p", Pinned: "h3"}, "", NoReservation, "h1: the volumes of /db.3 are on h3"},
		{"a disk of its own", Intent{Seat: seat, App: app, Pool: "p", Disks: []string{"volume d needs a disk of type mount"}}, "", InsufficientDisk, "h1: volume d needs a disk of type mount, and the host offers none"},
	} {
		r := fleetOf(offers...).Match(Input{Intents: []Intent{c.intent}})
		if c.host != "" {
			if len(r.Placements) != 1 || r.Placements[0].Offer.Host != c.host {
				t.Errorf("%s: %+v", c.name, r)
			}
			continue
		}
		if ref := r.Refused["/db"]; len(r.Placements) > 0 || ref.Declined[c.reason] != 2 || ref.Why[0] != c.why {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestRolesReservationsAndMaintenance(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	with := func(change func(*spec.Offer)) spec.Offer {
		o := offer("o1", "h1", 4, 999)
		change(&o)
		return o
	}
	to := func(role string) spec.Offer { return with(func(o *spec.Offer) { o.Role = role }) }
	reserves := with(func(o *spec.Offer) {
		o.Reserved = spec.Resources{CPUs: 1, Mem: 500, Disk: 10, Ports: []spec.PortRange{{Begin: 31002, End: 31003}}}
	})
	maintained := func(from, until time.Duration) spec.Offer {
		return with(func(o *spec.Offer) {
			o.Unavailable.From = now.Add(from)
			if until != 0 {
				o.Unavailable.Until = now.Add(until)
			}
		})
	}
	roles := []string{"prod", "test"}
	for _, c := range []struct {
		name     string
		offer    spec.Offer
		role     string
		accepted []string
		cpus     float64
		ports    []int
		reason   Reason // "": it is placed
		why      string
	}{
		{"to the app's role", to("test"), "test", nil, 1, nil, "", ""},
		{"to another role", to("test"), "prod", nil, 1, nil, UnfulfilledRole, "h1: offered to role test, not to prod"},
		{"an app whose role nobody has is the first's", to("prod"), "gone", nil, 1, nil, "", ""},
		{"offers of a master without roles", to(""), "test", nil, 1, nil, "", ""},
		{"reserved and not reserved together", reserves, "prod", nil, 4, nil, "", ""},
		{"both named", reserves, "prod", []string{"*", "prod"}, 4, nil, "", ""},
		{"only what is not reserved", reserves, "prod", []string{"*"}, 4, nil, InsufficientCpus, "h1: cpus: 4 wanted, 3 free and not reserved"},
		{"only what is reserved", reserves, "prod", []string{"prod"}, 2, nil, InsufficientCpus, "h1: cpus: 2 wanted, 1 free of what is reserved"},
		{"a reserved port", reserves, "prod", []string{"*"}, 1, []int{31002}, InsufficientPorts, "h1: host port 31002 is not free"},
		{"a port that is not reserved", reserves, "prod", []string{"prod"}, 1, []int{31001}, InsufficientPorts, "h1: host port 31001 is not free"},
		{"nothing is reserved", offer("o1", "h1", 4, 999), "prod", []string{"prod"}, 1, nil, UnfulfilledRole, "h1: nothing is reserved for the role, and the app accepts only [prod]"},
		{"maintenance", maintained(-time.Hour, time.Hour), "prod", nil, 1, nil, AgentMaintenance, "h1: maintenance from 2026-01-02T02:04:05.000Z, until 2026-01-02T04:04:05.000Z"},
		{"maintenance without an end", maintained(-time.Hour, 0), "prod", nil, 1, nil, AgentMaintenance, "h1: maintenance from 2026-01-02T02:04:05.000Z, without a known end"},
		{"maintenance in a moment", maintained(5*time.Minute, time.Hour), "prod", nil, 1, nil, AgentMaintenance, "h1: maintenance from 2026-01-02T03:09:05.000Z, until 2026-01-02T04:04:05.000Z"},
		{"maintenance tomorrow", maintained(24*time.Hour, 25*time.Hour), "prod", nil, 1, nil, "", ""},
		{"maintenance that is over", maintained(-2*time.Hour, -time.Hour), "prod", nil, 1, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := &spec.App{ID: "/web", CPUs: c.cpus, Mem: 1, Role: c.role, AcceptedResourceRoles: c.accepted}
			r := fleetOf(c.offer).Match(Input{Intents: []Intent{{Seat: spec.SeatID{App: "/web"}, App: app, Pool: "p", HostPorts: c.ports}}, Roles: roles, Now: now})
			ref := r.Refused["/web"]
			if c.reason == "" {
				if len(r.Placements) != 1 {
					t.Fatalf("refused: %v", ref.Why)
				}
				return
			}
			if len(r.Placements) > 0 || ref.Declined[c.reason] != 1 || ref.Why[0] != c.why {
				t.Errorf("%d placed; %v %q", len(r.Placements), ref.Declined, ref.Why)
			}
		})
	}
}

// TestPartsOfAHost: the offers of one agent count together, and their host's pace holds for all roles.
func TestPartsOfAHost(t *testing.T) {
	app := &spec.App{ID: "/web", CPUs: 3, Mem: 1, Role: "prod"}
	in := Input{Intents: []Intent{{Seat: spec.SeatID{App: "/web"}, App: app, Pool: "p"}}}
	r := fleetOf(offer("o1", "h1", 2, 10), offer("o2", "h1", 2, 10)).Match(in)
	if len(r.Placements) != 1 || fmt.Sprint(r.Taken[r.Placements[0].Offer]) != "[o1 o2]" {
		t.Errorf("two offers of one agent: %+v", r)
	}
	one, two := offer("o1", "h4", 9, 99), offer("o2", "h4", 9, 99)
	one.Role, two.Role = "prod", "test"
	other := &spec.App{ID: "/api", CPUs: 1, Mem: 1, Role: "test"}
	in = Input{Roles: []string{"prod", "test"}, Pace: pace}
	for i, app := range []*spec.App{app, other, app, other} {
		in.Intents = append(in.Intents, Intent{Seat: spec.SeatID{App: app.ID, Index: i}, App: app, Pool: "p"})
	}
	if r := fleetOf(one, two).Match(in); len(r.Placements) != 2 || r.Refused["/api"].Declined[HostBusy] != 1 {
		t.Errorf("%d tasks start on a busy host, two may; %+v", len(r.Placements), r.Refused)
	}
}

// TestPoolsAreForHosts: a host that a pool is not for gets nothing of it, also after all offers were rescinded.
func TestPoolsAreForHosts(t *testing.T) {
	f := fleetOf()
	f.Restrict(func(pool, host string) string {
		if pool == "p" && host != "h2" {
			return "it is rack 1's"
		}
		return ""
	})
	f.Clear()
	for i, h := range []string{"h1", "h2", "h3"} {
		f.Add(offer(fmt.Sprint("o", i), h, 4, 100))
		f.Ready(h, map[string]string{"p": "", "q": ""})
	}
	p, q := &spec.App{ID: "/p", CPUs: 3, Mem: 1}, &spec.App{ID: "/q", CPUs: 3, Mem: 1}
	in := Input{}
	for n := range 2 {
		in.Intents = append(in.Intents, Intent{Seat: spec.SeatID{App: "/p", Index: n}, App: p, Pool: "p", LastHost: "h1"}, Intent{Seat: spec.SeatID{App: "/q", Index: n}, App: q, Pool: "q"})
	}
	r := f.Match(in)
	on := map[spec.SeatID]string{}
	for _, x := range r.Placements {
		on[in.Intents[x.Intent].Seat] = x.Offer.Host
	}
	ref := r.Refused["/p"]
	if on[spec.SeatID{App: "/p"}] != "h2" || len(on) != 3 || ref.Declined[PoolElsewhere] == 0 {
		t.Errorf("placed %v, refused %+v", on, r.Refused)
	}
	f = fleetOf(offer("o", "h1", 4, 100))
	f.Restrict(func(string, string) string { return "it is rack 1's" })
	ref = f.Match(Input{Intents: in.Intents[:1]}).Refused["/p"]
	if ref.Declined[PoolElsewhere] != 1 || ref.Why[0] != "h1: pool p is for other hosts: it is rack 1's" {
		t.Errorf("refused %+v", ref)
	}
}
