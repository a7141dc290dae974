package registrator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/docker"
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
