//go:build integration

package svc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
)

// result is the Result of an error.
func result(err error) string {
	if bad := (*manager.Error)(nil); errors.As(err, &bad) {
		return bad.Result
	}
	if err != nil {
		return err.Error()
	}
	return "success"
}

// TestCrashLoop: it ends at the start limit, is seen from outside, and reset-failed makes a start possible again.
func TestCrashLoop(t *testing.T) {
	r := newRig(t)
	r.unit("x.service", "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=60\n[Service]\nExecStart=D exit=3\nRestart=on-failure\nRestartSec=0\n")
	r.start("x.service")
	state := r.becomes("x.service", func(s manager.State) bool { return s.Active == manager.Failed })
	if state.Result != "start-limit-hit" || state.Restarts != 1 || state.ExitCode != 0 && state.ExitCode != 3 {
		t.Errorf("state %+v", state)
	}
	var out strings.Builder
	if code := r.s.health(&out, &out); code != 1 || !strings.Contains(out.String(), "x.service has failed (start-limit-hit)") {
		t.Errorf("health: %d, %s", code, out.String())
	}
	if got := result(r.s.Start(r.ctx(), "x.service")); got != "start-limit-hit" {
		t.Errorf("a start by hand: %s", got)
	}
	r.must(r.s.ResetFailed())
	r.is("x.service", manager.Inactive, "dead")
	out.Reset()
	if code := r.s.health(&out, &out); code != 0 || out.Len() > 0 {
		t.Errorf("health after reset-failed: %d, %s", code, out.String())
	}
	r.service("x.service", "ExecStart=D sleep")
	r.start("x.service")
	r.is("x.service", manager.IsActive, "running")
}

// TestStarts: what a start says, and how the unit is then.
func TestStarts(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  []string
		want   string
		active manager.Active
		sub    string
		exit   int
	}{
		{"a oneshot", []string{"Type=oneshot", "ExecStart=D log=1", "ExecStart=D log=2"}, "success", manager.Inactive, "dead", 0},
		{"a oneshot that remains", []string{"Type=oneshot", "ExecStart=D log=1", "RemainAfterExit=yes"}, "success", manager.IsActive, "exited", 0},
		{"a oneshot that fails", []string{"Type=oneshot", "ExecStart=D exit=4", "ExecStart=D file=ROOT/never"}, "exit-code", manager.Failed, "failed", 4},
		{"a failure that is ignored", []string{"Type=oneshot", "ExecStart=-D exit=4"}, "success", manager.Inactive, "dead", 4},
		{"a daemon's failure that is ignored", []string{"ExecStart=-D exit=4"}, "success", manager.Inactive, "dead", 4},
		{"a parent's failure that is ignored", []string{"Type=forking", "ExecStart=-D exit=4"}, "success", manager.Inactive, "dead", 0},
		{"a time-out is not ignored", []string{"TimeoutStartSec=200ms", "ExecStartPre=-D sleep", "ExecStart=D file=ROOT/never"}, "timeout", manager.Failed, "failed", 1},
		{"ExecStartPre fails", []string{"ExecStartPre=D exit=5", "ExecStart=D file=ROOT/never"}, "exit-code", manager.Failed, "failed", 5},
		{"no such program", []string{"Type=exec", "ExecStart=no-such-program"}, "exit-code", manager.Failed, "failed", exitExec},
		{"no such user", []string{"User=no-such-user", "ExecStart=D file=ROOT/never"}, "exit-code", manager.Failed, "failed", exitUser},
		{"no such folder", []string{"Type=oneshot", "WorkingDirectory=/no/such/folder", "ExecStart=D file=ROOT/never"}, "exit-code", manager.Failed, "failed", exitChdir},
		{"notify ends first", []string{"Type=notify", "ExecStart=D exit=0"}, "protocol", manager.Failed, "failed", 0},
		{"notify crashes first", []string{"Type=notify", "ExecStart=D exit=6"}, "exit-code", manager.Failed, "failed", 6},
		{"notify says nothing", []string{"Type=notify", "TimeoutStartSec=300ms", "TimeoutStopSec=300ms", "ExecStart=D sleep"}, "timeout", manager.Failed, "failed", 1},
		{"the parent fails", []string{"Type=forking", "ExecStart=D exit=7"}, "exit-code", manager.Failed, "failed", 7},
		{"no PID file", []string{"Type=forking", "PIDFile=ROOT/none", "ExecStart=D log=1"}, "protocol", manager.Failed, "failed", 1},
		{"ExecCondition says no", []string{"ExecCondition=D exit=1", "ExecStart=D file=ROOT/never"}, "success", manager.Inactive, "dead", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.service("x.service", append(c.lines, "Restart=no")...)
			if got := result(r.s.Start(r.ctx(), "x.service")); got != c.want {
				t.Errorf("start: %s, want %s", got, c.want)
			}
			r.becomes("x.service", func(s manager.State) bool { return s.Active == c.active })
			if state := r.is("x.service", c.active, c.sub); state.ExitCode != c.exit && c.exit != 1 {
				t.Errorf("exit code %d, want %d\n%s", state.ExitCode, c.exit, r.logOf("x.service"))
			}
			if r.read("never") != "" {
				t.Error("it ran all the same")
			}
		})
	}
}

