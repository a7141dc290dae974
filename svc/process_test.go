package svc

import (
	"os"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat("42 (a) b (c)) S 7 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3\n")
	if want := (process{PID: 42, Parent: 7, Session: 41, State: 'S', Start: 98765}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "42", "42 (x", "42 (x) S 1", "x (y) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9 1"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
	self, ok := look(os.Getpid())
	if !ok || !self.alive() || self.Parent != os.Getppid() {
		t.Errorf("this process: %+v, %v", self, ok)
	}
	self.Start--
	if self.alive() {
		t.Error("another process of the same id is taken for it")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) b (c)) S 7 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseStat(text); err == nil && p.State == 0 {
			t.Errorf("%q: %+v", text, p)
		}
	})
}

func TestBelonging(t *testing.T) {
	all := []process{
		{PID: 1, Session: 1},
		{PID: 10, Parent: 1, Session: 10},             // s6-supervise
		{PID: 20, Parent: 10, Session: 20, Start: 5},  // main, or who follows
		{PID: 21, Parent: 20, Session: 21},            // its child in a session of its own
		{PID: 22, Parent: 21, Session: 22},            // and its grandchild
		{PID: 23, Parent: 1, Session: 20},             // an orphan of its session
		{PID: 24, Parent: 1, Session: 24},             // an orphan that only its mark gives away
		{PID: 25, Parent: 1, Session: 25},             // a stranger
		{PID: 30, Parent: 21, Session: 30, Start: 77}, // the real main process of a daemon
	}
	mark := func(pid int, id string) bool { return pid == 24 && id == "ours" }
	for _, c := range []struct {
		name string
		r    record
		not  []int
		want []int
	}{
		{"main only", record{Main: process{PID: 30, Start: 77}}, nil, []int{30}},
		{"a later process of the main one's id", record{Main: process{PID: 30, Start: 76}}, nil, nil},
		{"session and descendants", record{Supervised: 20, Main: process{PID: 20, Start: 5}}, nil, []int{20, 21, 22, 23, 30}},
		{"all", record{Supervised: 20, Invocation: "ours", Main: process{PID: 30, Start: 77}}, []int{20}, []int{30, 21, 22, 23, 24}},
		{"nothing known", record{}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int
			for _, p := range belonging(all, &c.r, mark, c.not...) {
				got = append(got, p.PID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
