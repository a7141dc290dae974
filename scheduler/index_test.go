package scheduler

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/hostdoc"
	"github.com/berth-project/berth/spec"
)

// consistent holds what the loop keeps against what follows from the state alone: nothing that changed was overlooked. The
// scenarios and the chaos call it after every step.
func consistent(t *testing.T, s *Scheduler) {
	t.Helper()
	var faults []string
	err := s.do(context.Background(), func() { faults = s.inconsistencies(time.Now()) })
	if err != nil {
		return // the scheduler died; what it knew is gone with it
	}
	for _, f := range faults {
		t.Error(f)
	}
}

func (s *Scheduler) inconsistencies(now time.Time) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	byHost, underway := map[string]map[string]*spec.Task{}, map[string]*spec.Task{}
	byApp := map[spec.AppID]map[string]*spec.Task{}
	for id, task := range s.state.Tasks {
		add(byApp, task.Seat.App, task)
		add(byHost, task.Host, task)
		if task.Rung != spec.Running {
			underway[id] = task
		}
	}
	same := func(what string, got, want any) {
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
			fault("%s (-computed +kept)\n%s", what, d)
		}
	}
	same("tasks by app", filled(s.byApp), filled(byApp))
	same("tasks by host", filled(s.byHost), filled(byHost))
	same("tasks under way", s.underway, underway)
	starting := map[string]map[string]*spec.Task{}
	for _, task := range underway {
		if task.Rung < spec.Running {
			add(starting, task.Host, task)
		}
	}
	same("tasks that hosts are starting", s.starting, starting)
	s.consistentTallies(byApp, fault)
	deploysOf, all := map[spec.AppID][]string{}, map[spec.AppID]bool{}
	for _, d := range s.deployments() {
		for app := range union(nil, d.Steps) {
			deploysOf[app] = append(deploysOf[app], d.ID)
			all[app] = true
		}
	}
	for app, ids := range deploysOf {
		if kept := slices.Clone(s.deploysOf[app]); !slices.Equal(slices.Sorted(slices.Values(kept)), slices.Sorted(slices.Values(ids))) {
			fault("deployments of %s are %v, want %v", app, kept, ids)
		}
	}
	if len(s.deploysOf) != len(deploysOf) {
		fault("deployments of %d apps, want %d", len(s.deploysOf), len(deploysOf))
	}
	for app := range s.state.Apps {
		all[app] = true
	}
	for app := range s.byApp {
		all[app] = true
	}
	targets := s.targets(all)
	for app := range s.targeted {
		if _, ok := targets[app]; !ok && !s.retarget[app] {
			fault("%s is kept as a target and is none", app)
		}
	}
	for id, t := range targets {
		if kept, ok := s.targeted[id]; !s.retarget[id] && (!ok || kept.mode != t.mode || s.state.Apps[id] != nil && kept.app != t.app) {
			fault("target of %s is %v, want %v", id, kept, t)
		}
		if s.dirty[id] {
			continue // is decided about at once
		}
		in := deploy.Input{App: t.app, Mode: t.mode, Tasks: s.tasksOf(t.app, nil)}
		cramped := s.cramped[id] // is looked at again before long, as others may have room now
		if s.spare == nil && len(s.state.Drains) > 0 {
			s.spare = s.spareNow("", nil)
		}
		in.Room, in.NoRoom = s.roomElsewhere(t, in.Tasks, now)
		r := deploy.Advance(in)
		if s.done[id] != r.Done || !cramped && (!slices.Equal(s.launches[id], r.Launch) || len(r.Kill) > 0 && !s.unsure[id]) {
			fault("%s: kept done=%t launch=%v, computed %+v", id, s.done[id], s.launches[id], r)
		}
	}
	seats := map[spec.SeatID]bool{}
	for _, task := range s.state.Tasks {
		seats[task.Seat] = true
	}
	wanted := func(seat spec.SeatID) bool {
		app := s.state.Apps[seat.App]
		return app != nil && !app.Floats() && app.HasSeat(seat.Index) || seats[seat] || slices.Contains(s.launches[seat.App], seat.Index)
	}
	pinned := func(l spec.Lease) bool {
		app := s.state.Apps[l.Seat.App]
		if app == nil {
			return false
		}
		pins, _ := address.Pins(app)
		return l.Seat.Index < len(pins) && pins[l.Seat.Index] == l.Address
	}
	for _, l := range address.Release(s.state.Leases, wanted, pinned, now) {
		if !s.restless[l.Seat.App] {
			fault("the lease of %s for %s should rest", l.Address, l.Seat)
		}
	}
	s.consistentSeats(same)
	s.consistentLeases(same, fault)
	same("seats", maps.Collect(s.seats.View().All()), s.state.Seats)
	same("leases", maps.Collect(s.leases.View().All()), s.state.Leases)
	s.consistentDocs(fault)
	s.consistentView(same, now)
	return faults
}

