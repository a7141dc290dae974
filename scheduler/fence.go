package scheduler

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/lifecycle"
	"github.com/berth-project/berth/spec"
)

// A seat's address goes to another host only when the host that had it is certain not to answer on it any more:
//
//   - the engine says that the task is over (TASK_GONE_BY_OPERATOR is an operator's word, too), or
//   - the host's own `berth net` confirms that it has withdrawn the address, or
//   - an operator declares the host dead, or
//   - the fence time has passed since the host was last answered: its `berth net` withdraws by itself what it cannot know to be its own
//     any more, and its time, which begins when it asks and is shorter, is over first.

// hostShare is the part of the fence time after which a host withdraws by itself. The rest is for what that takes, and for clocks
// that do not run alike.
func hostShare(after time.Duration) time.Duration { return after * 4 / 5 }

// revocation is an address that a host is told not to answer on, as its seat is to go elsewhere.
type revocation struct {
	task      string
	version   uint64 // of the first document that says so; 0: not compiled yet
	confirmed bool   // by the host: that document, or a later one, is in force
}

// promise keeps the longest fence time that hosts may still go by. A shorter one counts only when everybody who has not heard of it is past
// the one before: that one's length after this process began.
func (s *Scheduler) promise(now time.Time) {
	want, kept := s.opts.FenceAfter, s.state.FenceAfter
	if want == kept {
		return
	}
	if over := s.began.Add(kept); want < kept && now.Before(over) {
		s.wakeAt(over)
		return
	}
	s.state.FenceAfter = want
	s.batch.txn.SetFenceAfter(want)
}

// replaceAt is when an unreachable task's seat may have its next task, as far as time alone decides; false: never.
func (s *Scheduler) replaceAt(t *spec.Task) (time.Time, bool) {
	app, wait := s.appOf(t), s.state.FenceAfter
	if t.Rung != spec.Killing {
		if app.Unreachable.Disabled {
			return time.Time{}, false
		}
		if s.floats(t) {
			wait = max(wait, app.Unreachable.ExpungeAfter)
		} else {
			wait = max(wait, app.Unreachable.InactiveAfter)
		}
	}
	return t.UnreachableSince.Add(wait), true
}

