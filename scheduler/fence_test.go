package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/store"
)

// slowStore makes a commit wait.
type slowStore struct {
	store.Store
	hold chan struct{} // nil: nothing waits
}

func (s *slowStore) Commit(ctx context.Context, t store.Txn) error {
	if s.hold != nil {
		<-s.hold
	}
	return s.Store.Commit(ctx, t)
}

// TestAnsweredWithTheNewestOnly: while a document is decided and not durable yet, the process of a host's network is not answered with
// the one before, nor told that there is nothing newer: it would count on what is no longer its own.
func TestAnsweredWithTheNewestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		for _, line := range []string{"host h1 4 4096", "auto on", `put {"id":"/web","cmd":"v1","cpus":0.5}`} {
			p.do(line)
		}
		p.stop()
		slow := &slowStore{Store: p.store}
		state, err := slow.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Store: slow, State: state, Engine: p.w, Events: p.events, Pools: p.pools, Launch: p.s.opts.Launch})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() { cancel(); <-done; p.start() }()
		calm()
		first, err := s.NetDocument(ctx, "h1", 0, 0)
		if err != nil || len(first.Seats) != 1 {
			t.Fatal(first, err)
		}
		heard := func() time.Time {
			snap, err := s.Snapshot(ctx)
			if err != nil || len(snap.Hosts) != 1 {
				t.Fatal(snap, err)
			}
			return snap.Hosts[0].Contact
		}
		was := heard()
		time.Sleep(time.Second)
		slow.hold = make(chan struct{})
		go func() { _, _ = s.HostDead(ctx, "h1") }()
		synctest.Wait()
		type answer struct {
			seats int
			err   error
		}
		answers := make(chan answer, 2)
		for _, version := range []uint64{0, first.Version} { // the poll ends before the commit does
			go func() {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				d, err := s.NetDocument(ctx, "h1", version, 0)
				if d == nil {
					answers <- answer{-1, err}
					return
				}
				answers <- answer{len(d.Seats), err}
			}()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(answers) > 0 || !heard().Equal(was) {
			t.Fatalf("answered before the newest document was durable: %+v, heard at %v", <-answers, heard())
		}
		close(slow.hold)
		for range 2 {
			if a := <-answers; a.seats != 0 || a.err != nil {
				t.Errorf("answered %+v", a)
			}
		}
		if !heard().After(was) {
			t.Error("the answer is not noted")
		}
	})
}
