package unit

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// systemd's own defaults, system.conf(5).
const (
	defaultTimeout    = 90 * time.Second
	defaultRestartSec = 100 * time.Millisecond
)

func newService() *Service {
	return &Service{
		GuessMainPID: true, Restart: RestartNo, RestartSec: defaultRestartSec, TimeoutStart: defaultTimeout, TimeoutStop: defaultTimeout,
		KillMode: KillGroup, KillSignal: "SIGTERM", FinalKillSignal: "SIGKILL", SendSIGKILL: true, ReloadSignal: "SIGHUP",
		UMask: 0o022, Stdin: Output{Target: "null"}, Stdout: Output{Target: "journal"}, Stderr: Output{Target: "inherit"},
		RuntimeDirectoryPreserve: "no", IgnoreSIGPIPE: true,
	}
}

func (l *loader) serviceSettings(s *Service) map[string]setter {
	table := l.runSettings(s)
	maps.Copy(table, l.processSettings(s))
	maps.Copy(table, l.folderSettings(s))
	for _, resource := range resources {
		table["Limit"+resource] = l.limit(resource)
	}
	return table
}

// runSettings are what systemd.service(5) and systemd.kill(5) tell.
func (l *loader) runSettings(s *Service) map[string]setter {
	return map[string]setter{
		"Type":                     oneOf(&s.Type, Simple, ExecType, Forking, Oneshot, Notify, NotifyReload, DBus, Idle),
		"RemainAfterExit":          flag(&s.RemainAfterExit),
		"PIDFile":                  pidFile(&s.PIDFile),
		"GuessMainPID":             flag(&s.GuessMainPID),
		"NotifyAccess":             oneOf(&s.NotifyAccess, "none", "main", "exec", "all"),
		"ExecCondition":            l.commands(&s.ExecCondition),
		"ExecStartPre":             l.commands(&s.ExecStartPre),
		"ExecStart":                l.commands(&s.ExecStart),
		"ExecStartPost":            l.commands(&s.ExecStartPost),
		"ExecReload":               l.commands(&s.ExecReload),
		"ExecStop":                 l.commands(&s.ExecStop),
		"ExecStopPost":             l.commands(&s.ExecStopPost),
		"ReloadSignal":             signal(&s.ReloadSignal),
		"Restart":                  oneOf(&s.Restart, RestartNo, RestartAlways, RestartOnSuccess, RestartOnFailure, RestartOnAbnormal, RestartOnAbort, RestartOnWatchdog),
		"RestartSec":               delay(&s.RestartSec),
		"TimeoutSec":               timeout(&s.TimeoutStart, &s.TimeoutStop),
		"TimeoutStartSec":          timeout(&s.TimeoutStart),
		"TimeoutStopSec":           timeout(&s.TimeoutStop),
		"RuntimeMaxSec":            span(&s.RuntimeMax),
		"SuccessExitStatus":        statuses(&s.Success),
		"RestartPreventExitStatus": statuses(&s.RestartPrevent),
		"RestartForceExitStatus":   statuses(&s.RestartForce),
		"KillMode":                 oneOf(&s.KillMode, KillGroup, KillMixed, KillProcess, KillNone),
		"KillSignal":               signal(&s.KillSignal),
		"RestartKillSignal":        signal(&s.RestartKillSignal),
		"FinalKillSignal":          signal(&s.FinalKillSignal),
		"SendSIGKILL":              flag(&s.SendSIGKILL),
		"SendSIGHUP":               flag(&s.SendSIGHUP),
		"PermissionsStartOnly":     flag(&l.startOnly),
		"StartLimitInterval":       span(&l.unit.StartLimitInterval), // where older units have it
		"StartLimitBurst":          number(&l.unit.StartLimitBurst),
		"BusName":                  func(v string) error { l.bus = v != ""; return nil },
		"IgnoreSIGPIPE":            flag(&s.IgnoreSIGPIPE),
		"WatchdogSec":              span(&s.Watchdog),
	}
}

// processSettings are what systemd.exec(5) tells of a process.
func (l *loader) processSettings(s *Service) map[string]setter {
	return map[string]setter{
		"User":                l.account(&s.User),
		"Group":               l.account(&s.Group),
		"DynamicUser":         flag(&s.DynamicUser),
		"SupplementaryGroups": list(&s.SupplementaryGroups),
		"UMask":               mode(&s.UMask),
		"WorkingDirectory":    l.workingDirectory,
		"RootDirectory":       file(&s.RootDirectory),
		"Nice":                l.nice,
		"OOMScoreAdjust":      l.oomScore,
		"Environment":         l.environment,
		"EnvironmentFile":     environmentFile(&s.EnvironmentFiles),
		"PassEnvironment":     list(&s.PassEnvironment),
		"UnsetEnvironment":    list(&s.UnsetEnvironment),
		"StandardInput":       input(&s.Stdin),
		"StandardOutput":      output(&s.Stdout),
		"StandardError":       output(&s.Stderr),
		"SyslogIdentifier":    word(&s.SyslogIdentifier),
		"AmbientCapabilities": capabilities(&s.AmbientCapabilities),
		"NoNewPrivileges":     flag(&s.NoNewPrivileges),
		"Sockets":             l.units(&s.Sockets),
		"PrivateTmp":          l.privateTmp,
	}
}

// pidFile takes a path that may be below /run.
func pidFile(into *string) setter {
	return func(v string) error {
		if v != "" && !path.IsAbs(v) {
			v = path.Join("/run", v)
		}
		*into = v
		if strings.HasPrefix(v, "/var/run/") {
			*into = strings.TrimPrefix(v, "/var")
		}
		return nil
	}
}

