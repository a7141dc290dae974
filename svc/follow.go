package svc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// watchPeriod is how often a main process that is nobody's child here is looked at, and a PID file that is awaited.
const (
	watchPeriod = time.Second
	pidFileWait = 20 * time.Millisecond
)

// follower follows the main process of a service as the subreaper of all its processes.
type follower struct {
	*life
	first   int                       // ExecStart's process
	ended   <-chan syscall.WaitStatus // of first; nil once it was told
	deaths  <-chan struct{}           // any child has ended
	notices <-chan notice             // from the service
	stop    chan os.Signal            // s6 wants us to end

	main     process
	mainEnd  <-chan syscall.WaitStatus   // nil: no child of ours, or not known
	roots    []<-chan syscall.WaitStatus // ends of what the start left, if none of it is known to be the main process
	deadline <-chan time.Time            // of the start-up, then RuntimeMax's
	watchdog *time.Timer                 // nil: none
	stopping chan struct{}               // closed when the stop that we began ourselves is over
}

// follow starts the service and stays until it has ended. How it ended is in the record.
func (l *life) follow(ctx context.Context) int {
	f := &follower{life: l, stop: make(chan os.Signal, 4)}
	signal.Notify(f.stop, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	var err error
	if f.deaths, err = l.kids.inheritAll(); err != nil {
		return l.notStarted(err, false)
	}
	f.deadline = after(l.sv.TimeoutStart)
	skip, err := f.prepareOrStop(ctx)
	if err != nil || skip {
		return l.notStarted(err, skip)
	}
	if err := f.begin(ctx); err != nil {
		l.fail(err)
		l.wind(ctx)
		return exitCodeOf(err)
	}
	return f.watch(ctx)
}

// prepareOrStop is prepare that s6 may interrupt.
func (f *follower) prepareOrStop(ctx context.Context) (skip bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := make(chan struct{})
	go func() {
		select {
		case <-f.stop:
			cancel()
		case <-finished:
		}
	}()
	defer close(finished)
	return f.prepare(ctx)
}

// begin starts the main process and waits until the service says, in its type's way, that it is up.
func (f *follower) begin(ctx context.Context) error {
	r, err := f.note(func(r *record) { r.set(manager.Activating, "start", uptime()) })
	if err != nil {
		return err
	}
	if r.Wanted == wantDown {
		return errors.New("told to stop while it was starting")
	}
	notices, socket, err := f.s.listen(f.name)
	if err != nil {
		return err
	}
	f.notices = notices
	more := []string{"NOTIFY_SOCKET=" + socket}
	if f.sv.NotifyAccess == "none" || f.sv.NotifyAccess == "" {
		more = nil
	}
	if f.sv.Watchdog > 0 {
		more = append(more, "WATCHDOG_USEC="+strconv.FormatInt(f.sv.Watchdog.Microseconds(), 10))
	}
	launch, err := f.launch(f.sv.ExecStart[0], &r, more...)
	if err != nil {
		return err
	}
	launch.WatchdogPID, launch.Passed = f.sv.Watchdog > 0, f.passed()
	if f.first, f.ended, err = f.kids.start(launch, f.out); err != nil {
		return err
	}
	if f.sv.Type == unit.Forking {
		err = f.forked()
	} else {
		first, _ := look(f.first)
		f.main, f.mainEnd = first, f.ended
		_, err = f.note(func(r *record) { r.Main = f.main })
		if err == nil && (f.sv.Type == unit.Notify || f.sv.Type == unit.NotifyReload) {
			err = f.ready()
		}
	}
	if err != nil {
		return err
	}
	if err := f.commands(ctx, "ExecStartPost", f.sv.ExecStartPost, f.sv.TimeoutStart); err != nil {
		return err
	}
	if _, err := f.activate(f.main); err != nil {
		return err
	}
	f.say("Started %s.", f.title())
	f.deadline = after(f.sv.RuntimeMax)
	if f.sv.Watchdog > 0 {
		f.watchdog = time.NewTimer(f.sv.Watchdog)
	}
	return nil
}

// ready waits for READY=1.
func (f *follower) ready() error {
	for {
		select {
		case n := <-f.notices:
			if f.hear(n); n.fields["READY"] == "1" && f.allowed(n) {
				return nil
			}
		case status := <-f.mainEnd:
			f.mainEnd = nil
			if f.moved() {
				continue
			}
			reason, code := ending(status)
			_, _ = f.note(func(r *record) { r.Main, r.ExitReason, r.ExitCode = process{}, reason, code })
			if clean(reason, code, f.sv.Success) {
				return &protocolError{"the main process ended before it said that it was ready"}
			}
			return &commandError{"ExecStart", f.sv.ExecStart[0].Path, status, nil}
		case <-f.stop:
			return errors.New("told to stop while it was starting")
		case <-f.deadline:
			f.say("%s: start operation timed out. Terminating.", f.name)
			return &commandError{"ExecStart", f.sv.ExecStart[0].Path, 0, errTimeout}
		}
	}
}

// protocolError is a service that did not behave as its type promises.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return e.text }

// forked waits until the first process has ended, and finds out which of those that it left is the main one.
func (f *follower) forked() error {
	_, err := f.note(func(r *record) { r.Control = f.first })
	for err == nil && f.ended != nil {
		select {
		case status := <-f.ended:
			f.ended = nil
			if !succeeded(status, f.sv.Success) && !f.sv.ExecStart[0].IgnoreFailure {
				return &commandError{"ExecStart", f.sv.ExecStart[0].Path, status, nil}
			}
		case n := <-f.notices:
			f.hear(n)
		case <-f.stop:
			return errors.New("told to stop while it was starting")
		case <-f.deadline:
			f.say("%s: start operation timed out. Terminating.", f.name)
			_ = unix.Kill(-f.first, unix.SIGTERM)
			return &commandError{"ExecStart", f.sv.ExecStart[0].Path, 0, errTimeout}
		}
	}
	if err == nil {
		_, err = f.note(func(r *record) { r.Control = 0 })
	}
	if err != nil {
		return err
	}
	if f.main.PID != 0 {
		return nil // it told us itself
	}
	if f.sv.PIDFile != "" {
		return f.awaitPIDFile()
	}
	// With GuessMainPID=no systemd does not guess, and the service lives as long as any of its processes. A script of old times that leaves
	// one process behind leaves no doubt, however, and its -9 has to be seen.
	left := f.children()
	if len(left) == 1 && (f.sv.GuessMainPID || f.u.SysV != nil) {
		f.take(left[0])
	} else {
		f.root(left)
	}
	return nil
}

// awaitPIDFile waits for the file that names the main process: some daemons write it after their parent has ended. Without any process left
// there is nobody to write it.
func (f *follower) awaitPIDFile() error {
	for {
		if f.moved() {
			return nil
		}
		if len(f.children()) == 0 {
			if f.sv.RemainAfterExit {
				return nil
			}
			return &protocolError{"no process is left, and PIDFile=" + f.sv.PIDFile + " does not name one"}
		}
		select {
		case <-time.After(pidFileWait):
		case <-f.stop:
			return errors.New("told to stop while it was starting")
		case <-f.deadline:
			f.say("%s: start operation timed out. Terminating.", f.name)
			return &commandError{"PIDFile", f.sv.PIDFile, 0, errTimeout}
		}
	}
}

// moved looks whether the PID file names a process of the service that lives: daemons that replace themselves write it before the old one ends.
func (f *follower) moved() bool {
	if f.sv.PIDFile == "" {
		return false
	}
	pid := readPIDFile(f.sv.PIDFile)
	if pid <= 1 || pid == os.Getpid() {
		return false
	}
	p, ok := look(pid)
	if !ok || p == f.main || !f.ours(p.PID) {
		return false
	}
	f.take(p)
	return true
}

// readPIDFile gives the number in the first line of a file, or 0. Its writer need not be root, so that it may be anything else than a small file.
func readPIDFile(file string) int {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0
	}
	text, _ := io.ReadAll(io.LimitReader(f, 64))
	line, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	return pid
}

// ours says whether a process belongs to the service. A daemon that was started by hand before is not taken for it.
func (f *follower) ours(pid int) bool {
	r, err := f.s.read(f.name)
	if err != nil {
		return false
	}
	for _, p := range members(&r) {
		if p.PID == pid {
			return true
		}
	}
	return false
}

// take makes a process the main one.
func (f *follower) take(p process) {
	f.main, f.mainEnd = p, nil
	if p.Parent == os.Getpid() || p.PID == f.first {
		f.mainEnd = f.kids.adopt(p.PID)
	}
	_, _ = f.note(func(r *record) { r.Main = p })
}

// children are our own living children: all that is left of the service hangs from one of them.
func (f *follower) children() []process {
	var out []process
	for _, p := range processes() {
		if p.Parent == os.Getpid() {
			out = append(out, p)
		}
	}
	return out
}
