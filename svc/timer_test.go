package svc

import (
	"os"
	"testing"

	"github.com/berth-project/berth/unit"
)

// TestForgetTimers: what cron was given by a former run goes unless it is to start again; other files stay.
func TestForgetTimers(t *testing.T) {
	s, err := New(Options{Root: t.TempDir(), Self: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old.timer", "kept.timer"} {
		if err := s.startTimer(&unit.Unit{Name: name, Timer: &unit.Timer{Unit: "x.service", Cron: []string{"* * * * *"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path(cronFolder, "berth-own"), []byte("# somebody's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.forgetTimers([]string{"kept.timer", "x.service"})
	left, _ := os.ReadDir(s.path(cronFolder))
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if len(names) != 2 || names[0] != "berth-kept_timer" || names[1] != "berth-own" {
		t.Errorf("left: %v", names)
	}
}
