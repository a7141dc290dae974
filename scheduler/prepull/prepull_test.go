package prepull_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/prepull"
	"github.com/berth-project/berth/spec"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestBook(t *testing.T) {
	var b prepull.Book
	both, err := b.Ask("web:2", []string{"b", "a"}, false, start)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := b.Ask("web:2", []string{"a", "b"}, false, start.Add(time.Second)); again != both {
		t.Errorf("the same wish is another: %d, %d", again, both)
	}
	one, err := b.Ask("web:2", []string{"a"}, true, start.Add(time.Minute))
	if err != nil || one <= both {
		t.Errorf("another wish: %d %v", one, err)
	}
	if want := []spec.ImagePull{{Number: both, Image: "web:2"}, {Number: one, Image: "web:2", Refresh: true}}; !cmp.Equal(b.Of("a"), want) {
		t.Error(cmp.Diff(want, b.Of("a")))
	}
	if got := b.Of("c"); got != nil {
		t.Errorf("a host that is not asked: %v", got)
	}
	b.Heard("a", []spec.PullResult{{Number: both, State: spec.PullDone}, {Number: 7, State: spec.PullDone}})
	b.Heard("c", []spec.PullResult{{Number: both, State: spec.PullFailed}})
	want := &prepull.View{ImagePull: spec.ImagePull{Number: both, Image: "web:2"}, Until: start.Add(prepull.Keep), Hosts: []prepull.Row{{Host: "a", State: spec.PullDone}, {Host: "b"}}}
	if got := b.View(both); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	b.Heard("b", []spec.PullResult{{Number: both, State: spec.PullFailed, Note: "no room"}})
	if again, _ := b.Ask("web:2", []string{"a", "b"}, false, start.Add(2*time.Minute)); again <= one {
		t.Errorf("a wish that is over is tried again under a new number, got %d", again)
	}

	hosts, next := b.Expire(start.Add(prepull.Keep))
	if !cmp.Equal(hosts, []string{"a", "b"}) || !next.Equal(start.Add(prepull.Keep+time.Minute)) || b.View(both) != nil || b.View(one) == nil {
		t.Errorf("the first expires: %v, next %v", hosts, next)
	}
	if hosts, next = b.Expire(start.Add(3 * prepull.Keep)); !cmp.Equal(hosts, []string{"a", "b"}) || !next.IsZero() || b.Of("a") != nil {
		t.Errorf("all expire: %v, next %v", hosts, next)
	}
}

func TestBookIsBounded(t *testing.T) {
	var b prepull.Book
	for i := range spec.MaxPulls {
		if _, err := b.Ask(fmt.Sprintf("web:%d", i), []string{"a"}, false, start); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Ask("more:1", []string{"a"}, false, start); !errors.Is(err, prepull.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	b.Heard("a", []spec.PullResult{{Number: b.Of("a")[5].Number, State: spec.PullDone}})
	if _, err := b.Ask("more:1", []string{"a"}, false, start); err != nil || len(b.Of("a")) != spec.MaxPulls {
		t.Errorf("in the place of one that is over: %v", err)
	}
	if got := b.Of("a"); slices.ContainsFunc(got, func(p spec.ImagePull) bool { return p.Image == "web:5" }) {
		t.Error("the wrong one made room")
	}
}

// TestBookOrder: whatever is asked and told, a host's wishes are few, in the order of their numbers, and are in their views.
func TestBookOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b prepull.Book
		now := start
		hosts := []string{"a", "b", "c"}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "minutes")) * time.Minute)
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				_, _ = b.Ask(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "image"), rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 1, 3, rapid.ID).Draw(t, "hosts"), false, now)
			case 1:
				h := rapid.SampledFrom(hosts).Draw(t, "host")
				for _, p := range b.Of(h) {
					b.Heard(h, []spec.PullResult{{Number: p.Number, State: rapid.SampledFrom([]spec.PullState{spec.Pulling, spec.PullDone, spec.PullFailed}).Draw(t, "state")}})
				}
			case 2:
				b.Expire(now)
			}
			for _, h := range hosts {
				of := b.Of(h)
				if len(of) > spec.MaxPulls || !slices.IsSortedFunc(of, func(a, b spec.ImagePull) int { return int(a.Number) - int(b.Number) }) {
					t.Fatalf("%s is to pull %v", h, of)
				}
				for _, p := range of {
					if v := b.View(p.Number); v == nil || !slices.ContainsFunc(v.Hosts, func(r prepull.Row) bool { return r.Host == h }) {
						t.Fatalf("%d of %s is in no view", p.Number, h)
					}
				}
			}
		}
	})
}

func TestValid(t *testing.T) {
	for image, want := range map[string]bool{
		"web": true, "registry.example.com:5000/team/web:2": true, "web@sha256:0123": true, "": false, "-rm": false, "/web": false, "a b": false,
		"a\n": false, strings.Repeat("a", 600): false, `a"b`: false,
	} {
		if got := prepull.Valid(image); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}
