package verbs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// world is a small machine: the files of testdata/world.txt in a folder of the test, and a manager that does what it is told at once.
type world struct {
	t       *testing.T
	root    string
	now     time.Time
	uid     int
	locale  string
	tty     bool
	states  map[string]*manager.State
	pid     int
	scripts map[string]int // exit codes of programs by path; 0 without
	hidden  bool           // the states cannot be read
	out     bytes.Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, root: t.TempDir(), now: time.Date(2026, 11, 21, 21, 10, 25, 0, time.UTC), locale: "C.UTF-8",
		states: map[string]*manager.State{}, pid: 100, scripts: map[string]int{},
	}
	w.unpack("testdata/world.txt")
	w.chtime("/run/berth/booted")
	for _, target := range []string{"sysinit.target", "basic.target", "multi-user.target"} {
		w.states[target] = &manager.State{Active: manager.IsActive, Sub: "active", Since: w.now}
	}
	w.become("ssh.service", manager.IsActive, "running")
	w.process("ssh.service", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")
	return w
}

func (w *world) path(p string) string { return filepath.Join(w.root, p) }

func (w *world) chtime(p string) {
	if err := os.Chtimes(w.path(p), w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
}

// unpack lays out a file of files.
func (w *world) unpack(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n-- ")
	for part := range strings.SplitSeq(rest, "\n-- ") {
		head, body, _ := strings.Cut(part, " --\n")
		head = strings.TrimSuffix(head, " --")
		if name, target, ok := strings.Cut(head, " -> "); ok {
			w.link(name, target)
			continue
		}
		name, run := strings.CutSuffix(head, " +x")
		if body != "" {
			body += "\n"
		}
		w.write(name, strings.TrimSuffix(body, "\n")+"\n", run)
	}
}

func (w *world) write(name, text string, run bool) {
	mode := os.FileMode(0o644)
	if run {
		mode = 0o755
	}
	err := errors.Join(os.MkdirAll(filepath.Dir(w.path(name)), 0o755), os.WriteFile(w.path(name), []byte(text), mode))
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) link(name, target string) {
	err := errors.Join(os.MkdirAll(filepath.Dir(w.path(name)), 0o755), os.Symlink(target, w.path(name)))
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) units(root string, folders ...string) *unit.Set {
	return unit.New(os.DirFS(root), unit.Environment{
		Hostname: "box", KernelRelease: "6.1.0", Architecture: "x86-64", UnitDirs: unitDirs(root, folders),
	})
}

// environment is the machine for one call.
func (w *world) environment() Environment {
	return Environment{
		Manager: w, Units: w.units, Root: w.root, Stdin: strings.NewReader(""), Stdout: &w.out, Stderr: &marked{&w.out, true}, Terminal: w.tty,
		Getenv: func(name string) string {
			return map[string]string{"LC_ALL": w.locale, "PATH": "/usr/bin:/bin", "TERM": "dumb", "EDITOR": "edit", "HOME": "/root"}[name]
		},
		Now: func() time.Time { return w.now }, Zone: time.UTC, UID: w.uid, Hostname: "box", Run: w.run, Chown: w.chown,
		Become: w.replaced, Readlink: w.readlink,
	}
}

// chown tells it, as only root could do it. Who runs the tests counts as root.
func (w *world) chown(path string, uid, gid int) error {
	if uid == os.Getuid() {
		uid = 0
	}
	if gid == os.Getgid() {
		gid = 0
	}
	fmt.Fprintf(&w.out, "(chown %d:%d %s)\n", uid, gid, strings.TrimPrefix(path, w.root))
	return nil
}

// marked puts "! " before what goes to standard error.
type marked struct {
	to    *bytes.Buffer
	begin bool
}

func (m *marked) Write(p []byte) (int, error) {
	for _, b := range p {
		if m.begin {
			m.to.WriteString("! ")
		}
		m.to.WriteByte(b)
		m.begin = b == '\n'
	}
	return len(p), nil
}

// run says what would be called. An editor writes its drop-in; scripts end as the scenario says.
func (w *world) run(_ context.Context, p Program) (int, error) {
	args := strings.ReplaceAll(strings.Join(p.Args, " "), w.root, "")
	if strings.HasPrefix(args, `-c edit "$0"`) {
		return 0, os.WriteFile(p.Args[2], []byte("[Service]\nNice=7\n"), 0o644)
	}
	fmt.Fprintf(&w.out, "(run %s)\n", strings.TrimSpace(p.Path+" "+args))
	return w.scripts[p.Path], nil
}

// replaced says what the program would become.
func (w *world) replaced(path string, argv []string) error {
	fmt.Fprintf(&w.out, "(become %s %s)\n", path, strings.Join(argv[1:], " "))
	return nil
}

// readlink cannot read the links that lead to nowhere, as root cannot read those of other users' processes in a container.
func (w *world) readlink(path string) (string, error) {
	target, err := os.Readlink(path)
	if target == "hidden" {
		return "", os.ErrPermission
	}
	return target, err
}

func (w *world) become(name string, active manager.Active, sub string) *manager.State {
	st := w.states[name]
	if st == nil {
		st = &manager.State{Result: "success"}
		w.states[name] = st
	}
	if st.Active != active {
		st.Since = w.now
	}
	st.Active, st.Sub = active, sub
	return st
}

// process gives a unit a main process that /proc knows.
func (w *world) process(name string, args ...string) {
	st := w.states[name]
	w.pid++
	st.MainPID, st.Processes, st.Started = w.pid, []int{w.pid}, w.now
	comm := filepath.Base(strings.Fields(args[0])[0])
	comm = strings.TrimSuffix(comm, ":")
	w.write(fmt.Sprintf("/proc/%d/stat", w.pid), fmt.Sprintf("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 2 0 100 0 0", w.pid, comm), false)
	w.write(fmt.Sprintf("/proc/%d/cmdline", w.pid), strings.Join(args, "\x00")+"\x00", false)
	w.write(fmt.Sprintf("/proc/%d/smaps_rollup", w.pid), "Rss: 4000 kB\nPss: 1536 kB\n", false)
}

// log writes a line as s6-log would.
func (w *world) log(name, text string) {
	file := w.path("/var/log/units/" + name + "/current")
	old, _ := os.ReadFile(file)
	stamp := fmt.Sprintf("@%016x%08x", uint64(1)<<62+uint64(w.now.Unix())+37, w.now.Nanosecond())
	w.write("/var/log/units/"+name+"/current", string(old)+stamp+" "+text+"\n", false)
}

// Start does to each unit what its file says; a program called "false" fails.
func (w *world) Start(_ context.Context, names ...string) error {
	for _, name := range names {
		u := w.units(w.root).Unit(name)
		if w.active(u.Name) {
			continue
		}
		if u.Kind == unit.KindSocket {
			if u.Socket.Refused != "" {
				return &manager.Error{Unit: name, Result: "not-supported", Err: errors.New(u.Socket.Refused)}
			}
			_ = w.Start(context.Background(), u.Socket.Service)
		}
		for _, need := range u.Requires {
			if err := w.Start(context.Background(), need); err != nil {
				return &manager.Error{Unit: name, Result: "dependency", Err: err}
			}
		}
		if u.Service == nil {
			w.become(u.Name, manager.IsActive, "active")
			continue
		}
		w.log(u.Name, "systemd[1]: Starting "+u.Name+" - "+u.Description+"...")
		command := u.Service.ExecStart[0].Path
		switch {
		case command == "/bin/false":
			st := w.become(u.Name, manager.Failed, "failed")
			st.Result, st.ExitCode, st.ExitReason, st.ExitPID, st.Started = "exit-code", 1, "exited", w.pid+1, w.now
			w.log(u.Name, "systemd[1]: "+u.Name+": Control process exited, code=exited, status=1/FAILURE")
			return &manager.Error{Unit: u.Name, Result: "exit-code", Err: errors.New("exit code 1")}
		case u.Service.Type == unit.Oneshot && u.Service.RemainAfterExit:
			w.become(u.Name, manager.IsActive, "exited")
		case u.Service.Type == unit.Oneshot:
			w.become(u.Name, manager.Inactive, "dead")
		default:
			w.become(u.Name, manager.IsActive, "running")
			w.process(u.Name, append([]string{command}, u.Service.ExecStart[0].Args[1:]...)...)
			w.log(u.Name, "listening")
		}
		w.log(u.Name, "systemd[1]: Started "+u.Name+" - "+u.Description+".")
	}
	return nil
}

func (w *world) active(name string) bool {
	st := w.states[name]
	return st != nil && (st.Active == manager.IsActive || st.Active == manager.Reloading)
}

func (w *world) Stop(_ context.Context, names ...string) error {
	for _, name := range names {
		if st := w.states[name]; st != nil {
			w.end(st)
			w.become(name, manager.Inactive, "dead")
			st.Result = "success"
		}
	}
	return nil
}

func (w *world) end(st *manager.State) {
	if st.MainPID > 0 {
		os.RemoveAll(w.path("/proc/" + strconv.Itoa(st.MainPID)))
		st.ExitPID, st.ExitReason, st.ExitCode = st.MainPID, "exited", 0
	}
	st.MainPID, st.Processes = 0, nil
}

func (w *world) Restart(ctx context.Context, names ...string) error {
	return errors.Join(w.Stop(ctx, names...), w.Start(ctx, names...))
}

func (w *world) Reload(_ context.Context, names ...string) error {
	for _, name := range names {
		w.log(name, "systemd[1]: Reloaded "+name+".")
	}
	return nil
}

// Kill ends what it is told to kill, for good.
func (w *world) Kill(_ context.Context, signal, whom string, names ...string) error {
	for _, name := range names {
		fmt.Fprintf(&w.out, "(%s to %s of %s)\n", signal, whom, name)
		if st := w.states[name]; st != nil && signal == "SIGKILL" {
			w.end(st)
			st.ExitReason, st.ExitCode = "killed", 9
			w.become(name, manager.Failed, "failed").Result = "signal"
		}
	}
	return nil
}

func (w *world) ResetFailed(names ...string) error {
	for name, st := range w.states {
		if st.Active == manager.Failed && (len(names) == 0 || slices.Contains(names, name)) {
			w.become(name, manager.Inactive, "dead").Result = "success"
		}
	}
	return nil
}

func (w *world) State(name string) (manager.State, error) {
	if w.hidden {
		return manager.State{}, os.ErrPermission
	}
	if st := w.states[name]; st != nil {
		return *st, nil
	}
	return manager.State{Active: manager.Inactive, Sub: "dead"}, nil
}

func (w *world) Known() ([]string, error) {
	if w.hidden {
		return nil, os.ErrPermission
	}
	var names []string
	for name := range w.states {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (w *world) Reconsider() error { return nil }
