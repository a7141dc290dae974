package verbs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// version is what `systemctl --version` says in its first line: Debian's maintainer scripts compare the number.
const version = "systemd 252 (berth-svc)"

// ctl is one call of systemctl.
type ctl struct {
	*call
	types, states, properties                            []string
	all, full, quiet, plain, value, now, noBlock, legend bool
	runtime, force, user, global, reverse, dryRun        bool
	before, after                                        bool
	root, signal, whom, presetMode, timestamp, remote    string
	lines                                                int
	rooted                                               bool // --root was given
	blind                                                bool // the manager did not say what there is
}

func systemctlOptions() []option {
	return []option{
		{long: "help", short: 'h'}, {long: "version"}, {long: "type", short: 't', value: true}, {long: "state", value: true},
		{long: "property", short: 'p', value: true}, {long: "only-value", short: 'P', value: true}, {long: "value"}, {long: "all", short: 'a'},
		{long: "full", short: 'l'}, {long: "failed"}, {long: "quiet", short: 'q'}, {long: "plain"}, {long: "now"}, {long: "no-block"},
		{long: "no-legend"}, {long: "legend", value: true}, {long: "no-pager"}, {long: "runtime"}, {long: "force", short: 'f'},
		{long: "user"}, {long: "system"}, {long: "global"}, {long: "reverse"}, {long: "wait"}, {long: "dry-run"}, {long: "no-reload"},
		{long: "before"}, {long: "after"}, {long: "root", value: true}, {long: "image", value: true}, {long: "signal", short: 's', value: true},
		{long: "kill-whom", value: true}, {long: "kill-who", value: true}, {long: "output", short: 'o', value: true},
		{long: "lines", short: 'n', value: true}, {long: "preset-mode", value: true}, {long: "timestamp", value: true},
		{long: "host", short: 'H', value: true}, {long: "machine", short: 'M', value: true}, {long: "job-mode", value: true},
		{long: "fail"}, {long: "irreversible"}, {long: "ignore-dependencies"}, {long: "check-inhibitors", value: true},
		{long: "ignore-inhibitors", short: 'i'}, {long: "no-wall"}, {long: "no-ask-password"}, {long: "recursive", short: 'r'},
		{long: "show-types"}, {long: "show-transaction", short: 'T'}, {long: "with-dependencies"}, {long: "what", value: true},
		{long: "message", value: true}, {long: "marked"}, {long: "mkdir"}, {long: "read-only"}, {long: "firmware-setup"},
		{long: "boot-loader-menu", value: true}, {long: "boot-loader-entry", value: true}, {long: "reboot-argument", value: true},
	}
}

// systemctl is the program.
func systemctl(c *call, args []string) int {
	found, rest, err := parse(systemctlOptions(), args)
	if err != nil {
		c.errorf("systemctl: %s", err)
		return exitFailure
	}
	s := &ctl{call: c, legend: true, lines: 10, signal: "SIGTERM", whom: "all"}
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", systemctlHelp)
			return exitOK
		case "version":
			c.printf("%s\nservices of a container under s6, without systemd\n", version)
			return exitOK
		}
		if err := s.set1(o); err != nil {
			c.errorf("%s", err)
			return exitFailure
		}
	}
	verb := "list-units"
	if len(rest) > 0 {
		verb, rest = rest[0], rest[1:]
	}
	return s.run(verb, rest)
}

// set1 takes one option. Those that change nothing in a container are accepted.
func (s *ctl) set1(o given) error {
	switch o.name {
	case "type":
		for _, t := range commaList(o.value) {
			// systemctl takes a load state for a type, too.
			switch t {
			case "loaded", "not-found", "masked", "error", "bad-setting":
				s.states = append(s.states, t)
			case "help":
			default:
				s.types = append(s.types, t)
			}
		}
	case "state":
		s.states = append(s.states, commaList(o.value)...)
	case "failed":
		s.states = append(s.states, "failed")
	case "property", "only-value":
		s.properties = append(s.properties, commaList(o.value)...)
		s.value = s.value || o.name == "only-value"
		if o.value == "" {
			s.properties = append(s.properties, "")
		}
	case "lines":
		n, err := strconv.Atoi(o.value)
		if err != nil || n < 0 {
			return sentencef("Failed to parse lines '%s'", o.value)
		}
		s.lines = n
	case "legend":
		b, err := unit.ParseBool(o.value)
		if err != nil {
			return sentencef("Failed to parse boolean argument to --legend=: %s.", o.value)
		}
		s.legend = b
	case "root":
		s.root, s.rooted = o.value, o.value != "" && o.value != "/"
	case "image":
		return sentencef("Option --image= is not possible in a container: mount the image's files and use --root=")
	case "signal":
		s.signal = o.value
	case "kill-whom", "kill-who":
		s.whom = o.value
	case "preset-mode":
		s.presetMode = o.value
	case "timestamp":
		s.timestamp = o.value
	case "host", "machine":
		// "--machine=.host" and "root@.host" are this very system.
		if name := o.value; name != ".host" && name != "root@.host" && name != "root@" {
			s.remote = name
		}
	default:
		s.flag(o.name)
	}
	return nil
}

