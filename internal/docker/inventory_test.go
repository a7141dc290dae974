package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sirupsen/logrus"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
)

func quiet() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// follow runs an inventory over a double inside a bubble.
func follow(t *testing.T, e docker.Source) *docker.Inventory {
	ctx, cancel := context.WithCancel(context.Background())
	i := docker.NewInventory(e, quiet())
	done := make(chan struct{})
	go func() { _ = i.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return i
}

func run(t *testing.T, e *dockertest.Engine, name string) string {
	t.Helper()
	id, err := e.Create(context.Background(), docker.CreateSpec{Name: name, Image: "i"})
	if err == nil {
		err = e.Start(context.Background(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// states is a snapshot in short: name -> state.
func states(i *docker.Inventory) map[string]string {
	s, _ := i.Get()
	out := map[string]string{}
	for _, c := range s.Containers {
		out[c.Name] = c.State
	}
	return out
}

func TestInventoryFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		run(t, e, "old")
		i := follow(t, e)
		want := func(when string, want map[string]string) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(want, states(i)); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		want("at first", map[string]string{"old": "running"})
		_, changed := i.Get()
		run(t, e, "new")
		<-changed
		want("started", map[string]string{"old": "running", "new": "running"})
		if err := e.Exit("old", 7); err != nil {
			t.Fatal(err)
		}
		want("died", map[string]string{"old": "exited", "new": "running"})
		if s, _ := i.Get(); s.Containers[1].ExitCode != 7 || len(s.Containers[1].Addresses) != 0 {
			t.Errorf("got %+v", s.Containers[1])
		}
		if err := e.Rename(context.Background(), "old", "older"); err != nil {
			t.Fatal(err)
		}
		want("renamed", map[string]string{"older": "exited", "new": "running"})
		if err := e.Remove(context.Background(), "older", false); err != nil {
			t.Fatal(err)
		}
		want("removed", map[string]string{"new": "running"})
	})
}

func TestInventoryKeepsTheLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		run(t, e, "a")
		i := follow(t, e)
		e.Leave()
		synctest.Wait()
		if s, _ := i.Get(); s.Connected || len(s.Containers) != 1 {
			t.Errorf("got %+v", s)
		}
		time.Sleep(time.Minute)
		e.Return()
		if err := e.Exit("a", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // quotas are to be right two seconds after an engine is back, however long it was away
		synctest.Wait()
		if s, _ := i.Get(); !s.Connected || s.Containers[0].State != "exited" {
			t.Errorf("got %+v", s)
		}
	})
}

// TestInventoryNoticesAFrozenEngine: it keeps its connections, but says nothing.
func TestInventoryNoticesAFrozenEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		run(t, e, "a")
		i := follow(t, e)
		release := e.Hold("summaries")
		time.Sleep(51 * time.Second)
		synctest.Wait()
		if s, _ := i.Get(); s.Connected || len(s.Containers) != 1 {
			t.Errorf("got %+v", s)
		}
		time.Sleep(time.Hour)
		release()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s, _ := i.Get(); !s.Connected || s.Containers[0].State != "running" {
			t.Errorf("got %+v", s)
		}
	})
}

func TestInventoryWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		slow := run(t, e, "slow")
		run(t, e, "quick")
		i := follow(t, e)
		release := e.Hold("inspect " + slow)
		for _, n := range []string{"slow", "quick"} {
			if err := e.Exit(n, 1); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"slow": "running", "quick": "exited"}, states(i)); d != "" {
			t.Error(d)
		}
		release()
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"slow": "exited", "quick": "exited"}, states(i)); d != "" {
			t.Error(d)
		}
	})
}

// deaf drops every event, as an engine does for a reader that was slow.
type deaf struct{ *dockertest.Engine }

func (d deaf) Events(context.Context) (<-chan docker.Event, <-chan error) {
	return make(chan docker.Event), make(chan error)
}

func TestInventoryFindsWhatEventsDidNotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		run(t, e, "a")
		i := docker.NewInventory(deaf{e}, quiet())
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = i.Run(ctx) }()
		synctest.Wait()
		run(t, e, "b")
		if err := errors.Join(e.Exit("a", 1), e.Rename(ctx, "a", "c")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"c": "exited", "b": "running"}, states(i)); d != "" {
			t.Error(d)
		}
	})
}

// Whatever happens, the inventory ends up as the engine is.
func TestInventoryConverges(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 99), 1, 30).Draw(r, "steps")
		fault := ""
		synctest.Test(t, func(t *testing.T) {
			e := dockertest.New("i")
			i := follow(t, e)
			ctx := context.Background()
			for n, s := range steps {
				name := fmt.Sprintf("c%d", s%5)
				// What cannot be done in the present state is skipped by the double.
				switch s / 20 {
				case 0:
					if id, err := e.Create(ctx, docker.CreateSpec{Name: name, Image: "i"}); err == nil {
						_ = e.Start(ctx, id)
					}
				case 1:
					_ = e.Exit(name, n)
				case 2:
					_ = e.Remove(ctx, name, true)
				case 3:
					_ = e.Start(ctx, name)
				case 4:
					e.Leave()
					synctest.Wait()
					e.Return()
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			want, err := e.List(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := i.Get()
			if d := cmp.Diff(want, got.Containers, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); d != "" || !got.Connected {
				fault = fmt.Sprintf("connected %v, %s", got.Connected, d)
			}
		})
		if fault != "" {
			r.Fatal(fault)
		}
	})
}
