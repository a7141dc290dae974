package place

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// simple is the plain way: every host looked at for every instance, every task counted again. It knows no index.
type simple struct {
	hosts   map[string]*spec.Offer // by agent and role: what is free
	roles   []string
	pools   map[string]map[string]string
	paces   map[string][2]int
	tasks   map[spec.AppID][]map[string]string
	started map[string]int // in this match, by host
	now     time.Time
}

func (x *simple) count(app spec.AppID, field, value string) (n int) {
	for _, fields := range x.tasks[app] {
		if v, ok := fields[canonical(field)]; ok && v == value {
			n++
		}
	}
	return n
}

// accepted: where there are no roles, there are no reservations to tell apart either.
func (x *simple) accepted(app *spec.App) []string {
	if len(x.roles) == 0 {
		return nil
	}
	return app.AcceptedResourceRoles
}

// fits says whether an instance could run there.
func (x *simple) fits(it Intent, o *spec.Offer) bool {
	app, fields := it.App, Fields(*o)
	cpus, mem, ports := o.CPUs, o.Mem, o.Ports
	switch {
	case slices.Equal(x.accepted(app), []string{"*"}):
		cpus, mem, ports = cpus-o.Reserved.CPUs, mem-o.Reserved.Mem, without(ports, o.Reserved.Ports)
	case len(x.accepted(app)) == 1:
		cpus, mem, ports = o.Reserved.CPUs, o.Reserved.Mem, o.Reserved.Ports
	}
	if app.CPUs > cpus+1e-6 || app.Mem > mem+1e-6 || it.Pinned != "" && it.Pinned != o.Host {
		return false
	}
	if from, until := o.Unavailable.From, o.Unavailable.Until; !from.IsZero() && !x.now.Before(from.Add(-beforeMaintenance)) && (until.IsZero() || x.now.Before(until)) {
		return false
	}
	if role := app.Role; len(x.roles) > 0 {
		if !slices.Contains(x.roles, role) {
			role = x.roles[0]
		}
		if o.Role != role {
			return false
		}
	}
	if _, missing := takePorts(ports, it.HostPorts); missing != "" {
		return false
	}
	if why, ok := x.pools[o.Host][it.Pool]; !ok || why != "" {
		return false
	}
	if p := x.paces[o.Host]; p[1] > 0 && p[0]+x.started[o.Host] >= p[1] {
		return false
	}
	for _, c := range app.Constraints {
		value, has := fields[c.Field]
		if !has {
			return false
		}
		limit := math.MaxInt
		switch c.Operator {
		case "UNIQUE":
			limit = 1
		case "MAX_PER":
			limit, _ = strconv.Atoi(c.Value)
		case "LIKE":
			if value != c.Value {
				return false
			}
		case "CLUSTER":
			if n := x.count(app.ID, c.Field, value); c.Value != "" && value != c.Value || c.Value == "" && n < len(x.tasks[app.ID]) {
				return false
			}
		}
		if x.count(app.ID, c.Field, value) >= limit {
			return false
		}
	}
	return true
}

// load is what is to be as small as can be: the instances in the groups of each GROUP_BY, then on the host.
func (x *simple) load(it Intent, o *spec.Offer) []int {
	var out []int
	for _, c := range it.App.Constraints {
		if c.Operator == "GROUP_BY" {
			out = append(out, x.count(it.App.ID, c.Field, Fields(*o)[c.Field]))
		}
	}
	on := x.count(it.App.ID, "hostname", o.Host)
	if on < it.Share {
		on = 0
	}
	return append(out, on)
}

// firstGroup is the host's group in the app's first GROUP_BY.
func firstGroup(app *spec.App, o *spec.Offer) string {
	for _, c := range app.Constraints {
		if c.Operator == "GROUP_BY" {
			return Fields(*o)[c.Field]
		}
	}
	return ""
}

