package verbs

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/unit"
)

const analyzeHelp = `systemd-analyze verify FILE|UNIT...
systemd-analyze unit-paths
systemd-analyze cat-config is not here: use systemctl cat

verify says what is wrong with unit files, and which of their settings have no effect in a container.

Example: systemd-analyze verify /etc/systemd/system/web.service
`

// analyze is systemd-analyze, as far as files are concerned: there is no boot of a machine to look at.
func analyze(c *call, args []string) int {
	found, rest, err := parse([]option{
		{long: "help", short: 'h'}, {long: "version"}, {long: "man", value: true, optional: true}, {long: "no-pager"}, {long: "system"},
		{long: "recursive-errors", value: true}, {long: "root", value: true}, {long: "quiet", short: 'q'},
	}, args)
	if err != nil {
		c.errorf("systemd-analyze: %s", err)
		return exitFailure
	}
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", analyzeHelp)
			return exitOK
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "root":
			c.Root = c.path(o.value)
		}
	}
	switch {
	case len(rest) == 1 && rest[0] == "unit-paths":
		for _, dir := range unit.UnitDirs(c.exists("/etc/debian_version")) {
			c.printf("%s\n", dir)
		}
		return exitOK
	case len(rest) == 0 || rest[0] != "verify":
		c.errorf("systemd-analyze: only \"verify\" is possible in a container without systemd, not %q", strings.Join(rest, " "))
		return exitFailure
	case len(rest) == 1:
		c.errorf("Too few arguments.")
		return exitFailure
	}
	code := exitOK
	for _, arg := range rest[1:] {
		if !c.verify(arg) {
			code = exitFailure
		}
	}
	return code
}

// verify tells what is wrong with a unit. A file elsewhere is read as if its folder were one of units.
func (c *call) verify(arg string) bool {
	name, set := unit.Complete(path.Base(arg)), c.units()
	if strings.Contains(arg, "/") {
		full, err := filepath.Abs(arg)
		if err != nil || !c.exists(full) {
			c.errorf("Failed to prepare filename %s: No such file or directory", arg)
			return false
		}
		set = c.Units(c.Root, path.Dir(full))
	}
	if unit.IsTemplate(name) {
		name = unit.Instance(name, "test-instance")
	}
	u := set.Unit(name)
	for _, ignored := range u.Ignored {
		c.errorf("%s: %s has no effect in a container: %s", orElse(u.Path, name), ignored.Setting, ignored.Reason)
	}
	if u.Load != unit.Loaded {
		c.errorf("%s: %s", orElse(u.Path, name), u.Problem)
		return false
	}
	ok := true
	if u.Problem != "" {
		c.errorf("%s: %s", u.Path, u.Problem)
	}
	if u.Service != nil && u.SysV == nil {
		ok = c.verifyCommands(u)
	}
	return ok
}

// verifyCommands looks for the programs that a service calls.
func (c *call) verifyCommands(u *unit.Unit) bool {
	ok := true
	for _, list := range [][]unit.Command{u.Service.ExecStartPre, u.Service.ExecStart, u.Service.ExecStartPost, u.Service.ExecReload, u.Service.ExecStop} {
		for _, cmd := range list {
			if path.IsAbs(cmd.Path) && !c.exists(cmd.Path) && !cmd.IgnoreFailure {
				c.errorf("%s: Command %s is not executable: No such file or directory", u.Name, cmd.Path)
				ok = false
			}
		}
	}
	return ok
}
