package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// UpdateSeats implements api.Backend.
func (s *Scheduler) UpdateSeats(ctx context.Context, id spec.AppID, index int, u api.SeatUpdate) ([]int, error) {
	var out []int
	err := s.doDurably(ctx, func() error {
		app := s.state.Apps[id]
		if app == nil {
			return &api.NotFoundError{Message: fmt.Sprintf("App '%s' does not exist", id)}
		}
		out = s.presentSeats(app)
		if index >= 0 {
			if !slices.Contains(out, index) {
				return &api.NotFoundError{Message: fmt.Sprintf("App '%s' has no instance %d", id, index)}
			}
			out = []int{index}
		}
		for _, n := range out {
			seat := spec.SeatID{App: id, Index: n}
			before := s.seat(seat, s.state.Seats[seat].LastHost)
			after := u.Apply(before)
			if before.Weight == after.Weight && before.Maintenance == after.Maintenance {
				continue
			}
			s.redirect(after)
			s.publish(api.SeatChanged(app, after, time.Now()))
			s.log.WithFields(logrus.Fields{"app": string(id), "seat": n, "weight": app.ServiceWeight(after), "maintenance": after.Maintenance}).Info("requests are shared out anew")
		}
		return nil
	})
	return out, err
}

// presentSeats are the seats that an app has now, ascending: those wanted, and those with a task. Of instances that float only the
// latter are known.
func (s *Scheduler) presentSeats(app *spec.App) []int {
	var out []int
	if !app.Floats() {
		out = app.Seats()
	}
	for _, t := range s.byApp[app.ID] {
		out = append(out, t.Seat.Index)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// redirect stores a seat with another share of requests, of which its host is told.
func (s *Scheduler) redirect(seat spec.Seat) {
	s.putSeat(seat)
	for _, t := range s.byApp[seat.ID.App] {
		if t.Seat == seat.ID {
			s.staleDocs[t.Host] = true
		}
	}
	s.touch(seat.ID.App)
}

// endTraffic ends what was said of the requests to instances of the app whose seats nobody wants any more.
func (s *Scheduler) endTraffic(app spec.AppID, wanted func(spec.SeatID) bool) {
	for id := range s.seatsOf[app] {
		if seat := s.state.Seats[id]; (seat.Weight != 0 || seat.Maintenance != "") && !wanted(id) {
			seat.Weight, seat.Maintenance = 0, ""
			s.putSeat(seat)
		}
	}
}
