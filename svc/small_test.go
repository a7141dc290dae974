package svc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

func TestRootOf(t *testing.T) {
	for _, c := range []struct {
		folder, name, root string
		ok                 bool
	}{
		{"/run/service/x.service", "x.service", "/", true},
		{"/tmp/a/run/service/x.service", "x.service", "/tmp/a", true},
		{"/run/service/.x.service.old", "x.service", "", false},
		{"/home", "x.service", "", false},
	} {
		if root, ok := rootOf(c.folder, c.name); ok != c.ok || ok && root != c.root {
			t.Errorf("%s: %q, %v", c.folder, root, ok)
		}
	}
}

// TestProgramWithoutPath: whoever calls systemctl may have no PATH, as Ansible's service.
func TestProgramWithoutPath(t *testing.T) {
	t.Setenv("PATH", "")
	if out, err := program(t.Context(), "sh", "-c", "command -v cat").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestParseNotice(t *testing.T) {
	got := parseNotice("READY=1\nSTATUS=a=b\n\nnonsense\n=x\nMAINPID=7")
	if len(got) != 3 || got["READY"] != "1" || got["STATUS"] != "a=b" || got["MAINPID"] != "7" {
		t.Errorf("got %v", got)
	}
}

func FuzzParseNotice(f *testing.F) {
	f.Add("READY=1\nSTATUS=a=b\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parseNotice(text) {
			if name == "" || !strings.Contains(text, name+"="+value) {
				t.Errorf("%q: %q=%q", text, name, value)
			}
		}
	})
}

func TestParseS6Status(t *testing.T) {
	up := []byte("\x40\x00\x00\x00\x6b\x02\x0a\x30\x37\x41\xae\xaf\x40\x00\x00\x00\x6b\x02\x0a\x30\x37\x5c\x27\x77\x00\x00\x00\x00\x00\x00\x12\x34\x00\x00\x0c")
	got, err := parseS6Status(up)
	if err != nil || got.pid != 0x1234 || got.finished || got.since.Unix() != 0x6b020a30-37 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseS6Status(up[:34]); err == nil {
		t.Error("a short one is accepted")
	}
}

func FuzzParseS6Status(f *testing.F) {
	f.Add(make([]byte, 35))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseS6Status(b); (err == nil) != (len(b) >= 35) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	})
}