// TestOrderOfCommands: every Exec line has its turn, with what it may know.
func TestOrderOfCommands(t *testing.T) {
	r := newRig(t)
	say := func(what string) string { return `/bin/sh -c "echo ` + what + ` >>ROOT/trace"` }
	r.service("x.service", "Type=notify", "ExecStartPre="+say("pre"), "ExecStart=D notify=READY sleep", "ExecStartPost="+say("post"),
		"ExecReload="+say("reload $${MAINPID:+knows}"), "ExecStop="+say("stop $${MAINPID:+knows}"),
		"ExecStopPost="+say("stop-post $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS $${MAINPID:+knows}"))
	r.start("x.service")
	r.must(r.s.Reload(r.ctx(), "x.service"))
	r.is("x.service", manager.IsActive, "running")
	r.stop("x.service")
	r.is("x.service", manager.Inactive, "dead")
	want := "pre\npost\nreload knows\nstop knows\nstop-post success exited 0\n"
	if got := r.read("trace"); got != want {
		t.Errorf("got %q, want %q\n%s", got, want, r.logOf("x.service"))
	}
	if got := result(r.s.Reload(r.ctx(), "x.service")); got != "not-active" {
		t.Errorf("reload of what is down: %s", got)
	}
}

// TestSurroundings: user, groups, umask, limits, niceness, folders and environment are the unit's, and the daemon can use them.
func TestSurroundings(t *testing.T) {
	r := newRig(t)
	r.must(os.Chmod(r.root, 0o755))
	r.must(os.MkdirAll(r.s.path(keptEnv), 0o700))
	r.must(os.WriteFile(r.s.path(keptEnv, "OF_CONTAINER"), []byte("yes"), 0o600))
	r.must(os.WriteFile(filepath.Join(r.root, "vars"), []byte("C='three words here'\nB=overridden\n"), 0o644))
	name := "berth-test-" + filepath.Base(filepath.Dir(r.root))
	script := `echo $$(id -un) $$(id -gn) $$(umask) $$(ulimit -n) $$(nice) $$(pwd) $$HOME $$A $$B "$$C" $$OF_CONTAINER $$RUNTIME_DIRECTORY; echo w >$$RUNTIME_DIRECTORY/w`
	r.service(name+".service", "Type=oneshot", "RemainAfterExit=yes", "User=nobody", "Group=daemon", "UMask=0027", "LimitNOFILE=123:456", "Nice=3",
		"WorkingDirectory=/usr", "Environment=A=1 B=2", "EnvironmentFile=ROOT/vars", "EnvironmentFile=-ROOT/none", "RuntimeDirectory="+name,
		"RuntimeDirectoryMode=0750", "StandardOutput=append:ROOT/out", "ExecStart=/bin/sh -c '"+strings.ReplaceAll(script, "'", `\'`)+"'")
	r.start(name + ".service")
	want := "nobody daemon 0027 123 3 /usr /nonexistent 1 overridden three words here yes /run/" + name + "\n"
	if got := r.read("out"); got != want {
		t.Errorf("got  %q\nwant %q\n%s", got, want, r.logOf(name+".service"))
	}
	if _, err := os.Stat("/run/" + name + "/w"); err != nil {
		t.Errorf("its folder: %v", err)
	}
	r.stop(name + ".service")
	if _, err := os.Stat("/run/" + name); !missing(err) {
		t.Errorf("its runtime folder is still there: %v", err)
	}
}

// TestStdin: a daemon has no input, whatever the container's is.
func TestStdin(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "ExecStart=D sleep")
	r.start("x.service")
	if in, err := os.Readlink("/proc/" + itoa(r.is("x.service", manager.IsActive, "running").MainPID) + "/fd/0"); err != nil || in != "/dev/null" {
		t.Errorf("input: %s, %v", in, err)
	}
}

// TestDeaf: what does not hear SIGTERM is killed, and its failure says so.
func TestDeaf(t *testing.T) {
	for name, lines := range map[string][]string{
		"simple":  {"ExecStart=D deaf pid=ROOT/pid sleep"},
		"forking": {"Type=forking", "PIDFile=ROOT/pid", "ExecStart=D fork deaf pid=ROOT/pid sleep"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.service("x.service", append(lines, "TimeoutStopSec=500ms")...)
			r.start("x.service")
			r.becomes("x.service", func(manager.State) bool { return r.read("pid") != "" })
			r.must(r.s.Stop(r.ctx(), "x.service"))
			if state := r.is("x.service", manager.Failed, "failed"); state.Result != "timeout" {
				t.Errorf("result %s", state.Result)
			}
		})
	}
}

