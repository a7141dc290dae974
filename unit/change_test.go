package unit

import (
	"errors"
	"strings"
	"testing"
)

const packages = `
-- /etc/os-release
ID=debian
-- /lib/systemd/system/web.service
[Unit]
Description=Web
[Service]
ExecStart=/bin/web
[Install]
WantedBy=multi-user.target
Alias=http.service
Also=web.timer
-- /lib/systemd/system/web.timer
[Timer]
OnCalendar=daily
[Install]
WantedBy=timers.target
-- /lib/systemd/system/static.service
[Service]
ExecStart=/bin/static
-- /lib/systemd/system/old.service -> static.service
-- /lib/systemd/system/also.service
[Service]
ExecStart=/bin/a
[Install]
Also=web.service gone.service
-- /lib/systemd/system/inst@.service
[Service]
ExecStart=/bin/i %i
[Install]
WantedBy=multi-user.target
DefaultInstance=one
-- /lib/systemd/system/none@.service
[Service]
ExecStart=/bin/i %i
[Install]
WantedBy=multi-user.target
-- /lib/systemd/system/off.service -> /dev/null
-- /etc/systemd/system/own.service
[Service]
ExecStart=/bin/own
[Install]
RequiredBy=multi-user.target
-- /opt/far.service
[Service]
ExecStart=/bin/far
[Install]
WantedBy=multi-user.target
-- /etc/systemd/system/far.service -> /opt/far.service
-- /etc/init.d/native !
#!/bin/sh
-- /lib/systemd/system/native.service
[Service]
ExecStart=/bin/native
[Install]
WantedBy=multi-user.target
-- /etc/init.d/script !
#!/bin/sh
### BEGIN INIT INFO
# Provides:          script other
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
### END INIT INFO
`

