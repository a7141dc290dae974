package scheduler

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/hostdoc"
	"github.com/berth-project/berth/scheduler/ipcheck"
	"github.com/berth-project/berth/spec"
)

// surveys are the questions to the hosts which addresses they have. Others than the loop read and wait for them.
type surveys struct {
	ask  watch.Value[spec.HostAsk]
	told watch.Value[uint64] // counts the reports of endpoints
}

// answersWithin is how lately a host must have told of its addresses to be waited for: its agent repeats itself every 30 s.
const answersWithin = 90 * time.Second

// Asked implements api.Backend.
func (s *Scheduler) Asked() (spec.HostAsk, <-chan struct{}) { return s.surveys.ask.Get() }

// Survey implements api.Backend.
func (s *Scheduler) Survey(ctx context.Context, anew bool) (uint64, error) {
	var number uint64
	err := s.tell(ctx, func() {
		ask, _ := s.surveys.ask.Get()
		// Microseconds keep the numbers growing over restarts.
		ask.Survey = max(ask.Survey+1, uint64(time.Now().UnixMicro()))
		if number = ask.Survey; anew {
			ask.Anew = ask.Survey
		}
		s.surveys.ask.Set(ask)
	})
	for err == nil {
		_, told := s.surveys.told.Get()
		missing := false
		err = s.tell(ctx, func() { missing = s.unanswered(number, time.Now()) })
		if err != nil || !missing {
			break
		}
		select {
		case <-told:
		case <-s.stopped:
			return 0, errStopped
		case <-ctx.Done():
			return number, nil
		}
	}
	if ctx.Err() != nil && number > 0 {
		return number, nil // who has not answered by now is silent
	}
	return number, err
}

// unanswered says whether a host that should answer a question has not.
func (s *Scheduler) unanswered(number uint64, now time.Time) bool {
	for _, h := range s.hosts {
		lately := h.toldAt
		if h.endpoints == nil {
			lately = h.heard // it may be about to tell for the first time
		}
		if (h.endpoints == nil || h.endpoints.Survey < number) && now.Sub(lately) < answersWithin {
			return true
		}
	}
	return false
}

// onEndpoints takes in which addresses a host has.
func (s *Scheduler) onEndpoints(name string, h *host, e *spec.HostEndpoints, now time.Time) {
	if e == nil {
		return
	}
	h.endpoints, h.toldAt = e, now
	s.onOwn(name, e.Own)
	n, _ := s.surveys.told.Get()
	s.surveys.told.Set(n + 1)
	for task := range s.condemned[name] {
		if !slices.ContainsFunc(e.List, func(e spec.HostEndpoint) bool { return e.TaskID == task }) {
			delete(s.condemned[name], task)
			s.staleDocs[name] = true
		}
	}
	if len(s.condemned[name]) == 0 {
		delete(s.condemned, name)
	}
}

// onOwn takes in where a host says that others reach it. One that cannot say so now is where it was.
func (s *Scheduler) onOwn(name string, own []netip.Addr) {
	told := spec.HostAddress{Host: name}
	for _, a := range own {
		switch {
		case !a.IsGlobalUnicast() || a.Zone() != "":
		case a.Is4():
			told.IPv4 = a
		case !a.Is4In6():
			told.IPv6 = a
		}
	}
	if told == s.state.Addresses[name] || !told.IPv4.IsValid() && !told.IPv6.IsValid() {
		return
	}
	s.state.Addresses[name] = told
	s.batch.txn.PutAddress(told)
	s.rerouting = true
}

// forgetOwn lets nobody peer any more with a host that is dead.
func (s *Scheduler) forgetOwn(name string) {
	if _, known := s.state.Addresses[name]; known {
		delete(s.state.Addresses, name)
		s.batch.txn.DeleteAddress(name)
		s.rerouting = true
	}
}

// reroutePerHost makes the pause between two decisions about who peers with whom: a second for 10,000 hosts. While a fleet tells of
// itself for the first time, each of them would otherwise cost a look at all.
const reroutePerHost = 100 * time.Microsecond

// reroute decides anew who peers with whom, after hosts' addresses changed, and marks the documents in which that changed.
func (s *Scheduler) reroute(now time.Time) {
	if !s.rerouting || s.routing == nil {
		return
	}
	if now.Before(s.rerouteAt) {
		s.wakeAt(s.rerouteAt)
		return
	}
	s.rerouting, s.rerouteAt = false, now.Add(time.Duration(len(s.hosts))*reroutePerHost)
	s.routing = hostdoc.NewRouting(s.opts.BGP, s.state.Addresses)
	for name, h := range s.hosts {
		if !reflect.DeepEqual(s.routing.Of(name), h.last.BGP) {
			s.staleDocs[name] = true
		}
	}
}

