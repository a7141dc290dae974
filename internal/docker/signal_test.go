package docker

import "testing"

func TestEndsBy(t *testing.T) {
	for _, c := range []struct {
		stop   string
		signal int
		want   bool
	}{
		{"", 15, true}, {"", 9, true}, {"", 2, true}, {"", 1, false}, {"", 3, false}, {"", 0, false},
		{"SIGQUIT", 3, true}, {"quit", 3, true}, {"3", 3, true}, {"SIGQUIT", 1, false},
		{"SIGRTMIN+3", 37, true}, {"SIGRTMIN+x", 34, false}, {"SIGNONSENSE", 0, false},
	} {
		if got := (Container{StopSignal: c.stop}).endsBy(c.signal); got != c.want {
			t.Errorf("stop signal %q: signal %d ends it: %v", c.stop, c.signal, got)
		}
	}
}
