package scheduler

import (
	"net/netip"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestNoAddressHoldsNoOffers: an app whose pool is empty gives offers back at once and wants no more, until it has an address.
func TestNoAddressHoldsNoOffers(t *testing.T) {
	now := time.Now()
	state := store.NewState()
	app := &spec.App{ID: "/web", Cmd: "sleep 1000", Instances: 1, CPUs: 1, Mem: 10, Version: now, LastConfigChange: now}
	state.Apps[app.ID], state.Versions[app.ID] = app, []*spec.App{app}
	pool := spec.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/30")}
	addr := netip.MustParseAddr("10.0.0.2") // the only one
	state.Leases[addr] = spec.Lease{Seat: spec.SeatID{App: "/gone"}, Pool: "p", Address: addr, IdleSince: now}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}), Pools: []spec.Pool{pool},
		Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		t.Fatal(err)
	}
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
