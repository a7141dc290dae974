package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

func event(kind string) api.Event { return api.Event{Type: kind, At: apitest.Start} }

func drain(s *api.Subscription) (ids []uint64, closed bool) {
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				return ids, true
			}
			ids = append(ids, e.ID)
		default:
			return ids, false
		}
	}
}

func TestLog(t *testing.T) {
	t.Run("a new subscriber reads what comes", func(t *testing.T) {
		l := api.NewLog(4)
		l.Publish(event("a"))
		s := l.Subscribe(api.SubscribeOptions{})
		l.Publish(event("b"))
		if ids, closed := drain(s); !cmp.Equal(ids, []uint64{2}) || closed {
			t.Errorf("got %v, closed %v", ids, closed)
		}
	})
	t.Run("types are filtered", func(t *testing.T) {
		l := api.NewLog(4)
		s := l.Subscribe(api.SubscribeOptions{Types: []string{"b", "c"}})
		for _, kind := range []string{"a", "b", "a", "c"} {
			l.Publish(event(kind))
		}
		if ids, _ := drain(s); !cmp.Equal(ids, []uint64{2, 4}) {
			t.Errorf("got %v", ids)
		}
	})
	t.Run("the slow one is dropped, the others are not", func(t *testing.T) {
		l := api.NewLog(4)
		slow, quick := l.Subscribe(api.SubscribeOptions{Queue: 1}), l.Subscribe(api.SubscribeOptions{Queue: 3})
		for range 3 {
			l.Publish(event("a"))
		}
		if ids, closed := drain(slow); !cmp.Equal(ids, []uint64{1}) || !closed || !slow.Overflow {
			t.Errorf("slow: got %v, closed %v, overflow %v", ids, closed, slow.Overflow)
		}
		if ids, closed := drain(quick); len(ids) != 3 || closed {
			t.Errorf("quick: got %v, closed %v", ids, closed)
		}
		slow.Close()
		quick.Close()
		quick.Close()
	})
	t.Run("after an id of another life everything remembered comes", func(t *testing.T) {
		l := api.NewLog(4)
		for range 2 {
			l.Publish(event("a"))
		}
		if ids, _ := drain(l.Subscribe(api.SubscribeOptions{After: 900})); !cmp.Equal(ids, []uint64{1, 2}) {
			t.Errorf("got %v", ids)
		}
	})
}

// Whoever resumes after an id reads exactly the events after it that the log can still hold, in order.
func TestLogResumes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		backlog := rapid.IntRange(1, 10).Draw(t, "backlog")
		published := rapid.IntRange(0, 40).Draw(t, "published")
		l := api.NewLog(backlog)
		for range published {
			l.Publish(event("a"))
		}
		after := rapid.IntRange(1, max(1, published)).Draw(t, "after")
		var want []uint64
		for id := max(after, published-backlog) + 1; id <= published; id++ {
			want = append(want, uint64(id))
		}
		if published == 0 {
			want = nil
		}
		got, _ := drain(l.Subscribe(api.SubscribeOptions{After: uint64(after)}))
		if !cmp.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if l.Last() != uint64(published) {
			t.Fatalf("last is %d, want %d", l.Last(), published)
		}
	})
}
