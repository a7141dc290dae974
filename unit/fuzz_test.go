package unit

import (
	"slices"
	"strings"
	"testing"
)

// FuzzUnit: no file breaks the loader, and a unit that is loaded has what its kind needs.
func FuzzUnit(f *testing.F) {
	f.Add("[Service]\nExecStart=-@/bin/a b \"c d\" ; +/bin/x\nType=oneshot\n", false)
	f.Add("[Unit]\nAfter=a.service %i.target\nConditionPathExists=|!/x\n[Service]\nLimitNOFILE=1:2\nExecStart=/x %%n \\\n  $A\n[Install]\nAlias=b.service", false)
	f.Add("[Timer]\nOnCalendar=Mon *:0/5\nOnUnitActiveSec=1d\n", true)
	f.Fuzz(func(t *testing.T, text string, timer bool) {
		name := "t@x.service"
		if timer {
			name = "t@x.timer"
		}
		if text == "" {
			return
		}
		files := world("-- /lib/systemd/system/" + name + "\n")
		files["lib/systemd/system/"+name].Data = []byte(text)
		s := New(files, Environment{})
		u := s.Unit(name)
		if u.Load == Loaded && (u.Service == nil) == (u.Timer == nil) {
			t.Fatalf("loaded without a service or a timer: %+v", u)
		}
		if u.Load != Loaded && u.Problem == "" {
			t.Fatalf("%s without a reason", u.Load)
		}
		if _, err := s.StartOrder(name); err == nil && u.Load != Loaded {
			t.Fatal("a unit that is not loaded would be started")
		}
		if changes, err := s.Enable(How{}, name); err == nil {
			for _, c := range changes {
				if !strings.HasPrefix(c.Path, configDir+"/") || strings.Contains(c.Path, "/../") {
					t.Fatalf("a link outside of the configuration: %v", c)
				}
			}
		}
	})
}

// FuzzScript: a header is read without harm, and what comes out stays in its bounds.
func FuzzScript(f *testing.F) {
	f.Add("### BEGIN INIT INFO\n# Provides: a\n# Default-Start: 2 3\n### END INIT INFO\n# chkconfig: 35 1 99\nPIDFILE=${A:-$B/$A}.pid\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := ParseScript("/etc/init.d/x", text)
		for _, level := range slices.Concat(h.Start, h.Stop) {
			if level < 0 || level > 6 {
				t.Fatalf("runlevel %d", level)
			}
		}
		if h.StartOrder < 0 || h.StartOrder > 99 || h.StopOrder < 0 || h.StopOrder > 99 {
			t.Fatalf("order %d, %d", h.StartOrder, h.StopOrder)
		}
	})
}

// FuzzCalendar: what is accepted gives a line of five places, or a reason.
func FuzzCalendar(f *testing.F) {
	f.Add("Mon,Wed..Fri *-1/3-1..5/2 0/2:5,10:30 UTC")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCalendar(text)
		if err != nil {
			return
		}
		if line, refused := c.Cron("UTC"); (refused == "") != (len(strings.Fields(line)) == 5) {
			t.Fatalf("%q, %q", line, refused)
		}
	})
}

// FuzzEnvironmentFile: each assignment has a name, and each name is there once.
func FuzzEnvironmentFile(f *testing.F) {
	f.Add("A=b\n# c\\\nB=\"x\\\ny\"'z'\nC=d \\\n e\n")
	f.Fuzz(func(t *testing.T, text string) {
		seen := map[string]bool{}
		for _, e := range ParseEnvironmentFile(text) {
			name, _, _ := strings.Cut(e, "=")
			if !validVariable(name) || seen[name] {
				t.Fatalf("%q", e)
			}
			seen[name] = true
		}
	})
}

// FuzzExec: a command has a program and a name for it, and its words survive an expansion without variables.
func FuzzExec(f *testing.F) {
	f.Add(`-@/bin/a "b\x20c" ; :/bin/d $E ${F} \;`)
	f.Add("@/bin/a ; /bin/b")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseExec(text, func(w string) (string, error) { return w, nil })
		for _, c := range all {
			if c.Path == "" || len(c.Args) == 0 {
				t.Fatalf("%q gives %+v, %v", text, c, err)
			}
			argv, err := Expand(c, nil)
			if err == nil && !c.Literal && !strings.Contains(text, "$") && !slices.Equal(argv, c.Args) {
				t.Fatalf("%q became %q", c.Args, argv)
			}
		}
	})
}
