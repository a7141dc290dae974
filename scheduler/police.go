package scheduler

import (
	"net/netip"
	"time"

	"github.com/berth-project/berth/scheduler/hostdoc"
	"github.com/berth-project/berth/spec"
)

// policePause is how long at least all hosts have the addresses that policies select, before they get them anew. One instance more
// or less can change the documents of the whole fleet; while many start, each host learns of some of them at a time.
const policePause = 500 * time.Millisecond

// policing keeps the network policies' index beside the state.
type policing struct {
	*hostdoc.Policing                       // nil: there are no policies
	tasks             map[string]bool       // changed since they were last looked at, by id
	leases            map[netip.Addr]bool   // changed, too
	has               map[string]netip.Addr // by task: its address when it was last looked at
	on                map[netip.Addr]int    // how many tasks those are
	next              time.Time             // no host's addresses change before
	waiting           bool                  // a change of addresses waits for that
}

func newPolicing(policies *spec.NetworkPolicies) policing {
	return policing{
		Policing: hostdoc.NewPolicing(policies), tasks: map[string]bool{}, leases: map[netip.Addr]bool{}, has: map[string]netip.Addr{}, on: map[netip.Addr]int{},
	}
}

func (p *policing) sawTask(id string) {
	if p.Policing != nil {
		p.tasks[id] = true
	}
}

func (p *policing) sawLease(a netip.Addr) {
	if p.Policing != nil {
		p.leases[a] = true
	}
}

// police brings the index up to date and marks the documents in which policies changed. Who is selected are seats with a lease:
// one that is between two tasks keeps its address, so its restart changes nothing for others. A task counts as long as it lives,
// whatever has become of its seat.
func (s *Scheduler) police(now time.Time) {
	p := &s.policing
	if p.Policing == nil {
		return
	}
	for id := range p.tasks {
		e := s.taskEndpoint(s.state.Tasks[id])
		p.Set("task "+id, e)
		p.move(id, e)
	}
	for a := range p.leases {
		p.Set("lease "+a.String(), s.leaseEndpoint(s.state.Leases[a]))
	}
	p.waiting = p.waiting || len(p.tasks)+len(p.leases) > 0
	clear(p.tasks)
	clear(p.leases)
	if !p.waiting {
		return
	}
	if now.Before(p.next) {
		s.wakeAt(p.next)
		return
	}
	p.waiting = false
	if hosts := p.Stale(); len(hosts) > 0 {
		p.next = now.Add(policePause)
		for _, host := range hosts {
			s.staleDocs[host] = true
		}
	}
}

// move notes on which address a task is. Its lease speaks for the seat only while no task does: the task is of a version of its own.
func (p *policing) move(id string, e *hostdoc.Endpoint) {
	now := netip.Addr{}
	if e != nil {
		now = e.Addresses[0]
	}
	was := p.has[id]
	if was == now {
		return
	}
	if was.IsValid() {
		if p.on[was]--; p.on[was] == 0 {
			delete(p.on, was)
		}
		delete(p.has, id)
		p.leases[was] = true
	}
	if now.IsValid() {
		p.on[now]++
		p.has[id] = now
		p.leases[now] = true
	}
}

func (s *Scheduler) taskEndpoint(t *spec.Task) *hostdoc.Endpoint {
	if t == nil || !t.Live() || !t.Address.IsValid() {
		return nil
	}
	return &hostdoc.Endpoint{Seat: t.Seat, Pool: t.Pool, Labels: s.appOf(t).Labels, Host: t.Host, Addresses: s.bothFamilies(t.Pool, t.Address)}
}

func (s *Scheduler) leaseEndpoint(l spec.Lease) *hostdoc.Endpoint {
	app := s.state.Apps[l.Seat.App]
	if app == nil || !l.IdleSince.IsZero() || s.policing.on[l.Address] > 0 {
		return nil
	}
	return &hostdoc.Endpoint{Seat: l.Seat, Pool: l.Pool, Labels: app.Labels, Addresses: s.bothFamilies(l.Pool, l.Address)}
}

// bothFamilies are a leased address and its twin, if it has one.
func (s *Scheduler) bothFamilies(pool string, a netip.Addr) []netip.Addr {
	out := []netip.Addr{a}
	if twin := s.twin(pool, a); twin.IsValid() {
		out = append(out, twin)
	}
	return out
}