func (s *ctl) flag(name string) {
	switch name {
	case "value":
		s.value = true
	case "all":
		s.all = true
	case "full":
		s.full = true
	case "quiet":
		s.quiet = true
	case "plain":
		s.plain = true
	case "now":
		s.now = true
	case "no-block":
		s.noBlock = true
	case "no-legend":
		s.legend = false
	case "runtime":
		s.runtime = true
	case "force":
		s.force = true
	case "user":
		s.user = true
	case "global":
		s.global = true
	case "system":
		s.user, s.global = false, false
	case "reverse":
		s.reverse = true
	case "before":
		s.before = true
	case "after":
		s.after = true
	case "dry-run":
		s.dryRun = true
	}
}

// verb is one word of systemctl's: how many operands it takes and whether it works on files alone, without a manager.
type verb struct {
	min, max int // max < 0: any number
	files    bool
	run      func(*ctl, []string) int
}

const anyNumber = -1

func findVerb(name string) (verb, bool) {
	switch name {
	case "start", "stop", "restart", "try-restart", "condrestart", "reload", "reload-or-restart", "try-reload-or-restart", "force-reload",
		"reload-or-try-restart", "condreload", "condstop":
		return verb{1, anyNumber, false, func(s *ctl, names []string) int { return s.job(name, names) }}, true
	case "is-active":
		return verb{1, anyNumber, false, (*ctl).isActive}, true
	case "is-failed":
		return verb{1, anyNumber, false, (*ctl).isFailed}, true
	case "is-enabled":
		return verb{1, anyNumber, true, (*ctl).isEnabled}, true
	case "enable", "disable", "reenable", "mask", "unmask", "preset", "link", "revert":
		return verb{1, anyNumber, true, func(s *ctl, names []string) int { return s.install(name, names) }}, true
	case "preset-all":
		return verb{0, 0, true, func(s *ctl, _ []string) int { return s.presetAll() }}, true
	case "add-wants", "add-requires":
		return verb{2, anyNumber, true, func(s *ctl, args []string) int { return s.addWants(name, args[0], args[1:]) }}, true
	case "get-default":
		return verb{0, 0, true, (*ctl).getDefault}, true
	case "set-default":
		return verb{1, 1, true, (*ctl).setDefault}, true
	case "list-unit-files":
		return verb{0, anyNumber, true, (*ctl).listUnitFiles}, true
	case "cat":
		return verb{1, anyNumber, true, (*ctl).cat}, true
	case "edit":
		return verb{1, anyNumber, true, (*ctl).edit}, true
	case "list-units":
		return verb{0, anyNumber, false, (*ctl).listUnits}, true
	case "list-timers":
		return verb{0, anyNumber, false, (*ctl).listTimers}, true
	case "list-sockets":
		return verb{0, anyNumber, false, (*ctl).listSockets}, true
	case "list-automounts", "list-jobs", "list-machines":
		return verb{0, anyNumber, false, func(s *ctl, _ []string) int { return s.listNothing(name) }}, true
	case "list-dependencies":
		return verb{0, anyNumber, false, (*ctl).listDependencies}, true
	case "status":
		return verb{0, anyNumber, false, (*ctl).status}, true
	case "show":
		return verb{0, anyNumber, false, (*ctl).show}, true
	case "kill":
		return verb{1, anyNumber, false, (*ctl).kill}, true
	case "reset-failed":
		return verb{0, anyNumber, false, (*ctl).resetFailed}, true
	}
	return systemVerb(name)
}

// systemVerb finds the words about the whole machine.
func systemVerb(name string) (verb, bool) {
	switch name {
	case "daemon-reload", "daemon-reexec":
		return verb{0, 0, false, (*ctl).daemonReload}, true
	case "is-system-running":
		return verb{0, 0, false, (*ctl).isSystemRunning}, true
	case "isolate":
		return verb{1, 1, false, (*ctl).isolate}, true
	case "default":
		return verb{0, 0, false, func(s *ctl, _ []string) int { return s.isolate([]string{"default.target"}) }}, true
	case "poweroff", "reboot", "halt", "kexec", "soft-reboot", "exit":
		return verb{0, 1, false, func(s *ctl, _ []string) int { return s.power(name) }}, true
	case "rescue", "emergency", "suspend", "hibernate", "hybrid-sleep", "suspend-then-hibernate", "switch-root", "freeze", "thaw", "bind",
		"mount-image", "set-property", "clean":
		return verb{0, anyNumber, false, func(s *ctl, args []string) int { return s.refuse(name, args) }}, true
	case "show-environment", "set-environment", "unset-environment", "import-environment":
		return verb{0, anyNumber, false, func(s *ctl, args []string) int { return s.environment(name) }}, true
	case "help":
		return verb{0, anyNumber, false, (*ctl).help}, true
	case "cancel":
		return verb{0, anyNumber, false, func(*ctl, []string) int { return exitOK }}, true
	case "log-level", "log-target", "service-log-level", "service-log-target", "service-watchdogs":
		return verb{0, anyNumber, false, func(s *ctl, args []string) int { return s.refuse(name, args) }}, true
	}
	return verb{}, false
}

