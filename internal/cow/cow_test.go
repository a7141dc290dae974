package cow

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// Every View stays what the Map was when it was taken, whatever is done to the Map afterwards.
func TestViewsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, model := New[int, int](), map[int]int{}
		type kept struct {
			view  View[int, int]
			model map[int]int
		}
		var all []kept
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := rapid.IntRange(0, 20).Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				v := rapid.Int().Draw(t, "value")
				m.Set(k, v)
				model[k] = v
			case 2:
				m.Delete(k)
				delete(model, k)
			case 3:
				all = append(all, kept{m.View(), maps.Clone(model)})
			}
			if v, ok := m.Get(k); v != model[k] || ok != (func() bool { _, in := model[k]; return in })() {
				t.Fatalf("%d is %d (%t)", k, v, ok)
			}
		}
		all = append(all, kept{m.View(), model})
		for i, k := range all {
			if got := maps.Collect(k.view.All()); !maps.Equal(got, k.model) || k.view.Len() != len(k.model) {
				t.Fatalf("view %d is %v (%d), was %v", i, got, k.view.Len(), k.model)
			}
		}
	})
}

func TestViewsAreSharedUntilAChange(t *testing.T) {
	m := New[string, int]()
	m.Set("a", 1)
	v := m.View()
	if m.Delete("b"); !v.Same(m.View()) {
		t.Error("a key that was not there made a new view")
	}
	if m.Set("a", 2); v.Same(m.View()) {
		t.Error("a change left the view the same")
	}
	if n, _ := v.Get("a"); n != 1 {
		t.Errorf("the old view says %d", n)
	}
	var zero View[string, int]
	if _, ok := zero.Get("a"); ok || zero.Len() != 0 || len(maps.Collect(zero.All())) != 0 {
		t.Error("the zero view is not empty")
	}
}
