//go:build integration

package svc

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
)

// killed is a process of ours that was killed in the middle of its work.
func killed(t *testing.T) process {
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p, _ := look(c.Process.Pid)
	_ = c.Process.Kill()
	_ = c.Wait()
	return p
}

// TestAbandoned: whoever began to start, stop or reload a service may be killed at any moment; the next one does not wait for it for ever.
func TestAbandoned(t *testing.T) {
	r := newRig(t)
	dead := killed(t)
	note := func(change func(*record)) {
		t.Helper()
		_, err := r.s.update("x.service", change)
		r.must(err)
	}
	r.service("x.service", "ExecStart=D sleep")
	starting := func(r *record) {
		r.Job, r.Wanted, r.Worker = "j", wantUp, dead
		r.set(manager.Activating, "start", uptime())
	}
	note(starting)
	r.is("x.service", manager.Inactive, "dead")
	r.stop("x.service")
	note(starting)
	r.start("x.service")
	r.is("x.service", manager.IsActive, "running")
	note(func(r *record) {
		r.Worker = dead
		r.set(manager.Reloading, "reload", uptime())
	})
	r.is("x.service", manager.IsActive, "running")
	stopping := func(r *record) {
		r.Wanted, r.Worker = wantDown, dead
		r.set(manager.Deactivating, "stop", uptime())
	}
	note(stopping)
	r.start("x.service")
	r.is("x.service", manager.IsActive, "running")
	note(stopping)
	r.stop("x.service")
	r.is("x.service", manager.Inactive, "dead")

	r.service("x.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true", "ExecStop=/bin/sh -c 'echo stopped >>ROOT/trace'")
	r.start("x.service")
	r.becomes("x.service", func(s manager.State) bool { return s.Sub == "exited" })
	note(stopping)
	r.stop("x.service")
	r.is("x.service", manager.Inactive, "dead")
	if got := r.read("trace"); got != "stopped\n" {
		t.Errorf("ExecStop: %q", got)
	}
}

