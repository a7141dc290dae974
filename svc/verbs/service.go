package verbs

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

const serviceUsage = "Usage: service < option > | --status-all | [ service_name [ command | --full-restart ] ]"

// service is what hands type: systemctl for what both know, the init script itself for the rest.
func service(c *call, args []string) int {
	if len(args) == 0 {
		c.errorf("%s", serviceUsage)
		return exitFailure
	}
	switch args[0] {
	case "--help", "-h":
		c.errorf("%s", serviceUsage)
		return exitOK
	case "--version", "-V":
		c.errorf("service (berth-svc)")
		return exitOK
	case "--status-all":
		return c.statusAll()
	}
	name, action, rest := strings.TrimSuffix(strings.TrimSuffix(args[0], ".sh"), ".service"), "", []string(nil)
	if len(args) > 1 {
		action, rest = args[1], args[2:]
	}
	if action == "--full-restart" {
		action = "restart"
	}
	if !c.booted() {
		return c.runScript(name, action, rest)
	}
	full := name + ".service"
	switch action {
	case "start", "stop", "restart", "try-restart", "status", "condrestart":
		return systemctl(c, []string{action, full})
	case "reload", "force-reload":
		u := c.units().Unit(full)
		switch {
		case canReload(u) || u.Load != unit.Loaded:
			return systemctl(c, []string{"reload", full})
		case action == "force-reload":
			return systemctl(c, []string{"restart", full})
		}
	case "force-stop":
		return systemctl(c, []string{"--signal=KILL", "kill", full})
	}
	return c.runScript(name, action, rest)
}

// runScript calls an init script, or the legacy action that a unit of RHEL's family keeps beside itself.
func (c *call) runScript(name, action string, rest []string) int {
	script := c.script(name)
	if legacy := path.Join("/usr/libexec/initscripts/legacy-actions", name, action); action != "" && c.exists(legacy) {
		script, rest = legacy, append([]string{action}, rest...)
	} else if action != "" {
		rest = append([]string{action}, rest...)
	}
	if script == "" {
		c.errorf("%s: unrecognized service", name)
		return exitFailure
	}
	code, err := c.Run(c.ctx, Program{Path: script, Args: rest, Env: c.cleanEnvironment()})
	if err != nil {
		c.errorf("%s: cannot run %s: %s", c.name, script, err)
		return exitFailure
	}
	return code
}

// script finds an init script that can be run, in either family's folder.
func (c *call) script(name string) string {
	for _, dir := range scriptFolders() {
		info, err := os.Stat(c.path(path.Join(dir, name)))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && name != "" {
			return path.Join(dir, name)
		}
	}
	return ""
}

func scriptFolders() []string { return []string{"/etc/init.d", "/etc/rc.d/init.d"} }

// cleanEnvironment is what an init script gets: as at the boot, whoever calls it.
func (c *call) cleanEnvironment() []string {
	var env []string
	for _, name := range []string{
		"LANG", "LANGUAGE", "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES", "LC_PAPER", "LC_NAME", "LC_ADDRESS",
		"LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION", "LC_ALL", "PATH", "TERM", "SYSTEMCTL_SKIP_REDIRECT",
	} {
		if v := c.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// scripts lists the init scripts by name.
func (c *call) scripts() []string {
	var names []string
	for _, dir := range scriptFolders() {
		files, _ := filepath.Glob(c.path(dir) + "/*")
		for _, f := range files {
			name := filepath.Base(f)
			if c.script(name) == "" || slices.Contains(ignoredScripts(), name) || slices.Contains(names, name) ||
				strings.HasSuffix(name, ".dpkg-dist") || strings.HasSuffix(name, ".dpkg-old") || strings.HasSuffix(name, ".rpmsave") {
				continue
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func ignoredScripts() []string {
	return []string{"functions", "halt", "killall", "single", "linuxconf", "kudzu", "skeleton", "README", "rc", "rcS", "reboot", "bootclean.sh", "netconsole"}
}

// statusAll lists all init scripts with a plus for those whose service runs.
func (c *call) statusAll() int {
	for _, name := range c.scripts() {
		if !c.booted() {
			c.errorf(" [ ? ]  %s", name)
			continue
		}
		u := c.units().Unit(strings.TrimSuffix(name, ".sh") + ".service")
		st, err := c.Manager.State(u.Name)
		switch {
		case err != nil || u.Load == unit.NotFound:
			c.errorf(" [ ? ]  %s", name)
		case st.Active == manager.IsActive || st.Active == manager.Reloading:
			c.printf(" [ + ]  %s\n", name)
		default:
			c.printf(" [ - ]  %s\n", name)
		}
	}
	return exitOK
}