// TestChanges holds what enable and its like do against what systemctl of systemd 252 did with the same files.
func TestChanges(t *testing.T) {
	type verb = func(*Set, How, ...string) ([]Change, error)
	enable, disable := (*Set).Enable, (*Set).Disable
	for _, tc := range []struct {
		name string
		do   verb
		how  How
		unit string
		want string
		err  error
	}{
		{"with alias and also", enable, How{}, "web.service", `Created symlink /etc/systemd/system/http.service → /lib/systemd/system/web.service.
Created symlink /etc/systemd/system/multi-user.target.wants/web.service → /lib/systemd/system/web.service.
Created symlink /etc/systemd/system/timers.target.wants/web.timer → /lib/systemd/system/web.timer.`, nil},
		{"until the next start", enable, How{Runtime: true}, "web.timer", `Created symlink /run/systemd/system/timers.target.wants/web.timer → /lib/systemd/system/web.timer.`, nil},
		{"only also, one of which is gone", enable, How{}, "also.service", `Created symlink /etc/systemd/system/http.service → /lib/systemd/system/web.service.
Created symlink /etc/systemd/system/multi-user.target.wants/web.service → /lib/systemd/system/web.service.
Created symlink /etc/systemd/system/timers.target.wants/web.timer → /lib/systemd/system/web.timer.`, nil},
		{"nothing to do", enable, How{}, "static.service", "", nil},
		{"through a package's alias", enable, How{}, "old.service", "", nil},
		{"a template's own instance", enable, How{}, "inst@.service", `Created symlink /etc/systemd/system/multi-user.target.wants/inst@one.service → /lib/systemd/system/inst@.service.`, nil},
		{"an instance", enable, How{}, "inst@two.service", `Created symlink /etc/systemd/system/multi-user.target.wants/inst@two.service → /lib/systemd/system/inst@.service.`, nil},
		{"a template without", enable, How{}, "none@.service", "", ErrNoInstance},
		{"masked", enable, How{}, "off.service", "", ErrMasked},
		{"not there", enable, How{}, "gone.service", "", ErrNoFile},
		{"not a name", enable, How{}, "a b.service", "", ErrInvalid},
		{"the administrator's own", enable, How{}, "own.service", `Created symlink /etc/systemd/system/multi-user.target.requires/own.service → /etc/systemd/system/own.service.`, nil},
		{"linked", enable, How{}, "far.service", `Created symlink /etc/systemd/system/multi-user.target.wants/far.service → /etc/systemd/system/far.service.`, nil},
		{"a script", enable, How{}, "script.service", `K01script ../init.d/script in 0
K01script ../init.d/script in 1
S01script ../init.d/script in 2
S01script ../init.d/script in 3
S01script ../init.d/script in 4
S01script ../init.d/script in 5
K01script ../init.d/script in 6`, nil},
		{"nothing was enabled", disable, How{}, "web.service", "", nil},
		{"a mask", (*Set).Mask, How{}, "web.service", "Created symlink /etc/systemd/system/web.service → /dev/null.", nil},
		{"a mask of nothing", (*Set).Mask, How{Runtime: true}, "gone.service", "Created symlink /run/systemd/system/gone.service → /dev/null.", nil},
		{"a mask over a file", (*Set).Mask, How{}, "own.service", "", ErrExists},
		{"no mask", (*Set).Unmask, How{}, "web.service", "", nil},
		{"a package's mask stays", (*Set).Unmask, How{}, "off.service", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			changes, err := tc.do(machine(packages), tc.how, tc.unit)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if got := say(changes); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func say(changes []Change) string {
	var lines []string
	for _, c := range changes {
		if !c.Script {
			lines = append(lines, c.String())
			continue
		}
		dir, base := c.Path[:strings.LastIndex(c.Path, "/")], c.Path[strings.LastIndex(c.Path, "/")+1:]
		word := base + " " + c.Target
		if c.Remove {
			word = "no " + base
		}
		lines = append(lines, word+" in "+strings.TrimSuffix(strings.TrimPrefix(dir, "/etc/rc"), ".d"))
	}
	return strings.Join(lines, "\n")
}

// TestStates walks one tree through changes and asks for states after each.
func TestStates(t *testing.T) {
	files := world(packages)
	s := func() *Set { return New(files, Environment{}) }
	expect := func(when string, want map[string]FileState) {
		t.Helper()
		for name, state := range want {
			if got := s().FileState(name); got != state {
				t.Errorf("%s: %s is %q, want %q", when, name, got, state)
			}
		}
	}
	do := func(changes []Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		files = change(files, changes)
	}
	expect("at first", map[string]FileState{
		"web.service": Disabled, "web.timer": Disabled, "static.service": Static, "old.service": Alias, "also.service": Indirect, "off.service": MaskedF,
		"gone.service": "", "far.service": LinkedF, "script.service": Disabled, "inst@.service": Disabled, "http.service": "",
	})
	do(s().Enable(How{}, "web.service", "script.service", "inst@two.service"))
	expect("enabled", map[string]FileState{
		"web.service": Enabled, "web.timer": Enabled, "http.service": Alias, "script.service": Enabled, "inst@two.service": Enabled,
		"inst@.service": Indirect, "inst@one.service": Disabled,
	})
	if _, err := s().Enable(How{}, "http.service"); !errors.Is(err, ErrAlias) {
		t.Errorf("an alias that enable made is enabled: %v", err)
	}
	do(s().Mask(How{}, "web.service"))
	expect("masked", map[string]FileState{"web.service": MaskedF, "http.service": MaskedF, "web.timer": Enabled})
	if u := s().Unit("web.service"); u.Load != Masked || u.Service != nil {
		t.Errorf("a masked unit is %s", u.Load)
	}
	do(s().Unmask(How{}, "web.service"))
	do(s().Disable(How{}, "web.service", "script.service", "inst@two.service"))
	expect("disabled", map[string]FileState{"web.service": Disabled, "http.service": "", "script.service": Disabled, "inst@two.service": Disabled})
	if start, known := s().Runlevel("script.service", 3); start || !known {
		t.Error("a script that was disabled has no link that stops it")
	}
	do(s().Enable(How{Runtime: true}, "web.timer"))
	expect("until the next start", map[string]FileState{"web.timer": EnabledRuntime})
}

// TestScriptLinks: both families' layouts, and levels by hand.
func TestScriptLinks(t *testing.T) {
	const red = `
-- /etc/rc.d/init.d/app !
#!/bin/bash
# chkconfig: 345 85 15
# description: an \
#   application
# processname: appd
# pidfile: /var/run/app/app.pid
-- /etc/init.d -> rc.d/init.d
-- /etc/rc.d/rc3.d/S10network -> ../init.d/network
`
	files := world(red)
	got := say(New(files, Environment{}).ScriptAdd("app"))
	want := `S85app ../init.d/app in .d/rc3
S85app ../init.d/app in .d/rc4
S85app ../init.d/app in .d/rc5
K15app ../init.d/app in .d/rc0
K15app ../init.d/app in .d/rc1
K15app ../init.d/app in .d/rc2
K15app ../init.d/app in .d/rc6`
	if got != want {
		t.Fatalf("added:\n%s", got)
	}
	files = change(files, New(files, Environment{}).ScriptAdd("app"))
	if again := New(files, Environment{}).ScriptAdd("app"); again != nil {
		t.Errorf("added twice: %v", again)
	}
	if got := say(New(files, Environment{}).ScriptSwitch("app", false, []int{3, 4})); got != "no S85app in .d/rc3\nK15app ../init.d/app in .d/rc3\nno S85app in .d/rc4\nK15app ../init.d/app in .d/rc4" {
		t.Errorf("off in 3 and 4:\n%s", got)
	}
	s := New(files, Environment{})
	if w := s.WantedBy("default.target"); !strings.Contains(strings.Join(w, " "), "app.service") {
		t.Errorf("not started with the container: %v", w)
	}
	if n := len(s.ScriptRemove("app")); n != 7 {
		t.Errorf("%d links removed, want 7", n)
	}
	u := s.Unit("app.service")
	if u.Description != "SYSV: an application" || u.Service.PIDFile != "/run/app/app.pid" || u.SysV.Process != "appd" || u.Service.RemainAfterExit {
		t.Errorf("%q %+v", u.Description, u.Service)
	}
}

func TestPreset(t *testing.T) {
	s := machine(packages + `
-- /etc/systemd/system-preset/10-own.preset
# the first rule that fits counts
disable web.*
-- /usr/lib/systemd/system-preset/90-all.preset
enable w*
disable *
-- /usr/lib/systemd/system-preset/10-own.preset
enable web.*
`)
	for name, want := range map[string]string{"web.service": "disabled", "worker.service": "enabled", "x.service": "disabled"} {
		if got := s.Preset(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := machine(packages).Preset("x.service"); got != "enabled" {
		t.Errorf("without rules: %s", got)
	}
}