// check plays a placement, or its absence, and says what is wrong with it.
func (x *simple) check(it Intent, p *Placement, alone bool) error {
	var chosen *spec.Offer
	if p != nil {
		chosen = x.hosts[slotKey(p.Offer.AgentID, p.Offer.Role)]
		if !x.fits(it, chosen) {
			return fmt.Errorf("%s on %s breaks something", it.Seat, chosen.Host)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(x.hosts)) {
		o := x.hosts[id]
		if !x.fits(it, o) {
			continue
		}
		if p == nil {
			return fmt.Errorf("%s could run on %s, and does not", it.Seat, o.Host)
		}
		mine, others := x.load(it, chosen), x.load(it, o)
		if len(mine) > 1 && mine[0] == others[0] && firstGroup(it.App, chosen) != firstGroup(it.App, o) {
			continue // a group as good as this one has its turn next
		}
		if it.LastHost == chosen.Host { // only the groups come first
			mine, others = mine[:len(mine)-1], others[:len(others)-1]
		}
		switch c := slices.Compare(mine, others); {
		case c > 0 && it.LastHost != chosen.Host && it.Pinned == "": // a last host need not be the best in all groups together, but in each
			return fmt.Errorf("%s on %s (%v), %s has less (%v)", it.Seat, chosen.Host, mine, o.Host, others)
		case it.LastHost == o.Host && it.LastHost != chosen.Host && len(mine) == 1 && it.Pinned == "":
			return fmt.Errorf("%s on %s, not on its last host %s", it.Seat, chosen.Host, o.Host)
		case c == 0 && alone && it.LastHost == "" && it.Pinned == "" && len(mine) == 1 && chosen.CPUs > o.CPUs:
			return fmt.Errorf("%s on %s with %g free, %s has %g", it.Seat, chosen.Host, chosen.CPUs, o.Host, o.CPUs)
		}
	}
	if p == nil {
		return nil
	}
	app := it.App
	chosen.CPUs, chosen.Mem = thousandths(chosen.CPUs-app.CPUs), thousandths(chosen.Mem-app.Mem)
	if !slices.Equal(x.accepted(app), []string{"*"}) {
		chosen.Reserved.CPUs, chosen.Reserved.Mem = max(0, thousandths(chosen.Reserved.CPUs-app.CPUs)), max(0, thousandths(chosen.Reserved.Mem-app.Mem))
	}
	for _, port := range p.HostPorts {
		var missing string
		if chosen.Ports, missing = take(chosen.Ports, port); missing != "" {
			return fmt.Errorf("port %d of %s is given twice", port, chosen.Host)
		}
		chosen.Reserved.Ports, _ = take(chosen.Reserved.Ports, port)
	}
	x.tasks[app.ID] = append(x.tasks[app.ID], Fields(*chosen))
	x.started[chosen.Host]++
	return nil
}

// TestAgainstTheSimpleWay plays offers that come and go, hosts that become ready, tasks that end, and matches, and holds every
// placement and every refusal against the simple way.
func TestAgainstTheSimpleWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		f, offers := NewFleet(), map[string]spec.Offer{}
		pools, paces := map[string]map[string]string{}, map[string][2]int{}
		tasks, counts := map[spec.AppID][]map[string]string{}, map[spec.AppID]*Tally{}
		apps, shares := map[spec.AppID]*spec.App{}, map[spec.AppID]int{}
		for i := range rapid.IntRange(1, 3).Draw(t, "apps") {
			app := drawApp(t, i)
			apps[app.ID], counts[app.ID] = app, NewTally(app)
			shares[app.ID] = rapid.SampledFrom([]int{0, 0, 2, 3}).Draw(t, "share")
		}
		for i := range 6 { // h6 and h7 have not reported
			host := fmt.Sprintf("h%d", i)
			pools[host] = map[string]string{"p": ""}
			f.Ready(host, pools[host])
		}
		roles, next := rapid.SampledFrom([][]string{nil, {"r"}, {"r", "s"}}).Draw(t, "roles"), 0
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1, 2:
				for range rapid.IntRange(1, 6).Draw(t, "offers") {
					next++
					o := drawOffer(t, next, roles, now)
					offers[o.ID] = o
					f.Add(o)
				}
			case 3:
				if len(offers) > 0 {
					id := rapid.SampledFrom(slices.Sorted(maps.Keys(offers))).Draw(t, "rescinded")
					delete(offers, id)
					f.Drop(id)
				}
				switch rapid.IntRange(0, 9).Draw(t, "lost") {
				case 0: // an agent
					agent := fmt.Sprintf("a-h%d", rapid.IntRange(0, 7).Draw(t, "host"))
					f.DropAgent(agent)
					maps.DeleteFunc(offers, func(_ string, o spec.Offer) bool { return o.AgentID == agent })
				case 1: // the master
					f.Clear()
					clear(offers)
				}
			case 4:
				host := fmt.Sprintf("h%d", rapid.IntRange(0, 7).Draw(t, "host"))
				pools[host] = map[string]string{"p": rapid.SampledFrom([]string{"", "", "no bridge"}).Draw(t, "state")}
				paces[host] = [2]int{rapid.IntRange(0, 2).Draw(t, "starting"), rapid.IntRange(0, 4).Draw(t, "most")}
				f.Ready(host, pools[host])
			case 5:
				for _, id := range slices.Sorted(maps.Keys(tasks)) {
					if n := len(tasks[id]); n > 0 {
						counts[id].Remove(tasks[id][n-1])
						tasks[id] = tasks[id][:n-1]
					}
				}
			case 6: // what was busy or in maintenance may be no longer
				now = now.Add(20 * time.Minute)
				clear(paces)
			}
			in := Input{Tallies: counts, Roles: roles, Now: now, Pace: func(h string) (int, int) { return paces[h][0], paces[h][1] }}
			in.Intents = drawIntents(t, apps, shares)
			x := &simple{hosts: merged(offers), roles: roles, pools: pools, paces: paces, tasks: tasks, started: map[string]int{}, now: now}
			fresh := NewFleet() // the same without history
			for host, p := range pools {
				fresh.Ready(host, p)
			}
			for _, id := range slices.Backward(slices.Sorted(maps.Keys(offers))) {
				fresh.Add(offers[id])
			}
			hopeless := map[spec.AppID]bool{}
			for id, app := range apps {
				hopeless[id] = f.Hopeless(app, "p", counts[id], now)
			}
			r, again := f.Match(in), fresh.Match(in)
			if a, b := text(r), text(again); a != b {
				t.Fatalf("the answer depends on history:\n%s\n%s", a, b)
			}
			placed := map[int]*Placement{}
			for i := range r.Placements {
				placed[r.Placements[i].Intent] = &r.Placements[i]
			}
			for i, it := range in.Intents {
				if err := x.check(it, placed[i], len(apps) == 1); err != nil {
					t.Fatal(err)
				}
				if placed[i] != nil && it.Pinned == "" && hopeless[it.App.ID] {
					t.Fatalf("%s found a host without hope", it.Seat)
				}
				if p := placed[i]; p != nil {
					counts[it.App.ID].Add(Fields(*p.Offer))
				} else if _, why := r.Refused[it.App.ID]; !why {
					t.Fatalf("no word about %s", it.Seat)
				}
			}
			for _, ids := range r.Taken {
				for _, id := range ids {
					delete(offers, id)
				}
			}
			for id := range offers {
				if !f.Holds(id) {
					t.Fatalf("%s is lost", id)
				}
			}
			if f.Len() != len(offers) {
				t.Fatalf("%d offers are left of %d", f.Len(), len(offers))
			}
		}
	})
}