// TestWatchdog: a service that falls silent is ended and started again.
func TestWatchdog(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "Type=notify", "WatchdogSec=300ms", "Restart=on-watchdog", "ExecStart=D notify=READY sleep")
	r.start("x.service")
	state := r.becomes("x.service", func(s manager.State) bool { return s.Active == manager.IsActive && s.Restarts > 0 })
	if !strings.Contains(r.logOf("x.service"), "Watchdog timeout") {
		t.Errorf("%+v\n%s", state, r.logOf("x.service"))
	}
}

// TestDependencies: what is required comes first and takes along whoever requires it.
func TestDependencies(t *testing.T) {
	r := newRig(t)
	r.service("b.service", "Type=notify", "ExecStart=D file=ROOT/trace notify=READY sleep", "Environment=A=b")
	r.unit("a.service", "[Unit]\nRequires=b.service\nAfter=b.service\n[Service]\nExecStart=D file=ROOT/trace sleep\nEnvironment=A=a\n")
	r.start("a.service")
	r.is("b.service", manager.IsActive, "running")
	r.stop("b.service")
	r.is("a.service", manager.Inactive, "dead")
	r.is("b.service", manager.Inactive, "dead")
	r.service("b.service", "Type=oneshot", "ExecStart=D exit=1")
	if got := result(r.s.Start(r.ctx(), "a.service")); got != "dependency" {
		t.Errorf("with a failed dependency: %s", got)
	}
	if got := result(r.s.Start(r.ctx(), "none.service")); got != "not-found" {
		t.Errorf("a unit that is not there: %s", got)
	}
	r.unit("c.service", "[Unit]\nConditionPathExists=ROOT/none\n[Service]\nExecStart=D sleep\n")
	r.start("c.service")
	if state := r.is("c.service", manager.Inactive, "dead"); state.Condition == "" {
		t.Errorf("no condition in %+v", state)
	}
}

// TestBootAndShutdown: what is enabled starts in order, what is not stays down, one failure keeps nobody else, and all stops in reverse.
func TestBootAndShutdown(t *testing.T) {
	r := newRig(t)
	note := func(name, after string) {
		r.unit(name+".service", "[Unit]\nAfter="+after+"\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"+
			"ExecStart=/bin/sh -c 'echo +"+name+" >>ROOT/trace'\nExecStop=/bin/sh -c 'echo -"+name+" >>ROOT/trace'\n")
	}
	note("one", "")
	note("two", "one.service")
	note("three", "two.service")
	note("idle", "")
	r.service("bad.service", "Type=oneshot", "ExecStart=D exit=1")
	wants := r.s.path("etc/systemd/system/multi-user.target.wants")
	r.must(os.MkdirAll(wants, 0o755))
	for _, name := range []string{"three", "one", "bad", "two"} {
		r.must(os.Symlink("../"+name+".service", filepath.Join(wants, name+".service")))
	}
	r.s.units = nil
	if err := r.s.Boot(r.ctx()); result(err) != "exit-code" {
		t.Errorf("boot: %v", err)
	}
	r.is("multi-user.target", manager.IsActive, "active")
	r.is("idle.service", manager.Inactive, "dead")
	r.is("bad.service", manager.Failed, "failed")
	r.must(r.s.Shutdown(context.Background(), 10*time.Second))
	if got := r.read("trace"); got != "+one\n+two\n+three\n-three\n-two\n-one\n" {
		t.Errorf("got %q", got)
	}
	if left, _ := filepath.Glob(r.s.path(scanFolder, "*.service")); len(left) > 0 {
		t.Errorf("s6 still has %v", left)
	}
}

// TestNative: the image's own services are units, and one that a package replaces yields to it.
func TestNative(t *testing.T) {
	r := newRig(t)
	folder := r.s.path(nativeFolder, "log")
	r.must(os.MkdirAll(folder, 0o755))
	r.must(os.WriteFile(filepath.Join(folder, "units"), []byte("syslog.service\n"), 0o644))
	r.must(os.WriteFile(filepath.Join(folder, "run"), []byte("#!/bin/sh\nexec "+os.Args[0]+" daemon sleep\n"), 0o755))
	r.must(exec.Command("cp", "-r", folder, r.s.path(scanFolder)).Run())
	r.must(exec.Command("s6-svscanctl", "-a", r.s.path(scanFolder)).Run())
	up := func(s manager.State) bool { return s.Active == manager.IsActive && s.MainPID != 0 }
	r.becomes("syslog.service", up)
	r.must(r.s.Stop(r.ctx(), "syslog.service"))
	r.is("syslog.service", manager.Inactive, "dead")
	r.start("syslog.service")
	r.becomes("syslog.service", up)
	r.service("rsys.service", "ExecStart=D sleep")
	r.must(os.Symlink("rsys.service", r.s.path("etc/systemd/system/syslog.service")))
	r.s.units = nil
	r.start("syslog.service")
	r.is("rsys.service", manager.IsActive, "running")
	if n := r.s.natives()[0]; r.s.nativeUp(n) {
		t.Error("the image's own runs beside it")
	}
}

