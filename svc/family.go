package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family starts children and buries them, also those that it inherits as their subreaper. There is one in a process that has any, and
// nothing else there may wait for children.
type family struct {
	self    string // berth-svc, which carries launches out
	inherit bool   // it is a subreaper: all children are its own to bury

	mu      sync.Mutex                      // guards the two; held over a fork, so that no child ends before it is known
	waiting map[int]chan syscall.WaitStatus // of children that somebody waits for
	endings map[chan struct{}]struct{}      // told when any child has ended
	strays  map[int]syscall.WaitStatus      // of children that ended before anybody waited for them
}

// maxStrays bounds what is remembered of children that nobody has asked for. One is asked for within milliseconds after it was seen to live.
const maxStrays = 1000

// newFamily begins to bury. It does so until the process ends.
func newFamily(self string) *family {
	f := &family{self: self, waiting: map[int]chan syscall.WaitStatus{}, endings: map[chan struct{}]struct{}{},
		strays: map[int]syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			f.bury()
		}
	}()
	return f
}

func (f *family) bury() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inherit {
		for f.buryOne(-1) {
		}
	} else {
		// Others of this process may have children of their own, which they wait for.
		for pid := range f.waiting {
			f.buryOne(pid)
		}
	}
	for ch := range f.endings {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// buryOne says whether it found one.
func (f *family) buryOne(pid int) bool {
	var status syscall.WaitStatus
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || got <= 0 {
			return false
		}
		if ch, ok := f.waiting[got]; ok {
			delete(f.waiting, got)
			ch <- status
			return true
		}
		if len(f.strays) == maxStrays {
			clear(f.strays) // those of long ago, whom nobody will ask for
		}
		f.strays[got] = status
		return true
	}
}

// inheritAll makes this process the one that buries all descendants, and gives a channel that is told, at least once after the last one, that
// some have ended.
func (f *family) inheritAll() (<-chan struct{}, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	ch := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inherit = true
	f.endings[ch] = struct{}{}
	return ch, nil
}

// adopt gives a channel for the end of a process that is, or will become, a child of this one without being started by it.
func (f *family) adopt(pid int) <-chan syscall.WaitStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ch, ok := f.waiting[pid]; ok {
		return ch
	}
	ch := make(chan syscall.WaitStatus, 1)
	if status, ok := f.strays[pid]; ok {
		delete(f.strays, pid)
		if errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD) {
			ch <- status // it ended after it was seen; and nobody else has its id
			return ch
		}
	}
	f.waiting[pid] = ch
	return ch
}

// start starts a launch as the leader of its own session, as systemd does, with this process's standard output.
func (f *family) start(l *launch, out *os.File) (int, <-chan syscall.WaitStatus, error) {
	order, err := l.handOver()
	if err != nil {
		return 0, nil, err
	}
	defer order.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	if out == nil {
		out = null
	}
	files := []uintptr{null.Fd(), out.Fd(), out.Fd()}
	for range descriptors(l.Passed) {
		files = append(files, null.Fd()) // keeps a place free in which Go would open something of its own
	}
	files = append(files, order.Fd())
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := syscall.ForkExec(f.self, []string{"berth-svc", "apply"}, &syscall.ProcAttr{
		Env:   []string{launchEnv + "=" + strconv.Itoa(len(files)-1)},
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", f.self, err)
	}
	ch := make(chan syscall.WaitStatus, 1)
	f.waiting[pid] = ch
	return pid, ch, nil
}

// errTimeout is the end of a command that took too long.
var errTimeout = errors.New("timed out")

// run starts a launch and waits for its end. When ctx ends first, its session is terminated, and killed after a grace.
func (f *family) run(ctx context.Context, l *launch, out *os.File, grace time.Duration, started func(pid int)) (syscall.WaitStatus, error) {
	pid, ended, err := f.start(l, out)
	if err != nil {
		return 0, err
	}
	started(pid)
	select {
	case status := <-ended:
		return status, nil
	case <-ctx.Done():
	}
	_ = unix.Kill(-pid, unix.SIGTERM)
	select {
	case status := <-ended:
		return status, errTimeout
	case <-after(grace):
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	return <-ended, errTimeout
}

// after is time.After; 0 is never.
func after(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

// within is context.WithTimeout; 0 is without.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
