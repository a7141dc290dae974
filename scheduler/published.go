package scheduler

import (
	"maps"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/cow"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// published is the state as readers see it: fixed, and shared by all that ask before the next change.
type published struct {
	state api.View // without tasks
	lists cow.View[spec.AppID, []*spec.Task]
	once  sync.Once
	view  api.View
}

// show gives readers what changed. It runs after every decision and before anybody is told about it: who was answered
// sees the change from then on.
func (s *Scheduler) show() {
	was := s.published.Load()
	next := &published{state: api.View{
		FrameworkID: s.state.FrameworkID, EngineURL: s.session.master, Connected: s.session.connected, Counters: s.counters, Version: s.treeVersion(),
	}}
	next.state.Generation = 1
	now := time.Now()
	if was != nil {
		next.state.Generation = was.state.Generation + 1
		next.state.Apps, next.state.Groups = was.state.Apps, was.state.Groups
		next.state.Deployments, next.state.LastFailure = was.state.Deployments, was.state.LastFailure
		same := was.state.FrameworkID == next.state.FrameworkID && was.state.EngineURL == next.state.EngineURL &&
			was.state.Connected == next.state.Connected && was.state.Counters == next.state.Counters && was.state.Version.Equal(next.state.Version)
		if same && !s.newTree && !s.newFails && len(s.unseen) == 0 {
			return
		}
	}
	if s.newTree {
		next.state.Apps, next.state.Groups, next.state.Deployments = maps.Clone(s.state.Apps), maps.Clone(s.state.Groups), s.deployments()
	}
	if s.newFails {
		next.state.LastFailure = maps.Clone(s.state.Failures)
	}
	for id := range s.unseen {
		if s.asked {
			s.shows.forget(id)
		}
		if wait := s.shows.wait(id, len(s.byApp[id]), now); wait > 0 {
			s.wakeAt(now.Add(wait))
			continue
		}
		delete(s.unseen, id)
		if tasks := s.inOrder(id); len(tasks) > 0 {
			s.lists.Set(id, tasks)
		} else {
			s.lists.Delete(id)
		}
	}
	s.newTree, s.newFails, s.asked = false, false, false
	next.lists = s.lists.View()
	s.published.Store(next)
}

// at is the view for one reader. What costs time is done by the first one only, and not in the loop.
func (p *published) at(now time.Time) *api.View {
	p.once.Do(func() {
		p.view = p.state
		p.view.Tasks = make(map[spec.AppID][]*spec.Task, p.lists.Len())
		for id, list := range p.lists.All() {
			p.view.Tasks[id] = list
		}
	})
	out := p.view
	out.Now = now
	return &out
}
