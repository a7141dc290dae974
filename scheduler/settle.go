package scheduler

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// rollOn adds the apps to restart whose tasks lag behind their definition with nothing under way to replace them: apps of
// the deployments that are cancelled now, and apps that are put again after an earlier rollout was cancelled. They keep
// their version: what already runs it is not restarted.
func (s *Scheduler) rollOn(puts, wanted map[spec.AppID]*spec.App, locks []string, restart map[spec.AppID]bool) {
	lagging := map[spec.AppID]bool{}
	for id := range puts {
		was, want := s.state.Apps[id], wanted[id]
		// Who only scales, or changes what needs no restart, does not ask for a cancelled rollout to go on.
		lagging[id] = was == nil || want == nil || same(was, want) || !marathon.InPlace(was, want)
	}
	for _, l := range locks {
		for id := range s.state.Deployments[l].Original {
			lagging[id] = true
		}
	}
	for _, d := range s.state.Deployments {
		for id := range lagging {
			if d.Drain == "" && d.Affects(id) && !slices.Contains(locks, d.ID) {
				delete(lagging, id) // that one sees to it
			}
		}
	}
	for id, asked := range lagging {
		if app := wanted[id]; asked && app != nil && s.hasOutdated(app) {
			restart[id] = true
		}
	}
}

func (s *Scheduler) hasOutdated(app *spec.App) bool {
	for _, t := range s.byApp[app.ID] {
		if !t.ConfigVersion.Equal(app.LastConfigChange) {
			return true
		}
	}
	return false
}

// reseat settles which seats the changed apps have: holes fill first, the highest go first, after those that are gone.
func (s *Scheduler) reseat(wanted map[spec.AppID]*spec.App, gone []spec.SeatID) {
	named := map[spec.AppID]map[int]bool{}
	for _, seat := range gone {
		if named[seat.App] == nil {
			named[seat.App] = map[int]bool{}
		}
		named[seat.App][seat.Index] = true
	}
	for id, a := range wanted {
		if was := s.state.Apps[id]; a != was {
			a.Holes = deploy.Holes(was, a, named[id])
		}
	}
}

// same says that two definitions of an app differ in nothing.
func same(a, b *spec.App) bool { return a.Instances == b.Instances && marathon.ConfigEqual(a, b) }

// stamp gives changed apps their versions (Marathon's rules: a pure scale is no change of the configuration). This is where it is
// settled whether the tasks that run stay up to date: as long as the configuration's version does. They then run the newest
// version with it (appOf), which is how a change in place reaches the documents of their hosts.
func (s *Scheduler) stamp(wanted map[spec.AppID]*spec.App, restart map[spec.AppID]bool, version time.Time) {
	for id, a := range wanted {
		was := s.state.Apps[id]
		if a == was {
			if !restart[id] {
				continue
			}
			own := *a
			a = &own
			wanted[id] = a
		}
		switch {
		case was == nil:
			a.Version, a.LastScaling, a.LastConfigChange = version, version, version
		case !marathon.InPlace(was, a):
			a.Version, a.LastScaling, a.LastConfigChange = version, version, s.sameBefore(a, version)
		case restart[id]:
			a.Version, a.LastScaling, a.LastConfigChange = version, was.LastScaling, version
			if !same(was, a) {
				a.LastScaling = version
			}
		case !same(was, a):
			a.Version, a.LastScaling, a.LastConfigChange = version, version, was.LastConfigChange
		default:
			wanted[id] = was
		}
	}
}

// sameBefore finds an older version that differs only in place and still has tasks: after a revert those are not
// outdated, so going back never restarts what still runs the wanted definition. Otherwise the change is new.
func (s *Scheduler) sameBefore(a *spec.App, version time.Time) time.Time {
	for _, t := range s.byApp[a.ID] {
		if v := s.appOf(t); t.Rung != spec.Killing && v.LastConfigChange.Equal(t.ConfigVersion) && marathon.InPlace(v, a) {
			return t.ConfigVersion
		}
	}
	return version
}

// pin leases the addresses that changed apps name, so that no other app gets them meanwhile. What cannot be had is a 422.
func (s *Scheduler) pin(puts, wanted map[spec.AppID]*spec.App, now time.Time) ([]spec.Lease, error) {
	f := &marathon.Faults{Message: "Object is not valid"}
	in := address.Input{Pools: s.opts.Pools, Leases: s.state.Leases, Rest: s.opts.AddressRest, Now: now, Blocks: s.blocks}
	owner := map[netip.Addr]spec.AppID{}
	var reserved []spec.Lease
	for _, id := range slices.Sorted(maps.Keys(puts)) {
		app := wanted[id]
		if app == nil {
			continue
		}
		path := "/labels/" + spec.AppLabelIPs
		if err := address.CheckPins(app, in); err != nil {
			f.Add(path, "%s", err)
			continue
		}
		pins, _ := address.Pins(app)
		for i, addr := range pins {
			if other, taken := owner[addr]; taken {
				f.Add(path, "%s is also named by %s", addr, other)
				continue
			}
			owner[addr] = id
			// Reserved at once, also for a seat whose task still runs on another address: that one stays leased until the
			// seat's next task takes the pinned one.
			if seat := (spec.SeatID{App: id, Index: i}); app.HasSeat(i) && s.state.Leases[addr].Seat != seat {
				reserved = append(reserved, spec.Lease{Seat: seat, Pool: s.addressWant(app, seat).Pool, Address: addr, Pinned: true})
			}
		}
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return reserved, nil
}
