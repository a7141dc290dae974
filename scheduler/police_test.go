package scheduler

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestPoliciesFollowTheState: a host has the policies of its seats, with the addresses of all seats that they name; a restart changes
// nothing for others, one more instance does, and not too often.
func TestPoliciesFollowTheState(t *testing.T) {
	began := time.Now().Add(-time.Hour)
	state := store.NewState()
	app := func(id spec.AppID, role string) *spec.App {
		a := &spec.App{ID: id, Instances: 2, CPUs: 0.1, Mem: 32, Labels: map[string]string{"role": role}, Version: began, LastConfigChange: began}
		state.Apps[id], state.Versions[id] = a, []*spec.App{a}
		return a
	}
	app("/shop/web", "web")
	app("/shop/db", "db")
	task := func(id string, app spec.AppID, n int, host, address string) *spec.Task {
		seat, a := spec.SeatID{App: app, Index: n}, netip.MustParseAddr(address)
		state.Seats[seat] = spec.Seat{ID: seat, Hostname: id, LastHost: host}
		state.Leases[a] = spec.Lease{Seat: seat, Pool: "p", Address: a}
		return &spec.Task{ID: id, Instance: id, Seat: seat, AppVersion: began, ConfigVersion: began, Rung: spec.Running, State: "TASK_RUNNING", Ready: true,
			Host: host, AgentID: "a-" + host, Pool: "p", Address: a, CreatedAt: began, StagedAt: began, StartedAt: began}
	}
	web := task("web.0", "/shop/web", 0, "h1", "10.0.0.2")
	state.Tasks["web.0"], state.Tasks["db.0"] = web, task("db.0", "/shop/db", 0, "h2", "10.0.0.9")
	pools := []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/24"), CIDR6: netip.MustParsePrefix("2001:db8::/64")}}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}), Pools: pools, Launch: launch.Options{SeatsDir: "/seats"},
		Policies: &spec.NetworkPolicies{Policies: []spec.NetworkPolicy{{Name: "shop/db", Namespace: "shop", Selector: "role == 'db'", Ingress: true,
			IngressRules: []spec.PolicyRule{{Action: spec.PolicyAllow, Source: spec.PolicyPeer{Selector: "role == 'web'"}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	want := func(host, text string) {
		t.Helper()
		s.documents(now)
		got := fmt.Sprint(s.hosts[host].last.Policies.Policies, s.hosts[host].last.Policies.Sets)
		if p := s.hosts[host].last.Policies; len(p.Policies) > 0 {
			got = fmt.Sprint(p.Policies[0].Addresses, " from ", p.Sets[0].Ranges)
		}
		if got != text {
			t.Errorf("%s has %s, want %s", host, got, text)
		}
	}
	want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2 2001:db8::2]")
	want("h1", "[] []")
	version := s.hosts["h2"].version

	// Between two tasks the seat keeps its address, and after a move, too.
	delete(state.Tasks, "web.0")
	s.unindex(web)
	now = now.Add(time.Minute)
	want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2 2001:db8::2]")
	again := *web
	again.ID, again.Host = "web.0-2", "h3"
	state.Tasks[again.ID] = &again
	s.index(&again)
	now = now.Add(time.Minute)
	want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2 2001:db8::2]")
	if s.hosts["h2"].version != version {
		t.Error("a restart elsewhere made another document")
	}

	// One more comes; others get it at once, but two in a row only after a pause.
	one, two := task("web.1", "/shop/web", 1, "h1", "10.0.0.3"), task("web.2", "/shop/web", 2, "h1", "10.0.0.4")
	for i, next := range []*spec.Task{one, two} {
		state.Tasks[next.ID] = next
		s.index(next)
		s.indexLease(state.Leases[next.Address], state.Leases[next.Address])
		if i == 0 {
			now = now.Add(time.Minute)
		}
		want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2-10.0.0.3 2001:db8::2-2001:db8::3]")
	}
	if s.wake.IsZero() || s.wake.After(now.Add(policePause)) {
		t.Errorf("nothing wakes the loop for it: %v", s.wake)
	}
	// Who is selected himself does not wait: his host has the policies in the document that tells of him.
	db := task("db.1", "/shop/db", 1, "h3", "10.0.0.20")
	state.Tasks[db.ID] = db
	s.index(db)
	s.indexLease(state.Leases[db.Address], state.Leases[db.Address])
	want("h3", "[10.0.0.20 2001:db8::14] from [10.0.0.2-10.0.0.4 2001:db8::2-2001:db8::4]")
	if seats := s.hosts["h3"].last.Seats; !slices.ContainsFunc(seats, func(h spec.HostSeat) bool { return h.Address == db.Address }) {
		t.Errorf("it has the seats %+v", seats)
	}
	now = now.Add(policePause)
	want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2-10.0.0.4 2001:db8::2-2001:db8::4]")

	// A seat that nobody wants any more is nobody's.
	delete(state.Tasks, "web.2")
	s.unindex(two)
	l := state.Leases[two.Address]
	l.IdleSince = now
	state.Leases[two.Address] = l
	s.indexLease(l, l)
	now = now.Add(policePause)
	want("h2", "[10.0.0.9 2001:db8::9] from [10.0.0.2-10.0.0.3 2001:db8::2-2001:db8::3]")
}

// TestUnpolicedHost: a host whose network policies are not in force is ready for nothing until they are.
func TestUnpolicedHost(t *testing.T) {
	began := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s, err := New(Options{Store: store.NewMemory(), State: store.NewState(), Engine: enginetest.New(enginetest.Options{}), Launch: launch.Options{SeatsDir: "/seats"},
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/24")}}, Policies: &spec.NetworkPolicies{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		report spec.HostReport
		want   string
	}{
		{spec.HostReport{Networks: map[string]string{"p": ""}}, ""},
		{spec.HostReport{Policies: &spec.PolicyReport{Fault: "no nftables"}}, "its network policies are not in force: no nftables"},
		{spec.HostReport{Networks: map[string]string{"p": ""}}, "its network policies are not in force: no nftables"},
		{spec.HostReport{Networks: map[string]string{"p": "no bridge"}}, "no bridge"},
		{spec.HostReport{Policies: &spec.PolicyReport{}}, "no bridge"},
		{spec.HostReport{Networks: map[string]string{"p": ""}}, ""},
	} {
		step.report.Host = "h1"
		if err := s.report(step.report, began); err != nil {
			t.Fatal(err)
		}
		views := s.hostViews(began)
		if len(views) != 1 || views[0].Networks["p"] != step.want {
			t.Errorf("after %+v the host says %q, want %q", step.report, views[0].Networks, step.want)
		}
	}
}