// consistentTallies: where the tasks are of the apps that wanted hosts, by every field that is counted.
func (s *Scheduler) consistentTallies(byApp map[spec.AppID]map[string]*spec.Task, fault func(string, ...any)) {
	for id, tally := range s.tallies {
		counts := reflect.ValueOf(tally).Elem().FieldByName("counts")
		for i := range counts.Len() {
			field, want := counts.Index(i).FieldByName("field").String(), map[string]int{}
			for _, task := range byApp[id] {
				if value, has := task.Attributes[field]; has && task.Rung != spec.Killing {
					want[value]++
				}
			}
			if kept := fmt.Sprint(counts.Index(i).FieldByName("tasks")); kept != fmt.Sprint(want) {
				fault("tally of %s by %s: %s, want %v", id, field, kept, want)
			}
		}
	}
}

func (s *Scheduler) consistentSeats(same func(string, any, any)) {
	seatsOf, hostnames, freed := map[spec.AppID]map[spec.SeatID]bool{}, map[string]spec.SeatID{}, map[spec.SeatID]bool{}
	for id, seat := range s.state.Seats {
		mark(seatsOf, id.App, id)
		hostnames[seat.Hostname] = id
		if slices.ContainsFunc(seat.Volumes, func(v spec.SeatVolume) bool { return v.Freed }) {
			freed[id] = true
		}
	}
	same("seats by app", s.seatsOf, seatsOf)
	same("seats by host name", s.hostnames, hostnames)
	same("seats with volumes to remove", s.freed, freed)
}

func (s *Scheduler) consistentLeases(same func(string, any, any), fault func(string, ...any)) {
	of, on := map[spec.AppID]map[netip.Addr]bool{}, map[spec.SeatID]map[netip.Addr]bool{}
	for addr, l := range s.state.Leases {
		mark(of, l.Seat.App, addr)
		mark(on, l.Seat, addr)
	}
	kept := map[spec.SeatID]map[netip.Addr]bool{}
	for seat, addrs := range s.leasesOn {
		for _, addr := range addrs {
			mark(kept, seat, addr)
		}
	}
	same("leases by app", s.leasesOf, of)
	same("leases by seat", kept, on)
	if s.blocks != nil {
		computed := address.NewBlocks(s.state.Blocks)
		same("blocks", s.blocks.All(), computed.All())
		for _, b := range computed.All() {
			same("blocks on "+b.Host, s.blocks.On(b.Host), computed.On(b.Host))
			if of, ok := s.blocks.Of(b.Prefix.Addr()); !ok || of != b {
				fault("the block of %s is %v, want %v", b.Prefix.Addr(), of, b)
			}
			for _, other := range computed.All() {
				if other.Prefix != b.Prefix && other.Prefix.Overlaps(b.Prefix) {
					fault("%v overlaps %v", b, other)
				}
			}
		}
	}
	holding, outliving, taken := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
	for name, h := range s.hosts {
		for _, held := range h.held {
			holding[name], taken[held.Address] = true, true
			if held.Task != "" {
				outliving[name] = true
			}
		}
	}
	holders := map[netip.Addr][]string{}
	for name, h := range s.hosts {
		for _, held := range h.held {
			if !slices.Contains(holders[held.Address], name) {
				holders[held.Address] = append(holders[held.Address], name)
			}
		}
	}
	for _, m := range []map[netip.Addr][]string{holders, s.holders} {
		for _, names := range m {
			slices.Sort(names)
		}
	}
	same("who holds addresses", s.holders, holders)
	same("hosts on which addresses are held", s.holding, holding)
	same("hosts on which containers hold them", s.outliving, outliving)
	for _, p := range s.opts.Pools {
		for addr := p.CIDR.Masked().Addr(); addr.Less(s.searched[p.Name]) && p.CIDR.Contains(addr); addr = addr.Next() {
			if _, leased := s.state.Leases[addr]; !leased && !taken[addr] && address.Usable(p, addr) && !s.blocks.ForHost(addr) {
				fault("%s is unused, below what was searched of pool %s (%s)", addr, p.Name, s.searched[p.Name])
			}
		}
	}
}

