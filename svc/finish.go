package svc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// stayDown is the exit code of finish with which s6-supervise does not call run again.
const stayDown = 125

// Finish is what s6-supervise calls when run has ended: with its exit code, or 256 and the signal that ended it. It ends what is left of the
// service and decides whether it is started again.
func (s *Supervisor) Finish(ctx context.Context, name, code, sig string) int {
	l, err := s.lead(name, os.Stdout)
	if err != nil {
		s.confused(name, err, os.Stdout)
		return stayDown
	}
	self, _ := look(os.Getpid())
	r, err := l.note(func(r *record) {
		r.Finisher = self
		l.mainEnded(r, code, sig)
	})
	if err == nil && !(r.Active == manager.IsActive && r.Sub == "exited") {
		interrupted := make(chan os.Signal, 4)
		signal.Notify(interrupted, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
		if l.settle(ctx) && l.pause(interrupted) {
			return 0
		}
	}
	if _, err = l.note(func(r *record) { r.Finisher = process{} }); err != nil {
		l.say("%s: %v", name, err)
		time.Sleep(diskPatience)
		return 0
	}
	return stayDown
}

// diskPatience is how long a service waits whose state cannot be written down, mostly as the disk is full, before run and finish are tried again:
// it would stay down for ever, and its state say something else.
const diskPatience = time.Second

// mainEnded takes down how the process ended that s6-supervise watched, if it was the service's own. What run and follow have found out
// themselves stands; that follow was killed is the service's end, too.
func (l *life) mainEnded(r *record, code, sig string) {
	exit, err := strconv.Atoi(code)
	if err != nil {
		return
	}
	reason := "exited"
	if exit > 255 {
		reason = "killed"
		exit, _ = strconv.Atoi(sig)
	}
	if r.Followed && reason == "exited" || r.Sub == "stop-post" && r.Result != "success" {
		return
	}
	r.ExitReason, r.ExitCode = reason, exit
	if r.Main.PID != 0 && r.Wanted != wantDown {
		l.say("%s: Main process exited, %s", l.name, wording(waitStatus(reason, exit)))
	}
}

// settle does all that is due when the main process has ended, and says whether the service is to be started again.
func (l *life) settle(ctx context.Context) bool {
	r, err := l.note(func(r *record) {
		if r.Result == "" || r.Result == "success" {
			r.Result = "success"
			if r.ExitReason != "" && l.judged(r) {
				r.Result = resultOfMain(r.ExitReason, r.ExitCode, l.sv.Success)
			}
		}
		r.Main, r.Control = process{}, 0
		r.set(manager.Deactivating, "stop", uptime())
	})
	if err != nil {
		return false
	}
	l.wind(ctx)
	_, _ = l.note(func(r *record) { r.set(manager.Deactivating, "stop-post", uptime()) })
	if err := l.commands(ctx, "ExecStopPost", l.sv.ExecStopPost, l.sv.TimeoutStop, endingEnv(&r)...); err != nil && r.Result == "success" {
		r.Result = resultOf(err)
	}
	if l.sv.PIDFile != "" {
		_ = os.Remove(l.sv.PIDFile)
	}
	return l.conclude(r.Result)
}

// judged says whether a service is judged by how its main process ended.
func (l *life) judged(r *record) bool {
	switch {
	case l.sv.Type == unit.Oneshot:
		return !r.Started // which ends of its commands are good enough it has found out itself
	case l.u.SysV != nil && l.sv.PIDFile == "" && r.Wanted == wantDown:
		// The main process of a script that names no PID file is our guess, and not known to systemd, to which such a service that was told to
		// stop has stopped, with whatever exit code.
		return false
	}
	// With a "-" any end is a good one. The line of Type=forking is its parent's.
	return l.sv.Type == unit.Forking || !l.sv.ExecStart[0].IgnoreFailure
}

// wind runs ExecStop, which is due even if the main process has ended by itself, and ends what is left.
func (l *life) wind(ctx context.Context) {
	due := false
	r, err := l.note(func(r *record) {
		due = r.Started && !r.StopRan
		r.StopRan = r.StopRan || due
	})
	if err != nil {
		return
	}
	if due {
		_ = l.commands(ctx, "ExecStop", l.sv.ExecStop, l.sv.TimeoutStop, endingEnv(&r)...)
	}
	l.leftovers(&r)
}

// endingEnv tells ExecStop and ExecStopPost how the service ended.
func endingEnv(r *record) []string {
	env := []string{"SERVICE_RESULT=" + r.Result}
	if r.ExitReason != "" {
		status := strconv.Itoa(r.ExitCode)
		if r.ExitReason != "exited" {
			status = trimSig(unit.SignalName(r.ExitCode))
		}
		env = append(env, "EXIT_CODE="+r.ExitReason, "EXIT_STATUS="+status)
	}
	return env
}

// orphanGrace is how long the processes of a service that has crashed may take to end. systemd gives them TimeoutStopSec=, a minute and a half
// in which the service is down; those of some daemons heed no signal but their parent's, which is dead.
const orphanGrace = 5 * time.Second

// leftovers ends the processes that the main one has left behind, as far as KillMode= says.
func (l *life) leftovers(r *record) {
	mode := l.sv.KillMode
	if l.u.SysV != nil && r.Wanted != wantDown {
		mode = unit.KillGroup // it is started again, and what is left of it may hold its port
	}
	if mode == unit.KillProcess || mode == unit.KillNone {
		return
	}
	left := members(r)
	if len(left) == 0 {
		return
	}
	_, _ = l.note(func(r *record) { r.set(manager.Deactivating, "final-sigterm", uptime()) })
	if mode == unit.KillGroup {
		if !r.Signalled {
			l.signal(l.killSignal(r), left)
		}
		grace := l.sv.TimeoutStop
		if r.Wanted != wantDown && (grace == 0 || grace > orphanGrace) {
			grace = orphanGrace
		}
		if left = awaitEnd(grace, func() []process { return members(r) }); len(left) == 0 {
			return
		}
	}
	if !l.sv.SendSIGKILL {
		l.say("%s: %d processes remain after the service has ended", l.name, len(left))
		return
	}
	_, _ = l.note(func(r *record) { r.set(manager.Deactivating, "final-sigkill", uptime()) })
	for _, p := range left {
		l.say("%s: Killing process %d with signal SIGKILL.", l.name, p.PID)
	}
	send(unix.SIGKILL, left...)
	awaitEnd(killPatience, func() []process { return members(r) })
}

// killPatience is how long the kernel may take to end what was killed.
const killPatience = 2 * time.Second

// awaitEnd waits until none is left, and gives those that are when the time is over. 0 is without end.
func awaitEnd(limit time.Duration, left func() []process) []process {
	end := after(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		now := left()
		if len(now) == 0 {
			return nil
		}
		select {
		case <-end:
			return now
		case <-time.After(pause):
		}
	}
}

// conclude writes down that the service is at its end: for good, or until its next start, which it announces by true.
func (l *life) conclude(result string) bool {
	again := false
	if _, err := l.note(func(r *record) {
		if r.Result == "success" {
			r.Result = result
		}
		if r.Wanted == wantDown && !r.Started {
			r.Result = "success" // it was told to stop before it was up, so its end is no failure
		}
		r.Result = l.protocol(r)
		r.Supervised, r.Followed, r.Signalled, r.Again, r.Invocation = 0, false, false, false, ""
		again = r.Wanted != wantDown && (restarts(l.sv, r.Result, r.ExitReason, r.ExitCode) || l.summoned(r))
	}); err != nil {
		return false
	}
	clearFolders(l.sv, again) // while nobody starts it yet: a next life makes its own
	r, err := l.note(func(r *record) {
		again = again && r.Wanted != wantDown
		r.decide(r.Result)
		switch {
		case again:
			r.set(manager.Activating, "auto-restart", uptime())
		case r.Result == "success" || r.Result == "exec-condition":
			r.set(manager.Inactive, "dead", uptime())
		default:
			r.set(manager.Failed, "failed", uptime())
		}
	})
	if err != nil {
		return false
	}
	switch {
	case r.Active == manager.Failed || again && r.Result != "success":
		l.say("%s: Failed with result '%s'.", l.name, r.Result)
		if !again {
			l.alarm(r.Result)
		}
	case r.Active == manager.Inactive:
		l.say("%s: Deactivated successfully.", l.name)
		l.trigger(l.u.OnSuccess)
	}
	return again
}

// summoned says whether the next connection would start a service again, however it has ended: many end when they have had nothing to do for a
// while. There is nobody in a container who waits at the socket for it, so it is started again at once, as often as the start limit allows.
func (l *life) summoned(r *record) bool {
	return r.Started && l.sv.Type != unit.Oneshot && len(l.passed()) > 0
}

// protocol is the Result of a service that ended well before it was up, which for all but a oneshot is a failure.
func (l *life) protocol(r *record) string {
	if r.Result == "success" && !r.Started && r.Job != "" && l.sv.Type != unit.Oneshot && r.Wanted != wantDown {
		return "protocol"
	}
	return r.Result
}

// alarm tells the container's log, too: a service that is down for good is what its owner has to see. What the unit names for that case starts.
func (l *life) alarm(result string) {
	fmt.Fprintf(l.s.console, "berth-svc: %s has failed (%s); see journalctl -u %s\n", l.name, result, strings.TrimSuffix(l.name, ".service"))
	l.trigger(l.u.OnFailure)
}

// trigger starts units, for whose start nobody waits.
func (l *life) trigger(names []string) {
	if len(names) == 0 {
		return
	}
	l.say("%s: Triggering %s", l.name, strings.Join(names, " "))
	if err := l.s.detach(append([]string{"start"}, names...)...); err != nil {
		l.say("%s: %v", l.name, err)
	}
}

// s6Pause is how long s6-supervise itself waits between the end of finish and the next run.
const s6Pause = time.Second

// pause waits for what is left of RestartSec= and asks the start limit. It says whether the service is started now. A stop, and a start by hand, end the wait.
func (l *life) pause(interrupted <-chan os.Signal) bool {
	select {
	case <-time.After(l.sv.RestartSec - s6Pause):
	case <-interrupted:
	}
	ok := false
	r, err := l.note(func(r *record) {
		if r.Wanted == wantDown {
			r.set(manager.Inactive, "dead", uptime())
			return
		}
		if r.Starts, ok = admit(r.Starts, uptime(), l.u.StartLimitBurst, l.u.StartLimitInterval); !ok {
			r.Result = "start-limit-hit"
			r.decide(r.Result)
			r.set(manager.Failed, "failed", uptime())
			return
		}
		r.Restarts++
		r.Finisher, r.ExitReason, r.ExitCode, r.Result = process{}, "", 0, "success"
	})
	switch {
	case err != nil:
		return false
	case ok:
		l.say("%s: Scheduled restart job, restart counter is at %d.", l.name, r.Restarts)
	case r.Result == "start-limit-hit":
		l.say("%s: Start request repeated too quickly.", l.name)
		l.say("%s: Failed with result 'start-limit-hit'.", l.name)
		l.alarm(r.Result)
	}
	return ok
}
