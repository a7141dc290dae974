package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
)

// errObscure is what dockerd says of a container whose layer it has lost.
var errObscure = fmt.Errorf("RWLayer of container x is unexpectedly nil: %w", cerrdefs.ErrInternal)

// shown is a snapshot in short: name -> state, with a question mark for what was only listed.
func shown(i *docker.Inventory) map[string]string {
	s, _ := i.Get()
	out := map[string]string{}
	for _, c := range s.Containers {
		out[c.Name] = c.State
		if c.Partial {
			out[c.Name] += "?"
		}
	}
	return out
}

// A container that Docker cannot describe hides no other: neither at first, nor later.
func TestInventoryShowsWhatDockerCannotDescribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		bad := run(t, e, "bad")
		run(t, e, "good")
		e.Fail("inspect "+bad, errObscure)
		log, lines := test.NewNullLogger()
		i := docker.NewInventory(e, log)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = i.Run(ctx) }()
		want := func(when string, want map[string]string) {
			t.Helper()
			synctest.Wait()
			if s, _ := i.Get(); !s.Connected {
				t.Errorf("%s: not connected", when)
			}
			if d := cmp.Diff(want, shown(i)); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		want("at first", map[string]string{"bad": "running?", "good": "running"})
		if err := errors.Join(e.Exit("bad", 1), e.Exit("good", 1)); err != nil {
			t.Fatal(err)
		}
		want("both ended", map[string]string{"bad": "running?", "good": "exited"})
		time.Sleep(31 * time.Second)
		want("listed again", map[string]string{"bad": "exited?", "good": "exited"})
		time.Sleep(10 * time.Minute)
		warnings := 0
		for _, l := range lines.AllEntries() {
			if l.Message == "docker cannot describe a container; it is shown as listed until it can" {
				warnings++
			}
		}
		if warnings != 1 {
			t.Errorf("%d warnings", warnings)
		}
		e.Fail("inspect "+bad, nil)
		time.Sleep(31 * time.Second)
		want("mended", map[string]string{"bad": "exited", "good": "exited"})
		e.Fail("inspect "+bad, errObscure)
		e.Leave()
		synctest.Wait()
		e.Return()
		time.Sleep(6 * time.Second)
		want("after another connection", map[string]string{"bad": "exited", "good": "exited"})
		if err := e.Remove(ctx, "bad", true); err != nil {
			t.Fatal(err)
		}
		e.Fail("inspect "+bad, nil)
		time.Sleep(31 * time.Second)
		want("removed", map[string]string{"good": "exited"})
	})
}

// The first snapshot waits for all descriptions, but not for long; what is then still missing is there as listed.
func TestInventoryDoesNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		slow := run(t, e, "slow")
		run(t, e, "quick")
		release := e.Hold("inspect " + slow)
		i := follow(t, e)
		time.Sleep(time.Second)
		if s, _ := i.Get(); s.Connected {
			t.Error("published before the container had a chance")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s, _ := i.Get()
		if d := cmp.Diff(map[string]string{"slow": "running?", "quick": "running"}, shown(i)); d != "" || !s.Connected {
			t.Errorf("connected %v %s", s.Connected, d)
		}
		if c := s.Containers[1]; !c.Running || !c.Addresses["bridge"].IsValid() || c.ID != slow {
			t.Errorf("got %+v", c)
		}
		release()
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"slow": "running", "quick": "running"}, shown(i)); d != "" {
			t.Error(d)
		}
	})
}

// An inspection that never ends is given up and tried again.
func TestInventoryGivesUpAnInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("i")
		hung := run(t, e, "hung")
		release := e.Hold("inspect " + hung)
		defer release()
		i := follow(t, e)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s, _ := i.Get(); !s.Connected || e.Calls("inspect "+hung) < 3 {
			t.Errorf("connected %v, %d inspections", s.Connected, e.Calls("inspect "+hung))
		}
	})
}

func TestIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"cannot be described", errObscure, false},
		{"not found", cerrdefs.ErrNotFound, false},
		{"too slow", context.DeadlineExceeded, false},
		{"shutting down", cerrdefs.ErrUnavailable, true},
		{"the double is away", dockertest.ErrGone, true},
		{"reset", fmt.Errorf("inspect: %w", &url.Error{Err: &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}}), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := docker.IsGone(c.err); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
