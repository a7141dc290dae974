package verbs

import (
	"slices"
	"strings"
)

const updateUsage = `usage: update-rc.d [-f] <basename> remove
       update-rc.d [-f] <basename> defaults
       update-rc.d [-f] <basename> defaults-disabled
       update-rc.d <basename> disable|enable [S|2|3|4|5]
		-f: force

The disable|enable API is not stable and might change in the future.`

// updateRC is Debian's program for the runlevels of init scripts.
func updateRC(c *call, args []string) int {
	fail := func(text string) int {
		c.errorf("update-rc.d: error: %s", text)
		return exitFailure
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if args[0] != "-f" {
			if args[0] != "-h" && args[0] != "--help" {
				c.errorf("update-rc.d: error: unknown option")
			}
			c.errorf("%s", updateUsage)
			return exitFailure
		}
		args = args[1:]
	}
	if len(args) < 2 {
		c.errorf("update-rc.d: error: not enough arguments\n%s", updateUsage)
		return exitFailure
	}
	if c.UID != 0 {
		return fail("only root may change runlevels")
	}
	name, action := args[0], args[1]
	known := c.script(name) != ""
	switch action {
	case "remove":
		return c.changeScript(name, c.units().ScriptRemove(name))
	case "start", "stop":
		c.errorf("update-rc.d: warning: start and stop actions are no longer supported; falling back to defaults")
		fallthrough
	case "defaults", "defaults-disabled":
		if !known {
			return fail("unable to read /etc/init.d/" + name)
		}
		if c.linked(name) {
			return c.changeScript(name, nil)
		}
		changes := c.units().ScriptAdd(name)
		if action == "defaults-disabled" {
			changes = c.units().ScriptSwitch(name, false, nil)
		}
		return c.changeScript(name, changes)
	case "enable", "disable":
		if !known {
			return fail("cannot find a LSB script for " + name)
		}
		return c.updateSwitch(name, action, args[2:])
	}
	c.errorf("%s", updateUsage)
	return exitFailure
}

// updateSwitch turns links from S to K and back, in the runlevels of the script's header or in those given; a unit of the same name follows.
func (c *call) updateSwitch(name, action string, words []string) int {
	levels := []int(nil)
	for _, w := range words {
		if !slices.Contains([]string{"2", "3", "4", "5"}, w) {
			if w != "S" {
				c.errorf("update-rc.d: warning: %s action will have no effect on runlevel %s", action, w)
			}
			continue
		}
		levels = append(levels, int(w[0]-'0'))
	}
	if !c.linked(name) || len(words) > 0 && levels == nil {
		c.errorf("update-rc.d: error: no runlevel symlinks to modify, aborting!")
		return exitFailure
	}
	if code := c.changeScript(name, c.units().ScriptSwitch(name, action == "enable", levels)); code != exitOK {
		return code
	}
	// systemd-sysv-install calls here; it must not be called back.
	if c.Getenv("_SKIP_SYSTEMD_NATIVE") != "1" && c.units().Unit(name+".service").SysV == nil {
		systemctl(c, []string{"--quiet", action, name})
	}
	return exitOK
}

// runlevel is the present one: 5 with graphical.target as the default, else 3, as systemd counts.
func (c *call) runlevel() int {
	if c.units().Unit("default.target").Name == "graphical.target" {
		return 5
	}
	return 3
}

// showRunlevel is the program runlevel.
func showRunlevel(c *call, args []string) int {
	if !c.booted() {
		c.printf("unknown\n")
		return exitFailure
	}
	c.printf("N %d\n", c.runlevel())
	return exitOK
}

// telinit is also init when it is called by a person.
func telinit(c *call, args []string) int {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(args) != 1 {
		c.errorf("%s: one runlevel is needed: 0 halts, 6 reboots, q reads the units again", c.name)
		return exitFailure
	}
	switch args[0] {
	case "0":
		return c.runPower("--halt")
	case "6":
		return c.runPower("--reboot")
	case "2", "3", "4", "5":
		return systemctl(c, []string{"isolate", "runlevel" + args[0] + ".target"})
	case "q", "Q", "u", "U":
		return systemctl(c, []string{"daemon-reload"})
	case "1", "s", "S":
		c.errorf("%s: a container has no single-user mode. Stop services with 'systemctl stop UNIT...'.", c.name)
		return exitFailure
	}
	c.errorf("%s: bad runlevel %q", c.name, args[0])
	return exitFailure
}

// shutdown ends the container's services now, or says that it cannot wait.
func shutdown(c *call, args []string) int {
	found, rest, err := parse([]option{
		{long: "reboot", short: 'r'}, {long: "halt", short: 'H'}, {long: "poweroff", short: 'P'}, {long: "halt-or-poweroff", short: 'h'},
		{long: "cancel", short: 'c'}, {long: "warn", short: 'k'}, {long: "no-wall"}, {long: "show"}, {long: "force", short: 'f'},
		{long: "time", short: 't', value: true}, {long: "help"},
	}, args)
	if err != nil {
		c.errorf("%s: %s", c.name, err)
		return exitFailure
	}
	action := "--halt"
	for _, o := range found {
		switch o.name {
		case "reboot":
			action = "--reboot"
		case "help":
			c.printf("shutdown [-r | -h | -P] [now] [message]: ends or restarts the services of this container\n")
			return exitOK
		case "cancel", "show":
			c.errorf("shutdown: nothing is scheduled: a container is shut down at once or not at all")
			return exitOK
		case "warn":
			return exitOK
		}
	}
	if len(rest) > 0 && rest[0] != "now" && rest[0] != "+0" {
		c.errorf("shutdown: only \"now\" is possible in a container, not %q", rest[0])
		return exitFailure
	}
	return c.runPower(action)
}

// powerOff is poweroff, halt and reboot.
func powerOff(c *call, args []string) int {
	found, _, err := parse([]option{
		{long: "force", short: 'f'}, {long: "wtmp-only", short: 'w'}, {long: "no-wtmp", short: 'd'}, {long: "no-sync", short: 'n'},
		{long: "no-wall"}, {long: "halt"}, {long: "poweroff", short: 'p'}, {long: "reboot"}, {long: "help"}, {long: "ifdown", short: 'i'},
	}, args)
	if err != nil {
		c.errorf("%s: %s", c.name, err)
		return exitFailure
	}
	action := "--halt"
	if c.name == "reboot" {
		action = "--reboot"
	}
	for _, o := range found {
		switch o.name {
		case "wtmp-only":
			return exitOK
		case "halt", "poweroff":
			action = "--halt"
		case "reboot":
			action = "--reboot"
		case "help":
			c.printf("%s: ends or restarts the services of this container (--halt, --reboot)\n", c.name)
			return exitOK
		}
	}
	return c.runPower(action)
}
