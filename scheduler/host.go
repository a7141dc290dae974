package scheduler

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/health"
	"github.com/berth-project/berth/scheduler/hostdoc"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// maxHosts bounds the hosts that agents may make known: far above any fleet, far below what would hurt.
const maxHosts = 100_000

// hostOf is what is known of a host, made when its agent or one of its tasks is first seen.
func (s *Scheduler) hostOf(name string) (*host, error) {
	if h := s.hosts[name]; h != nil {
		return h, nil
	}
	if len(s.hosts) >= maxHosts {
		return nil, fmt.Errorf("more than %d hosts", maxHosts)
	}
	h := &host{doc: &watch.Value[*spec.HostDocument]{}, revoked: map[netip.Addr]*revocation{}}
	s.hosts[name] = h
	s.staleDocs[name], s.lacking[name] = true, true
	return h, nil
}

// recall makes the hosts known that only the store knows: they may never be heard of again, and somebody must be able to declare
// them dead. They get nothing until they ask.
func (s *Scheduler) recall() {
	know := func(name string) {
		if _, err := s.hostOf(name); err != nil {
			s.log.WithError(err).WithField("host", name).Error("the store has more hosts than may be known")
		}
	}
	for _, b := range s.state.Blocks {
		know(b.Host)
	}
	for name := range s.state.Addresses {
		know(name)
	}
	for name := range s.state.Drains {
		know(name)
	}
	clear(s.lacking)
}

// documents compiles the documents again of the hosts where something in them may have changed, and releases those that differ
// once the batch is durable: an agent never acts on what a crash could take back.
func (s *Scheduler) documents(now time.Time) {
	if s.docsDirty {
		for name := range s.hosts {
			s.staleDocs[name] = true
		}
		s.docsDirty = false
	}
	for name := range s.outliving {
		s.staleDocs[name] = true // whether they have outlived their tasks depends on much, and they are few
	}
	s.reroute(now)
	s.police(now)
	s.expirePulls(now)
	if len(s.staleDocs) == 0 {
		return
	}
	in := hostdoc.Input{Hosts: slices.Sorted(maps.Keys(s.staleDocs)), Pools: s.opts.Pools, Routing: s.routing, Policing: s.policing.Policing, Blocks: s.blocks, Leases: s.state.Leases, Elsewhere: s.heldElsewhere, AuthorizedKeys: s.opts.AuthorizedKeys, Cluster: s.opts.Cluster, FreeVolumes: s.toFree(), Ended: s.outlived(), Native: s.native, Pulls: s.pulls.Of, DrainFor: s.opts.Launch.DrainFor}
	for _, of := range []map[string][]string{in.FreeVolumes, in.Ended} {
		maps.DeleteFunc(of, func(host string, _ []string) bool { return !s.staleDocs[host] })
	}
	clear(s.staleDocs)
	in.FenceAfter, in.Withdrawn = hostShare(s.opts.FenceAfter), map[string][]netip.Addr{}
	tasks := 0
	for _, name := range in.Hosts {
		tasks += len(s.byHost[name])
	}
	in.Tasks = make([]hostdoc.Task, 0, tasks)
	for _, name := range in.Hosts {
		s.forgetRevoked(name)
		revoked := func(*spec.Task) bool { return false }
		if h := s.hosts[name]; h != nil && len(h.revoked) > 0 {
			in.Withdrawn[name], revoked = h.revokedOn()
		}
		for _, t := range s.byHost[name] {
			if revoked(t) {
				continue
			}
			in.Tasks = append(in.Tasks, hostdoc.Task{Task: t, App: s.appOf(t), Seat: s.state.Seats[t.Seat], Now: s.state.Apps[t.Seat.App]})
		}
	}
	for name, doc := range hostdoc.Compile(in) {
		h, err := s.hostOf(name)
		if err != nil {
			s.log.WithError(err).WithField("host", name).Error("no document for this host")
			continue
		}
		if h.version > 0 && reflect.DeepEqual(doc, h.last) {
			h.stamp()
			continue
		}
		h.last = doc
		// Microseconds keep versions growing over restarts without a stored counter.
		h.version = max(h.version+1, uint64(now.UnixMicro()))
		doc.Version = h.version
		h.stamp()
		s.batch.after(func() { h.doc.Set(&doc) })
	}
}