func text(r Result) (out string) {
	for _, p := range r.Placements {
		out += fmt.Sprintf("%d on %s/%s %v %v; ", p.Intent, p.Offer.AgentID, p.Offer.Role, p.HostPorts, r.Taken[p.Offer])
	}
	return out
}

// merged adds up the offers of each agent to each role.
func merged(offers map[string]spec.Offer) map[string]*spec.Offer {
	out := map[string]*spec.Offer{}
	for _, id := range slices.Sorted(maps.Keys(offers)) {
		o := offers[id]
		key := slotKey(o.AgentID, o.Role)
		m := out[key]
		if m == nil {
			o.Ports, o.Reserved.Ports = slices.Clone(o.Ports), slices.Clone(o.Reserved.Ports)
			out[key] = &o
			continue
		}
		m.CPUs, m.Mem, m.Disk = m.CPUs+o.CPUs, m.Mem+o.Mem, m.Disk+o.Disk
		m.Reserved.CPUs, m.Reserved.Mem = m.Reserved.CPUs+o.Reserved.CPUs, m.Reserved.Mem+o.Reserved.Mem
		m.Ports, m.Reserved.Ports = append(m.Ports, o.Ports...), append(m.Reserved.Ports, o.Reserved.Ports...)
		if o.Unavailable.From.After(m.Unavailable.From) {
			m.Unavailable = o.Unavailable
		}
	}
	return out
}

func drawApp(t *rapid.T, i int) *spec.App {
	app := &spec.App{ID: spec.AppID(fmt.Sprintf("/a%d", i)), Role: rapid.SampledFrom([]string{"r", "s", "unknown"}).Draw(t, "role"),
		CPUs: float64(rapid.IntRange(0, 20).Draw(t, "cpus")) / 10, Mem: float64(rapid.IntRange(0, 200).Draw(t, "mem")),
		AcceptedResourceRoles: rapid.SampledFrom([][]string{nil, nil, {"*"}, {"r"}, {"*", "r"}}).Draw(t, "accepted")}
	app.Constraints = rapid.SampledFrom([][]spec.Constraint{
		nil, nil,
		{{Field: "hostname", Operator: "UNIQUE"}},
		{{Field: "rack", Operator: "UNIQUE"}},
		{{Field: "rack", Operator: "GROUP_BY"}},
		{{Field: "rack", Operator: "GROUP_BY"}, {Field: "@zone", Operator: "GROUP_BY"}},
		{{Field: "rack", Operator: "GROUP_BY"}, {Field: "@hostname", Operator: "UNIQUE"}},
		{{Field: "rack", Operator: "MAX_PER", Value: "2"}},
		{{Field: "@hostname", Operator: "MAX_PER", Value: "2"}, {Field: "@zone", Operator: "GROUP_BY"}},
		{{Field: "rack", Operator: "CLUSTER"}},
		{{Field: "rack", Operator: "CLUSTER", Value: "b"}},
		{{Field: "rack", Operator: "LIKE", Value: "a"}},
	}).Draw(t, "constraints")
	return app
}

