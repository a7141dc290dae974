package unit

import (
	"slices"
	"testing"
)

func TestConditions(t *testing.T) {
	facts := Facts{
		Files: world(`
-- /etc/os-release
ID=debian
VERSION_ID="12"
-- /etc/app/a.conf
x
-- /etc/app/.hidden
x
-- /etc/empty
-- /usr/bin/app !
x
-- /etc/link -> app
-- /etc/lost -> gone
`),
		MountPoint:     func(p string) bool { return p == "/etc/app" },
		Writable:       func(p string) bool { return p != "/etc/empty" },
		Virtualization: []string{"container", "docker"},
		Architecture:   "x86-64", Hostname: "web1", MachineID: "abc", KernelRelease: "5.10.0-21-amd64", CommandLine: "/init quiet mode=fast",
		Environment: []string{"A=b"}, Capabilities: []string{"CAP_CHOWN"}, Memory: 1 << 30, CPUs: 2,
	}
	for _, tc := range []struct {
		line string
		want bool
	}{
		{"PathExists=/etc/app", true}, {"PathExists=!/etc/app", false}, {"PathExists=/etc/lost", false}, {"PathExists=/etc/link/a.conf", true},
		{"PathExistsGlob=/etc/*/*.conf", true}, {"PathExistsGlob=/etc/app/*den", false}, {"PathExistsGlob=/etc/{x,app}/{b,a}.conf", true},
		{"PathExistsGlob=/etc/{x,y}", false}, {"PathIsDirectory=/etc/link", true}, {"PathIsDirectory=/etc/empty", false},
		{"PathIsSymbolicLink=/etc/link", true}, {"PathIsSymbolicLink=/etc/app", false}, {"PathIsMountPoint=/etc/app", true}, {"PathIsMountPoint=/etc", false},
		{"PathIsReadWrite=/etc", true}, {"PathIsReadWrite=/etc/empty", false}, {"DirectoryNotEmpty=/etc/app", true}, {"DirectoryNotEmpty=/gone", false},
		{"FileNotEmpty=/etc/app/a.conf", true}, {"FileNotEmpty=/etc/empty", false}, {"FileIsExecutable=/usr/bin/app", true}, {"FileIsExecutable=/etc/empty", false},
		{"NeedsUpdate=/etc", false}, {"NeedsUpdate=!/var", true}, {"FirstBoot=yes", false}, {"FirstBoot=no", true},
		{"Virtualization=yes", true}, {"Virtualization=no", false}, {"Virtualization=container", true}, {"Virtualization=!container", false}, {"Virtualization=vm", false},
		{"Virtualization=docker", true}, {"Architecture=x86-64", true}, {"Architecture=native", true}, {"Architecture=arm64", false}, {"Host=web*", true}, {"Host=abc", true},
		{"KernelCommandLine=quiet", true}, {"KernelCommandLine=mode", true}, {"KernelCommandLine=mode=slow", false}, {"KernelVersion=>=5.4", true}, {"KernelVersion=< 5.9", false},
		{"KernelVersion=5.10.*", true}, {"Environment=A", true}, {"Environment=A=c", false}, {"Capability=CAP_CHOWN", true}, {"Capability=CAP_SYS_TIME", false},
		{"User=root", true}, {"User=www-data", false}, {"Memory=>= 512M", true}, {"Memory=2G", false}, {"CPUs=2", true}, {"CPUs=> 2", false}, {"OSRelease=ID=debian VERSION_ID>=11", true},
		{"OSRelease=ID!=debian", false}, {"ACPower=true", true}, {"ACPower=false", false}, {"Security=apparmor", false}, {"ControlGroupController=memory", false},
		{"Firmware=uefi", false}, {"MemoryPressure=10%", true}, {"PathExists=|/gone", false}, {"PathExists=|!/gone", true},
	} {
		t.Run(tc.line, func(t *testing.T) {
			u := service("ExecStart=/bin/d\n[Unit]\nCondition" + tc.line)
			if len(u.Conditions) != 1 || u.Conditions[0].String() != "Condition"+tc.line {
				t.Fatalf("%v, ignored %v", u.Conditions, u.Ignored)
			}
			if _, unmet := facts.Unmet(u.Conditions); unmet == tc.want {
				t.Errorf("unmet: %v", unmet)
			}
		})
	}
	for _, tc := range []struct{ name, lines, want string }{
		{"all hold", "ConditionPathExists=/etc\nConditionPathExists=/usr", ""},
		{"the first that does not", "ConditionPathExists=/etc\nConditionPathExists=/a\nConditionPathExists=/b", "ConditionPathExists=/a"},
		{"one of the triggers", "ConditionPathExists=|/a\nConditionPathExists=|/etc", ""},
		{"none of the triggers", "ConditionPathExists=|/a\nConditionPathExists=|/b", "ConditionPathExists=|/b"},
		{"a trigger saves no other", "ConditionPathExists=|/etc\nConditionPathExists=/b", "ConditionPathExists=/b"},
		{"asserts come first", "ConditionPathExists=/a\nAssertPathExists=/b", "AssertPathExists=/b"},
		{"empty takes all back", "ConditionPathExists=/a\nAssertPathExists=/etc\nConditionACPower=", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := service("ExecStart=/bin/d\n[Unit]\n" + tc.lines)
			c, unmet := facts.Unmet(u.Conditions)
			if unmet != (tc.want != "") || unmet && c.String() != tc.want {
				t.Errorf("%v %v", c, unmet)
			}
		})
	}
	if got := braces("a{b,c{d,e}}f{g,}"); !slices.Equal(got, []string{"abfg", "abf", "acdfg", "acdf", "acefg", "acef"}) {
		t.Errorf("braces: %q", got)
	}
}