// fencedUntil is when the fence time of the host that had the task's address is over. Of a host that has not been heard of since this process
// began, the last answer may have been the last act of the one before.
func (s *Scheduler) fencedUntil(t *spec.Task) time.Time {
	from := later(t.UnreachableSince, s.began)
	if h := s.hosts[t.Host]; h != nil {
		from = later(from, h.contact)
	}
	return from.Add(s.state.FenceAfter)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// released says whether the task's address may go to another host. A host that does answer, although the engine cannot reach it,
// is told to withdraw the address, and asked whether it has; one whose time is over is told in case that it is heard again before the
// engine stops the task.
func (s *Scheduler) released(t *spec.Task, now time.Time) bool {
	if !t.Address.IsValid() {
		return true
	}
	until, h := s.fencedUntil(t), s.hosts[t.Host]
	over := !now.Before(until)
	if !over {
		s.wakeAt(until)
	}
	if h == nil {
		return over // nobody there was ever heard
	}
	if r := h.revoked[t.Address]; r != nil && r.task == t.ID {
		return over || r.confirmed
	}
	s.revoke(h, t)
	if !over {
		s.log.WithFields(logrus.Fields{"task": t.ID, "host": t.Host, "address": t.Address.String()}).Warn("the engine cannot reach a task whose host answers; the host is to withdraw its address")
	}
	return over
}

func (s *Scheduler) revoke(h *host, t *spec.Task) {
	if t.Address.IsValid() {
		h.revoked[t.Address] = &revocation{task: t.ID}
		s.staleDocs[t.Host] = true
	}
}

// restore takes back what a host was told of a task that the engine can reach again.
func (s *Scheduler) restore(t *spec.Task) {
	h := s.hosts[t.Host]
	if h == nil || len(h.revoked) == 0 {
		return
	}
	if r := h.revoked[t.Address]; r != nil && r.task == t.ID {
		delete(h.revoked, t.Address)
		s.staleDocs[t.Host] = true
	}
}

// forgetRevoked drops what needs not be said any more: it was confirmed and its task is over, or a later task of the host has the
// address.
func (s *Scheduler) forgetRevoked(name string) {
	h := s.hosts[name]
	if h == nil || len(h.revoked) == 0 {
		return
	}
	maps.DeleteFunc(h.revoked, func(_ netip.Addr, r *revocation) bool { return r.confirmed && s.state.Tasks[r.task] == nil })
	for _, t := range s.byHost[name] {
		if r := h.revoked[t.Address]; r != nil && r.task != t.ID {
			delete(h.revoked, t.Address)
		}
	}
}

// revokedOn are the addresses that a host is to withdraw, sorted, and whether a task's is among them.
func (h *host) revokedOn() (addresses []netip.Addr, of func(*spec.Task) bool) {
	return slices.SortedFunc(maps.Keys(h.revoked), netip.Addr.Compare), func(t *spec.Task) bool {
		r := h.revoked[t.Address]
		return r != nil && r.task == t.ID
	}
}

// inForce takes note that a host goes by the document that it was last answered.
func (s *Scheduler) inForce(h *host, name string, version uint64) {
	if version == 0 || version != h.told {
		return // a number of an earlier process may mean anything
	}
	for _, r := range h.revoked {
		if !r.confirmed && r.version > 0 && r.version <= version {
			r.confirmed = true
			s.staleDocs[name] = true
			if s.state.Tasks[r.task] != nil {
				s.untimed[r.task] = true
			}
		}
	}
}

// NetDocument implements api.Backend. That the host was answered is noted together with the certainty that the answer is the newest
// there is: otherwise a seat could be given away between the one and the other, and the host would count it as its own from then on.
func (s *Scheduler) NetDocument(ctx context.Context, name string, version, applied uint64) (*spec.HostDocument, error) {
	var h *host
	var err error
	if e := s.tell(context.WithoutCancel(ctx), func() { // a poll that must be answered at once has a ctx that has ended
		if h, err = s.hostOf(name); err == nil {
			s.hear(h, name)
			s.alive(h, name, h.heard)
			s.inForce(h, name, applied)
		}
	}); e != nil {
		return nil, e
	}
	for err == nil {
		doc, changed := h.doc.Get()
		if doc == nil || doc.Version == version {
			select {
			case <-changed:
				continue
			case <-s.stopped:
				return nil, errStopped
			case <-ctx.Done():
			}
		}
		if doc == nil {
			return nil, errors.New("there is none yet")
		}
		newest := false
		if e := s.tell(context.WithoutCancel(ctx), func() {
			if newest = h.version == doc.Version; newest {
				h.contact, h.told = time.Now(), doc.Version
			}
		}); e != nil {
			return nil, e
		}
		switch {
		case newest && doc.Version == version:
			return nil, nil
		case newest:
			return doc, nil
		}
		select {
		case <-changed:
		case <-s.stopped:
			return nil, errStopped
		case <-time.After(lateDocument):
			return nil, errors.New("the newest one is not stored yet")
		}
	}
	return nil, err
}

// lateDocument bounds the wait for a document that is decided and not durable yet.
const lateDocument = 10 * time.Second

// HostDead implements api.Backend.
func (s *Scheduler) HostDead(ctx context.Context, name string) (*api.HostDeath, error) {
	out := &api.HostDeath{Host: name, Tasks: []string{}, Addresses: []netip.Addr{}}
	err := s.doDurably(ctx, func() error {
		h, now := s.hosts[name], time.Now()
		if h == nil {
			return unknownHost(name)
		}
		h.dead = now
		s.log.WithField("host", name).WithField("tasks", len(s.byHost[name])).Warn("an operator declares a host dead: its addresses move at once")
		for _, t := range sortedTasks(maps.Values(s.byHost[name])) {
			out.Tasks = append(out.Tasks, t.ID)
			if t.Address.IsValid() {
				out.Addresses = append(out.Addresses, t.Address)
			}
			s.revoke(h, t) // in case that it lives
			s.step(t, lifecycle.Expunged{Reason: "an operator declared host " + name + " dead"}, now)
		}
		for agent, a := range s.agents {
			if a.Host == name {
				s.refuseDead(s.fleet.Of(agent, a.Host))
			}
		}
		s.disown(name)
		delete(s.condemned, name) // what was to be stopped there is off
		s.forgetOwn(name)
		s.staleDocs[name] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// alive ends what an operator said of a host: it was heard of.
func (s *Scheduler) alive(h *host, name string, now time.Time) {
	if !h.dead.IsZero() {
		h.dead, s.lacking[name] = time.Time{}, true
		s.wantAnew(now)
	}
}

// refuseDead gives back those of the offers that are of hosts that were declared dead: the engine may not have noticed yet.
func (s *Scheduler) refuseDead(offers []spec.Offer) {
	var ids []string
	for i := range offers {
		if h := s.hosts[offers[i].Host]; h != nil && !h.dead.IsZero() {
			ids = append(ids, offers[i].ID)
			s.fleet.Drop(offers[i].ID)
		}
	}
	if slices.Sort(ids); len(ids) > 0 {
		s.giveBack(ids, minRefuse, nil)
	}
}

// fenced is what the unreachable tasks' seats wait for, by task id.
func (s *Scheduler) fenced() map[string]api.Fenced {
	out := map[string]api.Fenced{}
	for id := range s.session.heard {
		t := s.state.Tasks[id]
		if t == nil || t.UnreachableSince.IsZero() || !t.Address.IsValid() {
			continue
		}
		f := api.Fenced{Host: t.Host, Address: t.Address, Heard: t.UnreachableSince}
		if at, ever := s.replaceAt(t); ever {
			f.Until = later(at, s.fencedUntil(t))
		}
		if h := s.hosts[t.Host]; h != nil {
			f.Heard = later(f.Heard, h.contact)
			f.Told = h.revoked[t.Address] != nil
		}
		out[id] = f
	}
	return out
}
