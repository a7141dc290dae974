package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/deploy"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// agent is what the offers of this session told of one agent: what it could give us in all.
type agent struct {
	place.Known
	checked time.Time
}

// recheckAgent is how often an agent's total is added up again although an offer does not exceed it.
const recheckAgent = time.Minute

// learnAgents keeps the totals of the agents that made offers: what they offer beside what our tasks have. An offer of a
// part says nothing new, so the largest sum counts.
func (s *Scheduler) learnAgents(offers []spec.Offer, now time.Time) {
	var look []string
	for _, o := range offers {
		a := s.agents[o.AgentID]
		if a == nil {
			a = &agent{}
			s.agents[o.AgentID] = a
		}
		a.Host, a.Fields = o.Host, place.Fields(o)
		if a.checked.IsZero() || now.Sub(a.checked) >= recheckAgent || o.CPUs > a.CPUs || o.Mem > a.Mem || o.Disk > a.Disk || o.GPUs > a.GPUs {
			a.checked = now
			look = append(look, o.AgentID)
		}
	}
	if len(look) == 0 {
		return
	}
	sums := map[string]place.Known{}
	add := func(id string, cpus, mem, disk, gpus float64) {
		k := sums[id]
		k.CPUs, k.Mem, k.Disk, k.GPUs = k.CPUs+cpus, k.Mem+mem, k.Disk+disk, k.GPUs+gpus
		sums[id] = k
	}
	for _, id := range look {
		for _, o := range s.fleet.Of(id, s.agents[id].Host) {
			add(id, o.CPUs, o.Mem, o.Disk, o.GPUs)
		}
		for _, t := range s.byHost[s.agents[id].Host] {
			app := s.appOf(t)
			add(t.AgentID, app.Held(), app.Mem, app.Disk, float64(app.GPUs))
		}
	}
	for _, id := range look {
		a, k := s.agents[id], sums[id]
		a.CPUs, a.Mem, a.Disk, a.GPUs = max(a.CPUs, k.CPUs), max(a.Mem, k.Mem), max(a.Disk, k.Disk), max(a.GPUs, k.GPUs)
	}
}

// known are the agents in a fixed order. Nothing in it is changed later.
func (s *Scheduler) known() []place.Known {
	var out []place.Known
	for _, id := range slices.Sorted(maps.Keys(s.agents)) {
		out = append(out, s.agents[id].Known)
	}
	return out
}

// hostViews are the hosts that agents or offers told of, by name.
func (s *Scheduler) hostViews(now time.Time) []api.HostView {
	views := map[string]*api.HostView{}
	view := func(name string) *api.HostView {
		if views[name] == nil {
			views[name] = &api.HostView{Name: name}
		}
		return views[name]
	}
	for name, h := range s.hosts {
		v := view(name)
		v.Reported, v.Networks, v.Held = h.reported, h.attaches(), h.held
		v.Endpoints, v.ToldAt, v.Contact, v.Dead = h.endpoints, h.toldAt, h.contact, h.dead
		if s.blocks != nil {
			v.Blocks = s.blocks.On(name)
		}
		v.Policies, v.Metrics = h.policies, h.metrics
		v.Starting, v.MaxStarting = s.pace(name, now)
		v.Drain = s.drainView(name)
	}
	for id, a := range s.agents {
		v := view(a.Host)
		v.AgentID, v.CPUs, v.Mem, v.Disk, v.GPUs = id, a.CPUs, a.Mem, a.Disk, a.GPUs
	}
	for name, v := range views {
		v.Tasks = len(s.byHost[name])
	}
	var out []api.HostView
	for _, name := range slices.Sorted(maps.Keys(views)) {
		out = append(out, *views[name])
	}
	return out
}

// outlook says what cannot come true for an app on the known hosts and in the pools. It needs nothing of the loop's: with
// many apps that wait and many hosts it takes its time.
func (s *Scheduler) outlook(app *spec.App, known []place.Known) []string {
	if app == nil {
		return nil
	}
	name, ok := address.PoolOf(app, s.opts.Pools)
	if !launch.HostNetwork(app) {
		known = s.outside(name, known)
	}
	out := place.Outlook(app, deploy.Spare(app), known)
	if launch.HostNetwork(app) {
		return out
	}
	i := slices.IndexFunc(s.opts.Pools, func(p spec.Pool) bool { return p.Name == name })
	if !ok || i < 0 {
		return append(out, fmt.Sprintf("pool %q does not exist", name))
	}
	if pool := s.opts.Pools[i]; address.Size(pool) < app.Instances {
		out = append(out, fmt.Sprintf("%d instances of %s need an address each, and pool %s (%s) has %d", app.Instances, app.ID, pool.Name, pool.CIDR, address.Size(pool)))
	}
	return out
}

// The pace of launches follows what each host was seen to do: it may be starting twice as many tasks as began to run on it
// during the last paceWindow, so a fast host is never held up and a slow one is not buried. Marathon has one bucket of
// tokens for the whole fleet instead.
const (
	paceWindow  = 2 * time.Second
	minStarting = 16
	maxStarting = 256
	// A task that has not started after this waits for something else than the host's hands (an image), and does not count.
	startingCounts = 15 * time.Second
)

// noteRan counts a task that began to run.
func (s *Scheduler) noteRan(name string, now time.Time) {
	h := s.hosts[name]
	if h == nil {
		return
	}
	h.ran = append(h.ran, now)
	if n := len(h.ran) - maxStarting; n > 0 {
		h.ran = slices.Delete(h.ran, 0, n)
	}
}

// pace is how many tasks a host is starting, and how many it may at most.
func (s *Scheduler) pace(name string, now time.Time) (starting, most int) {
	for _, t := range s.starting[name] {
		if now.Sub(t.CreatedAt) < startingCounts {
			starting++
		}
	}
	if h := s.hosts[name]; h != nil {
		return starting, h.pace(now)
	}
	return starting, minStarting
}

// pace is how many tasks a host may be starting at most.
func (h *host) pace(now time.Time) int {
	h.ran = slices.DeleteFunc(h.ran, func(at time.Time) bool { return now.Sub(at) > paceWindow })
	return max(minStarting, min(maxStarting, 2*len(h.ran)))
}
