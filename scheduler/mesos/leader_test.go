package mesos_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
)

// TestOnlyAnOperatorsWordBeginsAnew: the id of the removed framework is the word, so one that was left behind in a unit
// file gives up no other framework.
func TestOnlyAnOperatorsWordBeginsAnew(t *testing.T) {
	for abandon, anew := range map[string]bool{"": false, "another": false, "mine": true} {
		t.Run(abandon, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mesostest.New(mesostest.Options{})
				defer m.Close()
				r := start(t, mesos.Options{Masters: []string{"m1"}, Transport: m.Transport(), Framework: mesos.Framework{ID: "mine"}, Abandon: abandon})
				defer r.stop()
				if s := next[mesos.Subscribed](r); s.FrameworkID != "mine" { // it is not removed: nothing is given up
					t.Fatalf("got %+v", s)
				}
				m.RemoveFramework()
				if !anew {
					next[mesos.FrameworkRemoved](r)
					if err := <-r.done; !errors.Is(err, mesos.ErrFrameworkRemoved) {
						t.Errorf("got %v", err)
					}
					return
				}
				if d := next[mesos.Disconnected](r); !errors.Is(d.Err, mesos.ErrAbandoned) {
					t.Errorf("got %v", d.Err)
				}
				second := next[mesos.Subscribed](r)
				if second.FrameworkID == "mine" || second.FrameworkID != r.FrameworkID() {
					t.Errorf("got %+v", second)
				}
				check(t, r.Revive(t.Context()))
				m.RemoveFramework() // the word was for the first one only
				next[mesos.FrameworkRemoved](r)
				<-r.done
			})
		})
	}
}