// delay takes a span whose 0 is really none.
func delay(into *time.Duration) setter { return parsed(into, ParseDuration) }

// timeout takes a span of which 0 means for ever, as it did in systemd's first versions.
func timeout(into ...*time.Duration) setter {
	return func(v string) error {
		for _, t := range into {
			if err := span(t)(v); err != nil {
				return err
			}
		}
		return nil
	}
}

func statuses(into *ExitStatuses) setter {
	return func(v string) error {
		if v == "" {
			*into = ExitStatuses{}
			return nil
		}
		return parseStatuses(v, into)
	}
}

// account takes the name or number of a user or group.
func (l *loader) account(into *string) setter {
	return func(v string) error {
		if strings.ContainsAny(v, ":/ \t\n") || strings.HasPrefix(v, "-") {
			return badSetting{fmt.Errorf("%q is not the name of a user or group", v)}
		}
		*into = v
		return nil
	}
}

func (l *loader) workingDirectory(v string) error {
	s := l.unit.Service
	v, s.WorkingDirMayMiss = strings.CutPrefix(v, "-")
	if v != "" && v != "~" && !path.IsAbs(v) {
		err := fmt.Errorf("%q is neither an absolute path nor ~", v)
		if s.WorkingDirMayMiss {
			return err
		}
		return badSetting{err}
	}
	s.WorkingDirectory = v
	return nil
}

// nice takes a niceness. A better one than the container's asks for CAP_SYS_NICE.
func (l *loader) nice(v string) error {
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < -20 || n > 19:
		return fmt.Errorf("%q is not a niceness from -20 to 19", v)
	case n < 0:
		l.unit.Service.Nice = nil
		return without("a container may not make its processes more important than others")
	}
	l.unit.Service.Nice = &n
	return nil
}

func (l *loader) oomScore(v string) error {
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < -1000 || n > 1000:
		return fmt.Errorf("%q is not a score from -1000 to 1000", v)
	case n < 0:
		l.unit.Service.OOMScoreAdjust = nil
		return without("a container may not protect its processes from the kernel's out-of-memory killer")
	}
	l.unit.Service.OOMScoreAdjust = &n
	return nil
}

func (l *loader) privateTmp(v string) error {
	if err := flag(&l.unit.Service.PrivateTmp)(v); err != nil || !l.unit.Service.PrivateTmp {
		return err
	}
	return without("a container has a /tmp of its own, which its services share")
}

func capabilities(into *[]string) setter {
	return func(v string) error {
		if v == "" {
			*into = nil
			return nil
		}
		if strings.HasPrefix(v, "~") {
			return without("a container adds the capabilities that are named, not all but these")
		}
		for _, c := range strings.Fields(v) {
			*into = append(*into, strings.ToUpper(c))
		}
		return nil
	}
}

func environmentFile(into *[]EnvironmentFile) setter {
	return func(v string) error {
		if v == "" {
			*into = nil
			return nil
		}
		f := EnvironmentFile{}
		if f.Path, f.Optional = strings.CutPrefix(v, "-"); !path.IsAbs(f.Path) {
			return fmt.Errorf("%q is not an absolute path", v)
		}
		*into = append(*into, f)
		return nil
	}
}

// environment takes assignments, which may be quoted as a whole.
func (l *loader) environment(v string) error {
	s := l.unit.Service
	if v == "" {
		s.Environment = nil
		return nil
	}
	all, err := words(v, unescape)
	if err != nil {
		return err
	}
	var bad []error
	for _, w := range all {
		w, err := l.set.resolveSpecifiers(w, l.unit)
		name, _, found := strings.Cut(w, "=")
		switch {
		case err != nil:
			bad = append(bad, err)
		case !found || !validVariable(name):
			bad = append(bad, fmt.Errorf("%q is not an assignment", w))
		default:
			s.Environment = assign(s.Environment, w)
		}
	}
	return errors.Join(bad...)
}

// assign puts "A=b" into a list in which each name is there once.
func assign(env []string, assignment string) []string {
	name, _, _ := strings.Cut(assignment, "=")
	for i, e := range env {
		if strings.HasPrefix(e, name+"=") {
			env[i] = assignment
			return env
		}
	}
	return append(env, assignment)
}

func validVariable(name string) bool {
	return name != "" && (name[0] < '0' || name[0] > '9') && !strings.ContainsFunc(name, func(r rune) bool {
		return !alphanumeric(r) && r != '_'
	})
}

func input(into *Output) setter {
	return func(v string) error {
		if p, ok := strings.CutPrefix(v, "file:"); ok && path.IsAbs(p) {
			*into = Output{Target: "file", Path: path.Clean(p)}
			return nil
		}
		if v == "" || v == "null" {
			*into = Output{Target: "null"}
			return nil
		}
		if v == "socket" {
			*into = Output{Target: "socket"}
			return nil
		}
		return without("a service in a container has no terminal")
	}
}

func output(into *Output) setter {
	return func(v string) error {
		target, p, found := strings.Cut(v, ":")
		switch {
		case found && slices.Contains([]string{"file", "append", "truncate"}, target) && path.IsAbs(p):
			*into = Output{Target: target, Path: path.Clean(p)}
		case v == "inherit" || v == "null":
			*into = Output{Target: v}
		case slices.Contains([]string{"", "journal", "syslog", "kmsg"}, v):
			*into = Output{Target: "journal"}
		case slices.Contains([]string{"tty", "journal+console", "syslog+console", "kmsg+console"}, v):
			*into = Output{Target: "journal"}
			return without("a container has no console: the lines go to the service's log")
		default:
			return fmt.Errorf("%q cannot be the end of a service's output in a container", v)
		}
		return nil
	}
}
