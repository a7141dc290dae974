package svc

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// watch follows a service that is up until its main process has ended, or all of its processes if none is the main one.
func (f *follower) watch(ctx context.Context) int {
	for {
		var look <-chan time.Time
		if f.main.PID != 0 && f.mainEnd == nil {
			look = time.After(watchPeriod)
		}
		var barked <-chan time.Time
		if f.watchdog != nil {
			barked = f.watchdog.C
		}
		if f.main.PID == 0 {
			switch left := f.children(); {
			case len(left) == 0:
				reason, code := f.rootsEnd()
				return f.gone(ctx, reason, code)
			case len(left) == 1 && f.stopping == nil && (f.sv.GuessMainPID || f.u.SysV != nil):
				f.take(left[0]) // those that were only on the way to it have ended
				continue
			}
		}
		select {
		case status := <-f.mainEnd:
			if f.moved() || f.passedOn(status) {
				continue
			}
			reason, code := ending(status)
			return f.gone(ctx, reason, code)
		case <-f.deaths:
			f.adoptMain()
		case <-look:
			if !f.main.alive() && !f.moved() {
				return f.gone(ctx, "exited", 0) // nobody's child that we could ask
			}
			f.adoptMain()
		case n := <-f.notices:
			f.hear(n)
		case <-barked:
			f.say("%s: Watchdog timeout (limit %s)!", f.name, f.sv.Watchdog)
			f.condemn("watchdog", unix.SIGABRT)
		case <-f.deadline:
			f.deadline = nil
			f.say("%s: Service runtime limit reached. Stopping.", f.name)
			f.condemn("timeout", unix.SIGTERM)
		case <-f.stopping:
			return f.left(ctx)
		case <-f.stop:
			if f.stopping == nil {
				f.stopping = make(chan struct{})
				go func() {
					f.shutDown(ctx)
					close(f.stopping)
				}()
			}
		}
	}
}

// passedOn says whether the process that a script left behind was only on the way to the daemon: it has ended well, and others are there.
func (f *follower) passedOn(status syscall.WaitStatus) bool {
	left := f.children()
	reason, code := ending(status)
	if f.u.SysV == nil || f.stopping != nil || len(left) == 0 || !clean(reason, code, f.sv.Success) {
		return false
	}
	if len(left) == 1 {
		f.take(left[0])
		return true
	}
	f.root(left)
	_, err := f.note(func(r *record) { r.Main = process{} })
	return err == nil
}

// root remembers the processes that a start left, none of which is known to be the main one.
func (f *follower) root(left []process) {
	f.main, f.mainEnd, f.roots = process{}, nil, nil
	for _, p := range left {
		f.roots = append(f.roots, f.kids.adopt(p.PID))
	}
}

// rootsEnd is how a service without a main process has ended: badly if one that it was started with did. systemd does not look at them.
func (f *follower) rootsEnd() (reason string, code int) {
	for _, ended := range f.roots {
		select {
		case status := <-ended:
			if reason, code := ending(status); reason != "exited" && !clean(reason, code, f.sv.Success) {
				return reason, code
			}
		default:
		}
	}
	return "exited", 0
}

// left is the end after a stop: whatever KillMode= spares goes on without us.
func (f *follower) left(ctx context.Context) int {
	select {
	case status := <-f.mainEnd:
		reason, code := ending(status)
		return f.gone(ctx, reason, code)
	default:
		return f.gone(ctx, "exited", 0)
	}
}

// adoptMain begins to wait for a main process that has become our child because its parent has ended.
func (f *follower) adoptMain() {
	if f.main.PID == 0 || f.mainEnd != nil {
		return
	}
	if p, ok := look(f.main.PID); ok && p.Start == f.main.Start {
		f.take(p)
	}
}

// condemn ends a service that has broken a limit. Why is its Result.
func (f *follower) condemn(result string, signal unix.Signal) {
	f.watchdog = nil
	r, err := f.note(func(r *record) {
		r.Result = result
		r.set(manager.Deactivating, "stop-"+strings.ToLower(unit.SignalName(int(signal))), uptime())
	})
	if err != nil {
		return
	}
	main := f.main
	if main.PID == 0 {
		send(signal, members(&r)...)
	} else {
		send(signal, main)
	}
	grace := after(f.sv.TimeoutStop)
	if grace == nil {
		return
	}
	go func() {
		<-grace
		send(unix.SIGKILL, main)
	}()
}

// gone writes down how the main process ended, and ends what it has left; finish does the rest.
func (f *follower) gone(ctx context.Context, reason string, code int) int {
	if f.stopping != nil {
		<-f.stopping
	}
	f.s.forgetSocket(f.name)
	remains := false
	_, _ = f.note(func(r *record) {
		r.ExitReason, r.ExitCode = reason, code
		if remains = f.sv.RemainAfterExit && r.Wanted != wantDown && clean(reason, code, f.sv.Success); remains {
			r.Main = process{}
			r.set(manager.IsActive, "exited", uptime())
		} else if f.main.PID != 0 && r.Wanted != wantDown {
			f.say("%s: Main process exited, %s", f.name, wording(waitStatus(reason, code)))
		}
	})
	if !remains {
		f.wind(ctx)
	}
	return 0
}

// waitStatus is the opposite of ending.
func waitStatus(reason string, code int) syscall.WaitStatus {
	switch reason {
	case "killed":
		return syscall.WaitStatus(code)
	case "dumped":
		return syscall.WaitStatus(code | 0x80)
	}
	return syscall.WaitStatus(code << 8)
}

// allowed says whether a process may speak for the service.
func (f *follower) allowed(n notice) bool {
	switch f.sv.NotifyAccess {
	case "main":
		return n.from == f.main.PID
	case "exec":
		r, err := f.s.read(f.name)
		return err == nil && (n.from == f.main.PID || n.from == r.Control)
	case "all":
		// One that has ended by now, as systemd-notify has, cannot be looked at any more, but its user is known. Everybody can reach the socket.
		return n.user == 0 || f.who != nil && n.user == f.who.UID || f.ours(n.from)
	}
	return false
}

// hear takes in what the service says of itself; sd_notify(3). File descriptors to keep are not kept.
func (f *follower) hear(n notice) {
	if !f.allowed(n) {
		return
	}
	if pid, err := strconv.Atoi(n.fields["MAINPID"]); err == nil && pid > 1 {
		// Only root may name one that is not of the service: whatever it names is killed when the service stops.
		if p, ok := look(pid); ok && p.PID != f.main.PID && (n.user == 0 || f.ours(pid)) {
			f.take(p)
		}
	}
	if n.fields["WATCHDOG"] == "1" && f.watchdog != nil {
		f.watchdog.Reset(f.sv.Watchdog)
	}
	if n.fields["WATCHDOG"] == "trigger" && f.watchdog != nil {
		f.condemn("watchdog", unix.SIGABRT)
	}
	_, _ = f.note(func(r *record) {
		if status, ok := n.fields["STATUS"]; ok {
			r.Status = status
		}
		switch {
		case r.Wanted == wantDown || !r.Started:
		case n.fields["STOPPING"] == "1":
			r.set(manager.Deactivating, "stop-sigterm", uptime())
		case n.fields["RELOADING"] == "1":
			r.set(manager.Reloading, "reload-notify", uptime())
		case n.fields["READY"] == "1" && r.Active == manager.Reloading:
			r.set(manager.IsActive, "running", uptime())
		}
	})
}
