package scheduler

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/plan"
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
		Current: s.state.Apps, Wanted: wanted.Apps, Groups: wanted.Groups, Restart: restart, SameConfig: marathon.InPlace,
	})
	d.before = s.before(puts, d)
	d.named = slices.Sorted(maps.Keys(puts.Apps))
	if c.DryRun {
		return s.changed(d), nil
	}
	// Those that it cancels make room: reverting and forcing stay possible at the limit. Without steps nothing runs.
	if limit := s.opts.MaxRunningDeployments; len(d.steps) > 0 && s.changing()-len(d.locks) >= limit {
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
// What is changed in place needs no room.
func (s *Scheduler) warnings(d decision, inPlace []spec.AppID) []string {
	var out []string
	known := s.known()
	for _, id := range d.named {
		if slices.Contains(inPlace, id) && s.state.Apps[id].Instances == d.wanted.Apps[id].Instances {
			continue
		}
		out = append(out, s.outlook(d.wanted.Apps[id], known)...)
	}
	return out
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
		case was == nil || want == nil || !same(was, want):
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
			if d.Drain == "" && d.Affects(id) {
				out = append(out, d.ID)
				break
			}
		}
	}
	return out
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
