package verbs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// job runs one of the verbs that change what runs.
func (s *ctl) job(verb string, names []string) int {
	names = s.expand(names)
	if len(names) == 0 {
		return exitOK
	}
	if s.UID != 0 {
		for _, name := range names {
			s.errorf("Failed to %s %s: Access denied", jobWord(verb), name)
			s.seeStatus(name)
		}
		return exitNoPermit
	}
	code := exitOK
	for _, name := range names {
		if c := s.jobOf(verb, name); c != exitOK && code == exitOK {
			code = c
		}
	}
	return code
}

// jobWord is how messages call a verb.
func jobWord(verb string) string {
	switch verb {
	case "condrestart":
		return "try-restart"
	case "condstop":
		return "stop"
	case "force-reload", "reload-or-try-restart", "condreload":
		return "try-reload-or-restart"
	}
	return verb
}

// jobOf does one verb to one unit, as its state and the unit allow.
func (s *ctl) jobOf(verb, name string) int {
	verb = jobWord(verb)
	u := s.look(name)
	if code := s.loadable(verb, u); code != exitOK {
		return code
	}
	if u.RefuseManualStart && verb != "stop" && verb != "reload" || u.RefuseManualStop && (verb == "stop" || strings.HasSuffix(verb, "restart")) {
		s.errorf("Failed to %s %s: Operation refused, unit %s may be requested by dependency only (it is configured to refuse manual start/stop).", verb, name, u.Name)
		s.seeStatus(name)
		return exitNoPermit
	}
	running := u.Active == manager.IsActive || u.Active == manager.Reloading || u.Active == manager.Activating
	if strings.HasPrefix(verb, "try-") {
		if !running {
			return exitOK
		}
		verb = strings.TrimPrefix(verb, "try-")
	}
	if verb == "reload-or-restart" {
		verb = "restart"
		if running && canReload(u.Unit) {
			verb = "reload"
		}
	}
	if verb == "reload" && !canReload(u.Unit) {
		s.errorf("Failed to reload %s: Job type reload is not applicable for unit %s.", name, u.Name)
		return exitNotFeasible
	}
	if verb == "reload" && !running {
		s.errorf("%s is not active, cannot reload.", u.Name)
		return exitFailure
	}
	return s.report(verb, name, s.perform(verb, u.Name))
}

// perform waits for the manager, but with --no-block: then the job is left to a process that outlives this one.
func (s *ctl) perform(verb, name string) error {
	if s.noBlock {
		return s.detach(verb, name)
	}
	do := map[string]func(context.Context, ...string) error{
		"start": s.Manager.Start, "stop": s.Manager.Stop, "restart": s.Manager.Restart, "reload": s.Manager.Reload,
	}[verb]
	return do(s.ctx, name)
}

// detach has the same job done by a second call of systemctl that nobody waits for.
func (s *ctl) detach(verb, name string) error {
	code, err := s.Run(s.ctx, Program{Path: "/bin/sh", Args: []string{"-c", `systemctl --quiet "$0" -- "$1" </dev/null >/dev/null 2>&1 &`, verb, name}})
	if err == nil && code != 0 {
		err = errors.New("cannot run systemctl in the background")
	}
	return err
}

// loadable tells why a unit that could not be read cannot have a job. A running one can always be stopped.
func (s *ctl) loadable(verb string, u seen) int {
	if u.Active != manager.Inactive && u.Active != manager.Failed && verb == "stop" {
		return exitOK
	}
	switch u.Load {
	case unit.NotFound:
		word := "not found"
		if verb == "stop" {
			word = "not loaded"
		}
		s.errorf("Failed to %s %s: Unit %s %s.", verb, u.asked, u.Name, word)
		return exitNoUnit
	case unit.Masked:
		if verb == "stop" || strings.HasPrefix(verb, "try-") {
			return exitOK
		}
		s.errorf("Failed to %s %s: Unit %s is masked.", verb, u.asked, u.Name)
		return exitFailure
	case unit.BadSetting:
		if verb == "stop" || strings.HasPrefix(verb, "try-") {
			return exitOK
		}
		s.errorf("Failed to %s %s: Unit %s has a bad unit file setting.", verb, u.asked, u.Name)
		s.seeStatus(u.asked)
		return exitFailure
	}
	if unit.IsTemplate(u.Name) {
		s.errorf("Failed to %s %s: Unit name %s is missing the instance name.", verb, u.asked, u.Name)
		s.seeStatus(u.asked)
		return exitFailure
	}
	return exitOK
}

// seeStatus tells where more about a job is to be found.
func (s *ctl) seeStatus(name string) {
	s.errorf("See system logs and 'systemctl status %s' for details.", name)
}

// canReload says whether a unit can be told to read its configuration again.
func canReload(u *unit.Unit) bool {
	return u.Service != nil && (len(u.Service.ExecReload) > 0 || u.Service.Type == unit.NotifyReload)
}