// TestNativeAtBoot: whether one of the image's own services starts with the container is s6's to say, also if a unit of its name is enabled.
func TestNativeAtBoot(t *testing.T) {
	r := newRig(t)
	folder := r.s.path(nativeFolder, "log")
	wants := r.s.path("etc/systemd/system/multi-user.target.wants")
	r.must(errors.Join(os.MkdirAll(folder, 0o755), os.MkdirAll(wants, 0o755)))
	r.must(os.WriteFile(filepath.Join(folder, "run"), []byte("#!/bin/sh\nexec "+os.Args[0]+" daemon sleep\n"), 0o755))
	r.must(os.WriteFile(filepath.Join(folder, "down"), nil, 0o644))
	r.service("log.service", "ExecStart=D sleep")
	r.must(os.Symlink("../log.service", filepath.Join(wants, "log.service")))
	r.must(exec.Command("cp", "-r", folder, r.s.path(scanFolder)).Run())
	r.must(exec.Command("s6-svscanctl", "-a", r.s.path(scanFolder)).Run())
	r.s.units = nil
	r.must(r.s.Boot(r.ctx()))
	r.is("log.service", manager.Inactive, "dead")
}

// TestScript: an init script's daemon is followed, comes back, and is stopped by the script, in whatever way it ends then.
func TestScript(t *testing.T) {
	r := newRig(t)
	self, _ := os.Executable()
	r.must(os.MkdirAll(r.s.path("etc/init.d"), 0o755))
	script := "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: old\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n# Short-Description: old daemon\n### END INIT INFO\n" +
		"case $1 in\nstart) " + self + " daemon fork pid=" + r.root + "/pid sleep exit=1 ;;\nstop) kill $(cat " + r.root + "/pid) ;;\n*) exit 2 ;;\nesac\n"
	// The script's path is the machine's, so it is called from the unit's own root here.
	r.must(os.WriteFile(r.s.path("etc/init.d/old"), []byte(script), 0o755))
	u := r.s.set().Unit("old.service")
	if u.Service == nil {
		t.Fatalf("%+v", u)
	}
	u.Service.ExecStart[0].Path, u.Service.ExecStop[0].Path = r.s.path("etc/init.d/old"), r.s.path("etc/init.d/old")
	r.start("old.service")
	first := r.is("old.service", manager.IsActive, "running")
	r.must(unix.Kill(first.MainPID, unix.SIGKILL))
	r.becomes("old.service", func(s manager.State) bool { return s.MainPID != 0 && s.MainPID != first.MainPID })
	r.stop("old.service")
	r.is("old.service", manager.Inactive, "dead")
}

// TestConditionOfWhatCannotWork: a path unit is refused, but one that its condition leaves out is no error.
func TestConditionOfWhatCannotWork(t *testing.T) {
	r := newRig(t)
	r.unit("x.path", "[Unit]\nConditionVirtualization=!container\n[Path]\nPathExists=ROOT/x\n")
	r.unit("y.path", "[Unit]\nConditionVirtualization=container\n[Path]\nPathExists=ROOT/y\n")
	r.start("x.path")
	if state := r.is("x.path", manager.Inactive, "dead"); state.Condition != "ConditionVirtualization=!container" {
		t.Errorf("condition %q", state.Condition)
	}
	if got := result(r.s.Start(r.ctx(), "y.path")); got != "not-supported" {
		t.Errorf("start: %s", got)
	}
}

// TestSpared: KillMode=process leaves the children of a service alone, and nobody waits for them.
func TestSpared(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "KillMode=process", "ExecStart=D child sleep")
	r.start("x.service")
	state := r.becomes("x.service", func(s manager.State) bool { return len(s.Processes) == 2 })
	r.stop("x.service")
	child, ok := look(state.Processes[1])
	if !ok {
		t.Fatal("the child is gone")
	}
	send(unix.SIGKILL, child)
	if left := awaitEnd(killPatience, func() []process {
		if child.alive() {
			return []process{child}
		}
		return nil
	}); len(left) > 0 {
		t.Error("it cannot be killed")
	}
}
