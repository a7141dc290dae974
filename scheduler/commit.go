package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// changed is the answer to the decision; it has no deployment yet.
func (s *Scheduler) changed(d decision) *api.Changed {
	out := &api.Changed{Version: d.version, Apps: map[spec.AppID]*spec.App{}, Created: map[spec.AppID]bool{}, Steps: d.steps}
	for _, id := range append(slices.Collect(maps.Keys(d.before.Apps)), d.named...) {
		if want := d.wanted.Apps[id]; want != nil {
			out.Apps[id], out.Created[id] = want, s.state.Apps[id] == nil
		}
	}
	for id, was := range d.before.Apps {
		if want := d.wanted.Apps[id]; was != nil && want != nil && want.LastConfigChange.Equal(was.LastConfigChange) && !marathon.ConfigEqual(was, want) {
			out.InPlace = append(out.InPlace, id)
		}
	}
	slices.Sort(out.InPlace)
	out.Warnings = s.warnings(d, out.InPlace)
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
	s.noteInPlace(d, n, out.InPlace, now)
	s.touchTree()
	s.publish(api.GroupChangeSuccess(n.group, n.version, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "version": spec.FormatTime(n.version), "steps": len(n.steps)}).Info("deployment begins")
	if len(n.steps) == 0 {
		if len(out.InPlace) > 0 {
			s.history.over(d, api.DeploymentFinished, now)
		}
		s.publish(api.DeploymentSuccess(d, now))
		return out
	}
	s.putDeployment(d)
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
