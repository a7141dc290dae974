package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/docker/dockertest"
	"github.com/berth-project/berth/spec"
)

// pulling starts a puller over an engine.
func pulling(t *testing.T, e *dockertest.Engine, credentials func(context.Context, string) (docker.Credentials, error)) *puller {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	p := newPuller(Options{Engine: e, Credentials: credentials, Log: log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return p
}

func TestPuller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New("here:1")
		e.AddRemoteImage("far:1")
		ann := docker.Credentials{Username: "ann", Password: "x"}
		e.AddPrivateImage("private:1", ann)
		p := pulling(t, e, func(_ context.Context, image string) (docker.Credentials, error) {
			switch image {
			case "private:1":
				return ann, nil
			case "broken:1":
				return docker.Credentials{}, errors.New("read the docker configuration: it is no JSON")
			}
			return docker.Credentials{}, nil
		})
		p.give([]spec.ImagePull{{Number: 1, Image: "here:1"}, {Number: 2, Image: "far:1"}, {Number: 3, Image: "private:1"}, {Number: 4, Image: "none:1"}, {Number: 5, Image: "broken:1"}, {Number: 6, Image: "here:1", Refresh: true}})
		synctest.Wait()
		got, _ := p.results.Get()
		want := []spec.PullResult{
			{Number: 1, State: spec.PullDone, Note: "it was there"}, {Number: 2, State: spec.PullDone}, {Number: 3, State: spec.PullDone},
			{Number: 4, State: spec.PullFailed, Note: "pull access denied for none:1, repository does not exist: not found"},
			{Number: 5, State: spec.PullFailed, Note: "read the docker configuration: it is no JSON"},
			{Number: 6, State: spec.PullFailed, Note: "pull access denied for here:1, repository does not exist: not found"},
		}
		if !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
		p.give(nil)
		synctest.Wait()
		if got, _ := p.results.Get(); len(got) != 0 {
			t.Errorf("results of what nobody wants any more: %v", got)
		}
	})
}

// TestPullerGivesUp: a pull that nobody wants any more ends, and one that takes too long fails.
func TestPullerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := dockertest.New()
		e.AddRemoteImage("slow:1")
		e.AddRemoteImage("slow:2")
		release := e.Hold("pull slow:1")
		defer release()
		p := pulling(t, e, func(context.Context, string) (docker.Credentials, error) { return docker.Credentials{}, nil })
		p.give([]spec.ImagePull{{Number: 1, Image: "slow:1"}})
		synctest.Wait()
		p.give([]spec.ImagePull{{Number: 2, Image: "slow:1"}, {Number: 3, Image: "slow:2"}})
		synctest.Wait()
		if got, _ := p.results.Get(); !cmp.Equal(got, []spec.PullResult{{Number: 2, State: spec.Pulling}, {Number: 3, State: spec.PullDone}}) {
			t.Errorf("while one is slow: %v", got)
		}
		time.Sleep(pullTimeout + time.Second)
		synctest.Wait()
		got, _ := p.results.Get()
		if len(got) != 2 || got[0].State != spec.PullFailed {
			t.Errorf("one that takes too long: %v", got)
		}
	})
}