func drawOffer(t *rapid.T, n int, roles []string, now time.Time) spec.Offer {
	i := rapid.IntRange(0, 7).Draw(t, "host")
	o := offer(fmt.Sprintf("o%04d", n), fmt.Sprintf("h%d", i), float64(rapid.IntRange(0, 40).Draw(t, "cpus"))/10, float64(rapid.IntRange(0, 500).Draw(t, "mem")))
	o.Ports = []spec.PortRange{{Begin: 31000 + 4*n, End: 31003 + 4*n}}
	o.Zone, o.Attributes = []string{"", "x", "y"}[i%3], map[string]string{"rack": []string{"a", "b", "c"}[i%4%3]}
	if rapid.IntRange(0, 3).Draw(t, "reserves") == 0 {
		o.Reserved = spec.Resources{CPUs: thousandths(o.CPUs / 2), Mem: thousandths(o.Mem / 2), Ports: []spec.PortRange{{Begin: o.Ports[0].Begin, End: o.Ports[0].Begin + 1}}}
	}
	if rapid.IntRange(0, 9).Draw(t, "maintained") == 0 {
		o.Unavailable.From = now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "from")) * time.Minute)
		if rapid.Bool().Draw(t, "ends") {
			o.Unavailable.Until = o.Unavailable.From.Add(time.Hour)
		}
	}
	if len(roles) > 0 {
		o.Role = rapid.SampledFrom(roles).Draw(t, "role")
	}
	return o
}

func drawIntents(t *rapid.T, apps map[spec.AppID]*spec.App, shares map[spec.AppID]int) (out []Intent) {
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		var ports []int
		if int(apps[id].Mem)%4 == 1 { // what a definition asks for does not change
			ports = []int{0, 0}
		}
		for n := range rapid.IntRange(0, 8).Draw(t, "instances") {
			it := Intent{Seat: spec.SeatID{App: id, Index: n}, App: apps[id], Pool: "p", HostPorts: ports, Share: shares[id]}
			switch host := fmt.Sprintf("h%d", rapid.IntRange(0, 7).Draw(t, "host")); rapid.IntRange(0, 5).Draw(t, "prefers") {
			case 0:
				it.LastHost = host
			case 1:
				it.Pinned = host
			}
			out = append(out, it)
		}
	}
	if rapid.Bool().Draw(t, "mixed") {
		slices.SortStableFunc(out, func(a, b Intent) int { return a.Seat.Index - b.Seat.Index })
	}
	return out
}

// TestExplainAll holds what is said of many hosts against a look at each.
func TestExplainAll(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		f := NewFleet()
		app := &spec.App{ID: "/web", CPUs: 3, Mem: 10, Constraints: rapid.SampledFrom([][]spec.Constraint{nil, {{Field: "rack", Operator: "GROUP_BY"}},
			{{Field: "hostname", Operator: "UNIQUE"}}, {{Field: "rack", Operator: "LIKE", Value: "a"}}}).Draw(t, "constraints")}
		lacks, odd := rapid.IntRange(0, 2).Draw(t, "without attributes"), rapid.IntRange(0, 2).Draw(t, "maintained")
		for i := range 1000 {
			o := offer(fmt.Sprintf("o%d", i), fmt.Sprintf("n%03d", i), float64(i*37%3000)/1000, 100)
			o.Attributes = map[string]string{"rack": []string{"a", "b"}[i%2]}
			if lacks == 1 && i%200 == 7 {
				o.Attributes = nil
			}
			if odd == 1 && i%300 == 5 {
				o.Unavailable.From = now
			}
			f.Add(o)
		}
		r := f.Match(Input{Now: now, Intents: []Intent{{Seat: spec.SeatID{App: "/web"}, App: app}}}).Refused["/web"]
		m := &matcher{fleet: f, in: Input{Now: now}}
		d, want := m.newDemand(Intent{App: app}), map[Reason]int{}
		for _, s := range f.slots {
			want[m.reason(d, s)]++
		}
		if r.Processed != 1000 || !maps.Equal(r.Declined, want) {
			t.Fatalf("said %v of %d, should be %v", r.Declined, r.Processed, want)
		}
		for reason := range want {
			if !slices.ContainsFunc(r.Offers, func(o Refused) bool { return o.Reason == reason }) {
				t.Errorf("no example of %s", reason)
			}
		}
	})
}