// stamp notes which document says first that an address is to be withdrawn.
func (h *host) stamp() {
	for _, r := range h.revoked {
		if r.version == 0 {
			r.version = h.version
		}
	}
}

// outlived are, by host, the tasks whose containers run on although they are over, in the way of their seats' next ones, and
// those that somebody had repaired. Of the first only
// what is certain counts: the container says that it is the seat's, the seat has the address, and the task, which was stored
// before its launch, is no longer there. What else holds an address is for people to judge, and the seat waits.
func (s *Scheduler) outlived() map[string][]string {
	out := map[string][]string{}
	for name := range s.outliving {
		for _, h := range s.hosts[name].held {
			app := s.state.Apps[h.Seat.App]
			if h.Task == "" || app == nil || app.Pod != nil || s.state.Tasks[h.Task] != nil || s.state.Leases[h.Address].Seat != h.Seat {
				continue
			}
			out[name] = append(out[name], h.Task)
		}
	}
	for name, tasks := range s.condemned {
		for task := range tasks {
			if s.state.Tasks[task] == nil {
				out[name] = append(out[name], task)
			}
		}
	}
	for name, tasks := range out {
		slices.Sort(tasks)
		out[name] = slices.Compact(tasks)
	}
	maps.DeleteFunc(out, func(_ string, tasks []string) bool { return len(tasks) == 0 })
	return out
}

// hear takes note that somebody on the host asks or tells something. Of one that was forgotten, blocks may have been taken.
func (s *Scheduler) hear(h *host, name string) {
	now := time.Now()
	if s.blocks != nil && (now.Sub(h.heard) >= forgotten || len(s.blocks.On(name)) == 0) {
		s.lacking[name] = true
	}
	h.heard = now
}

