package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

func event(kind string) api.Event { return api.Event{Type: kind, At: apitest.Start} }

// drain reads what there is: the ids of events, and for a gap "first-last xMISSED" or "lost".
func drain(s *api.Subscription) (out []string) {
	for e, ok := s.Next(apitest.Start); ok; e, ok = s.Next(apitest.Start) {
		switch {
		case e.Type != api.EventStreamGap:
			out = append(out, fmt.Sprint(e.ID))
		case e.Fields["missed"] == nil:
			out = append(out, "lost")
		default:
			number := func(key string) string {
				_, n, _ := strings.Cut(fmt.Sprint(e.Fields[key]), ".")
				return n
			}
			out = append(out, fmt.Sprintf("%s-%s x%v", number("firstMissedId"), number("lastMissedId"), e.Fields["missed"]))
		}
	}
	return out
}

func TestLog(t *testing.T) {
	publish := func(l *api.Log, kinds ...string) {
		for _, k := range kinds {
			l.Publish(event(k))
		}
	}
	expect := func(t *testing.T, s *api.Subscription, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, drain(s)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	t.Run("a new subscriber reads what comes", func(t *testing.T) {
		l := api.NewLog(4)
		publish(l, "a")
		s := l.Subscribe(api.SubscribeOptions{})
		publish(l, "b")
		<-s.Ready()
		expect(t, s, "2")
		expect(t, s)
	})
	t.Run("types are filtered", func(t *testing.T) {
		l := api.NewLog(4)
		s := l.Subscribe(api.SubscribeOptions{Types: []string{"b", "c"}})
		publish(l, "a", "b", "a", "c")
		expect(t, s, "2", "4")
	})
	t.Run("the slow one is told what it lost, and goes on", func(t *testing.T) {
		l := api.NewLog(4)
		slow, quick := l.Subscribe(api.SubscribeOptions{}), l.Subscribe(api.SubscribeOptions{})
		publish(l, "a", "a", "a", "a")
		expect(t, quick, "1", "2", "3", "4")
		publish(l, "a", "a")
		expect(t, slow, "1-2 x2", "3", "4", "5", "6")
		expect(t, quick, "5", "6")
		publish(l, "a")
		expect(t, slow, "7")
		slow.Close()
		slow.Close()
	})
	t.Run("what was not asked for is no loss", func(t *testing.T) {
		l := api.NewLog(2)
		s := l.Subscribe(api.SubscribeOptions{Types: []string{"b"}})
		publish(l, "a", "a", "a", "a")
		expect(t, s)
		publish(l, "b", "a", "b", "a", "a", "b")
		expect(t, s, "5-7 x2", "10")
	})
	t.Run("a reader that comes back too late is told", func(t *testing.T) {
		l := api.NewLog(2)
		publish(l, "a", "a", "a", "a")
		expect(t, l.Subscribe(api.SubscribeOptions{After: l.Token(1)}), "2-2 x1", "3", "4")
		expect(t, l.Subscribe(api.SubscribeOptions{After: l.Token(2)}), "3", "4")
		s := l.Subscribe(api.SubscribeOptions{After: l.Token(1)})
		publish(l, "a") // before it read anything
		expect(t, s, "2-3 x2", "4", "5")
	})
	t.Run("a reader that knows another life is told", func(t *testing.T) {
		l, other := api.NewLog(4), api.NewLog(4)
		publish(l, "a", "a")
		for _, token := range []string{other.Token(1), l.Token(3), "1", "nonsense", l.Token(1) + "x"} {
			s := l.Subscribe(api.SubscribeOptions{After: token})
			<-s.Ready()
			expect(t, s, "lost", "1", "2")
		}
	})
	t.Run("after the gap's own id there is no second gap", func(t *testing.T) {
		l := api.NewLog(2)
		publish(l, "a", "a", "a", "a")
		e, _ := l.Subscribe(api.SubscribeOptions{After: l.Token(1)}).Next(apitest.Start)
		expect(t, l.Subscribe(api.SubscribeOptions{After: l.Token(e.ID)}), "3", "4")
	})
}

// Whatever is published and whenever a reader reads: what it gets and what it is told to have missed is everything.
func TestLogLosesNothingSilently(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := api.NewLog(rapid.IntRange(1, 6).Draw(t, "backlog"))
		before := rapid.IntRange(0, 10).Draw(t, "published before")
		wanted := 0
		for range before {
			l.Publish(event("a"))
		}
		o := api.SubscribeOptions{Types: []string{"a"}}
		if known := rapid.IntRange(0, before).Draw(t, "known"); rapid.Bool().Draw(t, "resumes") {
			o.After, wanted = l.Token(uint64(known)), before-known
		}
		s := l.Subscribe(o)
		got, last := 0, uint64(0)
		read := func(e api.Event) {
			if e.ID <= last {
				t.Fatalf("id %d after %d", e.ID, last)
			}
			last = e.ID
			got++
			if missed, ok := e.Fields["missed"].(uint64); ok {
				got += int(missed) - 1
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				l.Publish(event("b"))
			case 1:
				l.Publish(event("a"))
				wanted++
			case 2:
				if e, ok := s.Next(apitest.Start); ok {
					read(e)
				}
			}
		}
		for e, ok := s.Next(apitest.Start); ok; e, ok = s.Next(apitest.Start) {
			read(e)
		}
		if got != wanted {
			t.Fatalf("%d events read or known to be missed, %d published", got, wanted)
		}
	})
}
