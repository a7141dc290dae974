//go:build integration

package svc

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
)

// rig is a root of its own with a real s6-svscan.
type rig struct {
	*testing.T
	s       *Supervisor
	root    string
	self    string
	console *strings.Builder
}

func newRig(t *testing.T) *rig {
	if os.Getuid() != 0 {
		t.Skip("only root can run services")
	}
	if _, err := exec.LookPath("s6-svscan"); err != nil {
		t.Fatal("s6 is missing; scripts/install-deps test installs it")
	}
	root := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, root: root, self: filepath.Join(root, "berth-svc"), console: &strings.Builder{}}
	r.must(os.Symlink(self, r.self))
	for _, dir := range []string{scanFolder, "etc/systemd/system", "run/berth", nativeFolder} {
		r.must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	if r.s, err = New(Options{Root: root, Self: r.self, Console: r.console}); err != nil {
		t.Fatal(err)
	}
	scan := exec.Command("s6-svscan", r.s.path(scanFolder))
	scan.Stdout, scan.Stderr = os.Stdout, os.Stderr
	in, keep, err := os.Pipe() // as "docker run -i" has it; nothing of it is a service's
	r.must(err)
	t.Cleanup(func() { _ = keep.Close() })
	scan.Stdin = in
	r.must(scan.Start())
	r.must(in.Close())
	t.Cleanup(func() {
		if err := r.s.Shutdown(context.Background(), 5*time.Second); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		_ = exec.Command("s6-svscanctl", "-t", r.s.path(scanFolder)).Run()
		_ = scan.Wait()
		r.noneLeft()
	})
	r.must(r.s.scanned(context.Background()))
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// noneLeft fails if a process of this rig still lives, and ends it. Programs built for the race detector take a second to exit.
func (r *rig) noneLeft() {
	cmdline := func(p process) string {
		text, _ := os.ReadFile("/proc/" + itoa(p.PID) + "/cmdline")
		return string(text)
	}
	left := awaitEnd(3*time.Second, func() []process {
		return slices.DeleteFunc(processes(), func(p process) bool { return p.PID == os.Getpid() || !strings.Contains(cmdline(p), r.root) })
	})
	for _, p := range left {
		r.Errorf("left behind: %d %q", p.PID, cmdline(p))
		_ = unix.Kill(p.PID, unix.SIGKILL)
	}
}

// unit writes a unit file. D stands for a daemon of the tests, ROOT for the root.
func (r *rig) unit(name, text string) {
	self, _ := os.Executable()
	text = strings.NewReplacer("D ", self+" daemon ", "ROOT", r.root).Replace(text)
	r.must(os.WriteFile(filepath.Join(r.root, "etc/systemd/system", name), []byte(text), 0o644))
	r.s.units = nil
}

// service is a unit with these lines of [Service].
func (r *rig) service(name string, lines ...string) {
	r.unit(name, "[Service]\n"+strings.Join(lines, "\n")+"\n")
}

func (r *rig) start(names ...string) {
	r.Helper()
	if err := r.s.Start(r.ctx(), names...); err != nil {
		r.Fatalf("start %v: %v\n%s", names, err, r.logOf(names[0]))
	}
}

func (r *rig) stop(names ...string) {
	r.Helper()
	if err := r.s.Stop(r.ctx(), names...); err != nil {
		r.Fatalf("stop %v: %v\n%s", names, err, r.logOf(names[0]))
	}
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r.Cleanup(cancel)
	return ctx
}

// is fails if a unit is not in a state.
func (r *rig) is(name string, active manager.Active, sub string) manager.State {
	r.Helper()
	state, err := r.s.State(name)
	r.must(err)
	if state.Active != active || state.Sub != sub {
		r.Fatalf("%s is %s (%s), result %s, want %s (%s)\n%s", name, state.Active, state.Sub, state.Result, active, sub, r.logOf(name))
	}
	return state
}

// becomes waits until a unit is in a state.
func (r *rig) becomes(name string, want func(manager.State) bool) manager.State {
	r.Helper()
	var state manager.State
	err := r.s.await(r.ctx(), name, func(*record) bool {
		state, _ = r.s.State(name)
		return want(state)
	})
	if err != nil {
		text, _ := os.ReadFile(filepath.Join(r.s.stateOf(name), recordFile))
		r.Fatalf("%s is %+v\n%s\n%s", name, state, r.logOf(name), text)
	}
	return state
}

func (r *rig) logOf(name string) string {
	text, _ := os.ReadFile(filepath.Join(r.root, logFolder, name, "current"))
	return string(text)
}

func (r *rig) read(file string) string {
	text, _ := os.ReadFile(filepath.Join(r.root, file))
	return string(text)
}
