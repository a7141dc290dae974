package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/plan"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// Change implements api.Backend.
func (s *Scheduler) Change(ctx context.Context, c api.Change) (*api.Changed, error) {
	var out *api.Changed
	err := s.doDurably(ctx, func() (err error) {
		now := time.Now()
		if out, err = s.change(c, now); err != nil && !c.DryRun {
			s.publish(api.GroupChangeFailed(cmp.Or(c.Group, "/"), s.lastVersion, err.Error(), now))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// change decides a change completely before it touches anything: an error leaves everything as it was.
func (s *Scheduler) change(c api.Change, now time.Time) (*api.Changed, error) {
	return s.changeInstead(c, "", now)
}

// changeInstead is change in the place of a running deployment (instead, "" for none), which it cancels and reverts.
func (s *Scheduler) changeInstead(c api.Change, instead string, now time.Time) (*api.Changed, error) {
	current := marathon.Tree{Apps: s.state.Apps, Groups: s.state.Groups}
	decided, err := c.Decide(api.Tree{Apps: maps.Clone(current.Apps), Groups: maps.Clone(current.Groups)})
	if err != nil {
		return nil, err
	}
	puts := marathon.Settle(current, marathon.Tree(decided))
	wanted := current.Apply(puts)
	for id, a := range puts.Apps {
		if a != nil {
			own := *a // versions and ports are filled in below, never in the caller's value
			wanted.Apps[id] = &own
		}
	}
	if err := s.checkTree(puts.Apps, wanted); err != nil {
		return nil, err
	}
	restart := map[spec.AppID]bool{}
	for _, id := range c.Restart {
		restart[id] = true
	}
	locks := s.locks(s.affected(puts.Apps, wanted.Apps, restart))
	if len(locks) > 0 && !c.Force && !c.DryRun {
		return nil, &api.LockedError{Deployments: locks}
	}
	if instead != "" && !slices.Contains(locks, instead) {
		locks = append(locks, instead)
	}
	d := decision{change: c, group: commonGroup(decided), wanted: wanted, locks: locks, version: s.nextVersion(now)}
	if instead == "" { // going back brings the seats back, too
		s.reseat(wanted.Apps, c.Gone)
	}
	s.stamp(wanted.Apps, restart, d.version)
	if d.leases, err = s.pin(puts.Apps, wanted.Apps, now); err != nil {
		return nil, err
	}
	if instead == "" {
		s.rollOn(puts.Apps, wanted.Apps, locks, restart)
	}
	d.steps = plan.Compute(plan.Input{
		Current: s.state.Apps, Wanted: wanted.Apps, Groups: wanted.Groups, Restart: restart, SameConfig: marathon.ConfigEqual,
	})
	d.before = s.before(puts, d)
	d.named = slices.Sorted(maps.Keys(puts.Apps))
	if c.DryRun {
		return s.changed(d), nil
	}
	// Those that it cancels make room: reverting and forcing stay possible at the limit. Without steps nothing runs.
	if limit := s.opts.MaxRunningDeployments; len(d.steps) > 0 && len(s.state.Deployments)-len(d.locks) >= limit {
		return nil, &api.TooManyDeploymentsError{Max: limit}
	}
	return s.store(d, now), nil
}

// decision is a change decided in all its parts.
type decision struct {
	change  api.Change
	group   spec.AppID // around all that changes
	named   []spec.AppID
	wanted  marathon.Tree
	before  spec.TreeChange // what really changes, as it is until now
	locks   []string        // deployments to cancel
	leases  []spec.Lease
	steps   []spec.Step
	version time.Time
}

// before is what the decision really changes, as it is until now.
func (s *Scheduler) before(puts marathon.Tree, d decision) spec.TreeChange {
	out := spec.TreeChange{Version: d.version, Apps: map[spec.AppID]*spec.App{}, Groups: map[spec.AppID]*spec.Group{}}
	for id := range union(puts.Apps, d.steps) {
		if was := s.state.Apps[id]; was != d.wanted.Apps[id] {
			out.Apps[id] = was
		}
	}
	for id := range puts.Groups {
		if was := s.state.Groups[id]; !marathon.SameGroup(was, d.wanted.Groups[id]) {
			out.Groups[id] = was
		}
	}
	return out
}

// warnings say what can never come true of the apps that were named, on the hosts and in the pools known now.
func (s *Scheduler) warnings(d decision) []string {
	var out []string
	known := s.known()
	for _, id := range d.named {
		out = append(out, s.outlook(d.wanted.Apps[id], known)...)
	}
	return out
}

// rollOn adds the apps to restart whose tasks lag behind their definition with nothing under way to replace them: apps of
// the deployments that are cancelled now, and apps that are put again after an earlier rollout was cancelled. They keep
// their version: what already runs it is not restarted.
func (s *Scheduler) rollOn(puts, wanted map[spec.AppID]*spec.App, locks []string, restart map[spec.AppID]bool) {
	lagging := map[spec.AppID]bool{}
	for id := range puts {
		was, want := s.state.Apps[id], wanted[id]
		scale := was != nil && want != nil && was.Instances != want.Instances && marathon.ConfigEqual(was, want)
		lagging[id] = !scale // who only scales does not ask for a cancelled rollout to go on
	}
	for _, l := range locks {
		for id := range s.state.Deployments[l].Original {
			lagging[id] = true
		}
	}
	for _, d := range s.state.Deployments {
		for id := range lagging {
			if d.Affects(id) && !slices.Contains(locks, d.ID) {
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

// checkTree refuses what is wrong with the definitions as a whole, and gives service ports out.
func (s *Scheduler) checkTree(puts map[spec.AppID]*spec.App, wanted marathon.Tree) error {
	if err := marathon.ValidateTree(wanted); err != nil {
		return err
	}
	changed := map[spec.AppID]*spec.App{}
	for id, a := range puts {
		if a == nil {
			continue
		}
		changed[id] = wanted.Apps[id]
		if pool, ok := address.PoolOf(a, s.opts.Pools); !ok && a.Labels[spec.AppLabelPool] != "" {
			f := &marathon.Faults{Message: "Object is not valid"}
			f.Add("/labels/"+spec.AppLabelPool, "pool %q does not exist", pool)
			return f
		}
	}
	if err := marathon.AssignServicePorts(changed, s.state.Apps, s.opts.ServicePortMin, s.opts.ServicePortMax); err != nil {
		return err
	}
	maps.Copy(wanted.Apps, changed) // the ports are in copies
	return nil
}

// affected are the apps that the change really changes.
func (s *Scheduler) affected(puts, wanted map[spec.AppID]*spec.App, restart map[spec.AppID]bool) map[spec.AppID]bool {
	out := map[spec.AppID]bool{}
	for id := range puts {
		was, want := s.state.Apps[id], wanted[id]
		switch {
		case was == nil && want == nil:
		case was == nil || want == nil || was.Instances != want.Instances || !marathon.ConfigEqual(was, want):
			out[id] = true
		}
	}
	for id := range restart {
		out[id] = true
	}
	return out
}

// locks are the running deployments that touch one of the apps, oldest first.
func (s *Scheduler) locks(affected map[spec.AppID]bool) []string {
	var out []string
	for _, d := range s.deployments() {
		for id := range affected {
			if d.Affects(id) {
				out = append(out, d.ID)
				break
			}
		}
	}
	return out
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

// stamp gives changed apps their versions (Marathon's rules: a pure scale is no change of the configuration).
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
		case !marathon.ConfigEqual(was, a):
			a.Version, a.LastScaling, a.LastConfigChange = version, version, s.sameBefore(a, version)
		case restart[id]:
			a.Version, a.LastScaling, a.LastConfigChange = version, was.LastScaling, version
			if was.Instances != a.Instances {
				a.LastScaling = version
			}
		case was.Instances != a.Instances:
			a.Version, a.LastScaling, a.LastConfigChange = version, version, was.LastConfigChange
		default:
			wanted[id] = was
		}
	}
}

// sameBefore finds an older version with the same configuration that still has tasks: after a revert those are not
// outdated, so going back never restarts what still runs the wanted definition. Otherwise the change is new.
func (s *Scheduler) sameBefore(a *spec.App, version time.Time) time.Time {
	for _, t := range s.byApp[a.ID] {
		if v := s.appOf(t); t.Rung != spec.Killing && v.LastConfigChange.Equal(t.ConfigVersion) && marathon.ConfigEqual(v, a) {
			return t.ConfigVersion
		}
	}
	return version
}

// pin leases the addresses that changed apps name, so that no other app gets them meanwhile. What cannot be had is a 422.
func (s *Scheduler) pin(puts, wanted map[spec.AppID]*spec.App, now time.Time) ([]spec.Lease, error) {
	f := &marathon.Faults{Message: "Object is not valid"}
	in := address.Input{Pools: s.opts.Pools, Leases: s.state.Leases, Rest: s.opts.AddressRest, Now: now}
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

// changed is the answer to the decision; it has no deployment yet.
func (s *Scheduler) changed(d decision) *api.Changed {
	out := &api.Changed{Version: d.version, Apps: map[spec.AppID]*spec.App{}, Created: map[spec.AppID]bool{}, Steps: d.steps, Warnings: s.warnings(d)}
	for _, id := range append(slices.Collect(maps.Keys(d.before.Apps)), d.named...) {
		if want := d.wanted.Apps[id]; want != nil {
			out.Apps[id], out.Created[id] = want, s.state.Apps[id] == nil
		}
	}
	return out
}

// store is the point of no return: records, events, the deployment.
func (s *Scheduler) store(n decision, now time.Time) *api.Changed {
	for _, id := range n.locks {
		s.cancel(s.state.Deployments[id], "cancelled by a newer deployment", now)
	}
	s.lastVersion = n.version
	out := s.changed(n)
	out.DeploymentID = s.uuid()
	d := &spec.Deployment{
		ID: out.DeploymentID, Version: n.version, Steps: n.steps, StepSince: now,
		Original: map[spec.AppID]*spec.App{}, OriginalGroups: n.before.Groups,
	}
	for id := range union(n.before.Apps, n.steps) {
		d.Original[id] = s.state.Apps[id]
	}
	for _, l := range n.leases {
		s.putLease(l)
	}
	if n.change.Post {
		for _, id := range n.named {
			if want := n.wanted.Apps[id]; want != nil {
				s.publish(api.APIPost(want, n.change.ClientIP, n.change.URI, now))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(n.before.Apps)) {
		s.storeApp(id, n.wanted.Apps[id], now)
	}
	s.storeGroups(n)
	s.touchTree()
	s.publish(api.GroupChangeSuccess(n.group, n.version, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "version": spec.FormatTime(n.version), "steps": len(n.steps)}).Info("deployment begins")
	if len(n.steps) == 0 {
		s.publish(api.DeploymentSuccess(d, now))
		return out
	}
	s.state.Deployments[d.ID] = d
	s.touchTree()
	s.batch.txn.PutDeployment(d)
	s.publish(api.DeploymentInfo(d, 0, now))
	return out
}

// storeApp makes the new definition the wanted one; nil removes the app.
func (s *Scheduler) storeApp(id spec.AppID, want *spec.App, now time.Time) {
	was := s.state.Apps[id]
	defer s.touchApp(id)
	if was != nil && len(was.HealthChecks) > 0 && (want == nil || len(want.HealthChecks) == 0) {
		s.publish(api.RemoveHealthCheck(id, now))
	}
	if want == nil {
		delete(s.state.Apps, id)
		s.batch.txn.DeleteApp(id, false) // its versions are still needed while its tasks end
		return
	}
	s.state.Apps[id] = want
	s.state.Versions[id] = append(s.state.Versions[id], want)
	if n := len(s.state.Versions[id]); n > maxVersions {
		s.state.Versions[id] = s.state.Versions[id][n-maxVersions:]
	}
	s.batch.txn.PutApp(want)
	s.batch.txn.AddVersion(want)
	if was != nil && want.LastConfigChange.Equal(was.LastConfigChange) {
		return
	}
	s.dropDelay(id) // a new configuration starts afresh
	for _, check := range want.HealthChecks {
		s.publish(api.AddHealthCheck(want, check, now))
	}
}

// storeGroups keeps the groups, and what the whole change replaced, so that the tree before can be had back. A change
// without effect is not kept: it would push out those that have one.
func (s *Scheduler) storeGroups(n decision) {
	for _, id := range slices.Sorted(maps.Keys(n.before.Groups)) {
		if want := n.wanted.Groups[id]; want != nil {
			s.state.Groups[id] = want
			s.batch.txn.PutGroup(want)
			continue
		}
		delete(s.state.Groups, id)
		s.batch.txn.DeleteGroup(id)
	}
	if len(n.before.Apps) == 0 && len(n.before.Groups) == 0 {
		return
	}
	s.state.Changes = append(s.state.Changes, n.before)
	if extra := len(s.state.Changes) - store.MaxVersions; extra > 0 {
		s.state.Changes = slices.Clone(s.state.Changes[extra:])
	}
	s.batch.txn.AddChange(n.before)
}

// commonGroup is the innermost group around everything that is put; of groups that are put themselves it may be one.
func commonGroup(puts api.Tree) spec.AppID {
	group := spec.AppID("")
	for id := range puts.Apps {
		group = commonParent(group, id.Parent())
	}
	for id := range puts.Groups {
		group = commonParent(group, id)
	}
	if group == "" {
		return "/"
	}
	return group
}

// commonParent is the innermost group that holds both; "" is no group yet.
func commonParent(a, b spec.AppID) spec.AppID {
	for a != "" && !b.In(a) {
		a = a.Parent()
	}
	if a == "" {
		return b
	}
	return a
}

// maxVersions is how many versions of an app stay readable (Marathon's zk_max_versions, which the store applies too).
const maxVersions = 50

// union are the ids of the change and of its deployment (restarts are in the latter only).
func union(puts map[spec.AppID]*spec.App, steps []spec.Step) map[spec.AppID]bool {
	out := map[spec.AppID]bool{}
	for id := range puts {
		out[id] = true
	}
	for _, step := range steps {
		for _, a := range step.Actions {
			out[a.App] = true
		}
	}
	return out
}

// cancel ends a deployment where it stands: nothing is reverted.
func (s *Scheduler) cancel(d *spec.Deployment, reason string, now time.Time) {
	delete(s.state.Deployments, d.ID)
	s.touchTree()
	s.batch.txn.DeleteDeployment(d.ID)
	s.publish(api.DeploymentStepFailure(d, d.Current, now))
	s.publish(api.DeploymentFailed(d, reason, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "reason": reason}).Info("deployment cancelled")
	for id := range d.Original {
		s.forgetIfGone(id, now)
		s.dropReadiness(id)
	}
}

// CancelDeployment implements api.Backend.
func (s *Scheduler) CancelDeployment(ctx context.Context, id string, force bool) (*api.Changed, error) {
	var out *api.Changed
	err := s.doDurably(ctx, func() (err error) {
		d := s.state.Deployments[id]
		if d == nil {
			return &api.NotFoundError{Message: fmt.Sprintf("DeploymentPlan %s does not exist", id)}
		}
		if force {
			s.cancel(d, "cancelled by the user", time.Now())
			return nil
		}
		out, err = s.changeInstead(api.Change{Force: true, Decide: func(api.Tree) (api.Tree, error) {
			// What the deployment found goes back; later changes of others stay.
			return api.Tree{Apps: maps.Clone(d.Original), Groups: maps.Clone(d.OriginalGroups)}, nil
		}}, id, time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Kill implements api.Backend.
func (s *Scheduler) Kill(ctx context.Context, ids []string, opts api.KillOptions) (killed []*spec.Task, changed *api.Changed, err error) {
	err = s.doDurably(ctx, func() error {
		now := time.Now()
		fewer := map[spec.AppID]int{}
		var gone []spec.SeatID
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			if t := s.state.Tasks[id]; t != nil && t.Live() {
				killed = append(killed, t)
				if t.Rung != spec.Killing { // one on its way out already does not count a second time
					fewer[t.Seat.App]++
					gone = append(gone, t.Seat)
				}
			}
		}
		slices.SortFunc(killed, func(a, b *spec.Task) int { return cmp.Compare(a.ID, b.ID) })
		if opts.Scale { // also when nothing is hit: the caller waits for a deployment's id
			changed, err = s.change(api.Change{Force: opts.Force, Gone: gone, Decide: func(current api.Tree) (api.Tree, error) {
				puts := map[spec.AppID]*spec.App{}
				for id, n := range fewer {
					if a := current.Apps[id]; a != nil {
						own := *a
						own.Instances = max(0, own.Instances-n)
						puts[id] = &own
					}
				}
				return api.Tree{Apps: puts}, nil
			}}, now)
			if err != nil {
				return err
			}
		}
		for _, t := range killed {
			s.kill(s.state.Tasks[t.ID], "killed through the API", now)
		}
		s.wipe(killed, opts)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return killed, changed, nil
}

// ResetDelay implements api.Backend.
func (s *Scheduler) ResetDelay(ctx context.Context, app spec.AppID) error {
	return s.doDurably(ctx, func() error {
		_, delayed := s.state.Delays[app]
		if s.queue[app] == nil && !delayed {
			return &api.NotFoundError{Message: fmt.Sprintf("Application %s not found in tasks queue.", app)}
		}
		s.dropDelay(app)
		return nil
	})
}
