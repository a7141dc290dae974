package scheduler

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/enginetest"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// TestPrepull: an image is in the documents of the hosts that are to have it, what they tell is shown, and all of it is forgotten
// in time.
func TestPrepull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		state, err := memory.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Store: memory, State: state, Engine: enginetest.New(enginetest.Options{}), Events: api.NewLog(10),
			Pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/12")}}, Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); synctest.Wait() }()
		go func() { _ = s.Run(ctx) }()
		pulls := func(host string) []spec.ImagePull {
			t.Helper()
			synctest.Wait()
			doc, err := s.HostDocument(ctx, host, 0)
			if err != nil {
				t.Fatal(err)
			}
			return doc.Pulls
		}
		var conflict *api.ConflictError
		if _, err := s.Prepull(ctx, "web:2", nil, false); !errors.As(err, &conflict) {
			t.Errorf("no host has spoken: %v", err)
		}
		for _, h := range []string{"h1", "h2"} {
			pulls(h)
			if err := s.Report(ctx, spec.HostReport{Host: h, Networks: map[string]string{"p": ""}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Prepull(ctx, "web:2", []string{"h1", "h9"}, false); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("a host that is not known: %v", err)
		}
		all, err := s.Prepull(ctx, "web:2", nil, false)
		if err != nil {
			t.Fatal(err)
		}
		one, err := s.Prepull(ctx, "db:1", []string{"h2"}, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := pulls("h1"), []spec.ImagePull{{Number: all, Image: "web:2"}}; !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
		if got, want := pulls("h2"), []spec.ImagePull{{Number: all, Image: "web:2"}, {Number: one, Image: "db:1", Refresh: true}}; !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
		if err := s.Report(ctx, spec.HostReport{Host: "h1", Networks: map[string]string{"p": ""}, Pulls: []spec.PullResult{{Number: all, State: spec.PullFailed, Note: "no room"}}}); err != nil {
			t.Fatal(err)
		}
		v, err := s.Prepulled(ctx, all)
		if want := []prepull.Row{{Host: "h1", State: spec.PullFailed, Note: "no room"}, {Host: "h2"}}; err != nil || !cmp.Equal(v.Hosts, want) {
			t.Error(err, cmp.Diff(want, v.Hosts))
		}
		time.Sleep(prepull.Keep + time.Second)
		if got := pulls("h2"); got != nil {
			t.Errorf("what nobody waits for any more: %v", got)
		}
		if _, err := s.Prepulled(ctx, all); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("what is forgotten: %v", err)
		}
	})
}
