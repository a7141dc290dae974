package verbs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// isActive prints the states of units; one that is active is enough for 0.
func (s *ctl) isActive(names []string) int {
	return s.check(names, exitNotRunning, manager.IsActive, manager.Reloading)
}

// isFailed is for scripts that look for broken units: 0 if one is.
func (s *ctl) isFailed(names []string) int { return s.check(names, exitFailure, manager.Failed) }

func (s *ctl) check(names []string, otherwise int, good ...manager.Active) int {
	code := otherwise
	for _, name := range s.expand(names) {
		u := s.look(name)
		if u.hidden != nil {
			s.errorf("Failed to retrieve unit state: %s", reason(u.hidden))
			return exitFailure
		}
		if !s.quiet {
			s.printf("%s\n", u.Active)
		}
		if slices.Contains(good, u.Active) {
			code = exitOK
		}
	}
	return code
}

// isEnabled prints how units are installed. A SysV script says "enabled" or "disabled", as if systemd-sysv-install had been asked.
func (s *ctl) isEnabled(names []string) int {
	code := exitFailure
	for _, name := range s.mangle(names) {
		state := s.units().FileState(name)
		if state != unit.MaskedF && state != unit.MaskedRuntime {
			if own := s.native(name); own != nil {
				state = s.nativeFileState(own)
			}
		}
		if state == "" {
			s.errorf("Failed to get unit file state for %s: No such file or directory", name)
			return exitFailure
		}
		if u := s.units().Unit(name); u.SysV != nil && !s.quiet {
			s.errorf("%s is not a native service, redirecting to systemd-sysv-install.", u.Name)
			s.errorf("Executing: /lib/systemd/systemd-sysv-install is-enabled %s", strings.TrimSuffix(u.Name, ".service"))
		}
		switch state {
		case unit.Enabled, unit.EnabledRuntime, unit.Static, unit.Alias, unit.Indirect, unit.Generated:
			code = exitOK
		}
		if !s.quiet {
			s.printf("%s\n", state)
		}
	}
	return code
}

// isSystemRunning says how the whole machine is.
func (s *ctl) isSystemRunning([]string) int {
	state := s.systemState()
	if !s.quiet {
		s.printf("%s\n", state)
	}
	if state == "running" {
		return exitOK
	}
	return exitFailure
}

func (s *ctl) systemState() string {
	switch {
	case s.exists("/run/berth/stopping"):
		return "stopping"
	case s.exists("/run/berth/booting"):
		return "starting"
	case s.failed() > 0:
		return "degraded"
	case s.blind:
		return "unknown"
	}
	return "running"
}

// failed counts the units that have failed.
func (s *ctl) failed() int {
	n := 0
	for _, name := range s.known() {
		if st, err := s.Manager.State(name); err == nil && st.Active == manager.Failed {
			n++
		}
	}
	return n
}

// cat prints the files of units with their names above.
func (s *ctl) cat(names []string) int {
	code, first := exitOK, true
	for _, name := range s.mangle(names) {
		u := s.units().Unit(name)
		if u.Path == "" {
			s.errorf("No files found for %s.", name)
			code = exitFailure
			continue
		}
		if u.Load == unit.Masked {
			s.printf("# Unit %s is masked.\n", name)
			continue
		}
		for _, file := range append([]string{u.Path}, u.DropIns...) {
			if !first {
				s.printf("\n")
			}
			first = false
			s.printf("%s\n", s.paint("0;34", "# "+file))
			text, err := os.ReadFile(s.path(file))
			if err != nil {
				if errors.Is(err, fs.ErrPermission) {
					err = fs.ErrPermission
				}
				s.errorf("Failed to cat %s: %s", file, err)
				code = exitFailure
				continue
			}
			s.printf("%s", text)
			if len(text) > 0 && text[len(text)-1] != '\n' {
				s.printf("\n")
			}
		}
	}
	return code
}