// report says why a job failed in systemctl's words, and gives the exit code.
func (s *ctl) report(verb, name string, err error) int {
	if err == nil {
		return exitOK
	}
	var e *manager.Error
	if !errors.As(err, &e) {
		s.errorf("Failed to %s %s: %s", verb, name, err)
		s.seeStatus(name)
		return exitFailure
	}
	about := e.Unit
	if about == "" {
		about = name
	}
	if s.quiet && !slices.Contains([]string{"not-found", "masked", "bad-setting", "not-supported"}, e.Result) {
		return exitFailure
	}
	switch e.Result {
	case "not-found":
		s.errorf("Failed to %s %s: Unit %s not found.", verb, name, about)
		return exitNoUnit
	case "masked":
		s.errorf("Failed to %s %s: Unit %s is masked.", verb, name, about)
	case "bad-setting":
		s.errorf("Failed to %s %s: Unit %s has a bad unit file setting.", verb, name, about)
		s.seeStatus(name)
	case "not-supported":
		s.errorf("Operation on or unit type of %s not supported on this system.", about)
		if e.Err != nil {
			s.errorf("%s", e.Err)
		}
	case "dependency":
		s.errorf("A dependency job for %s failed. See 'journalctl -xe' for details.", name)
	case "not-active":
		s.errorf("%s is not active, cannot reload.", about)
	case "assert":
		s.errorf("Assertion failed on job for %s.", about)
	case "canceled":
		s.errorf("Job for %s canceled.", about)
	default:
		s.errorf("%s", failedJob(about, e.Result))
	}
	return exitFailure
}

// failedJob is the sentence for a service's result.
func failedJob(name, result string) string {
	why := map[string]string{
		"resources":       "of unavailable resources or another system error",
		"protocol":        "the service did not take the steps required by its unit configuration",
		"timeout":         "a timeout was exceeded",
		"exit-code":       "the control process exited with error code",
		"signal":          "a fatal signal was delivered to the control process",
		"core-dump":       "a fatal signal was delivered causing the control process to dump core",
		"watchdog":        "the service failed to send watchdog ping",
		"start-limit-hit": "start of the service was attempted too often",
		"oom-kill":        "a process of the service was ended by the kernel for want of memory",
	}[result]
	text := "Job for " + name + " failed."
	if why != "" {
		text = "Job for " + name + " failed because " + why + "."
	}
	text += "\nSee \"systemctl status " + name + "\" and \"journalctl -xeu " + name + "\" for details."
	if result == "start-limit-hit" {
		text += "\nTo force a start use \"systemctl reset-failed " + name + "\"\nfollowed by \"systemctl start " + name + "\" again."
	}
	return text
}

// kill sends a signal to the processes of units.
func (s *ctl) kill(names []string) int {
	if !s.privileged("kill unit") {
		return exitFailure
	}
	whom := strings.TrimSuffix(s.whom, "-fail")
	if !slices.Contains([]string{"all", "main", "control"}, whom) {
		s.errorf("Invalid --kill-whom= value \"%s\": one of all, main, control.", s.whom)
		return exitFailure
	}
	signal, ok := signalName(s.signal)
	if !ok {
		s.errorf("Failed to parse signal string %s.", s.signal)
		return exitFailure
	}
	return s.eachLoaded("kill unit", names, func(name string) error { return s.Manager.Kill(s.ctx, signal, whom, name) })
}

// eachLoaded does something to units that have a file or run, and goes on after one that fails.
func (s *ctl) eachLoaded(action string, names []string, do func(name string) error) int {
	code := exitOK
	for _, name := range s.expand(names) {
		u := s.look(name)
		if u.Load == unit.NotFound && u.Active == manager.Inactive {
			s.errorf("Failed to %s %s: Unit %s not loaded.", action, name, name)
			code = exitFailure
		} else if err := do(u.Name); err != nil {
			s.errorf("Failed to %s %s: %s", action, name, reason(err))
			code = exitFailure
		}
	}
	return code
}

// reason is an error without the unit's name in front, where the sentence around it has the name.
func reason(err error) string {
	var e *manager.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// resetFailed forgets failures and start limits.
func (s *ctl) resetFailed(names []string) int {
	if !s.privileged("reset failed state of units") {
		return exitFailure
	}
	if len(names) == 0 {
		if err := s.Manager.ResetFailed(); err != nil {
			s.errorf("Failed to reset failed state of units: %s", reason(err))
			return exitFailure
		}
		return exitOK
	}
	return s.eachLoaded("reset failed state of unit", names, func(name string) error { return s.Manager.ResetFailed(name) })
}

// daemonReload has the manager read the units again.
func (s *ctl) daemonReload([]string) int {
	if !s.privileged("reload daemon") {
		return exitFailure
	}
	if err := s.Manager.Reconsider(); err != nil {
		s.errorf("Failed to reload daemon: %s", reason(err))
		return exitFailure
	}
	return exitOK
}