// TestAtOnce: orders of many at the same time come to an end, and the last one holds.
func TestAtOnce(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "ExecStart=D sleep")
	others := func() *Supervisor {
		s, err := New(Options{Root: r.root, Self: r.self, Console: r.console})
		r.must(err)
		return s
	}
	for range 8 {
		var wg sync.WaitGroup
		for _, do := range []func(*Supervisor, context.Context, ...string) error{
			(*Supervisor).Restart, (*Supervisor).Restart, (*Supervisor).Stop, (*Supervisor).Start, (*Supervisor).Start, (*Supervisor).Stop, (*Supervisor).Restart,
		} {
			s, ctx := others(), r.ctx()
			wg.Go(func() {
				if err := do(s, ctx, "x.service"); err != nil && result(err) != "canceled" {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		r.start("x.service")
		r.is("x.service", manager.IsActive, "running")
		r.stop("x.service")
		r.is("x.service", manager.Inactive, "dead")
	}
}

// TestStopDuringBoot: what waits for its turn is not started any more when the container is to stop.
func TestStopDuringBoot(t *testing.T) {
	r := newRig(t)
	r.service("one.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=D file=ROOT/trace sleep")
	r.unit("two.service", "[Unit]\nAfter=one.service\n[Service]\nExecStart=D file=ROOT/trace sleep\n")
	wants := r.s.path("etc/systemd/system/multi-user.target.wants")
	r.must(os.MkdirAll(wants, 0o755))
	for _, name := range []string{"one", "two"} {
		r.must(os.Symlink("../"+name+".service", wants+"/"+name+".service"))
	}
	booted := make(chan error, 1)
	s, err := New(Options{Root: r.root, Self: r.self, Console: r.console})
	r.must(err)
	ctx := r.ctx()
	go func() { booted <- s.Boot(ctx) }()
	r.becomes("one.service", func(s manager.State) bool { return s.Sub == "start" && r.read("trace") != "" })
	r.must(os.MkdirAll(r.s.path(stoppingFile), 0o755))
	r.must(r.s.Shutdown(context.Background(), 10*time.Second))
	if err := <-booted; result(err) == "success" {
		t.Error("boot says that all is up")
	}
	r.is("one.service", manager.Inactive, "dead")
	r.is("two.service", manager.Inactive, "dead")
	r.must(unix.Rmdir(r.s.path(stoppingFile)))
}

// TestCompany: what a unit names for its failure and success starts, what conflicts with it stops, in either direction, and what it needs has to
// run already.
func TestCompany(t *testing.T) {
	r := newRig(t)
	active := func(name string) {
		t.Helper()
		r.becomes(name, func(s manager.State) bool { return s.Active == manager.IsActive })
	}
	for _, name := range []string{"bad", "good", "old"} {
		r.service(name+".service", "ExecStart=D sleep")
	}
	r.unit("x.service", "[Unit]\nOnFailure=bad.service\nOnSuccess=good.service\n[Service]\nExecStart=D exit=1\nRestart=no\n")
	_ = r.s.Start(r.ctx(), "x.service")
	active("bad.service")
	r.is("good.service", manager.Inactive, "dead")
	r.unit("x.service", "[Unit]\nOnFailure=bad.service\nOnSuccess=good.service\nConflicts=old.service\n[Service]\nExecStart=D sleep\n")
	r.start("old.service")
	r.start("x.service")
	r.is("old.service", manager.Inactive, "dead")
	r.start("old.service")
	r.is("x.service", manager.Inactive, "dead")
	active("good.service")

	r.unit("y.service", "[Unit]\nRequisite=x.service\nAfter=x.service\nReloadPropagatedFrom=old.service\n[Service]\nExecStart=D sleep\n"+
		"ExecReload=/bin/sh -c 'echo reloaded >>ROOT/trace'\n")
	if got := result(r.s.Start(r.ctx(), "y.service")); got != "dependency" {
		t.Errorf("without what it needs: %s", got)
	}
	r.unit("x.service", "[Service]\nExecStart=D sleep\n")
	r.start("x.service", "y.service")
	r.service("old.service", "ExecStart=D sleep", "ExecReload=/bin/true")
	r.must(r.s.Reload(r.ctx(), "old.service"))
	if got := r.read("trace"); got != "reloaded\n" {
		t.Errorf("reloaded with another: %q", got)
	}
	r.unit("z.service", "[Unit]\nAssertPathExists=ROOT/none\n[Service]\nExecStart=D sleep\n")
	if got := result(r.s.Start(r.ctx(), "z.service")); got != "assert" {
		t.Errorf("an assertion: %s", got)
	}
	r.is("z.service", manager.Inactive, "dead")
}

// TestFullDisk: a service that crashes while nothing can be written comes back when that is over.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "ExecStart=D sleep", "Restart=always")
	r.start("x.service")
	first := r.is("x.service", manager.IsActive, "running")
	full := r.s.stateOf("x.service") + "/" + recordFile + ".new" // no file can take its place
	r.must(os.Mkdir(full, 0o755))
	supervised := func() bool {
		out, err := exec.Command("s6-svstat", "-o", "up,wantedup", r.s.serviceFolder("x.service")).Output()
		return err != nil || string(out) != "false true\n"
	}
	r.must(unix.Kill(first.MainPID, unix.SIGKILL))
	r.becomes("x.service", func(manager.State) bool {
		return !supervised() && strings.Contains(r.logOf("x.service"), recordFile+".new")
	})
	r.must(os.Remove(full))
	r.becomes("x.service", func(s manager.State) bool {
		return s.Active == manager.IsActive && s.MainPID != 0 && s.MainPID != first.MainPID
	})
}

// TestRestartKillSignal: a restart asks by another signal than a stop, if the unit says so.
func TestRestartKillSignal(t *testing.T) {
	r := newRig(t)
	trap := func(name string) string { return `trap "echo ` + name + ` >>ROOT/trace; exit 0" ` + name + `; ` }
	r.service("x.service", "KillMode=mixed", "RestartKillSignal=SIGINT", "ExecStart=/bin/sh -c '"+trap("INT")+trap("TERM")+"echo up >>ROOT/trace; sleep 1000 & wait'")
	up := func(n int) {
		r.becomes("x.service", func(manager.State) bool { return strings.Count(r.read("trace"), "up\n") == n })
	}
	r.start("x.service")
	up(1)
	r.must(r.s.Restart(r.ctx(), "x.service"))
	up(2)
	r.stop("x.service")
	if got := r.read("trace"); got != "up\nINT\nup\nTERM\n" {
		t.Errorf("got %q", got)
	}
}

// TestForgotten: a service of which nobody knows any more how it was started fails, and can be started again.
func TestForgotten(t *testing.T) {
	r := newRig(t)
	r.service("x.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
	r.start("x.service")
	r.must(os.Remove(r.s.stateOf("x.service") + "/" + snapshotFile))
	r.stop("x.service")
	r.is("x.service", manager.Failed, "failed")
	r.start("x.service")
	r.is("x.service", manager.IsActive, "exited")
}
