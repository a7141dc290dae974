package svc

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// followed says whether a service needs a process of ours as long as it lives: to find out which process is its main one, to hear from it, to
// end it in time, or, in Run, because what is given sockets has to be a child. All others run without one, as memory is counted in a container.
func followed(sv *unit.Service) bool {
	switch sv.Type {
	case unit.Forking, unit.Notify, unit.NotifyReload:
		return true
	case unit.Oneshot:
		return false
	}
	return len(sv.ExecStartPost) > 0 || sv.RuntimeMax > 0 || sv.Watchdog > 0
}

// Run is what s6-supervise calls as a service's run: it prepares the service and becomes its main process, or follows that. It returns when
// the service has ended or could not start, with the exit code for s6-supervise.
func (s *Supervisor) Run(ctx context.Context, name string) int {
	l, err := s.lead(name, os.Stdout)
	if err != nil {
		return s.confused(name, err, os.Stdout)
	}
	self, _ := look(os.Getpid())
	follow := followed(l.sv) || l.sv.Type != unit.Oneshot && len(l.passed()) > 0
	r, err := l.note(func(r *record) {
		r.Supervised, r.Followed = self.PID, follow || l.sv.Type == unit.Oneshot
		r.Main, r.Worker, r.Started, r.StopRan, r.Status = process{}, process{}, false, false, ""
		r.Invocation = newInvocation()
		r.set(manager.Activating, "start-pre", uptime())
	})
	if err != nil {
		l.say("%s: %v", name, err)
		return 1 // a full disk: finish has it tried again
	}
	if r.Wanted == wantDown {
		return 0 // told to stop before it was there
	}
	if follow {
		return l.follow(context.WithoutCancel(ctx)) // it hears s6 itself, and has things to do then
	}
	if skip, err := l.prepare(ctx); err != nil || skip {
		return l.notStarted(err, skip)
	}
	if l.sv.Type == unit.Oneshot {
		return l.oneshot(ctx)
	}
	return l.turnInto(self)
}

// confused is for what cannot happen while nobody meddles with our files: the service has failed, and stays down until it is started again.
func (s *Supervisor) confused(name string, err error, out *os.File) int {
	l := life{name: name, out: out}
	l.say("%s: %v", name, err)
	_, _ = s.update(name, func(r *record) {
		r.Result, r.Wanted, r.Main = "resources", wantDown, process{}
		r.decide(r.Result)
		r.set(manager.Failed, "failed", uptime())
	})
	return 1
}

// prepare does what comes before the main process. It says whether ExecCondition= wants the start to be skipped.
func (l *life) prepare(ctx context.Context) (skip bool, err error) {
	l.say("Starting %s...", l.title())
	if l.who, err = identify(l.name, l.sv); err != nil {
		return false, err
	}
	if err := makeFolders(l.sv, l.who); err != nil {
		return false, err
	}
	for _, c := range l.sv.ExecCondition {
		status, err := l.command(ctx, c, l.sv.TimeoutStart)
		switch {
		case err != nil, status.Signaled(), status.ExitStatus() == 255:
			return false, &commandError{"ExecCondition", c.Path, status, err}
		case status.ExitStatus() != 0:
			return true, nil
		}
	}
	return false, l.commands(ctx, "ExecStartPre", l.sv.ExecStartPre, l.sv.TimeoutStart)
}

// notStarted is the end of a start that was skipped or failed.
func (l *life) notStarted(err error, skip bool) int {
	if skip {
		l.say("%s: Skipped due to 'exec-condition'.", l.name)
		_, _ = l.note(func(r *record) { r.Result, r.Condition = "exec-condition", "ExecCondition"; r.decide("success") })
		return 0
	}
	l.fail(err)
	return exitCodeOf(err)
}

// turnInto makes this process the service's main one.
func (l *life) turnInto(self process) int {
	r, err := l.note(func(r *record) { r.set(manager.Activating, "start", uptime()) })
	if err != nil {
		return l.notStarted(err, false)
	}
	launch, err := l.launch(l.sv.ExecStart[0], &r)
	if err == nil {
		_, err = launch.find() // a name that nobody knows is told before the service counts as started
	}
	if err != nil {
		return l.notStarted(err, false)
	}
	// From here on a stop is a signal to the daemon: one that comes before exec must not be lost on us, or the stop waits until its time is over.
	signal.Reset(unix.SIGTERM, unix.SIGINT)
	if r, err = l.activate(self); err != nil || r.Wanted == wantDown {
		return 0
	}
	l.say("Started %s.", l.title())
	err = launch.become()
	l.fail(err)
	return exitCodeOf(err)
}

// oneshot runs all of ExecStart to its end.
func (l *life) oneshot(ctx context.Context) int {
	_, err := l.note(func(r *record) { r.set(manager.Activating, "start", uptime()) })
	ctx, cancel := within(ctx, l.sv.TimeoutStart)
	defer cancel()
	for _, c := range l.sv.ExecStart {
		if err != nil {
			break
		}
		var status syscall.WaitStatus
		status, err = l.main(ctx, c)
		if c.IgnoreFailure && err == nil {
			continue
		}
		if err != nil || !succeeded(status, l.sv.Success) {
			err = &commandError{"ExecStart", c.Path, status, err}
		}
	}
	if err == nil {
		err = l.commands(ctx, "ExecStartPost", l.sv.ExecStartPost, l.sv.TimeoutStart)
	}
	if err != nil {
		return l.notStarted(err, false)
	}
	l.say("Finished %s.", l.title())
	_, err = l.note(func(r *record) {
		r.Started, r.Result = true, "success"
		if !l.sv.RemainAfterExit {
			return // finish says when it is over
		}
		r.Main = process{}
		r.set(manager.IsActive, "exited", uptime())
		r.decide("success")
	})
	if err != nil {
		return 1
	}
	return 0
}

// main runs one line of a oneshot's ExecStart as its main process.
func (l *life) main(ctx context.Context, c unit.Command) (syscall.WaitStatus, error) {
	r, err := l.s.read(l.name)
	if err != nil {
		return 0, err
	}
	launch, err := l.launch(c, &r)
	if err != nil {
		return 0, err
	}
	status, err := l.kids.run(ctx, launch, l.out, l.sv.TimeoutStop, func(pid int) {
		main, _ := look(pid)
		_, _ = l.note(func(r *record) { r.Main = main })
	})
	reason, code := ending(status)
	_, noteErr := l.note(func(r *record) { r.ExitReason, r.ExitCode = reason, code })
	return status, errors.Join(err, noteErr)
}
