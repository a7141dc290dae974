package verbs

import (
	"fmt"

	"github.com/berth-project/berth/unit"
)

const chkconfigNote = `
Note: This output shows SysV services only and does not include native
      systemd services. SysV configuration data might be overridden by native
      systemd configuration.

      If you want to list systemd services use 'systemctl list-unit-files'.
      To see services enabled on particular target use
      'systemctl list-dependencies [target]'.
`

const chkconfigUsage = `usage:   chkconfig [--list] [--type <type>] [name]
         chkconfig --add <name>
         chkconfig --del <name>
         chkconfig --override <name>
         chkconfig [--level <levels>] [--type <type>] [--no-redirect] <name> <on|off|reset|resetpriorities>`

// chkconfig is RHEL's program for the runlevels of init scripts. What has a unit instead goes to systemctl, as it does there.
func chkconfig(c *call, args []string) int {
	found, rest, err := parse([]option{
		{long: "list"}, {long: "add"}, {long: "del"}, {long: "override"}, {long: "level", value: true}, {long: "levels", value: true},
		{long: "type", value: true}, {long: "no-redirect"}, {long: "help", short: 'h'}, {long: "version", short: 'v'},
	}, args)
	if err != nil {
		c.errorf("chkconfig: %s\n%s", err, chkconfigUsage)
		return exitFailure
	}
	var action string
	var levels []int
	redirect := true
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s\n", chkconfigUsage)
			return exitOK
		case "version":
			c.printf("chkconfig (berth-svc)\n")
			return exitOK
		case "level", "levels":
			if levels, err = runlevels(o.value); err != nil {
				c.errorf("%s", err)
				return exitFailure
			}
		case "no-redirect":
			redirect = false
		case "list", "add", "del", "override":
			action = o.name
		}
	}
	switch {
	case action == "list" || action == "" && len(rest) == 0:
		return c.chkconfigList(rest)
	case len(rest) == 0:
		c.errorf("%s", chkconfigUsage)
		return exitFailure
	case action != "":
		return c.chkconfigKnow(action, rest[0])
	case len(rest) == 1:
		return c.chkconfigQuery(rest[0], levels, redirect)
	}
	return c.chkconfigSwitch(rest[0], rest[1], levels, redirect)
}

// runlevels reads "35".
func runlevels(s string) ([]int, error) {
	var all []int
	for _, r := range s {
		if r < '0' || r > '6' {
			return nil, fmt.Errorf("bad runlevel in %q: 0 to 6 are possible", s)
		}
		all = append(all, int(r-'0'))
	}
	return all, nil
}

// chkconfigList prints the runlevels of one or all scripts.
func (c *call) chkconfigList(names []string) int {
	if c.booted() {
		c.errorf("%s", chkconfigNote)
	}
	code := exitOK
	if len(names) == 0 {
		for _, name := range c.scripts() {
			if c.linked(name) {
				c.printLevels(name)
			}
		}
		return code
	}
	for _, name := range names {
		switch {
		case c.script(name) == "":
			c.errorf("error reading information on service %s: No such file or directory", name)
			code = exitFailure
		case !c.linked(name):
			c.errorf("service %s supports chkconfig, but is not referenced in any runlevel (run 'chkconfig --add %s')", name, name)
			code = exitFailure
		default:
			c.printLevels(name)
		}
	}
	return code
}

// linked says whether a script has a link in any runlevel.
func (c *call) linked(name string) bool { return len(c.units().ScriptRemove(name)) > 0 }

func (c *call) printLevels(name string) {
	c.printf("%-15s", name)
	for level := range 7 {
		state := "off"
		if c.startsIn(name, level) {
			state = "on"
		}
		c.printf("\t%d:%s", level, state)
	}
	c.printf("\n")
}

// startsIn says whether a script has a start link in a runlevel.
func (c *call) startsIn(name string, level int) bool {
	start, known := c.units().Runlevel(name+".service", level)
	return start && known
}

// chkconfigKnow makes a script known, or forgets it.
func (c *call) chkconfigKnow(action, name string) int {
	if code := c.asRoot(); code != exitOK {
		return code
	}
	// A package is forgotten while its script is still there, and by some only after that.
	if c.script(name) == "" && (action != "del" || !c.linked(name)) {
		c.errorf("error reading information on service %s: No such file or directory", name)
		return exitFailure
	}
	changes := c.units().ScriptAdd(name)
	if action == "del" {
		changes = c.units().ScriptRemove(name)
	}
	return c.changeScript(name, changes)
}

// changeScript applies the changes of a script's links and has them considered.
func (c *call) changeScript(name string, changes []unit.Change) int {
	if err := c.apply(changes, false); err != nil {
		c.errorf("%s: failed to change the runlevels of %s: %s", c.name, name, err)
		return exitFailure
	}
	if c.booted() {
		if err := c.Manager.Reconsider(); err != nil {
			c.errorf("%s: failed to reload daemon: %s", c.name, reason(err))
			return exitFailure
		}
	}
	return exitOK
}

// asRoot refuses everybody else.
func (c *call) asRoot() int {
	if c.UID == 0 {
		return exitOK
	}
	c.errorf("You do not have enough privileges to perform this operation.")
	return exitFailure
}

// nativeUnit says whether a name is a unit's that has no script, so that it is systemctl's to care for.
func (c *call) nativeUnit(name string) bool {
	u := c.units().Unit(unit.Complete(name))
	return u.SysV == nil && u.Path != ""
}

// chkconfigQuery answers with the exit code alone: whether a script starts in the present runlevel, or in those given.
func (c *call) chkconfigQuery(name string, levels []int, redirect bool) int {
	if redirect && c.nativeUnit(name) {
		c.errorf("Note: Forwarding request to 'systemctl is-enabled %s.service'.", name)
		return systemctl(c, []string{"is-enabled", name + ".service"})
	}
	if c.script(name) == "" {
		return exitFailure
	}
	if levels == nil {
		levels = []int{c.runlevel()}
	}
	for _, level := range levels {
		if !c.startsIn(name, level) {
			return exitFailure
		}
	}
	return exitOK
}

// chkconfigSwitch turns a script on or off.
func (c *call) chkconfigSwitch(name, word string, levels []int, redirect bool) int {
	if code := c.asRoot(); code != exitOK {
		return code
	}
	verb, ok := map[string]string{"on": "enable", "off": "disable", "reset": "preset", "resetpriorities": ""}[word]
	if !ok {
		c.errorf("%s", chkconfigUsage)
		return exitFailure
	}
	if redirect && c.nativeUnit(name) {
		if verb == "" {
			return exitOK
		}
		c.errorf("Note: Forwarding request to 'systemctl %s %s.service'.", verb, name)
		return systemctl(c, []string{verb, name + ".service"})
	}
	if c.script(name) == "" {
		c.errorf("error reading information on service %s: No such file or directory", name)
		return exitFailure
	}
	return c.changeScript(name, c.switched(name, word, levels))
}

// switched lists the changes: on and off are for 2 to 5 without --level, reset goes back to the script's own wish.
func (c *call) switched(name, word string, levels []int) []unit.Change {
	if levels == nil {
		levels = []int{2, 3, 4, 5}
	}
	switch word {
	case "on", "off":
		return c.units().ScriptSwitch(name, word == "on", levels)
	case "reset":
		before := c.units().ScriptRemove(name)
		// As if it had none: what a first --add would make.
		if err := c.apply(before, false); err != nil {
			return before
		}
		return c.units().ScriptAdd(name)
	}
	return nil
}
