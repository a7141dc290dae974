package unit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// family is some services that hang together: each line of spec is "name: After=b Requires=c".
func family(spec string) *Set {
	var b strings.Builder
	for _, ln := range strings.Split(strings.TrimSpace(spec), "\n") {
		name, settings, _ := strings.Cut(ln, ":")
		fmt.Fprintf(&b, "-- /lib/systemd/system/%s.service\n[Unit]\n", strings.TrimSpace(name))
		for _, s := range strings.Fields(settings) {
			key, value, _ := strings.Cut(s, "=")
			fmt.Fprintf(&b, "%s=%s\n", key, value)
		}
		fmt.Fprintf(&b, "[Service]\nExecStart=/bin/%s\n", name)
	}
	return machine(b.String())
}

func short(names []string) string {
	return strings.ReplaceAll(strings.Join(names, " "), ".service", "")
}

func TestStartOrder(t *testing.T) {
	for _, tc := range []struct{ name, spec, start, want, fails string }{
		{"alone", "a:", "a", "a", ""},
		{"what it requires", "a: Requires=b.service\nb:", "a", "a b", ""},
		{"what it requires, before", "a: Requires=b.service After=b.service\nb:", "a", "b a", ""},
		{"Before is After from the other side", "a: Wants=b.service\nb: Before=a.service", "a", "b a", ""},
		{"order alone starts nothing", "a: After=b.service\nb:", "a", "a", ""},
		{"what is wanted and not there", "a: Wants=gone.service", "a", "a", ""},
		{"what is required and not there", "a: Requires=gone.service", "a", "", "Unit gone.service not found."},
		{"a wanted one that cannot be takes nothing along", "a: Wants=b.service\nb: Requires=c.service,gone.service\nc:", "a", "a", ""},
		{"a socket without a file is not waited for", "a: Requires=a.socket", "a", "a", ""},
		{"the machine's targets are passed", "a: Requires=network-online.target After=network-online.target", "a", "a", ""},
		{"a circle is cut", "a: Requires=b.service After=b.service\nb: After=a.service", "a", "b a", ""},
		{"what is wanted deeper", "a: Requires=b.service\nb: Wants=c.service After=c.service\nc:", "a", "a c b", ""},
		{"not there", "a:", "gone", "", "Unit gone.service not found."},
		{"by name where nothing else says", "c:\nb:\na:", "c b a", "a b c", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := strings.ReplaceAll(tc.spec, "c.service,gone", "c.service Requires=gone")
			var names []string
			for _, n := range strings.Fields(tc.start) {
				names = append(names, Complete(n))
			}
			got, err := family(spec).StartOrder(names...)
			if tc.fails != "" {
				var refused *OrderError
				if !errors.As(err, &refused) || err.Error() != tc.fails {
					t.Errorf("error %v, want %s", err, tc.fails)
				}
				return
			}
			if err != nil || short(got) != tc.want {
				t.Errorf("%v, %v, want %s", short(got), err, tc.want)
			}
		})
	}
}

