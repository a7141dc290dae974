package unit

import (
	"strings"
	"testing"
	"time"
)

// TestCron holds calendars against the lines that come at the moments which systemd-analyze calendar gave for them.
func TestCron(t *testing.T) {
	for _, tc := range []struct{ spec, line, refused string }{
		{"minutely", "* * * * *", ""},
		{"hourly", "0 * * * *", ""},
		{"daily", "0 0 * * *", ""},
		{"weekly", "0 0 * * 1", ""},
		{"monthly", "0 0 1 * *", ""},
		{"quarterly", "0 0 1 */3 *", ""},
		{"Yearly", "0 0 1 1 *", ""},
		{"daily UTC", "0 0 * * *", ""},
		{"Sun *-*-* 03:10:00", "10 3 * * 0", ""},
		{"*-*-* 07..23:30", "30 7-23 * * *", ""},
		{"*-*-* 6,18:00", "0 6,18 * * *", ""},
		{"*-*-* *:28:10", "28 * * * *", ""},
		{"*:0/10", "*/10 * * * *", ""},
		{"*:7/10", "7,17,27,37,47,57 * * * *", ""},
		{"1:05", "5 1 * * *", ""},
		{"*:09,39", "9,39 * * * *", ""},
		{"Mon..Fri 4/2:*", "* 4,6,8,10,12,14,16,18,20,22 * * 1-5", ""},
		{"Mon-Wed,sunday 00:00", "0 0 * * 0-3", ""},
		{"Mon..Sun 00:00", "0 0 * * *", ""},
		{"2-3", "0 0 3 2 *", ""},
		{"*-*-2..30/4", "0 0 2,6,10,14,18,22,26,30 * *", ""},
		{"*-*-1..31", "0 0 * * *", ""},
		{"2030-01-01", "", "no years"},
		{"*-*~1", "", "end of a month"},
		{"Sun *-*-1..7 1:00:00", "", "one or the other"},
		{"*:*:0/30", "", "once a minute"},
		{"*:*:*", "", "once a minute"},
		{"daily America/New_York", "", "time zone"},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			c, err := ParseCalendar(tc.spec)
			if err != nil {
				t.Fatal(err)
			}
			line, refused := c.Cron("Etc/UTC")
			if line != tc.line || (refused == "") != (tc.refused == "") || !strings.Contains(refused, tc.refused) {
				t.Errorf("%q, %q", line, refused)
			}
		})
	}
	for _, spec := range []string{"", "12", "*", "*:*/5", "Sat..Mon", "10-20:15", "*-*-31/2", "24:00", "Mon, Tue 4:00", "5..3:00", "Mon/2 3:00", "foo", "1:2:3:4", "Mon Tue", "*-*-*-*", "1:00 1:00"} {
		if _, err := ParseCalendar(spec); err == nil {
			t.Errorf("%q is accepted", spec)
		}
	}
}

func TestTimer(t *testing.T) {
	timer := func(lines string) *Unit {
		return machine("-- /lib/systemd/system/my.timer\n[Timer]\n" + lines + "\n").Unit("my.timer")
	}
	for _, tc := range []struct {
		lines   string
		unit    string
		cron    string
		boot    time.Duration
		refused string
	}{
		{"OnCalendar=daily\nOnCalendar=*:0/30", "my.service", "0 0 * * *;0,30 * * * *", 0, ""},
		{"OnCalendar=daily\nOnCalendar=\nOnCalendar=hourly\nPersistent=yes", "my.service", "0 * * * *", 0, ""},
		{"OnCalendar=nonsense\nOnCalendar=hourly\nAccuracySec=1h\nRandomizedDelaySec=5m", "my.service", "0 * * * *", 0, ""},
		{"OnBootSec=15min\nOnUnitActiveSec=1d\nUnit=other.service", "other.service", "46 22 * * *", 15 * time.Minute, ""},
		{"OnStartupSec=0", "my.service", "", time.Second, ""},
		{"OnUnitInactiveSec=15min\nOnActiveSec=10", "my.service", "1,16,31,46 * * * *", 10 * time.Second, ""},
		{"OnUnitActiveSec=6h", "my.service", "46 4,10,16,22 * * *", 0, ""},
		{"OnUnitActiveSec=1h", "my.service", "46 * * * *", 0, ""},
		{"OnUnitActiveSec=1min", "my.service", "* * * * *", 0, ""},
		{"OnUnitActiveSec=1w", "my.service", "46 22 * * 1", 0, ""},
		{"OnUnitActiveSec=7min", "my.service", "", 0, "period"},
		{"OnUnitActiveSec=10s", "my.service", "", 0, "whole minutes"},
		{"OnCalendar=daily\nOnCalendar=2030-1-1", "my.service", "", 0, "no years"},
		{"OnClockChange=yes", "my.service", "", 0, "clock"},
	} {
		t.Run(tc.lines, func(t *testing.T) {
			u := timer(tc.lines)
			if u.Load != Loaded {
				t.Fatal(u.Problem)
			}
			if got := strings.Join(u.Timer.Cron, ";"); got != tc.cron || u.Timer.Unit != tc.unit || u.Timer.OnBoot != tc.boot ||
				(u.Timer.Refused == "") != (tc.refused == "") || !strings.Contains(u.Timer.Refused, tc.refused) {
				t.Errorf("%+v", u.Timer)
			}
		})
	}
	if u := timer("Persistent=yes"); u.Load != BadSetting {
		t.Errorf("a timer without a time is %s", u.Load)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "5min 20s": 320 * time.Second, "1h30m": 90 * time.Minute, "2.5 h": 150 * time.Minute, "100ms": 100 * time.Millisecond, "infinity": forever,
		"1 d": 24 * time.Hour, "3 us": 3 * time.Microsecond, "999999999y": forever,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "5 parsecs", "-1", "1.2.3", "s"} {
		if _, err := ParseDuration(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "9": 9, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63, "POLL": 29} {
		if got, ok := Signal(name); !ok || got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, name := range []string{"", "NO", "0", "65", "RTMIN+99", "sigterm"} {
		if n, ok := Signal(name); ok {
			t.Errorf("%s is %d", name, n)
		}
	}
	for n := 1; n <= lastRealtime; n++ {
		if back, ok := Signal(SignalName(n)); !ok || back != n {
			t.Errorf("%d is %s is %d", n, SignalName(n), back)
		}
	}
	if ExitName(203) != "EXEC" || ExitName(143) != "n/a" {
		t.Error(ExitName(203), ExitName(143))
	}
}
