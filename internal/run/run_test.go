package run

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// until is an actor that runs until its context ends, takes a while to stop, and notes both.
func until(log *[]string, name string, takes time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		*log = append(*log, name)
		return err
	}
}

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped []string
		var g Group
		g.Add("store", until(&stopped, "store", 0, nil))
		g.Add("engine", until(&stopped, "engine", 3*time.Second, nil))
		g.Add("api", until(&stopped, "api", time.Second, context.Canceled))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Errorf("an orderly stop gave %v", err)
		}
		if diff := cmp.Diff([]string{"api", "engine", "store"}, stopped); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != time.Minute+4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestFirstCauseComesFirst(t *testing.T) {
	boom, disk := errors.New("boom"), errors.New("disk full")
	synctest.Test(t, func(t *testing.T) {
		var stopped []string
		var g Group
		g.Add("store", until(&stopped, "store", 0, disk))
		g.Add("engine", func(context.Context) error { time.Sleep(time.Second); return boom })
		g.Add("api", until(&stopped, "api", 0, nil))
		err := g.Run(t.Context())
		if !errors.Is(err, boom) || !errors.Is(err, disk) {
			t.Errorf("both errors must be found in %v", err)
		}
		if got, want := err.Error(), "engine: boom\nstore: disk full"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if diff := cmp.Diff([]string{"api", "store"}, stopped); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNamesWhoDidNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped []string
		g := Group{StopTimeout: 2 * time.Second}
		release := make(chan struct{})
		g.Add("store", until(&stopped, "store", time.Second, nil))
		g.Add("deaf", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := g.Run(ctx)
		if !errors.Is(err, ErrNotStopped) || err.Error() != "deaf: did not stop in time (2s)" {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff([]string{"store"}, stopped); diff != "" {
			t.Errorf("those after the deaf one must still be stopped: %s", diff)
		}
		close(release)
	})
}

func TestNilMeansDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Add("once", func(context.Context) error { return nil })
		g.Add("slow", func(context.Context) error { time.Sleep(time.Hour); return nil })
		began := time.Now()
		if err := g.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("the group ended after %v although one actor still ran", took)
		}
	})
}

func TestEmptyGroup(t *testing.T) {
	if err := new(Group).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestContextValuesReachActors(t *testing.T) {
	type key struct{}
	var got any
	var g Group
	g.Add("reader", func(ctx context.Context) error { got = ctx.Value(key{}); return nil })
	if err := g.Run(context.WithValue(t.Context(), key{}, "v")); err != nil || got != "v" {
		t.Errorf("got %v, %v", got, err)
	}
}
