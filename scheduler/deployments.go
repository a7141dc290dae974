package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// steps finishes every deployment step whose actions are done, of the deployments of which something changed, and reports whether any
// did.
func (s *Scheduler) steps(now time.Time) bool {
	var look []*spec.Deployment
	for id := range s.unstepped {
		if d := s.state.Deployments[id]; d != nil {
			look = append(look, d)
		}
	}
	clear(s.unstepped)
	slices.SortFunc(look, inTurn)
	moved := false
	for _, d := range look {
		finished := true
		for _, a := range d.Steps[d.Current].Actions {
			switch a.Kind {
			case spec.StartApplication:
			case spec.StopApplication:
				finished = finished && len(s.byApp[a.App]) == 0
			default:
				finished = finished && (s.done[a.App] && s.sure(a.App) || s.state.Apps[a.App] == nil)
				if !s.sure(a.App) {
					s.unsure[a.App] = true
				}
			}
		}
		if !finished {
			continue
		}
		moved = true
		next := *d
		s.publish(api.DeploymentStepSuccess(&next, next.Current, now))
		next.Current, next.StepSince = next.Current+1, now
		if next.Current < len(next.Steps) {
			s.putDeployment(&next)
			s.publish(api.DeploymentInfo(&next, next.Current, now))
			continue
		}
		s.finishDeployment(&next, now)
	}
	return moved
}

func (s *Scheduler) finishDeployment(d *spec.Deployment, now time.Time) {
	s.deleteDeployment(d)
	s.history.over(d, api.DeploymentFinished, now)
	s.publish(api.DeploymentSuccess(d, now))
	s.log.WithFields(logrus.Fields{"deployment": d.ID, "version": spec.FormatTime(d.Version)}).Info("deployment finished")
	for _, step := range d.Steps {
		for _, a := range step.Actions {
			s.forgetIfGone(a.App, now)
			s.dropReadiness(a.App)
		}
	}
}

// deploying says whether a running deployment touches the app.
func (s *Scheduler) deploying(app spec.AppID) bool { return len(s.deploysOf[app]) > 0 }

// putDeployment stores a deployment that begins, or goes on.
func (s *Scheduler) putDeployment(d *spec.Deployment) {
	s.state.Deployments[d.ID] = d
	s.batch.txn.PutDeployment(d)
	s.indexDeployment(d)
}

// indexDeployment takes a deployment, new or changed, into the indexes.
func (s *Scheduler) indexDeployment(d *spec.Deployment) {
	s.touchTree()
	s.inTurn, s.unstepped[d.ID] = nil, true
	for app := range union(nil, d.Steps) {
		s.retarget[app] = true
		if !slices.Contains(s.deploysOf[app], d.ID) {
			s.deploysOf[app] = append(s.deploysOf[app], d.ID)
		}
	}
}

// deleteDeployment forgets a deployment that ended.
func (s *Scheduler) deleteDeployment(d *spec.Deployment) {
	delete(s.state.Deployments, d.ID)
	s.batch.txn.DeleteDeployment(d.ID)
	s.touchTree()
	s.inTurn = nil
	for app := range union(nil, d.Steps) {
		s.retarget[app] = true
		left := slices.DeleteFunc(s.deploysOf[app], func(id string) bool { return id == d.ID })
		if s.deploysOf[app] = left; len(left) == 0 {
			delete(s.deploysOf, app)
		}
	}
}

// dropReadiness forgets the answers of the app's tasks to their readiness check, once no deployment waits for them.
func (s *Scheduler) dropReadiness(app spec.AppID) {
	if s.deploying(app) {
		return
	}
	for _, t := range s.byApp[app] {
		if t.Readiness != (spec.ProbeResponse{}) {
			next := *t
			next.Readiness = spec.ProbeResponse{}
			s.put(&next)
		}
	}
}

// forgetIfGone ends what is kept for an app that is no longer wanted, once its last task is gone and no deployment waits
// for that.
func (s *Scheduler) forgetIfGone(app spec.AppID, now time.Time) {
	if s.state.Apps[app] != nil || len(s.byApp[app]) > 0 || len(s.state.Versions[app]) == 0 {
		return
	}
	if slices.ContainsFunc(s.deploysOf[app], func(id string) bool { return s.state.Deployments[id].Drain == "" }) {
		return
	}
	s.publish(api.AppTerminated(app, now))
	s.freeIdle(app, "the app was deleted")
	s.forget(app)
}

// forget drops what is kept for an app beside its seats and leases, which rest in case it comes back. A seat without a lease
// (on its host's network) has nothing that could rest, and would never be looked at again.
func (s *Scheduler) forget(app spec.AppID) {
	for id := range s.seatsOf[app] {
		s.forgetUnheld(id)
	}
	s.dropDelay(app)
	delete(s.queue, app)
	delete(s.byApp, app)
	s.touch(app)
	if _, ok := s.state.Failures[app]; ok {
		delete(s.state.Failures, app)
		s.newFails = true
		s.batch.txn.DeleteFailure(app)
	}
	delete(s.state.Versions, app)
	s.batch.txn.DeleteApp(app, true)
}

// deployments are the running ones, oldest first. Nobody changes the list: readers have it too.
func (s *Scheduler) deployments() []*spec.Deployment {
	if s.inTurn == nil {
		s.inTurn = slices.SortedFunc(maps.Values(s.state.Deployments), inTurn)
	}
	return s.inTurn
}

// inTurn is the order in which deployments began.
func inTurn(a, b *spec.Deployment) int {
	return cmp.Or(a.Version.Compare(b.Version), cmp.Compare(a.ID, b.ID))
}

// cancel ends a deployment where it stands: nothing is reverted.
func (s *Scheduler) cancel(d *spec.Deployment, reason string, now time.Time) {
	s.deleteDeployment(d)
	s.history.over(d, api.DeploymentCancelled, now)
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
		if d.Drain != "" { // the wish behind it would go on by itself
			s.undrain(d.Drain, time.Now())
			if !force {
				out, err = s.change(api.Change{Decide: func(api.Tree) (api.Tree, error) { return api.Tree{}, nil }}, time.Now())
			}
			return err
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
