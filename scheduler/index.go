package scheduler

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-project/berth/internal/cow"
	"github.com/berth-project/berth/scheduler/address"
	"github.com/berth-project/berth/scheduler/place"
	"github.com/berth-project/berth/spec"
)

// indexes are what the loop keeps beside the state so that an event costs what it changes, not what there is. All of it can
// be computed from the state; the tests hold it against that.
type indexes struct {
	byHost    map[string]map[string]*spec.Task // live tasks
	underway  map[string]*spec.Task            // live tasks that do not run yet, or are being stopped
	starting  map[string]map[string]*spec.Task // of those under way that do not run yet, by host
	tallies   map[spec.AppID]*place.Tally      // of the apps that wanted hosts: where their tasks are that are not being stopped
	leasesOf  map[spec.AppID]map[netip.Addr]bool
	seatsOf   map[spec.AppID]map[spec.SeatID]bool
	leasesOn  map[spec.SeatID][]netip.Addr
	searched  map[string]netip.Addr   // by pool: no address below is unused
	blocks    *address.Blocks         // of hosts; nil: none are in use
	lacking   map[string]bool         // hosts that may need a block
	holding   map[string]bool         // hosts on which something else holds addresses
	outliving map[string]bool         // of those, where it is a container of Berth's
	holders   map[netip.Addr][]string // the hosts on which something else holds an address
	deploysOf map[spec.AppID][]string // running deployments that touch the app, by id
	inTurn    []*spec.Deployment      // the running ones, oldest first; nil: to be computed again
	targeted  map[spec.AppID]target
	done      map[spec.AppID]bool // the app's part of the current step is fulfilled
	launches  map[spec.AppID][]int
	skip      map[spec.AppID]int  // how many of the launches the next decision begins behind
	looks     paced               // of advance
	shows     paced               // of readers
	rests     paced               // of rest
	taskTimes agenda[string]      // when a task's timer must look again
	appTimes  agenda[spec.AppID]  // when an app must be looked at again although nothing changed
	cramped   map[spec.AppID]bool // apps whose instances cannot leave a host that is drained, for want of room elsewhere
	uncrampAt time.Time           // when those may be looked at again before their time

	// What changed since each was last looked at.
	dirty     map[spec.AppID]bool // by advance
	deferred  map[spec.AppID]bool // by advance, of large apps whose turn has not come
	unsure    map[spec.AppID]bool // by advance, while the session has not confirmed what is known
	restless  map[spec.AppID]bool // by rest
	unseen    map[spec.AppID]bool // by readers
	untimed   map[string]bool     // by timers: task ids
	staleDocs map[string]bool     // by documents: hosts
	retarget  map[spec.AppID]bool // by aim
	unstepped map[string]bool     // by steps: deployments
	newTree   bool                // by readers: apps, groups or deployments
	newFails  bool                // by readers: failures

	// What readers see.
	rosters   map[spec.AppID]*roster
	lists     *cow.Map[spec.AppID, []*spec.Task]
	seats     *cow.Map[spec.SeatID, spec.Seat]
	leases    *cow.Map[netip.Addr, spec.Lease]
	usage     *cow.Map[string, spec.Usage]
	published atomic.Pointer[published]
}

func newIndexes() *indexes {
	return &indexes{
		byHost: map[string]map[string]*spec.Task{}, underway: map[string]*spec.Task{},
		starting: map[string]map[string]*spec.Task{}, tallies: map[spec.AppID]*place.Tally{}, leasesOf: map[spec.AppID]map[netip.Addr]bool{},
		seatsOf:  map[spec.AppID]map[spec.SeatID]bool{},
		leasesOn: map[spec.SeatID][]netip.Addr{}, searched: map[string]netip.Addr{}, rosters: map[spec.AppID]*roster{}, lacking: map[string]bool{}, holding: map[string]bool{}, outliving: map[string]bool{}, holders: map[netip.Addr][]string{},
		done: map[spec.AppID]bool{}, launches: map[spec.AppID][]int{}, skip: map[spec.AppID]int{}, deferred: map[spec.AppID]bool{}, dirty: map[spec.AppID]bool{}, unsure: map[spec.AppID]bool{}, restless: map[spec.AppID]bool{},
		unseen: map[spec.AppID]bool{}, untimed: map[string]bool{}, staleDocs: map[string]bool{}, retarget: map[spec.AppID]bool{}, unstepped: map[string]bool{}, deploysOf: map[spec.AppID][]string{}, targeted: map[spec.AppID]target{}, newTree: true, newFails: true,
		cramped: map[spec.AppID]bool{},
		lists:   cow.New[spec.AppID, []*spec.Task](), seats: cow.New[spec.SeatID, spec.Seat](), leases: cow.New[netip.Addr, spec.Lease](),
		usage: cow.New[string, spec.Usage](),
	}
}