// RepairAddresses implements api.Backend. What was found is looked at once more: it may have changed since.
func (s *Scheduler) RepairAddresses(ctx context.Context, found []ipcheck.Finding) ([]string, error) {
	done := make([]string, 0, len(found))
	for part := range slices.Chunk(found, repairsAtOnce) {
		if err := s.doDurably(ctx, func() error { done = append(done, s.repair(part)...); return nil }); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// repairsAtOnce bounds what the loop repairs before it looks at anything else.
const repairsAtOnce = 500

func (s *Scheduler) repair(found []ipcheck.Finding) []string {
	done := make([]string, len(found))
	var ask []*spec.Task
	for i, f := range found {
		switch f.Action {
		case ipcheck.DropLease:
			done[i] = s.dropOrphan(f)
		case ipcheck.StopOver:
			done[i] = s.condemn(f)
		case ipcheck.AskEngine:
			done[i] = "not done: the task is over meanwhile"
			if t := s.state.Tasks[f.Task]; t != nil && !s.session.connected {
				done[i] = "not done: there is no connection to the engine"
			} else if t != nil {
				ask = append(ask, t)
				done[i] = "the engine was asked about the task"
			}
		}
	}
	s.ask(ask)
	return done
}

// dropOrphan gives up a lease that nobody wants.
func (s *Scheduler) dropOrphan(f ipcheck.Finding) string {
	l, ok := s.state.Leases[f.Address]
	switch {
	case !ok || l.Seat != f.Seat:
		return "not done: the lease is another one meanwhile"
	case s.wanted(l.Seat) || s.inUse(l):
		return fmt.Sprintf("not done: %s is wanted meanwhile", l.Seat)
	}
	s.dropLease(l)
	return "the lease was given up"
}

// condemn has a host stop a container whose task is over. Everything that the engine was asked to start is in the store
// before, so a task that is not there is over.
func (s *Scheduler) condemn(f ipcheck.Finding) string {
	app := s.state.Apps[f.Seat.App]
	switch {
	case len(f.Hosts) != 1 || s.hosts[f.Hosts[0]] == nil:
		return "not done: its host is unknown"
	case s.state.Tasks[f.Task] != nil:
		return "not done: the task lives"
	case app != nil && app.Pod != nil:
		return "not done: containers of pods are the engine's to stop"
	}
	if l, ok := s.state.Leases[f.Address]; ok && l.Seat != f.Seat {
		return fmt.Sprintf("not done: %s is leased to %s meanwhile", f.Address, l.Seat)
	}
	name := f.Hosts[0]
	if s.condemned[name] == nil {
		s.condemned[name] = map[string]bool{}
	}
	s.condemned[name][f.Task], s.staleDocs[name] = true, true
	s.log.WithFields(logrus.Fields{"host": name, "task": f.Task, "address": f.Address}).Warn("a container is stopped that has outlived its task")
	return "the host was told to stop the container"
}

// wanted says whether an app wants the seat, or is about to launch a task in it.
func (s *Scheduler) wanted(seat spec.SeatID) bool {
	return s.keeps(seat) || slices.Contains(s.launches[seat.App], seat.Index)
}

// inUse says whether a task has the lease's seat or address.
func (s *Scheduler) inUse(l spec.Lease) bool {
	for _, t := range s.byApp[l.Seat.App] {
		if t.Seat == l.Seat || t.Address == l.Address {
			return true
		}
	}
	return false
}

// dropLease gives an address back to its pool. A seat without an address, whose app is gone, is forgotten.
func (s *Scheduler) dropLease(l spec.Lease) {
	delete(s.state.Leases, l.Address)
	s.unindexLease(l)
	s.tellHost(l.Address)
	s.batch.txn.DeleteLease(l.Address)
	s.stir()
	clear(s.searched) // the address is unused now, and may be before where the search goes on
	if s.blocks != nil {
		s.blocks.Freed()
		s.leasing.retry = time.Time{} // a block may have room now
	}
	if s.state.Apps[l.Seat.App] == nil && len(s.leasesOn[l.Seat]) == 0 {
		s.forgetSeat(l.Seat)
	}
	s.wantAnew(time.Now())
	s.log.WithFields(logrus.Fields{"address": l.Address, "app": string(l.Seat.App), "seat": l.Seat.Index}).Info("lease given up")
}

// ReleaseAddress implements api.Backend.
func (s *Scheduler) ReleaseAddress(ctx context.Context, a netip.Addr) (spec.Lease, error) {
	var out spec.Lease
	err := s.doDurably(ctx, func() error {
		l, ok := s.state.Leases[a]
		if !ok {
			return &api.NotFoundError{Message: fmt.Sprintf("%s is leased to nobody", a)}
		}
		app := s.state.Apps[l.Seat.App]
		switch {
		case s.inUse(l):
			return &api.ConflictError{Message: fmt.Sprintf("%s is the address of %s, which has a task", a, l.Seat)}
		case s.wanted(l.Seat):
			return &api.ConflictError{Message: fmt.Sprintf("%s is leased to %s, which %s wants; it is kept for its next task. Scale the app down or remove it first", a, l.Seat, l.Seat.App)}
		case l.Pinned && app != nil:
			return &api.ConflictError{Message: fmt.Sprintf("%s is pinned to %s by the label %s of %s; take it out of the label first", a, l.Seat, spec.AppLabelIPs, app.ID)}
		}
		out = l
		s.dropLease(l)
		return nil
	})
	return out, err
}

// settling are the apps whose leases are about to be looked at.
func (s *Scheduler) settling() map[spec.AppID]bool { return maps.Clone(s.restless) }
