package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// withVolumes gives a seat the persistent volumes that the app wants, new ones on the host where it has none yet. The
// records are stored with the task, before the engine hears of it.
func (s *Scheduler) withVolumes(seat spec.Seat, app *spec.App, host string) (spec.Seat, []spec.SeatVolume) {
	volumes := launch.SeatVolumes(app, seat, host, s.uuid)
	all := slices.Clone(seat.Volumes)
	for _, v := range volumes {
		if !slices.Contains(all, v) {
			all = append(all, v)
			s.log.WithFields(logrus.Fields{"app": string(app.ID), "seat": seat.ID.Index, "host": host, "volume": v.ContainerPath, "path": v.Path}).Info("new persistent volume")
		}
	}
	if len(all) > len(seat.Volumes) {
		seat.Volumes = all
		s.putSeat(seat)
	}
	return seat, volumes
}

func (s *Scheduler) putSeat(seat spec.Seat) {
	s.state.Seats[seat.ID] = seat
	s.indexSeat(seat)
	s.batch.txn.PutSeat(seat)
}

// awaitVolumes says of each seat that could not be placed, and whose host has offered nothing, that it waits for that host.
func (s *Scheduler) awaitVolumes(in place.Input, r place.Result, q map[spec.AppID]*waiting, now time.Time) {
	placed := map[int]bool{}
	for _, p := range r.Placements {
		placed[p.Intent] = true
	}
	offering := map[string]bool{}
	for _, p := range r.Placements {
		offering[p.Offer.Host] = true
	}
	for i, it := range in.Intents {
		if placed[i] || it.Pinned == "" || offering[it.Pinned] || s.fleet.Offers(it.Pinned) {
			continue
		}
		item := q[it.App.ID]
		if now.Before(item.since.Add(offerPatience)) {
			s.wakeAt(item.since.Add(offerPatience))
			continue
		}
		item.because(api.ReasonHosts, fmt.Sprintf("%s waits for host %s, which has its persistent volumes and offers nothing now", it.Seat, it.Pinned))
	}
}

// freeVolumes gives a seat's volumes up: it may run anywhere again, with new ones, and the host removes the data once no
// task uses it.
func (s *Scheduler) freeVolumes(id spec.SeatID, reason string) {
	seat := s.state.Seats[id]
	if seat.VolumesHost() == "" {
		return
	}
	seat.Volumes = slices.Clone(seat.Volumes)
	for i := range seat.Volumes {
		seat.Volumes[i].Freed = true
	}
	s.putSeat(seat)
	s.freed[id] = true
	s.docsDirty = true
	s.log.WithFields(logrus.Fields{"app": string(id.App), "seat": id.Index, "reason": reason}).Info("persistent volumes are given up")
}

// freeIdle gives up what seats without a task keep: those that were scaled away, and those that wait for their host.
func (s *Scheduler) freeIdle(app spec.AppID, reason string) {
	for _, id := range s.seatsWithVolumes(app) {
		if !s.seatTaken(id) {
			s.freeVolumes(id, reason)
		}
	}
}

func (s *Scheduler) seatsWithVolumes(app spec.AppID) []spec.SeatID {
	var out []spec.SeatID
	for id := range s.seatsOf[app] {
		if len(s.state.Seats[id].Volumes) > 0 {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b spec.SeatID) int { return a.Index - b.Index })
	return out
}

// toFree are the folders that hosts must remove: those given up that no live task uses, by host, sorted.
func (s *Scheduler) toFree() map[string][]string {
	out := map[string][]string{}
	for id := range s.freed {
		for _, v := range s.state.Seats[id].Volumes {
			if v.Freed && !s.volumeInUse(id, v.ID) {
				out[v.Host] = append(out[v.Host], v.Path)
			}
		}
	}
	for _, paths := range out {
		slices.Sort(paths)
	}
	return out
}

func (s *Scheduler) volumeInUse(seat spec.SeatID, volume string) bool {
	for _, t := range s.byApp[seat.App] {
		if t.Seat == seat && slices.ContainsFunc(t.Volumes, func(v spec.SeatVolume) bool { return v.ID == volume }) {
			return true
		}
	}
	return false
}

// onFreed drops the records of volumes whose data the host has removed.
func (s *Scheduler) onFreed(host string, paths []string) {
	if len(paths) == 0 {
		return
	}
	gone := func(v spec.SeatVolume) bool { return v.Freed && v.Host == host && slices.Contains(paths, v.Path) }
	for id := range s.freed {
		seat := s.state.Seats[id]
		if !slices.ContainsFunc(seat.Volumes, gone) {
			continue
		}
		seat.Volumes = slices.DeleteFunc(slices.Clone(seat.Volumes), gone)
		if len(seat.Volumes) == 0 {
			seat.Volumes = nil
		}
		s.stir()
		s.putSeat(seat)
		s.docsDirty = true
		s.log.WithFields(logrus.Fields{"app": string(id.App), "seat": id.Index, "host": host}).Info("the host has removed the data of persistent volumes")
		if !slices.ContainsFunc(seat.Volumes, func(v spec.SeatVolume) bool { return v.Freed }) {
			delete(s.freed, id)
		}
		s.forgetUnheld(id)
	}
}

// forgetUnheld forgets a seat of an app that is gone once neither a lease, a task nor a volume holds it.
func (s *Scheduler) forgetUnheld(id spec.SeatID) {
	if s.state.Apps[id.App] != nil || s.seatTaken(id) || len(s.state.Seats[id].Volumes) > 0 {
		return
	}
	for addr := range s.leasesOf[id.App] {
		if s.state.Leases[addr].Seat == id {
			return
		}
	}
	s.forgetSeat(id)
}

// wipe gives up the volumes of the tasks killed, and those of seats without a task: of the ones named, or of the whole app
// when the call was for all.
func (s *Scheduler) wipe(killed []*spec.Task, o api.KillOptions) {
	if !o.Wipe {
		return
	}
	const reason = "wiped through the API"
	for _, t := range killed {
		s.freeVolumes(t.Seat, reason)
	}
	for _, id := range o.Seats {
		if !s.seatTaken(id) {
			s.freeVolumes(id, reason)
		}
	}
	if o.Idle != "" {
		s.freeIdle(o.Idle, reason)
	}
}
