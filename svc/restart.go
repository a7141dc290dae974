package svc

import (
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/unit"
)

func trimSig(name string) string { return strings.TrimPrefix(name, "SIG") }

// listed says whether a way to end is among those that a setting names.
func listed(reason string, code int, in unit.ExitStatuses) bool {
	if reason == "exited" {
		return slices.Contains(in.Codes, code)
	}
	return slices.Contains(in.Signals, unit.SignalName(code))
}

// clean says whether a long-lived main process ended well: by exit code 0, by one of the signals with which daemons are asked to end, or as
// SuccessExitStatus= says; systemd.service(5).
func clean(reason string, code int, success unit.ExitStatuses) bool {
	if listed(reason, code, success) {
		return true
	}
	if reason == "exited" {
		return code == 0
	}
	switch syscall.Signal(code) {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE:
		return reason == "killed"
	}
	return false
}

// succeeded is clean for a command, of which only an exit code can be a success.
func succeeded(status syscall.WaitStatus, success unit.ExitStatuses) bool {
	reason, code := ending(status)
	return listed(reason, code, success) || reason == "exited" && code == 0
}

// resultOfMain is the Result when the main process has ended by itself.
func resultOfMain(reason string, code int, success unit.ExitStatuses) string {
	switch {
	case clean(reason, code, success):
		return "success"
	case reason == "exited":
		return "exit-code"
	case reason == "dumped":
		return "core-dump"
	}
	return "signal"
}

// restarts decides whether a service that has ended by itself is started again, by the table of systemd.service(5). A service whose unit says
// nothing of restarts is restarted after an unclean signal or a timeout all the same: what a machine's operator would see on its console is not
// seen in a container, and one who wants it to stay down can write Restart=no.
func restarts(sv *unit.Service, result, reason string, code int) bool {
	if sv.Type == unit.Oneshot && sv.RestartUnset {
		return false
	}
	policy := sv.Restart
	if sv.RestartUnset {
		policy = unit.RestartOnAbnormal
	}
	ended := reason != "" && (result == "success" || result == "exit-code" || result == "signal" || result == "core-dump")
	if ended && listed(reason, code, sv.RestartPrevent) {
		return false
	}
	if ended && listed(reason, code, sv.RestartForce) {
		return true
	}
	switch policy {
	case unit.RestartAlways:
		return result != "exec-condition"
	case unit.RestartOnSuccess:
		return result == "success"
	case unit.RestartOnFailure:
		return result != "success" && result != "exec-condition"
	case unit.RestartOnAbnormal:
		return result != "success" && result != "exec-condition" && result != "exit-code"
	case unit.RestartOnWatchdog:
		return result == "watchdog"
	case unit.RestartOnAbort:
		return result == "signal" || result == "core-dump"
	}
	return false
}

// admit says whether the start limit lets a unit start now, and gives the starts that count from now on.
func admit(starts []time.Duration, now time.Duration, burst int, interval time.Duration) ([]time.Duration, bool) {
	if burst <= 0 || interval <= 0 {
		return nil, true
	}
	recent := slices.DeleteFunc(slices.Clone(starts), func(t time.Duration) bool { return now-t > interval })
	if len(recent) >= burst {
		return recent, false
	}
	return append(recent, now), true
}
