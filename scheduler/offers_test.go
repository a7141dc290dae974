package scheduler

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// still is a scheduler with one app of one instance, /web, whose loop nobody runs; change adds to what was stored.
func still(t *testing.T, pool string, change func(*store.State, time.Time)) (*Scheduler, time.Time) {
	t.Helper()
	now := time.Now()
	state := store.NewState()
	app := &spec.App{ID: "/web", Cmd: "sleep 1000", Instances: 1, CPUs: 1, Mem: 10, Version: now, LastConfigChange: now}
	state.Apps[app.ID], state.Versions[app.ID] = app, []*spec.App{app}
	if change != nil {
		change(state, now)
	}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}),
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix(pool)}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		t.Fatal(err)
	}
	return s, now
}

// TestANetworkThatIsReadyLate: offers that were given back because a host's agent had not come are asked for when it does.
func TestANetworkThatIsReadyLate(t *testing.T) {
	s, now := still(t, "10.0.0.0/24", nil)
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turnAt(now)
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(1, 0, 4)}})
	s.turnAt(now.Add(time.Second))
	now = now.Add(2 * networkPatience)
	s.turnAt(now)
	if s.fleet.Len() != 0 || s.counters.Revives != 0 {
		t.Fatalf("%d offers are held, %d revives", s.fleet.Len(), s.counters.Revives)
	}
	for i, networks := range []map[string]string{{"p": "no bridge"}, {"p": ""}, {"p": ""}} {
		if err := s.report(spec.HostReport{Host: "host-00000", Networks: networks}, now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		s.turnAt(now.Add(time.Second))
		if want := min(i, 1); int(s.counters.Revives) != want {
			t.Errorf("report %d: %d revives, want %d", i, s.counters.Revives, want)
		}
	}
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(2, 0, 4)}})
	s.turnAt(now.Add(time.Second))
	if s.counters.TasksLaunched != 1 {
		t.Errorf("%d tasks launched", s.counters.TasksLaunched)
	}
}

// TestVolumesGivenUp: an instance that waited for the host of its volumes is offered others' as soon as the volumes are given up.
func TestVolumesGivenUp(t *testing.T) {
	s, now := still(t, "10.0.0.0/24", func(state *store.State, _ time.Time) {
		seat := spec.SeatID{App: "/web"}
		state.Seats[seat] = spec.Seat{ID: seat, Hostname: "web-0", LastHost: "gone", Volumes: []spec.SeatVolume{{ID: "v", Host: "gone", Path: "web"}}}
	})
	if err := s.report(spec.HostReport{Host: "host-00000", Networks: map[string]string{"p": ""}}, now); err != nil {
		t.Fatal(err)
	}
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turnAt(now)
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(1, 0, 4)}})
	now = now.Add(time.Minute)
	s.turnAt(now)
	if s.fleet.Len() != 0 || s.counters.Revives != 0 || s.counters.TasksLaunched != 0 {
		t.Fatalf("%d offers are held, %d revives, %d launches", s.fleet.Len(), s.counters.Revives, s.counters.TasksLaunched)
	}
	s.freeIdle("/web", "wiped")
	s.turnAt(now.Add(time.Second))
	if s.counters.Revives != 1 {
		t.Error("the offers that were declined are not asked for again")
	}
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(2, 0, 4)}})
	s.turnAt(now.Add(time.Second))
	if s.counters.TasksLaunched != 1 {
		t.Errorf("%d tasks launched", s.counters.TasksLaunched)
	}
}

// TestNoAddressHoldsNoOffers: an app whose pool is empty gives offers back at once and wants no more, until it has an address.
func TestNoAddressHoldsNoOffers(t *testing.T) {
	s, now := still(t, "10.0.0.0/30", func(state *store.State, now time.Time) {
		addr := netip.MustParseAddr("10.0.0.2") // the only one
		state.Leases[addr] = spec.Lease{Seat: spec.SeatID{App: "/gone"}, Pool: "p", Address: addr, IdleSince: now}
	})
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	if err := s.report(spec.HostReport{Host: "host-00000", Networks: map[string]string{"p": ""}}, now); err != nil {
		t.Fatal(err)
	}
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(1, 0, 4)}})
	s.turnAt(time.Now())
	if s.counters.OffersDeclined != 1 || !s.session.suppressed || s.fleet.Len() != 0 {
		t.Fatalf("%d offers declined, %d held, suppressed: %t", s.counters.OffersDeclined, s.fleet.Len(), s.session.suppressed)
	}
	now = now.Add(2 * time.Hour)
	s.turnAt(now)
	if s.session.suppressed || s.counters.Revives != 1 {
		t.Fatalf("with an address: suppressed: %t, %d revives", s.session.suppressed, s.counters.Revives)
	}
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(2, 0, 4)}})
	s.turnAt(now)
	if s.counters.TasksLaunched != 1 {
		t.Fatalf("%d tasks launched", s.counters.TasksLaunched)
	}
}

// TestAReviveThatIsNotAnswered: the engine may have heard it, so it is taken back when nothing is wanted any more.
func TestAReviveThatIsNotAnswered(t *testing.T) {
	s, now := still(t, "10.0.0.0/24", nil)
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turnAt(now)
	s.decide(now.Add(2 * offersLate)) // no offer has come
	for _, c := range s.batch.calls {
		if c.name == "REVIVE" {
			c.failed(errors.New("no answer"))
		}
	}
	if s.counters.Revives != 1 || !s.session.suppressed {
		t.Fatalf("%d revives, suppressed: %t", s.counters.Revives, s.session.suppressed)
	}
	delete(s.state.Apps, "/web")
	s.touchApp("/web")
	s.turnAt(now)
	if s.counters.Suppresses != 0 {
		t.Error("suppressed before the late REVIVE must have come")
	}
	s.turnAt(time.Now().Add(2 * lateCall))
	if s.counters.Suppresses != 1 {
		t.Errorf("%d suppresses", s.counters.Suppresses)
	}
}
