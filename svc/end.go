package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// End stops a service that nobody of ours follows: ExecStop, then signals until its main process is gone. finish does the rest, or End does
// where there is no process that s6-supervise watches ("active (exited)").
func (s *Supervisor) End(ctx context.Context, name string) int {
	out, done := s.logOf(name)
	defer done()
	l, err := s.lead(name, out)
	if err != nil {
		return s.confused(name, err, out)
	}
	self, _ := look(os.Getpid())
	exited := false
	if _, err := l.note(func(r *record) { r.Worker, exited = self, r.Sub == "exited" }); err != nil {
		return 1
	}
	l.shutDown(ctx)
	if exited || !watchedBy(s.serviceFolder(name)) {
		l.settle(ctx)
	}
	_, _ = l.note(func(r *record) { r.release(self) })
	return 0
}

// shutDown runs ExecStop and ends the main process, or all of them where none is known to be the main one.
func (l *life) shutDown(ctx context.Context) {
	// Whoever finishes a service that has ended by itself does so beside this, and its word is the last.
	over := false
	r, err := l.note(func(r *record) {
		r.Wanted = wantDown
		if over = r.down(); !over {
			r.set(manager.Deactivating, "stop", uptime())
		}
	})
	if err != nil || over {
		return
	}
	l.say("Stopping %s...", l.title())
	if r.Started && !r.StopRan {
		_, _ = l.note(func(r *record) { r.StopRan = true })
		if err := l.commands(ctx, "ExecStop", l.sv.ExecStop, l.sv.TimeoutStop); err != nil {
			_, _ = l.note(func(r *record) { r.Result = resultOf(err) })
		}
	}
	// It may have gone, and others be known, since then.
	r, err = l.note(func(r *record) {
		if over = r.Active != manager.Deactivating; !over {
			r.Signalled = l.sv.KillMode == unit.KillGroup
			r.set(manager.Deactivating, "stop-sigterm", uptime())
		}
	})
	if err != nil || over {
		return
	}
	targets := func() []process { return l.reached(&r) }
	l.ask(&r, targets())
	awaited := func() []process { return l.awaited(&r) }
	left := awaitEnd(l.sv.TimeoutStop, awaited)
	if len(left) == 0 {
		return
	}
	l.say("%s: State 'stop-sigterm' timed out. Killing.", l.name)
	_, _ = l.note(func(r *record) {
		if over = r.Active != manager.Deactivating; !over {
			r.Result = "timeout"
			r.set(manager.Deactivating, "stop-sigkill", uptime())
		}
	})
	if over || !l.sv.SendSIGKILL {
		return
	}
	final, ok := unit.Signal(l.sv.FinalKillSignal)
	if !ok {
		final = int(unix.SIGKILL)
	}
	l.signal(unix.Signal(final), targets())
	if left = awaitEnd(killPatience, awaited); len(left) > 0 {
		send(unix.SIGKILL, left...)
	}
}

// mainFirst is how long a main process may take to end its own children before they are told to end, too.
const mainFirst = 500 * time.Millisecond

// ask sends the first signal: to the main process, and to the others when that has ended or lets them wait. systemd tells all at once, and
// then says that a daemon has failed whose parent counts a child that dies of a signal as a crash.
func (l *life) ask(r *record, targets []process) {
	others := slices.DeleteFunc(slices.Clone(targets), func(p process) bool { return p.PID == r.Main.PID })
	if len(others) == len(targets) || len(others) == 0 {
		l.signal(l.killSignal(r), targets)
		return
	}
	l.signal(l.killSignal(r), []process{r.Main})
	awaitEnd(mainFirst, func() []process {
		if !r.Main.alive() {
			return nil
		}
		return []process{r.Main}
	})
	l.signal(l.killSignal(r), others)
}

// reached are those whom KillMode= lets the first signal reach.
func (l *life) reached(r *record) []process {
	switch {
	case l.sv.KillMode == unit.KillNone:
		return nil
	case l.sv.KillMode == unit.KillProcess || l.sv.KillMode == unit.KillMixed && r.Main.PID != 0:
		if r.Main.PID == 0 {
			return nil
		}
		return []process{r.Main}
	}
	return members(r)
}

// awaited are those whose end is the end of the service.
func (l *life) awaited(r *record) []process {
	switch {
	case l.sv.KillMode == unit.KillNone:
		return nil
	case r.Main.PID != 0 && r.Main.alive():
		return []process{r.Main}
	case r.Main.PID != 0 || l.sv.KillMode == unit.KillProcess:
		return nil
	}
	return members(r)
}

// signal sends a signal and what wakes those who are stopped.
func (l *life) signal(signal unix.Signal, to []process) {
	send(signal, to...)
	if signal != unix.SIGKILL {
		send(unix.SIGCONT, to...)
		if l.sv.SendSIGHUP {
			send(unix.SIGHUP, to...)
		}
	}
}

// killSignal is with what a service is asked to end.
func (l *life) killSignal(r *record) unix.Signal {
	name := l.sv.KillSignal
	if r.Again {
		name = l.sv.RestartKillSignal
	}
	if n, ok := unit.Signal(name); ok {
		return unix.Signal(n)
	}
	return unix.SIGTERM
}

// reload runs ExecReload, or sends the signal of Type=notify-reload.
func (l *life) reload(ctx context.Context) error {
	self, _ := look(os.Getpid())
	r, err := l.note(func(r *record) {
		if r.Active == manager.IsActive || r.Active == manager.Reloading {
			r.set(manager.Reloading, "reload", uptime())
			r.Worker = self
		}
	})
	if err != nil {
		return err
	}
	if r.Active != manager.Reloading {
		return errors.New("it is being stopped")
	}
	l.say("Reloading %s...", l.title())
	if l.sv.Type == unit.NotifyReload && len(l.sv.ExecReload) == 0 {
		err = l.reloadBySignal(&r)
	} else {
		err = l.commands(ctx, "ExecReload", l.sv.ExecReload, l.sv.TimeoutStart)
	}
	_, noteErr := l.note(func(r *record) {
		if r.Active == manager.Reloading {
			r.set(manager.IsActive, "running", uptime())
		}
		r.release(self)
	})
	if err == nil {
		l.say("Reloaded %s.", l.title())
		err = noteErr
	}
	return err
}

// reloadBySignal waits for the service to say that it has reloaded, which follow writes down.
func (l *life) reloadBySignal(r *record) error {
	n, ok := unit.Signal(l.sv.ReloadSignal)
	if !ok {
		n = int(unix.SIGHUP)
	}
	if _, err := l.note(func(r *record) { r.set(manager.Reloading, "reload-signal", uptime()) }); err != nil {
		return err
	}
	send(unix.Signal(n), r.Main)
	end := after(l.sv.TimeoutStart)
	for {
		now, err := l.s.read(l.name)
		if err != nil || now.Active != manager.Reloading {
			return err
		}
		select {
		case <-end:
			return fmt.Errorf("reload: %w", errTimeout)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