// TestSocketOrder: a socket brings its service along; what comes after the socket comes after the service; one that cannot be brings nothing.
func TestSocketOrder(t *testing.T) {
	s := machine(`
-- /lib/systemd/system/bus.socket
[Socket]
ListenStream=/run/bus
-- /lib/systemd/system/bus.service
[Unit]
Requires=bus.socket
[Service]
ExecStart=/bin/bus
-- /lib/systemd/system/each.socket
[Socket]
ListenStream=7
Accept=yes
-- /lib/systemd/system/a.service
[Unit]
Requires=bus.socket each.socket
After=bus.socket
[Service]
ExecStart=/bin/a
-- /lib/systemd/system/two.socket
[Socket]
ListenDatagram=[::1]:53
ListenFIFO=/run/two
Service=bus.service
FileDescriptorName=second
SocketMode=0660
-- /lib/systemd/system/named.service
[Service]
ExecStart=/bin/named
Sockets=two.socket
-- /lib/systemd/system/nowhere.socket
[Socket]
Backlog=3
-- /lib/systemd/system/wrong.socket
[Socket]
ListenStream=127.0.0.1
`)
	for name, want := range map[string]string{
		"a.service": "bus.socket bus.service a.service", "bus.socket": "bus.socket bus.service", "bus.service": "bus.socket bus.service",
		"named.service": "two.socket bus.service named.service", "two.socket": "bus.socket two.socket bus.service", "each.socket": "each.socket",
	} {
		got, err := s.StartOrder(name)
		if name == "named.service" || name == "two.socket" {
			// two.socket and bus.socket have no order between them.
			got = slices.DeleteFunc(got, func(n string) bool { return n == "bus.socket" })
			want = strings.ReplaceAll(want, "bus.socket ", "")
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", name, got, err, want)
		}
	}
	var passed []string
	for _, p := range s.Passed("bus.service") {
		passed = append(passed, fmt.Sprint(p.Unit, p.Socket.Listen, p.Socket.FDName, p.Socket.Mode))
	}
	if want := "bus.socket[{stream /run/bus}]bus.socket438 two.socket[{datagram [::1]:53} {fifo /run/two}]second432"; strings.Join(passed, " ") != want {
		t.Errorf("passed: %v, want %s", passed, want)
	}
	if got := s.Passed("named.service"); len(got) != 1 || got[0].Unit != "two.socket" {
		t.Errorf("passed by name: %v", got)
	}
	for name, reason := range map[string]string{"nowhere.socket": "no Listen setting", "wrong.socket": "no address to listen on"} {
		if u := s.Unit(name); u.Load != BadSetting || !strings.Contains(u.Problem, reason) {
			t.Errorf("%s: %s, %s", name, u.Load, u.Problem)
		}
	}
}

func TestStopOrder(t *testing.T) {
	s := family("db:\napp: Requires=db.service After=db.service\nweb: BindsTo=app.service After=app.service\npart: PartOf=db.service\nidle: Requires=db.service")
	running := []string{"db.service", "app.service", "web.service", "part.service"}
	if got := short(s.StopOrder(running, "db.service")); got != "web part app db" {
		t.Errorf("got %s", got)
	}
	if got := short(s.StopOrder(running, "web.service")); got != "web" {
		t.Errorf("got %s", got)
	}
}