// touch says that something of the app's changed: its definition, a task, a lease.
func (s *Scheduler) touch(app spec.AppID) {
	s.dirty[app], s.unseen[app] = true, true
	if s.state.Apps[app] == nil {
		s.retarget[app] = true // it is a target only as long as it has tasks
	}
}

// touchTree says that the set of wanted apps, of groups or of deployments changed.
func (s *Scheduler) touchTree() { s.newTree = true }

// touchApp says that the app's definition changed: what it means for seats is in the documents of its hosts.
func (s *Scheduler) touchApp(app spec.AppID) {
	s.touchTree()
	s.touch(app)
	s.restless[app], s.retarget[app] = true, true
	for _, t := range s.byApp[app] {
		s.staleDocs[t.Host] = true
	}
	for a := range s.leasesOf[app] {
		s.policing.sawLease(a)
	}
}

// index takes a live task, new or changed, into the indexes.
func (s *Scheduler) index(t *spec.Task) {
	if s.byApp[t.Seat.App] == nil {
		s.byApp[t.Seat.App] = map[string]*spec.Task{}
	}
	was := s.byApp[t.Seat.App][t.ID]
	s.tally(t, was)
	s.reroll(t)
	s.byApp[t.Seat.App][t.ID] = t
	if s.byHost[t.Host] == nil {
		s.byHost[t.Host] = map[string]*spec.Task{}
	}
	if old := s.byHost[t.Host][t.ID]; old == nil || !sameInDocument(old, t) {
		s.staleDocs[t.Host] = true
		s.policing.sawTask(t.ID)
	}
	s.byHost[t.Host][t.ID] = t
	if t.Rung == spec.Running {
		delete(s.underway, t.ID)
	} else {
		s.underway[t.ID] = t
	}
	if t.Rung < spec.Running {
		if s.starting[t.Host] == nil {
			s.starting[t.Host] = map[string]*spec.Task{}
		}
		s.starting[t.Host][t.ID] = t
	} else {
		s.started(t)
	}
	s.untimed[t.ID] = true
	s.touch(t.Seat.App)
}

// unindex takes a task that ended out of them.
func (s *Scheduler) unindex(t *spec.Task) {
	s.stirHeld()
	s.tally(nil, s.byApp[t.Seat.App][t.ID])
	s.started(t)
	delete(s.byApp[t.Seat.App], t.ID)
	s.reroll(t)
	delete(s.byHost[t.Host], t.ID)
	if len(s.byHost[t.Host]) == 0 {
		delete(s.byHost, t.Host)
	}
	delete(s.underway, t.ID)
	delete(s.untimed, t.ID)
	s.taskTimes.set(t.ID, time.Time{})
	s.usage.Delete(t.ID)
	s.staleDocs[t.Host], s.restless[t.Seat.App] = true, true
	s.policing.sawTask(t.ID)
	s.touch(t.Seat.App)
}

// sameInDocument says that two states of a task are the same to its host: what does not change in a task's life is left out.
func sameInDocument(a, b *spec.Task) bool {
	return (a.Rung == spec.Killing) == (b.Rung == spec.Killing) && a.Pool == b.Pool && a.Address == b.Address
}