// TestRecord: what is written is read; a time is of the last change of ActiveState; a waiting start is decided once.
func TestRecord(t *testing.T) {
	s := &Supervisor{root: t.TempDir()}
	if r, err := s.read("x.service"); err != nil || r.Active != manager.Inactive || r.Sub != "dead" {
		t.Fatalf("without a record: %+v, %v", r, err)
	}
	_, err := s.update("x.service", func(r *record) {
		r.Job = "a"
		r.set(manager.Activating, "start-pre", time.Second)
		r.set(manager.Activating, "start", 2*time.Second)
		r.decide("success")
		r.decide("timeout")
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.read("x.service")
	if err != nil || r.Sub != "start" || r.Since != time.Second || r.Verdict != "success" || r.Job != "" {
		t.Errorf("got %+v, %v", r, err)
	}
	if info, err := os.Stat(filepath.Join(s.stateOf("x.service"), recordFile)); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("others cannot read it: %v, %v", info, err)
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	if got := r.state(now, time.Minute).Since; !got.Equal(now.Add(-59 * time.Second)) {
		t.Errorf("since %s", got)
	}
}

func TestEnvironment(t *testing.T) {
	var e environment
	e.putAll([]string{"A=1", "B=2", "broken", "A=3"})
	e.drop("B")
	e.put("C", "")
	if got := e.pairs(); !slices.Equal(got, []string{"A=3", "C="}) {
		t.Errorf("got %q", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.conf"), []byte("D=\"a b\"\n# no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for pattern, optional := range map[string]bool{"x.conf": false, "*.conf": false, "missing": true, "*.missing": true} {
		if err := fromFile(&e, unit.EnvironmentFile{Path: filepath.Join(dir, pattern), Optional: optional}); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	if e.values["D"] != "a b" {
		t.Errorf("D=%q", e.values["D"])
	}
	for _, pattern := range []string{"missing", "*.missing"} {
		if err := fromFile(&e, unit.EnvironmentFile{Path: filepath.Join(dir, pattern)}); err == nil {
			t.Errorf("%s: no error", pattern)
		}
	}
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name string
		sv   unit.Service
		uid  int
		exit int
	}{
		{"root by name", unit.Service{User: "root"}, 0, 0},
		{"a number", unit.Service{User: "4242"}, 4242, 0},
		{"nobody of that name", unit.Service{User: "no such user"}, 0, exitUser},
		{"no group of that name", unit.Service{Group: "no such group"}, 0, exitGroup},
		{"no such supplementary group", unit.Service{SupplementaryGroups: []string{"no such group"}}, 0, exitGroup},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, err := identify("x.service", &c.sv)
			if c.exit != 0 {
				if exitCodeOf(err) != c.exit {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || who.UID != c.uid {
				t.Errorf("got %+v, %v", who, err)
			}
		})
	}
	if who, err := identify("x.service", &unit.Service{}); who != nil || err != nil {
		t.Errorf("nobody asked for: %+v, %v", who, err)
	}
	one, _ := identify("x.service", &unit.Service{DynamicUser: true})
	two, _ := identify("x.service", &unit.Service{DynamicUser: true})
	other, _ := identify("y.service", &unit.Service{DynamicUser: true})
	if one.UID != two.UID || one.UID == other.UID || one.UID < dynamicFirst || one.UID > dynamicLast {
		t.Errorf("dynamic users: %d, %d, %d", one.UID, two.UID, other.UID)
	}
}

// TestAwaitEnd: it returns as soon as none is left, and with those that are when the time is over.
func TestAwaitEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		left := awaitEnd(time.Minute, func() []process {
			if time.Since(begin) < time.Second {
				return []process{{PID: 7}}
			}
			return nil
		})
		if took := time.Since(begin); len(left) != 0 || took > 1100*time.Millisecond {
			t.Errorf("%v after %s", left, took)
		}
		begin = time.Now()
		left = awaitEnd(time.Minute, func() []process { return []process{{PID: 7}} })
		if took := time.Since(begin); len(left) != 1 || took != time.Minute {
			t.Errorf("%v after %s", left, took)
		}
	})
}

// TestGraph: whatever the units' order, none begins before those that it comes after have ended, all are done, and stopping is the reverse.
func TestGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "units")
		g := &graph{after: map[string][]string{}, resolve: func(name string) string { return name }}
		for i := range n {
			u := &unit.Unit{Name: string(rune('a' + i))}
			for j := range i {
				if rapid.Bool().Draw(t, "after") {
					u.After = append(u.After, string(rune('a'+j)))
				}
			}
			g.units = append(g.units, u)
			g.after[u.Name] = u.After
		}
		boom := errors.New("boom")
		var done atomic.Int32
		errs := g.run(func(u *unit.Unit, earlier map[string]error) error {
			for _, a := range u.After {
				if err, ok := earlier[a]; !ok || (err != nil) != (a == "a") {
					return errors.New("too early")
				}
			}
			done.Add(1)
			if u.Name == "a" {
				return boom
			}
			return nil
		})
		if len(errs) != n || int(done.Load()) != n || !errors.Is(errs["a"], boom) {
			t.Fatalf("%d of %d: %v", done.Load(), n, errs)
		}
		back := &graph{resolve: g.resolve, after: map[string][]string{}}
		for _, u := range slices.Backward(g.units) {
			back.units = append(back.units, u)
		}
		for later, earlier := range g.after {
			for _, e := range earlier {
				if !slices.Contains(back.reversed().after[e], later) {
					t.Fatalf("%s is stopped before %s has ended", e, later)
				}
			}
		}
	})
}