func TestPropagation(t *testing.T) {
	s := family("all: PropagatesReloadTo=one.service\none: ReloadPropagatedFrom=other.service\nother:\nmta: Conflicts=smtp.service\nsmtp:")
	running := []string{"one.service", "smtp.service", "mta.service"}
	for name, want := range map[string]string{"all.service": "one", "other.service": "one", "one.service": ""} {
		if got := short(s.ReloadsWith(running, name)); got != want {
			t.Errorf("reload of %s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"mta.service": "smtp", "smtp.service": "mta", "one.service": ""} {
		if got := short(s.Conflicting(running, name)); got != want {
			t.Errorf("start of %s: stops %q, want %q", name, got, want)
		}
	}
}

// TestWantedBy: what a container starts, from every place that it may be enabled at.
func TestWantedBy(t *testing.T) {
	s := machine(`
-- /lib/systemd/system/a.service
[Unit]
After=b.service
[Service]
ExecStart=/bin/a
-- /lib/systemd/system/b.service
[Service]
ExecStart=/bin/b
-- /lib/systemd/system/early.service
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/e
-- /lib/systemd/system/own.target
[Unit]
Wants=c.service
-- /lib/systemd/system/c.service
[Service]
ExecStart=/bin/c
-- /lib/systemd/system/journal.service
[Service]
ExecStart=/lib/systemd/systemd-journal
-- /lib/systemd/system/off.service -> /dev/null
-- /etc/systemd/system/multi-user.target.wants/a.service -> /lib/systemd/system/a.service
-- /etc/systemd/system/default.target.wants/b.service -> /lib/systemd/system/b.service
-- /etc/systemd/system/sysinit.target.wants/early.service -> /lib/systemd/system/early.service
-- /lib/systemd/system/sysinit.target.wants/journal.service -> ../journal.service
-- /etc/systemd/system/multi-user.target.requires/own.target -> /lib/systemd/system/own.target
-- /etc/systemd/system/multi-user.target.wants/off.service -> /lib/systemd/system/off.service
-- /etc/systemd/system/multi-user.target.wants/gone.service -> /lib/systemd/system/gone.service
-- /etc/init.d/script !
#!/bin/sh
-- /etc/rc3.d/S01script -> ../init.d/script
-- /etc/rc3.d/S02a -> ../init.d/a
`)
	var services []string
	for _, name := range s.WantedBy("default.target") {
		if s.Unit(name).Kind == KindService {
			services = append(services, name)
		}
	}
	if got := short(services); got != "early b a c script" {
		t.Errorf("got %s", got)
	}
}

// TestOrderHolds: whatever the units say, all of them come once, and where no circle forbids it each comes after what it is to come after.
func TestOrderHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "units")
		after := make([][]int, n) // only to smaller numbers: no circles
		rank := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}[:n]).Draw(t, "names")
		name := func(i int) string { return fmt.Sprintf("u%d", rank[i]) }
		var spec []string
		for i := range n {
			line := name(i) + ":"
			for j := range i {
				switch rapid.IntRange(0, 5).Draw(t, "edge") {
				case 0:
					line += " After=" + name(j) + ".service"
					after[i] = append(after[i], j)
				case 1:
					line += " Wants=" + name(j) + ".service"
				case 2:
					spec = append(spec, name(j)+"-extra:")
				}
			}
			spec = append(spec, line)
		}
		var names []string
		for i := range n {
			names = append(names, name(i)+".service")
		}
		s := family(strings.Join(spec, "\n"))
		got, err := s.StartOrder(names...)
		if err != nil || len(got) != n {
			t.Fatalf("%v, %v", got, err)
		}
		for i := range n {
			for _, j := range after[i] {
				if slices.Index(got, names[i]) < slices.Index(got, names[j]) {
					t.Fatalf("%s is to come after %s: %v", names[i], names[j], got)
				}
			}
		}
		stop := s.StopOrder(names, names...)
		slices.Reverse(stop)
		if !slices.Equal(stop, got) {
			t.Fatalf("stopped in another order: %v, started %v", stop, got)
		}
	})
}

// TestEnableDisable: disable takes back what enable has made, whatever the [Install] section says.
func TestEnableDisable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{
			"WantedBy=multi-user.target", "WantedBy=a.target b.target", "RequiredBy=c.service", "Alias=x.service y.service", "Also=second.service", "Alias=bad",
			"WantedBy=",
		}), 0, 4)
		text := "-- /lib/systemd/system/first.service\n[Service]\nExecStart=/bin/f\n[Install]\n" + strings.Join(lines.Draw(t, "first"), "\n") +
			"\n-- /lib/systemd/system/second.service\n[Service]\nExecStart=/bin/s\n[Install]\n" + strings.ReplaceAll(strings.Join(lines.Draw(t, "second"), "\n"), "x.service y", "z") +
			"\n-- /etc/init.d/first !\n#!/bin/sh\n# chkconfig: 35 20 80\n-- /etc/rc3.d/K80first -> ../init.d/first\n-- /etc/rc5.d/K80first -> ../init.d/first\n"
		how := How{Runtime: rapid.Bool().Draw(t, "runtime")}
		before := world(text)
		changes, err := New(before, Environment{}).Enable(how, "first.service")
		if err != nil {
			t.Fatal(err)
		}
		enabled := change(before, changes)
		if again, err := New(enabled, Environment{}).Enable(how, "first.service"); err != nil || len(again) > 0 {
			t.Fatalf("enabled twice: %v, %v", again, err)
		}
		removals, err := New(enabled, Environment{}).Disable(how, "first.service")
		if err != nil {
			t.Fatal(err)
		}
		after := change(enabled, removals)
		for name := range before {
			if after[name] == nil {
				t.Errorf("%s is gone", name)
			}
		}
		for name := range after {
			if before[name] == nil {
				t.Errorf("%s is left", name)
			}
		}
	})
}
