package verbs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestFollow writes, rotates and adds logs under the eyes of a follower: each line comes once.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	if err := w.Start(context.Background(), "web.service"); err != nil {
		t.Fatal(err)
	}
	c := &call{Environment: w.environment(), ctx: context.Background(), name: "journalctl"}
	l := &logs{call: c, lines: 0, highest: 7, output: "cat"}
	sources := l.sources()
	last := l.show(sources)
	w.out.Reset()
	step := func(want string) {
		t.Helper()
		sources = l.poll(sources, last)
		if got := strings.ReplaceAll(w.out.String(), "\n", " "); strings.TrimSpace(got) != want {
			t.Fatalf("printed %q, want %q", got, want)
		}
		w.out.Reset()
	}
	step("")
	w.log("web.service", "one")
	step("one")
	w.log("web.service", "two")
	dir := w.path("/var/log/units/web.service/")
	if err := os.Rename(filepath.Join(dir, "current"), filepath.Join(dir, "@400000006b02000000000000.s")); err != nil {
		t.Fatal(err)
	}
	w.log("web.service", "three")
	step("two three")
	if err := w.Start(context.Background(), "db.service"); err != nil {
		t.Fatal(err)
	}
	step("Starting db.service - A database... listening Started db.service - A database.")
	step("")
}

// TestFollowEnds: an interrupt ends the loop, and what was written before it is out.
func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.log("web.service", "before")
		go func() {
			time.Sleep(pause + pause/2)
			w.log("web.service", "after")
		}()
		if code := Main(ctx, w.environment(), []string{"journalctl", "-f", "-o", "cat"}); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		if got := w.out.String(); got != "before\nafter\n" {
			t.Errorf("printed %q", got)
		}
	})
}