// run checks what every verb needs and calls it.
func (s *ctl) run(name string, args []string) int {
	v, ok := findVerb(name)
	switch {
	case !ok:
		s.errorf("Unknown command verb %s.", name)
		return exitFailure
	case len(args) < v.min:
		s.errorf("Too few arguments.")
		return exitFailure
	case v.max >= 0 && len(args) > v.max:
		s.errorf("Too many arguments.")
		return exitFailure
	case s.remote != "":
		s.errorf("Failed to connect to bus: Host is down")
		return exitFailure
	case s.user || s.global:
		// There are no user managers: nobody would ever read what was enabled.
		s.errorf("Failed to connect to bus: No medium found")
		return exitFailure
	case s.rooted && !v.files:
		s.errorf("Failed to %s: --root= works with unit files only, not with running services.", name)
		return exitFailure
	case s.rooted:
		s.Root = s.path(s.root)
	case !v.files && !s.booted():
		s.errorf("System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down")
		return exitFailure
	}
	return v.run(s, args)
}

// live says whether a change of files concerns the manager of this machine.
func (s *ctl) live() bool { return !s.rooted && s.booted() }

// privileged says whether the caller may change something, and tells him if not.
func (s *ctl) privileged(action string) bool {
	if s.UID == 0 {
		return true
	}
	s.errorf("Failed to %s: Access denied", action)
	return false
}

// mangle completes the names of a command line. What no unit can be called is escaped as systemd does, with a warning.
func (s *ctl) mangle(names []string) []string { return s.mangleAs(names, ".service") }

// mangleAs is mangle for names that mean another kind of unit without their suffix. A pattern stays as it is: "ngin*" means services where one is
// started (expand), but everything where units are listed.
func (s *ctl) mangleAs(names []string, suffix string) []string {
	var all []string
	for _, name := range names {
		if isGlob(name) {
			all = append(all, name)
			continue
		}
		full := unit.Complete(name)
		if base, ok := strings.CutSuffix(full, ".service"); ok && full != name {
			full = base + suffix
		}
		if valid := escapeName(full); valid != full {
			if !s.quiet {
				s.errorf("Invalid unit name \"%s\" escaped as \"%s\" (maybe you should use systemd-escape?).", name, valid)
			}
			full = valid
		}
		all = append(all, full)
	}
	return all
}

// escapeName replaces the characters that no unit's name has, and leaves a valid name alone. unit.Escape is for a part of a name: it escapes
// what has a meaning in one, too.
func escapeName(s string) string {
	if unit.ValidName(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			b.WriteByte('-')
		case alnum(c) || strings.IndexByte(`-:_.\@`, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

func alnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// expand replaces patterns by the units that the manager knows and that match.
func (s *ctl) expand(names []string) []string {
	var all []string
	for _, name := range s.mangle(names) {
		if !isGlob(name) {
			all = append(all, name)
			continue
		}
		for _, known := range s.known() {
			if (matches([]string{name}, known) || matches([]string{name + ".service"}, known)) && !slices.Contains(all, known) {
				all = append(all, known)
			}
		}
	}
	return all
}

// known are the units with a state.
func (s *ctl) known() []string {
	names, err := s.Manager.Known()
	if err != nil && !s.blind {
		s.errorf("Failed to list units: %s", reason(err))
	}
	s.blind = err != nil
	return names
}

// seen is a unit as it is now.
type seen struct {
	*unit.Unit
	manager.State
	asked  string // the name that was asked for
	hidden error  // why the state could not be read
}

// look reads a unit and its state. A unit that has no file has a state, too: inactive.
func (s *ctl) look(name string) seen {
	u := s.units().Unit(name)
	st, err := s.Manager.State(u.Name)
	if err != nil || st.Active == "" {
		st.Active, st.Sub = manager.Inactive, "dead"
	}
	if u.Load == unit.NotFound {
		if own := s.native(u.Name); own != nil {
			u = own
		}
	}
	return seen{u, st, name, err}
}
