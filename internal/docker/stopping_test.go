package docker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
)

// stopping is since when the only container is ending.
func stopping(i *docker.Inventory) time.Time {
	s, _ := i.Get()
	return s.Containers[0].Stopping
}

// TestInventoryTellsOfAStop: between "docker stop" and the end readers know of it, until too much time has passed for a stop.
func TestInventoryTellsOfAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		id := run(t, e, "c")
		if err := e.IgnoreTerm(id); err != nil {
			t.Fatal(err)
		}
		i := follow(t, e)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		stop := func(grace time.Duration) {
			go func() { _ = e.Stop(ctx, id, grace) }()
			synctest.Wait()
		}
		stop(10 * time.Second)
		if stopping(i).IsZero() || states(i)["c"] != "running" {
			t.Errorf("told to end at %v, and %v", stopping(i), states(i))
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !stopping(i).IsZero() || states(i)["c"] != "exited" {
			t.Errorf("after its end: told at %v, and %v", stopping(i), states(i))
		}

		if err := e.Start(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !stopping(i).IsZero() {
			t.Error("started again, it still ends")
		}
		stop(time.Hour)
		since := stopping(i)
		time.Sleep(30 * time.Second)
		stop(time.Hour) // a second one is no news
		if got := stopping(i); !got.Equal(since) || got.IsZero() {
			t.Errorf("told at %v, then at %v", since, got)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !stopping(i).IsZero() || states(i)["c"] != "running" {
			t.Errorf("it ignored TERM for a minute and a half: told at %v, and %v", stopping(i), states(i))
		}
	})
}

// TestInventoryTellsOfADeathAtOnce: also while the engine is slow to describe what died.
func TestInventoryTellsOfADeathAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		id := run(t, e, "c")
		i := follow(t, e)
		release := e.Hold("inspect " + id)
		if err := e.Exit(id, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if stopping(i).IsZero() {
			t.Error("nobody was told")
		}
		release()
		synctest.Wait()
		if !stopping(i).IsZero() || states(i)["c"] != "exited" {
			t.Errorf("described: told at %v, and %v", stopping(i), states(i))
		}
	})
}

// TestInventoryTellsOfAStartByOrder: a container that was started again after its death does not end, whatever the clocks say.
func TestInventoryTellsOfAStartByOrder(t *testing.T) {
	for range 100 { // the events may be read before, between and after the inspections
		synctest.Test(t, func(t *testing.T) {
			e := dockertest.New("i")
			id := run(t, e, "c")
			i := follow(t, e)
			if err := errors.Join(e.Exit(id, 1), e.Start(context.Background(), id)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if !stopping(i).IsZero() || states(i)["c"] != "running" {
				t.Fatalf("died and started in one instant: told at %v, and %v", stopping(i), states(i))
			}
		})
	}
}

// ahead is an engine whose events are of a later time, as they are when the clock is set back right after them.
type ahead struct{ *dockertest.Engine }

func (a ahead) Events(ctx context.Context) (<-chan docker.Event, <-chan error) {
	from, failed := a.Engine.Events(ctx)
	to := make(chan docker.Event)
	go func() {
		for {
			select {
			case e := <-from:
				e.Time = e.Time.Add(time.Hour)
				select {
				case to <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, failed
}

// TestInventoryForgetsAStopByItsOwnClock: when the clock was set back, one that did not end is not taken to end for so much longer.
func TestInventoryForgetsAStopByItsOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		id := run(t, e, "c")
		if err := e.IgnoreTerm(id); err != nil {
			t.Fatal(err)
		}
		i := follow(t, ahead{e})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = e.Stop(ctx, id, 24*time.Hour) }()
		synctest.Wait()
		if stopping(i).IsZero() {
			t.Error("nobody was told")
		}
		time.Sleep(91 * time.Second)
		synctest.Wait()
		if !stopping(i).IsZero() {
			t.Errorf("it goes on for a minute and a half, and still ends since %v", stopping(i))
		}
	})
}

// TestInventoryTellsOfAStopAfterADeath that the engine has not described yet.
func TestInventoryTellsOfAStopAfterADeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		id := run(t, e, "c")
		i := follow(t, e)
		release := e.Hold("inspect " + id)
		if err := errors.Join(e.Exit(id, 1), e.Start(context.Background(), id), e.IgnoreTerm(id)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = e.Stop(ctx, id, time.Hour) }()
		synctest.Wait()
		release()
		synctest.Wait()
		if stopping(i).IsZero() || states(i)["c"] != "running" {
			t.Errorf("started again and told to end: told at %v, and %v", stopping(i), states(i))
		}
	})
}

// TestInventoryTellsOfAStopOfWhatIsObscure: also of a container that was only listed.
func TestInventoryTellsOfAStopOfWhatIsObscure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		id := run(t, e, "c")
		if err := e.IgnoreTerm(id); err != nil {
			t.Fatal(err)
		}
		release := e.Hold("inspect " + id)
		defer release()
		i := follow(t, e)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = e.Stop(ctx, id, time.Hour) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if stopping(i).IsZero() {
			t.Error("nobody was told")
		}
	})
}
