package api_test

import (
	"testing"

	"github.com/berth-project/berth/scheduler/api"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"env": "prod", "tier": "a b", "empty": ""}
	for _, c := range []struct {
		selector string
		want     bool
	}{
		{"env", true},
		{"missing", false},
		{"env==prod", true},
		{"env == test", false},
		{"env!=test", true},
		{"missing!=test", false}, // Marathon demands the key
		{"missing notin (a)", false},
		{"env in (test, prod)", true},
		{"env notin(test,prod)", false},
		{`tier==a\ b`, true},
		{"env,tier", true},
		{"env==prod,missing", false},
		{"empty", true},
	} {
		t.Run(c.selector, func(t *testing.T) {
			s, err := api.ParseSelector(c.selector)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Matches(labels); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	for _, bad := range []string{"", ",", "a,", "a==", "a in", "a in (", "a in ()", "a in (b", "a=b", "a b", "==x", "(a)"} {
		t.Run("bad "+bad, func(t *testing.T) {
			if s, err := api.ParseSelector(bad); err == nil {
				t.Errorf("accepted as %v", s)
			}
		})
	}
}

// Whatever a client sends is read or refused.
func FuzzSelector(f *testing.F) {
	for _, seed := range []string{"a", "a==b", "a!=b", "a in (b,c)", "a notin (b), c", `a\,b==\(`, "x==", "in", "a in b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := api.ParseSelector(text); err == nil {
			s.Matches(map[string]string{"a": "b"})
		}
	})
}
