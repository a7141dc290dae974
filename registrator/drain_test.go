package registrator

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/registrator/consultest"
	"github.com/berth-project/berth/spec"
)

// TestStoppedByHand: an instance that somebody stops is out while it still runs, and in again if it did not end.
func TestStoppedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seat(0, httpProbe), seat(1, httpProbe))
		w.start()
		defer func() { w.stop() }()
		w.publish()
		w.want(service(0), service(1))
		told := func(at time.Time) {
			s, _ := w.inventory.Get()
			s.Containers = append([]docker.Container(nil), s.Containers...)
			for i := range s.Containers {
				if s.Containers[i].ID == "task-prod_web.0" {
					s.Containers[i].Stopping = at
				}
			}
			w.inventory.Set(s)
		}
		told(time.Now())
		w.want(service(1))
		told(time.Time{})
		w.want(service(0), service(1))
	})
}

// TestDrainAsksTheCatalog: the agent's word is not the catalog's.
func TestDrainAsksTheCatalog(t *testing.T) {
	const task = "task-prod_web.0"
	for _, c := range []struct {
		name   string
		fault  func(*consultest.Agent)
		after  time.Duration // it is acknowledged, and not 20 ms earlier
		out    bool
		unsure string
	}{
		{"at once", func(*consultest.Agent) {}, 0, true, ""},
		{"late", func(a *consultest.Agent) { a.Lag(330 * time.Millisecond) }, 620 * time.Millisecond, true, ""},
		{"too late", func(a *consultest.Agent) { a.Lag(time.Hour) }, 5 * time.Second, true, "the catalog still had it"},
		{"not allowed", func(a *consultest.Agent) { a.RefuseCatalog(403) }, 0, true, "the Consul token may not read"},
		{"no answer", func(a *consultest.Agent) { a.RefuseCatalog(500) }, 5 * time.Second, true, "the catalog could not be asked: "},
		{"never in it", func(a *consultest.Agent) { a.RefuseCatalog(500) }, 0, false, ""},
		{"agent down", func(a *consultest.Agent) { a.SetDown(true) }, 5 * time.Second, false, "did not take it out within 5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seat(0, httpProbe))
				w.alive(task, c.name != "never in it")
				w.start()
				defer func() { w.stop() }()
				w.publish()
				c.fault(w.consul)
				heard := time.Now()
				w.seats[0].Drain = true
				w.publish()
				if c.after > 0 {
					pass(c.after - 20*time.Millisecond)
					if w.drained(task) {
						t.Error("acknowledged too early")
					}
					pass(20 * time.Millisecond)
				}
				all, _ := w.r.Drained().Get()
				got, ok := all[task]
				if !ok || !got.Heard.Equal(heard) || got.Out.IsZero() == c.out || !strings.HasPrefix(got.Unsure, c.unsure) && !strings.HasSuffix(got.Unsure, c.unsure) || (got.Unsure == "") != (c.unsure == "") {
					t.Errorf("acknowledged: %v, %+v", ok, got)
				}
			})
		})
	}
}

// TestDrainHearsNoOldAnswer: what the catalog says of a task that is at the agent again, as a registration was carried out late,
// is old.
func TestDrainHearsNoOldAnswer(t *testing.T) {
	for _, status := range []int{0, 403} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.consul.RefuseCatalog(status)
			r, err := New(Options{Host: w.host, Owner: w.owner, State: &w.state, Inventory: &w.inventory, Log: logrus.New(), HTTPClient: w.consul.Client()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l := newLoop(ctx, r)
			for _, gone := range []time.Time{{}, time.Now().Add(time.Second)} { // and out once more
				d := &drain{since: time.Now(), names: map[string]string{service(0): "prod-web"}, gone: time.Now()}
				l.ask("task", d)
				answer := <-l.results
				d.gone = gone
				if answer(time.Now()); d.done != nil || d.asking {
					t.Errorf("status %d: acknowledged: %+v", status, d.done)
				}
			}
		})
	}
}

// TestManyDrainsAtOnce: a host that is emptied asks the catalog a few at a time, and all get their answer.
func TestManyDrainsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seats []spec.HostSeat
		for n := range 50 {
			seats = append(seats, seat(n, httpProbe))
		}
		w := newWorld(t, seats...)
		w.start()
		defer func() { w.stop() }()
		w.publish()
		for i := range w.seats {
			w.seats[i].Drain = true
		}
		w.publish()
		if all, _ := w.r.Drained().Get(); len(all) != 50 || len(w.consul.IDs()) > 0 {
			t.Errorf("%d of 50 are acknowledged, %d in Consul", len(all), len(w.consul.IDs()))
		}
	})
}
