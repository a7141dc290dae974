package scheduler

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

const (
	waitingApps   = 1000
	offeringHosts = 10_000
)

// crowded is a scheduler with apps that wait, under constraints of all kinds, and holds what many hosts offer and none of them
// can use.
// Nobody runs its loop, and its time stands still, so that no offer is given back.
func crowded(b testing.TB, apps, hosts int) (*Scheduler, time.Time) {
	b.Helper()
	now := time.Now()
	state := store.NewState()
	kinds := [][]spec.Constraint{nil, {{Field: "hostname", Operator: "UNIQUE"}}, {{Field: "rack", Operator: "GROUP_BY"}},
		{{Field: "rack", Operator: "MAX_PER", Value: "1"}}, {{Field: "rack", Operator: "LIKE", Value: "r0[0-4]"}}}
	for i := range apps {
		app := &spec.App{ID: spec.AppID(fmt.Sprintf("/app-%05d", i)), Cmd: "sleep 1000", Instances: 1, CPUs: 8 + float64(i%8), Mem: 64,
			Constraints: kinds[i%len(kinds)], Version: now, LastConfigChange: now}
		state.Apps[app.ID], state.Versions[app.ID] = app, []*spec.App{app}
	}
	s, err := New(Options{Store: store.NewMemory(), State: state, Engine: enginetest.New(enginetest.Options{}),
		Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/12")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
	if err != nil {
		b.Fatal(err)
	}
	s.onEngine(mesos.Subscribed{FrameworkID: "f", Master: "m"})
	s.turnAt(now)
	for i := range hosts {
		if err := s.report(spec.HostReport{Host: fmt.Sprintf("host-%05d", i), Networks: map[string]string{"p": ""}}, now); err != nil {
			b.Fatal(err)
		}
	}
	offers := make([]spec.Offer, hosts)
	for i := range offers {
		offers[i] = offerOf(i, i, 1+float64(i%50)/10)
	}
	s.onEngine(mesos.Offers{Offers: offers})
	s.turnAt(now)
	return s, now
}

func (s *Scheduler) turnAt(now time.Time) {
	s.decide(now)
	s.show()
	s.batch = batch{}
}

func offerOf(id, host int, cpus float64) spec.Offer {
	name := fmt.Sprintf("host-%05d", host)
	return spec.Offer{ID: fmt.Sprintf("o%d", id), AgentID: "agent-" + name, Host: name, CPUs: cpus, Mem: 32768, Disk: 100000,
		Ports: []spec.PortRange{{Begin: 31000, End: 32000}}, Attributes: map[string]string{"rack": fmt.Sprintf("r%02d", host%25)}}
}

// TestCrowd: apps that are passed over are searched for in turns, told what is new, and found a host as soon as there is one.
func TestCrowd(t *testing.T) {
	const apps, hosts = 2 * crowd, 10
	s, now := crowded(t, apps, hosts)
	looked := func(since time.Time) (n int) {
		for _, q := range s.queue {
			if !q.looked.Before(since) {
				n++
			}
		}
		return n
	}
	if n := len(s.queue); n != apps {
		t.Fatalf("%d of %d apps wait", n, apps)
	}
	now = now.Add(time.Millisecond)
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(100, 0, 0.5)}})
	s.turnAt(now)
	if n := looked(now); n != 0 || len(s.queue) != apps {
		t.Fatalf("%d apps were searched for in vain, %d wait", n, len(s.queue))
	}
	now = now.Add(lookAgain)
	for i := range apps / looksAtOnce {
		s.stir()
		s.turnAt(now)
		if n := looked(now); n != (i+1)*looksAtOnce {
			t.Fatalf("%d apps were searched for in turn %d", n, i+1)
		}
	}
	for id, q := range s.queue {
		if q.refused.Processed != 1 || q.attempt.Processed != hosts+1 {
			t.Fatalf("%s was told of %d hosts, then of %d", id, q.attempt.Processed-q.refused.Processed, q.refused.Processed)
		}
	}
	// However rare the decisions are, everybody's turn comes.
	began := now.Add(time.Millisecond)
	for range apps / looksAtOnce {
		now = now.Add(2 * lookAgain)
		s.turnAt(now)
	}
	if n := looked(began); n != apps {
		t.Fatalf("%d of %d apps had their turn", n, apps)
	}
	s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(101, 1, 15)}})
	s.turnAt(now)
	if s.counters.TasksLaunched == 0 || len(s.queue) == apps {
		t.Fatal("no app found the host that has room")
	}
}

// BenchmarkOfferToManyWaiting is the decision about one more offer while a thousand apps wait and ten thousand offers are held:
// one that nobody can use, and one that is accepted for the app that it fits. Each time it is others' turn to be searched for.
func BenchmarkOfferToManyWaiting(b *testing.B) {
	for _, used := range []bool{false, true} {
		b.Run(fmt.Sprintf("used=%t", used), func(b *testing.B) {
			b.ReportAllocs()
			var s *Scheduler
			var now time.Time
			cpus := 6.0
			if used {
				cpus = 8
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				if i%100 == 0 { // those that found a host no longer wait
					s, now = crowded(b, waitingApps, offeringHosts)
				}
				due := looksAtOnce
				for _, q := range s.queue {
					if due--; due < 0 {
						break
					}
					q.looked = now.Add(-lookAgain)
				}
				before, began := s.counters.TasksLaunched, time.Now()
				b.StartTimer()
				s.onEngine(mesos.Rescinded{OfferID: fmt.Sprintf("o%d", i%100)})
				s.onEngine(mesos.Offers{Offers: []spec.Offer{offerOf(offeringHosts+i, i%100, cpus)}})
				s.turnAt(now)
				took = append(took, time.Since(began))
				if used == (s.counters.TasksLaunched == before) {
					b.Fatalf("used=%t, and %d tasks launched", used, s.counters.TasksLaunched)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/offer")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}

// TestCrowdWithHope: what fits all is searched for by a few, and each turn by those that had none yet, until all have a host; also
// where the apps came before any host offered something.
func TestCrowdWithHope(t *testing.T) {
	const apps = 3 * hopesAtOnce
	s, now := crowded(t, apps, 0)
	now = now.Add(2 * offerPatience)
	s.turnAt(now) // from here on they wait for hosts
	offers := make([]spec.Offer, apps)
	for i := range offers {
		offers[i] = offerOf(i, i, 15)
		if err := s.report(spec.HostReport{Host: offers[i].Host, Networks: map[string]string{"p": ""}}, now); err != nil {
			t.Fatal(err)
		}
	}
	s.hold(offers, now)
	s.stir()
	for turn := range 3 {
		s.turnAt(now)
		if want := uint64(turn+1) * hopesAtOnce; s.counters.TasksLaunched > want || turn == 0 && s.counters.TasksLaunched < want/2 {
			t.Fatalf("%d tasks launched after turn %d", s.counters.TasksLaunched, turn+1)
		}
		if len(s.queue) > 0 && !s.wake.Equal(now) {
			t.Errorf("%d apps wait, and the next turn comes at %s", len(s.queue), s.wake)
		}
	}
	if len(s.queue) > 0 {
		t.Errorf("%d apps wait", len(s.queue))
	}
}
