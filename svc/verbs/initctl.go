package verbs

import (
	"bytes"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// initctl answers the calls of scriptlets that were written for Upstart. Its version does not say "upstart": scripts ask for that word to find out
// who is PID 1.
func initctl(c *call, args []string) int {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:] // --quiet, --system, --no-wait
	}
	if len(args) == 0 {
		c.errorf("initctl: missing command\nTry `initctl help' for more information.")
		return exitFailure
	}
	if c.name == "initctl" {
		switch args[0] {
		case "version":
			c.printf("init (berth-svc)\n")
			return exitOK
		case "help":
			c.printf("initctl start|stop|restart|reload|status JOB, list, reload-configuration, version: as systemctl\n")
			return exitOK
		case "emit":
			return exitOK // nobody listens to events
		case "reload-configuration":
			return systemctl(c, []string{"daemon-reload"})
		}
	}
	if !c.booted() {
		c.errorf("initctl: Unable to connect to Upstart: no services are managed here")
		return exitFailure
	}
	if args[0] == "list" {
		names, _ := c.Manager.Known()
		for _, name := range names {
			if stem, ok := strings.CutSuffix(name, ".service"); ok {
				c.printf("%s\n", c.job(stem, name))
			}
		}
		return exitOK
	}
	if len(args) < 2 {
		c.errorf("initctl: missing job name")
		return exitFailure
	}
	return c.upstart(args[0], args[1])
}

// job is a job's line: "nginx start/running, process 12".
func (c *call) job(stem, name string) string {
	st, err := c.Manager.State(name)
	switch {
	case err != nil || st.Active == manager.Inactive || st.Active == manager.Failed || st.Active == "":
		return stem + " stop/waiting"
	case st.MainPID > 0:
		return stem + " start/running, process " + number(st.MainPID)
	}
	return stem + " start/running"
}

// upstart does one verb to one job.
func (c *call) upstart(verb, stem string) int {
	name := unit.Complete(stem)
	u := c.units().Unit(name)
	if u.Load == unit.NotFound {
		c.errorf("initctl: Unknown job: %s", stem)
		return exitFailure
	}
	st, _ := c.Manager.State(u.Name)
	running := st.Active == manager.IsActive || st.Active == manager.Reloading
	switch verb {
	case "status":
		c.printf("%s\n", c.job(stem, u.Name))
		return exitOK
	case "start":
		if running {
			c.errorf("initctl: Job is already running: %s", stem)
			return exitFailure
		}
	case "stop", "restart", "reload":
		if !running {
			c.errorf("initctl: Unknown instance:")
			return exitFailure
		}
	default:
		c.errorf("initctl: invalid command: %s", verb)
		return exitFailure
	}
	inner := *c
	inner.name = "systemctl"
	var text bytes.Buffer
	inner.Stderr = &text
	if code := systemctl(&inner, []string{verb, u.Name}); code != exitOK {
		c.errorf("initctl: %s", strings.TrimSpace(text.String()))
		return exitFailure
	}
	if verb != "reload" {
		c.printf("%s\n", c.job(stem, u.Name))
	}
	return exitOK
}

// systemdRun is refused: a unit that has no file would need a manager that remembers it.
func systemdRun(c *call, args []string) int {
	for _, a := range args {
		if a == "--version" {
			c.printf("%s\n", version)
			return exitOK
		}
	}
	c.errorf("systemd-run: transient units are not possible in a container without systemd. Write a unit file and start it with 'systemctl start', " +
		"or run the command itself with 'setsid -f COMMAND'.")
	return exitFailure
}

// detectVirt says what this machine runs in; units and scripts ask for it.
func detectVirt(c *call, args []string) int {
	found, _, err := parse([]option{
		{long: "container", short: 'c'}, {long: "vm", short: 'v'}, {long: "quiet", short: 'q'}, {long: "chroot", short: 'r'},
		{long: "private-users"}, {long: "version"}, {long: "help", short: 'h'}, {long: "list"},
	}, args)
	if err != nil {
		c.errorf("systemd-detect-virt: %s", err)
		return exitFailure
	}
	quiet, vm := false, false
	for _, o := range found {
		switch o.name {
		case "quiet":
			quiet = true
		case "vm":
			vm = true
		case "chroot", "private-users":
			return exitFailure
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "help", "list":
			c.printf("systemd-detect-virt [-c | -v] [-q]: prints docker; with --vm none, and exits with 1\n")
			return exitOK
		}
	}
	word, code := "docker", exitOK
	if vm {
		word, code = "none", exitFailure
	}
	if !quiet {
		c.printf("%s\n", word)
	}
	return code
}
