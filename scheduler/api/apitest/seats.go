package apitest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/ipcheck"
	"github.com/berth-project/berth/spec"
)

// rest lets the leases rest whose seats nobody wants.
func (w *World) rest() {
	for seat, l := range w.leases {
		app := w.apps[seat.App]
		tasks := slices.ContainsFunc(w.tasks[seat.App], func(t *spec.Task) bool { return t.Seat == seat })
		switch wanted := tasks || app != nil && app.HasSeat(seat.Index); {
		case wanted:
			l.IdleSince = time.Time{}
		case l.IdleSince.IsZero():
			l.IdleSince = w.now
		}
		w.leases[seat] = l
	}
}

// UpdateSeats implements api.Backend.
func (w *World) UpdateSeats(_ context.Context, id spec.AppID, index int, u api.SeatUpdate) ([]int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	app := w.apps[id]
	if app == nil {
		return nil, &api.NotFoundError{Message: fmt.Sprintf("App '%s' does not exist", id)}
	}
	out := app.Seats()
	if index >= 0 {
		if !app.HasSeat(index) {
			return nil, &api.NotFoundError{Message: fmt.Sprintf("App '%s' has no instance %d", id, index)}
		}
		out = []int{index}
	}
	for _, n := range out {
		seat := spec.SeatID{App: id, Index: n}
		w.kept[seat] = u.Apply(w.kept[seat])
	}
	return out, nil
}

// Starve has the hosts say that the app's running instances are held back by their quota, and what would do.
func (w *World) Starve(app spec.AppID, lost, advice float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks[app] {
		u := w.usage[t.ID]
		u.Lost, u.Advice = lost, advice
		w.usage[t.ID] = u
	}
}

// Survey implements api.Backend: the host answers at once with what Endpoints says.
func (w *World) Survey(context.Context, bool) (uint64, error) { return 0, nil }

// RepairAddresses implements api.Backend: leases are dropped, containers are stopped.
func (w *World) RepairAddresses(_ context.Context, found []ipcheck.Finding) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make([]string, len(found))
	for i, f := range found {
		switch f.Action {
		case ipcheck.DropLease:
			delete(w.leases, f.Seat)
			done[i] = "the lease was given up"
		case ipcheck.StopOver:
			w.strangers = slices.DeleteFunc(w.strangers, func(e spec.HostEndpoint) bool { return e.Container == f.Container })
			done[i] = "the host was told to stop the container"
		}
	}
	return done, nil
}

// ReleaseAddress implements api.Backend.
func (w *World) ReleaseAddress(_ context.Context, a netip.Addr) (spec.Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for seat, l := range w.leases {
		if l.Address != a {
			continue
		}
		if app := w.apps[seat.App]; app != nil && app.HasSeat(seat.Index) {
			return l, &api.ConflictError{Message: fmt.Sprintf("%s is leased to %s, which %s wants", a, seat, seat.App)}
		}
		delete(w.leases, seat)
		return l, nil
	}
	return spec.Lease{}, &api.NotFoundError{Message: fmt.Sprintf("%s is leased to nobody", a)}
}

// Stranger puts a container on an address of the host. One of Berth's has a task that is over.
func (w *World) Stranger(name string, a netip.Addr, seat spec.SeatID, task string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strangers = append(w.strangers, spec.HostEndpoint{
		Address: a, Container: "id-of-" + name, Name: name, TaskID: task, Seat: seat, Since: Start, Link: "veth1", Route: "br-default",
	})
}

// endpoints are the containers of the running tasks, and the strangers.
func (w *World) endpoints() *spec.HostEndpoints {
	out := &spec.HostEndpoints{Mode: "bridge", Engine: true}
	for _, tasks := range w.tasks {
		for _, t := range tasks {
			if t.Rung == spec.Running && t.Address.IsValid() {
				out.List = append(out.List, spec.HostEndpoint{
					Address: t.Address, Container: "id-of-" + t.ID, Name: "mesos-" + t.ID, TaskID: t.ID, Seat: t.Seat, Since: t.StartedAt,
					Link: "veth0", Route: "br-default",
				})
			}
		}
	}
	out.List = append(out.List, w.strangers...)
	slices.SortStableFunc(out.List, func(a, b spec.HostEndpoint) int { return a.Address.Compare(b.Address) })
	return out
}

// address is the seat's own for ever.
func (w *World) address(seat spec.SeatID) netip.Addr {
	lease, ok := w.leases[seat]
	if !ok {
		lease = spec.Lease{Seat: seat, Pool: "default", Address: netip.AddrFrom4([4]byte{10, 90, 0, byte(10 + len(w.leases))})}
		w.leases[seat] = lease
	}
	return lease.Address
}
