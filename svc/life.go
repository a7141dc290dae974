package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// life is one process's part in the life of a service: run, follow, finish, and what stops or reloads it.
type life struct {
	s    *Supervisor
	u    *unit.Unit
	sv   *unit.Service
	name string
	out  *os.File // the service's log
	kids *family
	who  *credentials
}

// lead reads what a service was started with.
func (s *Supervisor) lead(name string, out *os.File) (*life, error) {
	u, err := s.kept(name)
	if err != nil {
		return nil, err
	}
	if u.Service == nil {
		return nil, fmt.Errorf("%s is not a service", name)
	}
	return &life{s: s, u: u, sv: u.Service, name: name, out: out, kids: newFamily(s.self)}, nil
}

// say writes a line of ours into the service's log. The prefix is the one that systemd's lines have there, and journalctl tells by it whose
// they are.
func (l *life) say(format string, args ...any) {
	fmt.Fprintf(l.out, "systemd[1]: "+format+"\n", args...)
}

// title is what a unit is called in sentences.
func (l *life) title() string { return title(l.u) }

func title(u *unit.Unit) string {
	if u.Description == "" || u.Description == u.Name {
		return u.Name
	}
	return u.Name + " - " + u.Description
}

// note changes the record.
func (l *life) note(change func(*record)) (record, error) { return l.s.update(l.name, change) }

// launch makes the launch of one of the unit's commands. Those with full privilege run as root.
func (l *life) launch(c unit.Command, r *record, more ...string) (*launch, error) {
	if l.who == nil {
		who, err := identify(l.name, l.sv)
		if err != nil {
			return nil, err
		}
		l.who = who
	}
	env, err := l.s.environ(l.u, l.who, r)
	if err != nil {
		return nil, err
	}
	env = append(env, more...)
	args, err := unit.Expand(c, env)
	if err != nil {
		return nil, failed(exitExec, err)
	}
	sv := l.sv
	out := &launch{Path: c.Path, Args: args, Env: env, Dir: "/", UMask: sv.UMask, Nice: sv.Nice, OOM: sv.OOMScoreAdjust, Limits: sv.Limits,
		NoNewPrivs: sv.NoNewPrivileges, Stdin: sv.Stdin, Stdout: sv.Stdout, Stderr: sv.Stderr, IgnoreSIGPIPE: sv.IgnoreSIGPIPE, Root: sv.RootDirectory}
	if sv.WorkingDirectory != "" {
		out.Dir, out.DirMayMiss = sv.WorkingDirectory, sv.WorkingDirMayMiss
	}
	if out.Dir == "~" {
		out.Dir = "/root"
		if l.who != nil {
			out.Dir = l.who.Home
		}
	}
	if !c.FullPrivilege {
		out.Credentials, out.Ambient = l.who, sv.AmbientCapabilities
	}
	return out, nil
}

// command runs one Exec line to its end, as the control process.
func (l *life) command(ctx context.Context, c unit.Command, limit time.Duration, more ...string) (syscall.WaitStatus, error) {
	r, err := l.s.read(l.name)
	if err != nil {
		return 0, err
	}
	launch, err := l.launch(c, &r, more...)
	if err != nil {
		return 0, err
	}
	// Only the main process's output goes where the unit says, if that is a file that is emptied first.
	for _, to := range []*unit.Output{&launch.Stdout, &launch.Stderr} {
		if to.Target == "truncate" {
			to.Target = "append"
		}
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	status, err := l.kids.run(ctx, launch, l.out, l.sv.TimeoutStop, func(pid int) {
		_, _ = l.note(func(r *record) { r.Control = pid })
	})
	_, noteErr := l.note(func(r *record) { r.Control = 0 })
	if err == nil {
		err = noteErr
	}
	return status, err
}

// commandError is an Exec line that failed.
type commandError struct {
	setting string // "ExecStartPre"
	path    string
	status  syscall.WaitStatus
	err     error // not nil: it could not be started, or timed out
}

func (e *commandError) Error() string {
	if e.err != nil {
		return fmt.Sprintf("%s=%s: %v", e.setting, e.path, e.err)
	}
	return fmt.Sprintf("%s=%s: %s", e.setting, e.path, wording(e.status))
}

func (e *commandError) Unwrap() error { return e.err }

// wording is systemd's for how a process ended.
func wording(status syscall.WaitStatus) string {
	if status.Signaled() {
		reason := "killed"
		if status.CoreDump() {
			reason = "dumped"
		}
		name := unit.SignalName(int(status.Signal()))
		return fmt.Sprintf("code=%s, status=%d/%s", reason, int(status.Signal()), trimSig(name))
	}
	return fmt.Sprintf("code=exited, status=%d/%s", status.ExitStatus(), unit.ExitName(status.ExitStatus()))
}

// commands runs Exec lines one after the other. The first that fails, and whose failure is not ignored, ends it; so does one that takes too long,
// or is interrupted.
func (l *life) commands(ctx context.Context, setting string, list []unit.Command, limit time.Duration, more ...string) error {
	for _, c := range list {
		status, err := l.command(ctx, c, limit, more...)
		bad := &commandError{setting, c.Path, status, err}
		if err == nil && status.Exited() && status.ExitStatus() == 0 {
			continue
		}
		if c.IgnoreFailure && !errors.Is(err, errTimeout) {
			continue
		}
		l.say("%s: Control process failed, %v", l.name, bad)
		return bad
	}
	return nil
}

// resultOf is the Result of a failed step.
func resultOf(err error) string {
	switch e := err.(type) { //nolint:errorlint // the outermost is the step that failed
	case nil:
		return "success"
	case *commandError:
		switch {
		case errors.Is(e.err, errTimeout):
			return "timeout"
		case e.err != nil:
			return "resources"
		case e.status.CoreDump():
			return "core-dump"
		case e.status.Signaled():
			return "signal"
		}
		return "exit-code"
	case *stepError:
		return "exit-code"
	case *protocolError:
		return "protocol"
	}
	return "resources"
}

// activate writes down that a service has started.
func (l *life) activate(main process) (record, error) {
	return l.note(func(r *record) {
		if r.Wanted == wantDown {
			return // it was told to stop meanwhile, and that is under way
		}
		r.Main, r.Started, r.Result = main, true, "success"
		r.decide("success")
		r.set(manager.IsActive, "running", uptime())
	})
}

// fail writes down why a start-up failed. What is to become of it is finish's to decide.
func (l *life) fail(err error) {
	l.say("%s: %v", l.name, err)
	_, _ = l.note(func(r *record) {
		r.Result = resultOf(err)
		if step := (*stepError)(nil); errors.As(err, &step) || r.ExitReason == "" {
			r.ExitReason, r.ExitCode = "exited", exitCodeOf(err)
		}
		if bad, ok := err.(*commandError); ok && bad.err == nil { //nolint:errorlint // as in resultOf
			r.ExitReason, r.ExitCode = ending(bad.status)
		}
		r.set(manager.Activating, "stop-post", uptime())
	})
}

// ending is how a process ended, in the record's words.
func ending(status syscall.WaitStatus) (reason string, code int) {
	switch {
	case status.CoreDump():
		return "dumped", int(status.Signal())
	case status.Signaled():
		return "killed", int(status.Signal())
	}
	return "exited", status.ExitStatus()
}
