package svc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/unit"
)

// TestRestarts is the table of systemd.service(5) under Restart=: one row a way to end, one column a policy.
func TestRestarts(t *testing.T) {
	policies := []unit.Restart{unit.RestartNo, unit.RestartAlways, unit.RestartOnSuccess, unit.RestartOnFailure, unit.RestartOnAbnormal,
		unit.RestartOnAbort, unit.RestartOnWatchdog}
	for _, c := range []struct {
		name, result, reason string
		code                 int
		want                 string // per policy, in that order; and when no file says Restart=
	}{
		{"clean exit code", "success", "exited", 0, ". x x . . . . / ."},
		{"clean signal", "success", "killed", 15, ". x x . . . . / ."},
		{"unclean exit code", "exit-code", "exited", 1, ". x . x . . . / ."},
		{"unclean signal", "signal", "killed", 9, ". x . x x x . / x"},
		{"core dump", "core-dump", "dumped", 6, ". x . x x x . / x"},
		{"timeout", "timeout", "killed", 15, ". x . x x . . / x"},
		{"watchdog", "watchdog", "dumped", 6, ". x . x x . x / x"},
		{"condition of its own", "exec-condition", "exited", 1, ". . . . . . . / ."},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			mark := func(sv unit.Service) string {
				sv.Type = unit.Simple
				if restarts(&sv, c.result, c.reason, c.code) {
					return "x"
				}
				return "."
			}
			for _, policy := range policies {
				got = append(got, mark(unit.Service{Restart: policy}))
			}
			got = append(got, "/", mark(unit.Service{Restart: unit.RestartNo, RestartUnset: true}))
			if have := strings.Join(got, " "); have != c.want {
				t.Errorf("got %s, want %s", have, c.want)
			}
		})
	}
}

func TestRestartStatuses(t *testing.T) {
	always := unit.Service{Restart: unit.RestartAlways, RestartPrevent: unit.ExitStatuses{Codes: []int{3}, Signals: []string{"SIGUSR1"}}}
	forced := unit.Service{Restart: unit.RestartNo, RestartForce: unit.ExitStatuses{Codes: []int{3}}}
	for _, c := range []struct {
		name   string
		sv     unit.Service
		result string
		reason string
		code   int
		want   bool
	}{
		{"prevented code", always, "exit-code", "exited", 3, false},
		{"another code", always, "exit-code", "exited", 4, true},
		{"prevented signal", always, "signal", "killed", 10, false},
		{"a code is no signal", always, "signal", "killed", 3, true},
		{"forced code", forced, "exit-code", "exited", 3, true},
		{"a timeout is not forced by the code before it", forced, "timeout", "exited", 3, false},
		{"a oneshot that says nothing stays down", unit.Service{Type: unit.Oneshot, RestartUnset: true}, "signal", "killed", 9, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := restarts(&c.sv, c.result, c.reason, c.code); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestResultOfMain(t *testing.T) {
	success := unit.ExitStatuses{Codes: []int{143}, Signals: []string{"SIGUSR1"}}
	for _, c := range []struct {
		reason string
		code   int
		want   string
	}{
		{"exited", 0, "success"}, {"exited", 1, "exit-code"}, {"exited", 143, "success"},
		{"killed", 15, "success"}, {"killed", 1, "success"}, {"killed", 2, "success"}, {"killed", 13, "success"}, {"killed", 10, "success"},
		{"killed", 9, "signal"}, {"killed", 14, "signal"}, {"dumped", 11, "core-dump"}, {"dumped", 6, "core-dump"},
	} {
		if got := resultOfMain(c.reason, c.code, success); got != c.want {
			t.Errorf("%s %d: got %s, want %s", c.reason, c.code, got, c.want)
		}
	}
}

// TestAdmit: in no interval are more starts let through than the burst, and one that comes when fewer than that were in the last is.
func TestAdmit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		burst := rapid.IntRange(1, 6).Draw(t, "burst")
		interval := time.Duration(rapid.IntRange(1, 20).Draw(t, "interval")) * time.Second
		var kept, let []time.Duration
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "starts") {
			now += time.Duration(rapid.IntRange(0, 5000).Draw(t, "gap")) * time.Millisecond
			recent := 0
			for _, at := range let {
				if now-at <= interval {
					recent++
				}
			}
			var ok bool
			kept, ok = admit(kept, now, burst, interval)
			if ok != (recent < burst) {
				t.Fatalf("at %s with %d starts in the last %s of %d: %v", now, recent, interval, burst, ok)
			}
			if ok {
				let = append(let, now)
			}
			if len(kept) > burst {
				t.Fatalf("%d starts are remembered", len(kept))
			}
		}
	})
	if kept, ok := admit([]time.Duration{1, 1, 1}, 2, 0, time.Second); !ok || kept != nil {
		t.Error("a burst of 0 is no limit")
	}
}

// TestWaitStatus: what is written down of an end can be read back.
func TestWaitStatus(t *testing.T) {
	for _, reason := range []string{"exited", "killed", "dumped"} {
		for code := range 64 {
			if reason != "exited" && code == 0 {
				continue
			}
			if gotReason, gotCode := ending(waitStatus(reason, code)); gotReason != reason || gotCode != code {
				t.Errorf("%s %d became %s %d", reason, code, gotReason, gotCode)
			}
		}
	}
	if got := wording(waitStatus("killed", 9)); got != "code=killed, status=9/KILL" {
		t.Error(got)
	}
	if got := wording(waitStatus("exited", 1)); got != "code=exited, status=1/FAILURE" {
		t.Error(got)
	}
	if !slices.Contains(capabilityNames(), "CAP_CHECKPOINT_RESTORE") || capabilityBits([]string{"CAP_NET_BIND_SERVICE", "cap_chown", "CAP_X"}) != 1<<10|1 {
		t.Error("capabilities")
	}
}
