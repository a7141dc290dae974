package scheduler

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// resizing is a change of an app's quota in place, until the hosts have said of all instances that ran that the kernel has it.
type resizing struct {
	api.Resize
	quota   float64         // what the kernel is to have: more than cpus where the app has resourceLimits
	waiting map[string]bool // tasks of which it has not been said
}

// noteInPlace begins the record of what the change changed in place, as a part of its deployment.
func (s *Scheduler) noteInPlace(d *spec.Deployment, n decision, inPlace []spec.AppID, now time.Time) {
	for id, was := range n.before.Apps {
		if want := n.wanted.Apps[id]; was == nil || want == nil || was.CPUs != want.CPUs || !want.LastConfigChange.Equal(was.LastConfigChange) {
			delete(s.history.resizes, id) // what was under way is not waited for any more
		}
	}
	if len(inPlace) == 0 {
		return
	}
	c := s.history.courseOf(d.ID)
	c.inPlace = inPlace
	for _, id := range inPlace {
		was, want := n.before.Apps[id], n.wanted.Apps[id]
		if was.CPUs == want.CPUs {
			continue
		}
		r := &resizing{
			Resize: api.Resize{App: id, At: now, Before: was.CPUs, CPUs: want.CPUs, Held: want.Held(), Client: n.change.ClientIP},
			quota:  want.CPULimit(), waiting: map[string]bool{},
		}
		for _, t := range s.byApp[id] {
			if t.Rung == spec.Running && t.ConfigVersion.Equal(want.LastConfigChange) {
				r.waiting[t.ID] = true
			}
		}
		if r.Instances = len(r.waiting); r.Instances > 0 {
			s.history.resizes[id] = r
		}
		c.resizes = append(c.resizes, r)
		s.log.WithFields(logrus.Fields{"app": string(id), "before": was.CPUs, "cpus": want.CPUs, "held": want.Held()}).Info("the app is resized in place")
	}
}

// quotaMeasured takes in what a host measured of a task.
func (s *Scheduler) quotaMeasured(t *spec.Task, u spec.Usage, now time.Time) {
	r := s.history.resizes[t.Seat.App]
	if r == nil || !r.waiting[t.ID] || !spec.SameQuota(u.Quota(), r.quota) {
		return
	}
	delete(r.waiting, t.ID)
	r.Have++
	s.settleResize(r, now)
}

// settleResize ends the wait for a quota once nobody is left who could tell more of it. Instances that ended meanwhile are not waited for.
func (s *Scheduler) settleResize(r *resizing, now time.Time) {
	if len(r.waiting) > 0 {
		return
	}
	delete(s.history.resizes, r.App)
	if r.Have > 0 {
		r.InForce = now
	}
}

// changedInPlace are the changes in place as values, those of one app if it is named.
func (c *course) changedInPlace(app spec.AppID) (apps []spec.AppID, resizes []api.Resize) {
	if c == nil {
		return nil, nil
	}
	for _, id := range c.inPlace {
		if app == "" || id == app {
			apps = append(apps, id)
		}
	}
	for _, r := range c.resizes {
		if app == "" || r.App == app {
			resizes = append(resizes, r.Resize)
		}
	}
	return apps, resizes
}