// started takes a task out of those that its host is starting.
func (s *Scheduler) started(t *spec.Task) {
	if _, was := s.starting[t.Host][t.ID]; !was {
		return
	}
	if s.needed.busy && s.fleet.Offers(t.Host) {
		s.stir()
	}
	if delete(s.starting[t.Host], t.ID); len(s.starting[t.Host]) == 0 {
		delete(s.starting, t.Host)
	}
}

// tally keeps the count of where an app's tasks are, when a task was put in the place of another; nil: none. Tasks that are
// being stopped do not count: their successors may go where they were.
func (s *Scheduler) tally(t, was *spec.Task) {
	counts := func(t *spec.Task) bool { return t != nil && t.Rung != spec.Killing }
	switch {
	case counts(t) && !counts(was):
		if tally := s.tallies[t.Seat.App]; tally != nil {
			tally.Add(t.Attributes)
		}
	case counts(was) && !counts(t):
		s.stirHeld()
		if tally := s.tallies[was.Seat.App]; tally != nil {
			tally.Remove(was.Attributes)
		}
	}
}

// tallyOf counts where an app's tasks are; from the first time on tally keeps the count.
func (s *Scheduler) tallyOf(app *spec.App) *place.Tally {
	out := s.tallies[app.ID]
	if out == nil || !out.Serves(app) {
		out = place.NewTally(app)
		for _, t := range s.byApp[app.ID] {
			if t.Rung != spec.Killing {
				out.Add(t.Attributes)
			}
		}
		s.tallies[app.ID] = out
	}
	return out
}

// indexLease takes a lease, new or changed, into the indexes; old is what the address was leased for before.
func (s *Scheduler) indexLease(old, l spec.Lease) {
	if old.Seat.App != l.Seat.App {
		delete(s.leasesOf[old.Seat.App], l.Address)
		if len(s.leasesOf[old.Seat.App]) == 0 {
			delete(s.leasesOf, old.Seat.App)
		}
	}
	if old.Seat != l.Seat {
		if rest := slices.DeleteFunc(s.leasesOn[old.Seat], func(a netip.Addr) bool { return a == l.Address }); len(rest) > 0 {
			s.leasesOn[old.Seat] = rest
		} else {
			delete(s.leasesOn, old.Seat)
		}
	}
	if !slices.Contains(s.leasesOn[l.Seat], l.Address) {
		s.leasesOn[l.Seat] = append(s.leasesOn[l.Seat], l.Address)
	}
	if s.leasesOf[l.Seat.App] == nil {
		s.leasesOf[l.Seat.App] = map[netip.Addr]bool{}
	}
	s.leasesOf[l.Seat.App][l.Address] = true
	s.policing.sawLease(l.Address)
	s.leases.Set(l.Address, l)
}

// unindexLease takes a lease that was given up out of them.
func (s *Scheduler) unindexLease(l spec.Lease) {
	s.leases.Delete(l.Address)
	s.policing.sawLease(l.Address)
	if delete(s.leasesOf[l.Seat.App], l.Address); len(s.leasesOf[l.Seat.App]) == 0 {
		delete(s.leasesOf, l.Seat.App)
	}
	if s.leasesOn[l.Seat] = slices.DeleteFunc(s.leasesOn[l.Seat], func(a netip.Addr) bool { return a == l.Address }); len(s.leasesOn[l.Seat]) == 0 {
		delete(s.leasesOn, l.Seat)
	}
}

// indexSeat takes a seat, new or changed, into the indexes.
func (s *Scheduler) indexSeat(seat spec.Seat) {
	s.seats.Set(seat.ID, seat)
	s.hostnames[seat.Hostname] = seat.ID
	if s.seatsOf[seat.ID.App] == nil {
		s.seatsOf[seat.ID.App] = map[spec.SeatID]bool{}
	}
	s.seatsOf[seat.ID.App][seat.ID] = true
}

// unindexSeat takes a forgotten seat out of them.
func (s *Scheduler) unindexSeat(seat spec.Seat) {
	s.seats.Delete(seat.ID)
	delete(s.hostnames, seat.Hostname)
	delete(s.seatsOf[seat.ID.App], seat.ID)
	if len(s.seatsOf[seat.ID.App]) == 0 {
		delete(s.seatsOf, seat.ID.App)
	}
}