// TestRotated: a log of several files is read in their order, and files that were closed before --since are not opened.
func TestRotated(t *testing.T) {
	w := newWorld(t)
	dir := w.path("/var/log/units/web.service/")
	for i, name := range []string{"@400000006b02000000000000.s", "@400000006b0200ff00000000.s"} {
		w.now = w.now.Add(time.Minute)
		w.log("web.service", []string{"first", "second"}[i])
		if err := os.Rename(filepath.Join(dir, "current"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.log("web.service", "third")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "first\nsecond\nthird\n"},
		{[]string{"-n", "2"}, "second\nthird\n"},
		{[]string{"--since", "@1795296000"}, "third\n"},
	} {
		w.out.Reset()
		if tt.args != nil && tt.args[0] == "--since" {
			w.now = time.Unix(1795296001, 0)
			w.log("web.service", "fourth")
			tt.want = "fourth\n"
		}
		Main(context.Background(), w.environment(), append([]string{"journalctl", "-o", "cat"}, tt.args...))
		if got := w.out.String(); got != tt.want {
			t.Errorf("%v: printed %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestStamped reads both of s6-log's forms.
func TestStamped(t *testing.T) {
	want := time.Date(2026, 11, 21, 21, 24, 14, 168326178, time.UTC)
	at, text, ok := stamped("@400000006b020c230a087422 hi there")
	if !ok || !at.Equal(want) || text != "hi there" {
		t.Errorf("TAI64N: %v %q %v", at, text, ok)
	}
	local := want.In(time.Local).Format("2006-01-02 15:04:05.000000000")
	if at, text, ok = stamped(local + "  hi there"); !ok || !at.Equal(want) || text != "hi there" {
		t.Errorf("ISO: %v %q %v", at, text, ok)
	}
	for _, bad := range []string{"", "@", "@4000", "@zz0000006b020c230a087822 x", "@000000006b020c230a087822 x", "2026-11-21", strings.Repeat("x", 40)} {
		if _, _, ok := stamped(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestEntryOfSSHD: its lines end in a carriage return.
func TestEntryOfSSHD(t *testing.T) {
	e, ok := reader{unit: "ssh.service", ident: "sshd"}.entry("@400000006b020c230a087422 Disconnected from user root\r")
	if !ok || e.text != "Disconnected from user root" {
		t.Errorf("got %q, %v", e.text, ok)
	}
}

// FuzzEntry: whatever a daemon writes, reading it does not fail and keeps no control characters on a terminal.
func FuzzEntry(f *testing.F) {
	f.Add("@400000006b020c230a087822 <3>text")
	f.Add("@400000006b020c230a087822 daemon.info: Nov 21 21:10:25 cron[1x]: text")
	f.Add("2026-11-21 16:24:15.316748179  systemd[1]: Failed")
	f.Fuzz(func(t *testing.T, line string) {
		for _, unit := range []string{"web.service", syslogUnit} {
			e, ok := reader{unit: unit, ident: "web"}.entry(line)
			if shown := printable(e.text); ok && strings.ContainsAny(shown, "\x1b\x00\n\r") {
				t.Errorf("%q shows %q", line, shown)
			}
			if e.level < 0 || e.level > 7 {
				t.Errorf("level %d", e.level)
			}
		}
	})
}

// TestAgoAndSpan holds both forms of a length of time against systemd's.
func TestAgoAndSpan(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		d         time.Duration
		ago, span string
	}{
		{0, "now", "0"}, {1500 * time.Microsecond, "1ms ago", "1ms"}, {42 * time.Second, "42s ago", "42s"},
		{90 * time.Second, "1min 30s ago", "1min 30s"}, {1250 * time.Millisecond, "1s ago", "1.250s"},
		{61*time.Second + 5*time.Millisecond, "1min 1s ago", "1min 1.005s"}, {7 * time.Minute, "7min ago", "7min"},
		{2*time.Hour + 3*time.Minute, "2h 3min ago", "2h 3min"}, {8 * time.Hour, "8h ago", "8h"}, {26 * time.Hour, "1 day 2h ago", "1d 2h"},
		{3 * day, "3 days ago", "3d"}, {8 * day, "1 week 1 day ago", "1w 1d"}, {40 * day, "1 month 9 days ago", "1month 1w 2d 13h 30min"},
		{400 * day, "1 year 1 month ago", "1y 1month 4d 7h 30min"},
	} {
		if got := ago(tt.d); got != tt.ago {
			t.Errorf("ago(%v) is %q, want %q", tt.d, got, tt.ago)
		}
		if got := span(tt.d); got != tt.span {
			t.Errorf("span(%v) is %q, want %q", tt.d, got, tt.span)
		}
	}
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1.0K", 217088: "212.0K", 3565158: "3.3M", 1 << 30: "1.0G"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) is %q, want %q", n, got, want)
		}
	}
}

// TestParse: options come out whatever their order, and operands keep theirs.
func TestParse(t *testing.T) {
	options := []option{{long: "all", short: 'a'}, {long: "type", short: 't', value: true}, {long: "lines", short: 'n', value: true, optional: true}}
	rapid.Check(t, func(t *rapid.T) {
		var args, operands []string
		want := 0
		for range rapid.IntRange(0, 6).Draw(t, "words") {
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				args, want = append(args, rapid.SampledFrom([]string{"-a", "--all", "--al"}).Draw(t, "flag")), want+1
			case 1:
				args, want = append(args, "-t", "-x"), want+1
			case 2:
				args, want = append(args, rapid.SampledFrom([]string{"--type=b", "-tb", "-n", "--lines", "-n5"}).Draw(t, "value")), want+1
			default:
				word := rapid.StringMatching(`[a-z]{1,4}`).Draw(t, "operand")
				args, operands = append(args, word), append(operands, word)
			}
		}
		found, rest, err := parse(options, args)
		if err != nil || len(found) != want || strings.Join(rest, " ") != strings.Join(operands, " ") {
			t.Fatalf("%q: %v %q %v", args, found, rest, err)
		}
	})
}
