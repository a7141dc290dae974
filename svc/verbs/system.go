package verbs

import (
	"os"
	"slices"
	"strings"

	"github.com/berth-project/berth/unit"
)

// powerProgram ends or restarts the services of the container.
const powerProgram = "/usr/lib/berth/power"

// power is `systemctl reboot` and its like.
func (s *ctl) power(verb string) int {
	action := "--halt"
	switch verb {
	case "reboot", "soft-reboot":
		action = "--reboot"
	case "kexec":
		return s.refuse(verb, nil)
	}
	if s.dryRun {
		return exitOK
	}
	return s.runPower(action)
}

// runPower calls the image's own program, which knows who may do it and whether it is being done already.
func (c *call) runPower(args ...string) int {
	code, err := c.Run(c.ctx, Program{Path: powerProgram, Args: args})
	if err != nil {
		c.errorf("%s: cannot run %s: %s", c.name, powerProgram, err)
		return exitFailure
	}
	return code
}

// isolate goes to another target. The only ones that a container can be in are its normal one, and not at all.
func (s *ctl) isolate(args []string) int {
	name := s.mangleAs(args, ".target")[0]
	switch name {
	case "poweroff.target", "halt.target", "runlevel0.target", "shutdown.target", "exit.target":
		return s.runPower("--halt")
	case "reboot.target", "runlevel6.target":
		return s.runPower("--reboot")
	case "rescue.target", "emergency.target", "runlevel1.target":
		return s.refuse("isolate "+name, nil)
	}
	u := s.units().Unit(name)
	if u.Load == unit.NotFound {
		s.errorf("Failed to start %s: Unit %s not found.", name, name)
		return exitNoUnit
	}
	if u.Kind != unit.KindTarget {
		s.errorf("Failed to start %s: Operation refused, unit may not be isolated.", name)
		return exitNoPermit
	}
	return s.jobOf("start", name)
}

// refuse is for what only a machine of its own can do.
func (s *ctl) refuse(verb string, _ []string) int {
	s.errorf("Failed to %s: not possible in a container without systemd.%s", verb, insteadOf(verb))
	return exitFailure
}

// insteadOf names the way out, where there is one.
func insteadOf(verb string) string {
	switch verb {
	case "set-property":
		return " Write the setting with 'systemctl edit UNIT'; processor and memory are set for the whole container."
	case "kexec":
		return " Use 'systemctl reboot'."
	case "rescue", "emergency", "isolate rescue.target", "isolate emergency.target":
		return " Stop services with 'systemctl stop UNIT...'."
	case "suspend", "hibernate", "hybrid-sleep", "suspend-then-hibernate":
		return " Use 'systemctl poweroff', or scale the app to 0."
	case "clean":
		return " Remove the files below /var/lib, /var/cache and /var/log by hand."
	}
	return ""
}

// environment prints what services get from the container, or refuses to change it: nothing lives long enough to keep a change.
func (s *ctl) environment(verb string) int {
	if verb != "show-environment" {
		s.errorf("Failed to %s: not possible in a container without systemd. Write Environment= with 'systemctl edit UNIT', "+
			"or set it in the app's definition for the whole container.", strings.Replace(verb, "-", " ", 1))
		return exitFailure
	}
	var all []string
	entries, _ := os.ReadDir(s.path("/run/berth/env"))
	for _, e := range entries {
		if text, err := os.ReadFile(s.path("/run/berth/env/" + e.Name())); err == nil {
			all = append(all, e.Name()+"="+strings.TrimSuffix(string(text), "\n"))
		}
	}
	slices.Sort(all)
	for _, line := range all {
		s.printf("%s\n", line)
	}
	return exitOK
}

// help opens the manual pages of units.
func (s *ctl) help(names []string) int {
	if len(names) == 0 {
		s.printf("%s", systemctlHelp)
		return exitOK
	}
	code := exitOK
	for _, name := range s.expand(names) {
		u := s.look(name)
		if len(u.Docs) == 0 {
			s.errorf("Documentation for %s not known.", name)
			continue
		}
		for _, doc := range u.Docs {
			page, ok := strings.CutPrefix(doc, "man:")
			if !ok {
				s.printf("Can't show: %s\n", doc)
				continue
			}
			page, section, _ := strings.Cut(strings.TrimSuffix(page, ")"), "(")
			if c, err := s.Run(s.ctx, Program{Path: "man", Args: []string{section, page}}); err != nil || c != 0 {
				code = exitFailure
			}
		}
	}
	return code
}

const systemctlHelp = `systemctl [OPTIONS...] COMMAND ...

Query or control the services of this container.

Unit commands:
  list-units [PATTERN...]             what runs, has failed or was started
  list-timers [PATTERN...]            timers, which cron keeps
  is-active | is-failed PATTERN...    states, and an exit code for scripts
  status [PATTERN... | PID...]        state, processes and last log lines
  show [PATTERN...]                   properties, for programs
  cat PATTERN...                      unit files and drop-ins
  list-dependencies [UNIT...]         what units pull in
  start | stop | restart UNIT...
  reload | reload-or-restart UNIT...
  try-restart | try-reload-or-restart UNIT...
  kill UNIT...                        send a signal
  reset-failed [PATTERN...]           forget failures and start limits

Unit file commands:
  list-unit-files [PATTERN...]        what is installed
  enable | disable | reenable UNIT... start with the container or not
  preset UNIT... | preset-all         as the distribution wants it
  is-enabled UNIT...
  mask | unmask UNIT...               keep from being started at all
  link PATH... | revert UNIT...
  add-wants | add-requires TARGET UNIT...
  edit UNIT...                        write a drop-in (--full: a copy)
  get-default | set-default TARGET

Others:
  daemon-reload                       read the unit files again
  is-system-running
  reboot | poweroff | halt            of this container

Options:
  -t --type=TYPE, --state=STATE, --failed, -a --all
  -p --property=NAME, -P NAME, --value
  -l --full, --plain, --no-legend, --no-pager, -q --quiet
  -n --lines=N                        log lines of status (10)
  --now                               with enable, disable, mask: also start or stop
  --no-block                          do not wait for the job
  --runtime, -f --force, --root=PATH  for unit files
  -s --signal=SIGNAL, --kill-whom=main|control|all
  --before, --after, --reverse        for list-dependencies

Examples:
  systemctl enable --now nginx        start now and with the container
  systemctl status nginx              is it well, what did it say
  systemctl edit nginx                change a setting
  systemctl list-units --failed

A socket is opened by its service, which starts with it. Paths, devices, mounts
and user managers do not exist in a container: such units are listed, and
starting them says so.
`
