package verbs

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/unit"
)

func number(n int) string { return strconv.Itoa(n) }

// architecture is systemd's word for what this program was built for.
func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86-64"
	case "386":
		return "x86"
	}
	return runtime.GOARCH
}

// duration is a timeout: none is infinity.
func duration(d time.Duration) string {
	if d <= 0 {
		return "infinity"
	}
	return span(d)
}

// when is a time as --timestamp= wants it.
func (s *ctl) when(t time.Time) string {
	switch s.timestamp {
	case "unix":
		return "@" + strconv.FormatInt(t.Unix(), 10)
	case "us", "µs":
		return t.In(s.Zone).Format("Mon 2006-01-02 15:04:05.000000 MST")
	case "utc":
		return t.UTC().Format("Mon 2006-01-02 15:04:05 MST")
	case "us+utc", "µs+utc":
		return t.UTC().Format("Mon 2006-01-02 15:04:05.000000 MST")
	}
	return s.stamp(t)
}

// serviceProperties are of the interface org.freedesktop.systemd1.Service.
func (s *ctl) serviceProperties(u seen) []property {
	v := u.Service
	kind, restart := v.Type, v.Restart
	if kind == "" {
		kind = unit.Simple
	}
	if restart == "" {
		restart = unit.RestartNo
	}
	started, exited := "", ""
	if !u.Started.IsZero() {
		started = s.when(u.Started)
		if u.MainPID == 0 && !u.Since.IsZero() {
			exited = s.when(u.Since)
		}
	}
	code := map[string]string{"exited": "1", "killed": "2", "dumped": "3"}[u.ExitReason]
	if code == "" {
		code = "0"
	}
	pid := u.MainPID
	if pid == 0 {
		pid = u.ExitPID
	}
	result := u.Result
	if result == "" {
		result = "success"
	}
	all := []property{
		{"Type", string(kind)}, {"ExitType", "main"}, {"Restart", string(restart)}, {"PIDFile", v.PIDFile}, {"NotifyAccess", orElse(v.NotifyAccess, "none")},
		{"RestartUSec", span(v.RestartSec)}, {"TimeoutStartUSec", duration(v.TimeoutStart)}, {"TimeoutStopUSec", duration(v.TimeoutStop)},
		{"TimeoutAbortUSec", duration(v.TimeoutStop)}, {"RuntimeMaxUSec", duration(v.RuntimeMax)}, {"WatchdogUSec", span(v.Watchdog)},
		{"RootDirectoryStartOnly", "no"}, {"RemainAfterExit", yesNo(v.RemainAfterExit)}, {"GuessMainPID", yesNo(v.GuessMainPID)},
		{"MainPID", number(u.MainPID)}, {"ControlPID", number(u.ControlPID)}, {"StatusText", printable(u.StatusText)},
		{"Result", result}, {"ReloadResult", "success"}, {"CleanResult", "success"},
		{"UID", "[not set]"}, {"GID", "[not set]"}, {"NRestarts", number(u.Restarts)}, {"OOMPolicy", "continue"},
		{"ExecMainStartTimestamp", started}, {"ExecMainExitTimestamp", exited}, {"ExecMainPID", number(pid)}, {"ExecMainCode", code},
		{"ExecMainStatus", number(u.ExitCode)},
	}
	for _, e := range []struct {
		name string
		list []unit.Command
	}{
		{"ExecCondition", v.ExecCondition}, {"ExecStartPre", v.ExecStartPre}, {"ExecStart", v.ExecStart}, {"ExecStartPost", v.ExecStartPost},
		{"ExecReload", v.ExecReload}, {"ExecStop", v.ExecStop}, {"ExecStopPost", v.ExecStopPost},
	} {
		for _, c := range e.list {
			all = append(all, property{e.name, execValue(c)})
		}
	}
	return append(append(all, s.usage(u)...), s.execProperties(v)...)
}

