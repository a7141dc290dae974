package unit

import (
	"reflect"
	"slices"
	"testing"
)

func TestParseScript(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       SysV
	}{
		{"nothing", "#!/bin/sh\n", SysV{StartOrder: 50, StopOrder: 50}},
		{"LSB", `#!/bin/sh
### BEGIN INIT INFO
# Provides:          app app-old
# Required-Start:    $remote_fs $syslog db
# Required-Stop:     $remote_fs
# Should-Start:      $named
# X-Start-Before:    web
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: an app
# Description:       a longer text
#                    about the app
### END INIT INFO
# Provides: not-this
`, SysV{LSB: true, Provides: []string{"app", "app-old"}, Required: []string{"$remote_fs", "$syslog", "db"}, Should: []string{"$named"}, Before: []string{"web"},
			Start: []int{2, 3, 4, 5}, Stop: []int{0, 1, 6}, Description: "an app", StartOrder: 50, StopOrder: 50}},
		{"only a long description", "### BEGIN INIT INFO\n# Description: one\n#\ttwo\n#  three\n# Default-Start: S\n### END INIT INFO\n",
			SysV{LSB: true, Description: "one two three", Start: []int{2, 3, 4, 5}, StartOrder: 50, StopOrder: 50}},
		{"chkconfig", "#!/bin/bash\n# chkconfig: 35 85 15\n# description: a thing \\\n#    of two lines\n# processname: thing\n# pidfile: /var/run/thing.pid\n",
			SysV{Start: []int{3, 5}, Stop: []int{0, 1, 2, 4, 6}, StartOrder: 85, StopOrder: 15, Description: "a thing of two lines", Process: "thing", PIDFile: "/run/thing.pid"}},
		{"chkconfig that starts nowhere", "# chkconfig: - 20 80\n", SysV{Stop: []int{0, 1, 2, 3, 4, 5, 6}, StartOrder: 20, StopOrder: 80}},
		{"bad chkconfig lines", "# chkconfig: 345 100 1\n# chkconfig: 345\n# chkconfig: 345 a b\n", SysV{StartOrder: 50, StopOrder: 50}},
		{"LSB levels and chkconfig's numbers", "# chkconfig: 2 10 90\n### BEGIN INIT INFO\n# Default-Start: 3\n### END INIT INFO\n",
			SysV{LSB: true, Start: []int{2, 3}, Stop: []int{0, 1, 3, 4, 5, 6}, StartOrder: 10, StopOrder: 90}},
		{"pid files by variables", "NAME=app\nDIR=\"/var/run/$NAME\"\nPIDFILE=${PIDFILE:-$DIR/${NAME}.pid}\nexport OTHER_PIDFILE='/x/y.pid' # z\nPIDFILE=$(cat x)\nLIST_PIDFILE=/run/$UNKNOWN.pid\n",
			SysV{StartOrder: 50, StopOrder: 50, PIDGuesses: []string{"/run/app/app.pid", "/x/y.pid"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ParseScript("", tc.text); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

// TestScriptUnits: which files of /etc/init.d become units, and what they are.
func TestScriptUnits(t *testing.T) {
	s := machine(`
-- /etc/init.d/app !
#!/bin/sh
### BEGIN INIT INFO
# Provides:          app mta
# Required-Start:    $network db $local_fs
# Should-Start:      $named app
# Default-Start:     2 3 4 5
### END INIT INFO
case "$1" in
  start|stop) ;;
  reload|force-reload) ;;
esac
-- /etc/init.d/db.sh !
#!/bin/sh
echo "Usage: $0 {start|reload|stop}"
-- /etc/init.d/README
text
-- /etc/init.d/functions
#!/bin/sh
-- /etc/init.d/app.dpkg-old !
#!/bin/sh
-- /etc/init.d/native !
#!/bin/sh
-- /lib/systemd/system/native.service
[Service]
ExecStart=/bin/n
-- /etc/init.d/off !
#!/bin/sh
-- /etc/systemd/system/off.service -> /dev/null
-- /etc/systemd/system/app.service.d/x.conf
[Service]
RemainAfterExit=no
Restart=always
`)
	if got := short(s.Names()); got != "app db native off" {
		t.Fatalf("units: %s", got)
	}
	app := s.Unit("mta.service")
	if app.Name != "app.service" || app.Load != Loaded || app.SysV == nil {
		t.Fatalf("%s %s %s", app.Name, app.Load, app.Problem)
	}
	v := app.Service
	switch {
	case v.Type != Forking || v.KillMode != KillProcess || v.IgnoreSIGPIPE:
		t.Errorf("%+v", v)
	case v.RemainAfterExit || v.Restart != RestartAlways || v.RestartUnset:
		t.Error("a drop-in has no effect on a script")
	case !reflect.DeepEqual(v.ExecStart[0].Args, []string{"/etc/init.d/app", "start"}) || !reflect.DeepEqual(v.ExecReload[0].Args, []string{"/etc/init.d/app", "reload"}):
		t.Errorf("%v %v", v.ExecStart, v.ExecReload)
	case !slices.Contains(app.After, "network-online.target") || !slices.Contains(app.After, "db.service") || !slices.Contains(app.After, "nss-lookup.target"):
		t.Errorf("after %v", app.After)
	case slices.Contains(app.After, "app.service") || slices.Contains(app.Requires, "db.service"):
		t.Errorf("after %v, requires %v", app.After, app.Requires)
	}
	db := s.Unit("db.service").Service
	if db.ExecReload != nil || !db.RemainAfterExit || !db.RestartUnset || db.ExecStart[0].Path != "/etc/init.d/db.sh" {
		t.Errorf("%+v", db)
	}
	if s.Unit("native.service").SysV != nil || s.Unit("off.service").Load != Masked {
		t.Error("a script takes the place of a unit or of a mask")
	}
}