func mark[K, V comparable](m map[K]map[V]bool, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]bool{}
	}
	m[k][v] = true
}

func (s *Scheduler) consistentDocs(fault func(string, ...any)) {
	in := hostdoc.Input{Hosts: slices.Sorted(maps.Keys(s.hosts)), Pools: s.opts.Pools, Routing: s.routing, Blocks: s.blocks, Leases: s.state.Leases, Elsewhere: s.heldElsewhere, AuthorizedKeys: s.opts.AuthorizedKeys, Cluster: s.opts.Cluster, FreeVolumes: s.toFree(), Ended: s.outlived(),
		FenceAfter: hostShare(s.opts.FenceAfter), Withdrawn: map[string][]netip.Addr{}}
	for name, h := range s.hosts {
		if len(h.revoked) > 0 {
			in.Withdrawn[name], _ = h.revokedOn()
		}
	}
	for _, t := range s.liveTasks() {
		if h := s.hosts[t.Host]; h != nil && h.revoked[t.Address] != nil && h.revoked[t.Address].task == t.ID {
			continue
		}
		in.Tasks = append(in.Tasks, hostdoc.Task{Task: t, App: s.appOf(t), Seat: s.state.Seats[t.Seat], Now: s.state.Apps[t.Seat.App]})
	}
	for name, doc := range hostdoc.Compile(in) {
		if h := s.hosts[name]; !s.docsDirty && !s.staleDocs[name] && (h == nil || !reflect.DeepEqual(doc, h.last)) {
			fault("the document of %s is not up to date", name)
		}
	}
}

// consistentView shows what was not shown yet, and looks with a reader's eyes.
func (s *Scheduler) consistentView(same func(string, any, any), now time.Time) {
	s.show()
	v := s.published.Load().at(now)
	same("shown apps", v.Apps, s.state.Apps)
	same("shown groups", v.Groups, s.state.Groups)
	same("shown failures", v.LastFailure, s.state.Failures)
	same("shown deployments", v.Deployments, s.deployments())
	shown := map[spec.AppID]map[string]*spec.Task{}
	for app, tasks := range v.Tasks {
		for _, t := range tasks {
			add(shown, app, t)
		}
		if !slices.IsSortedFunc(tasks, func(a, b *spec.Task) int { return a.Seat.Index - b.Seat.Index }) {
			same("order of "+string(app), tasks, nil)
		}
	}
	same("shown tasks", filled(shown), filled(s.byApp))
}

func add[K comparable](m map[K]map[string]*spec.Task, k K, t *spec.Task) {
	if m[k] == nil {
		m[k] = map[string]*spec.Task{}
	}
	m[k][t.ID] = t
}

// filled leaves out the empty ones.
func filled[K comparable](m map[K]map[string]*spec.Task) map[K]map[string]*spec.Task {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ K, of map[string]*spec.Task) bool { return len(of) == 0 })
	return m
}

func TestAgenda(t *testing.T) {
	t0 := time.Unix(0, 0)
	rapid.Check(t, func(t *rapid.T) {
		var a agenda[int]
		model := map[int]time.Time{}
		now := t0
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			k := rapid.IntRange(0, 5).Draw(t, "key")
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				at := now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "in")))
				a.set(k, at)
				model[k] = at
			case 1:
				a.set(k, time.Time{})
				delete(model, k)
			default:
				now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "pass")))
				var want []int
				for k, at := range model {
					if !now.Before(at) {
						want = append(want, k)
						delete(model, k)
					}
				}
				got := a.due(now)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("due %v, want %v", got, want)
				}
			}
			for k, at := range model {
				if a.next.IsZero() || a.next.After(at) {
					t.Fatalf("%d is due at %v, the next look is at %v", k, at, a.next)
				}
			}
		}
	})
}