// execValue is a command as D-Bus's clients print it. When and how it last ran is not kept.
func execValue(c unit.Command) string {
	name := c.Path
	if len(c.Args) > 0 && !c.Argv0 {
		name = c.Args[0]
	}
	return fmt.Sprintf("{ path=%s ; argv[]=%s ; ignore_errors=%s ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }",
		c.Path, strings.Join(append([]string{name}, c.Args[min(1, len(c.Args)):]...), " "), yesNo(c.IgnoreFailure))
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// usage is what a running service takes now.
func (s *ctl) usage(u seen) []property {
	const unset = "[not set]"
	memory, cpu, tasks := unset, unset, unset
	if all := s.processes(u.Processes); len(all) > 0 {
		var bytes uint64
		var time time.Duration
		threads := 0
		for _, p := range all {
			bytes, time, threads = bytes+p.memory, time+p.cpu, threads+max(p.threads, 1)
		}
		memory, cpu, tasks = strconv.FormatUint(bytes, 10), strconv.FormatInt(time.Nanoseconds(), 10), number(threads)
	}
	return []property{
		{"Slice", "system.slice"}, {"ControlGroup", group(u.Name)}, {"MemoryCurrent", memory}, {"CPUUsageNSec", cpu}, {"TasksCurrent", tasks},
		{"Delegate", "no"}, {"CPUAccounting", "yes"}, {"MemoryAccounting", "yes"}, {"TasksAccounting", "yes"},
	}
}

// execProperties are how the processes of a service are started.
func (s *ctl) execProperties(v *unit.Service) []property {
	var files, limits []property
	for _, f := range v.EnvironmentFiles {
		files = append(files, property{"EnvironmentFiles", fmt.Sprintf("%s (ignore_errors=%s)", f.Path, yesNo(f.Optional))})
	}
	for _, l := range v.Limits {
		limits = append(limits, property{"Limit" + l.Resource, limit(l.Hard)}, property{"Limit" + l.Resource + "Soft", limit(l.Soft)})
	}
	var environment []string
	for _, e := range v.Environment {
		environment = append(environment, quoteWord(e))
	}
	nice, oom := "0", "0"
	if v.Nice != nil {
		nice = number(*v.Nice)
	}
	if v.OOMScoreAdjust != nil {
		oom = number(*v.OOMScoreAdjust)
	}
	all := append([]property{{"Environment", strings.Join(environment, " ")}}, files...)
	all = append(all, property{"UMask", fmt.Sprintf("%04o", v.UMask)})
	all = append(all, limits...)
	return append(all, []property{
		{"RootDirectory", v.RootDirectory}, {"WorkingDirectory", workingDirectory(v)}, {"OOMScoreAdjust", oom}, {"Nice", nice},
		{"StandardInput", orElse(v.Stdin.Target, "null")}, {"StandardOutput", output(v.Stdout, "journal")},
		{"StandardError", output(v.Stderr, "inherit")}, {"SyslogIdentifier", v.SyslogIdentifier},
		{"AmbientCapabilities", strings.ToLower(strings.Join(v.AmbientCapabilities, " "))}, {"User", v.User}, {"Group", v.Group},
		{"SupplementaryGroups", strings.Join(v.SupplementaryGroups, " ")}, {"PassEnvironment", strings.Join(v.PassEnvironment, " ")},
		{"UnsetEnvironment", strings.Join(v.UnsetEnvironment, " ")}, {"PrivateTmp", yesNo(v.PrivateTmp)},
		{"NoNewPrivileges", yesNo(v.NoNewPrivileges)}, {"RuntimeDirectoryPreserve", orElse(v.RuntimeDirectoryPreserve, "no")},
		{"RuntimeDirectory", directories(v.RuntimeDirectory)}, {"StateDirectory", directories(v.StateDirectory)},
		{"CacheDirectory", directories(v.CacheDirectory)}, {"LogsDirectory", directories(v.LogsDirectory)},
		{"ConfigurationDirectory", directories(v.ConfigurationDirectory)}, {"KillMode", orElse(string(v.KillMode), string(unit.KillGroup))},
		{"KillSignal", signalNumber(v.KillSignal, "15")}, {"RestartKillSignal", signalNumber(v.RestartKillSignal, "15")},
		{"FinalKillSignal", signalNumber(v.FinalKillSignal, "9")}, {"SendSIGKILL", yesNo(v.SendSIGKILL)}, {"SendSIGHUP", yesNo(v.SendSIGHUP)},
	}...)
}

func workingDirectory(v *unit.Service) string {
	if v.WorkingDirMayMiss {
		return "!" + v.WorkingDirectory
	}
	return v.WorkingDirectory
}

func limit(n uint64) string {
	if n == ^uint64(0) {
		return "infinity"
	}
	return strconv.FormatUint(n, 10)
}

func output(o unit.Output, otherwise string) string {
	if o.Path != "" {
		return o.Target + ":" + o.Path
	}
	return orElse(o.Target, otherwise)
}

// directories are the names below the base, which is all that the unit file says.
func directories(all []unit.Directory) string {
	var names []string
	for _, d := range all {
		for _, base := range []string{"/run/", "/var/lib/", "/var/cache/", "/var/log/", "/etc/"} {
			if rest, ok := strings.CutPrefix(d.Path, base); ok {
				names = append(names, rest)
				break
			}
		}
	}
	return strings.Join(names, " ")
}

func signalNumber(name, otherwise string) string {
	if n, ok := unit.Signal(name); ok {
		return number(n)
	}
	return otherwise
}

// timerProperties are what cron was told.
func (s *ctl) timerProperties(u seen) []property {
	t := u.Timer
	var calendar []string
	for _, set := range u.Settings {
		if set.Section == "Timer" && set.Key == "OnCalendar" {
			calendar = append(calendar, set.Value)
		}
	}
	slices.Sort(calendar)
	all := []property{{"Unit", t.Unit}}
	for _, c := range slices.Compact(calendar) {
		all = append(all, property{"TimersCalendar", "{ OnCalendar=" + c + " ; next_elapse=n/a }"})
	}
	return append(all, property{"Result", "success"}, property{"Persistent", yesNo(t.Persistent)}, property{"RemainAfterElapse", "yes"},
		property{"Cron", strings.Join(t.Cron, "; ")})
}