// HostDocument implements api.Backend.
func (s *Scheduler) HostDocument(ctx context.Context, name string, version uint64) (*spec.HostDocument, error) {
	var h *host
	var err error
	e := s.tell(ctx, func() {
		if h, err = s.hostOf(name); err == nil {
			s.hear(h, name)
		}
	})
	if e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	for {
		doc, changed := h.doc.Get()
		if doc != nil && doc.Version != version {
			return doc, nil
		}
		select {
		case <-changed:
		case <-s.stopped:
			return nil, errStopped
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// Report implements api.Backend: an agent's findings become health, drains, readiness and usage.
func (s *Scheduler) Report(ctx context.Context, r spec.HostReport) error {
	var err error
	if e := s.tell(ctx, func() { err = s.report(r, time.Now()) }); e != nil {
		return e
	}
	return err
}

func (s *Scheduler) report(r spec.HostReport, now time.Time) error {
	h, err := s.hostOf(r.Host)
	if err != nil {
		return err
	}
	s.hear(h, r.Host)
	s.onEndpoints(r.Host, h, r.Endpoints, now)
	before := h.attaches()
	if r.Policies != nil {
		h.policies = r.Policies
	}
	if r.Networks == nil { // of a process that keeps the network, and knows nothing of the rest
		s.attachable(r.Host, h, before, now)
		return nil
	}
	if !slices.Equal(h.held, r.Held) {
		s.indexHeld(r.Host, h.held, r.Held)
		s.staleDocs[r.Host], s.lacking[r.Host] = true, true
		if delete(s.outliving, r.Host); slices.ContainsFunc(r.Held, func(h spec.Held) bool { return h.Task != "" }) {
			s.outliving[r.Host] = true
		}
	}
	s.alive(h, r.Host, now)
	h.reported, h.networks, h.held, h.metrics = true, r.Networks, r.Held, r.Metrics
	s.pulls.Heard(r.Host, r.Pulls)
	if s.holding[r.Host] = len(r.Held) > 0; !s.holding[r.Host] {
		delete(s.holding, r.Host)
	}
	s.noteUsed(r.Host)
	s.attachable(r.Host, h, before, now)
	for _, id := range slices.Sorted(maps.Keys(r.Health)) {
		if t := s.state.Tasks[id]; t != nil && t.Host == r.Host {
			s.onHealth(t, s.withNative(t, r.Health[id]), now)
		}
	}
	for _, id := range r.Drained {
		if t := s.state.Tasks[id]; t != nil && t.Host == r.Host {
			s.drained(t, r.Drains[id], now)
		}
	}
	s.onFreed(r.Host, r.FreedVolumes)
	for id, u := range r.Usage {
		if t := s.state.Tasks[id]; t != nil && t.Host == r.Host {
			s.usage.Set(id, u)
			s.quotaMeasured(t, u, now)
		}
	}
	return nil
}

// indexHeld keeps on which hosts addresses are held, and has hosts told that could give out one that another host has, or had.
func (s *Scheduler) indexHeld(host string, was, now []spec.Held) {
	for _, x := range was {
		left := slices.DeleteFunc(s.holders[x.Address], func(h string) bool { return h == host })
		if s.holders[x.Address] = left; len(left) == 0 {
			delete(s.holders, x.Address)
		}
	}
	for _, x := range now {
		if !slices.Contains(s.holders[x.Address], host) {
			s.holders[x.Address] = append(s.holders[x.Address], host)
		}
	}
	if slices.ContainsFunc(was, func(x spec.Held) bool { return !s.isHeld(x.Address) }) {
		s.stir()
		clear(s.searched) // what was passed over as held is free
	}
	for _, list := range [][]spec.Held{was, now} {
		for _, x := range list {
			s.tellHost(x.Address)
		}
	}
}

// isHeld says that something else holds the address somewhere.
func (s *Scheduler) isHeld(a netip.Addr) bool { return len(s.holders[a]) > 0 }

// heldElsewhere says that something on another host holds the address.
func (s *Scheduler) heldElsewhere(host string, a netip.Addr) bool {
	return slices.ContainsFunc(s.holders[a], func(h string) bool { return h != host })
}

// attaches says for each pool why the host cannot attach containers to it; "": it can. Where network policies are not in force, those
// that they select would not start.
func (h *host) attaches() map[string]string {
	if h.policies == nil || h.policies.Fault == "" {
		return h.networks
	}
	out := maps.Clone(h.networks)
	for pool, why := range out {
		if why == "" {
			out[pool] = "its network policies are not in force: " + h.policies.Fault
		}
	}
	return out
}

// attachable acts on what a host can attach containers to now.
func (s *Scheduler) attachable(name string, h *host, before map[string]string, now time.Time) {
	pools := h.attaches()
	if s.awaited(before, pools) {
		s.wantAnew(now)
	}
	if h.reported {
		s.fleet.Ready(name, pools)
	}
}

// awaited says that a host can attach to a pool now that it could not before, for want of which apps may have refused its offers.
func (s *Scheduler) awaited(was, now map[string]string) bool {
	begins := false
	for pool, why := range now {
		before, known := was[pool]
		begins = begins || why == "" && (!known || before != "")
	}
	if !begins || len(s.cramped) > 0 {
		return begins
	}
	for _, q := range s.queue {
		if q.attempt.Declined[place.NetworkNotReady] > 0 {
			return true
		}
	}
	return false
}

// onHealth takes in the newest results of a task's checks.
func (s *Scheduler) onHealth(t *spec.Task, results []spec.CheckHealth, now time.Time) {
	app := s.appOf(t)
	next, v := health.Apply(app, *t, results, now)
	if !s.deploying(t.Seat.App) {
		next.Readiness = spec.ProbeResponse{} // nobody waits for the task to become ready
	}
	if reflect.DeepEqual(*t, next) {
		return
	}
	s.put(&next)
	for _, c := range v.Changes {
		if c.Failed {
			s.publish(api.FailedHealthCheck(&next, app.HealthChecks[c.Index], now))
		}
		if c.Flipped {
			s.publish(api.HealthStatusChanged(&next, c.Alive, now))
		}
	}
	if v.Flipped {
		s.publish(api.InstanceHealthChanged(&next, v.Healthy, now))
		s.log.WithField("app", string(next.Seat.App)).WithField("task", next.ID).WithField("healthy", v.Healthy).Info("health changed")
	}
	if v.Kill != "" && next.Rung == spec.Running && next.UnreachableSince.IsZero() {
		s.publish(api.UnhealthyInstanceKill(&next, v.Kill, now))
		// No launch delay for it, as in Marathon; but people must find the reason.
		s.fail(&spec.TaskFailure{App: next.Seat.App, TaskID: next.ID, Host: next.Host, AgentID: next.AgentID, State: "TASK_KILLED",
			Message: "Task was killed since health check failed. Reason: " + v.Kill, Timestamp: now, AppVersion: next.AppVersion})
		s.kill(s.state.Tasks[next.ID], v.Kill, now)
	}
}
