package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/unit"
)

// install runs a verb that changes links of unit files, and the manager's view of them after it.
func (s *ctl) install(verb string, args []string) int {
	if !s.privileged(verb + " unit") {
		return exitFailure
	}
	names, code := s.linkPaths(verb, args)
	if code != exitOK {
		return code
	}
	if verb == "enable" || verb == "disable" {
		s.tellScripts(verb, names)
	}
	filed := s.withFiles(verb, names)
	changes, err := s.changes(verb, filed)
	if err == nil {
		err = s.apply(changes, !s.quiet)
	}
	if err == nil {
		err = s.switchNatives(verb, names)
	}
	if err != nil {
		s.errorf("Failed to %s unit: %s", verb, err)
		return exitFailure
	}
	if len(filed) > 0 && (verb == "enable" || verb == "reenable" || verb == "preset") {
		s.hintStatic(verb, filed)
	}
	if len(changes) > 0 && s.live() {
		if err := s.Manager.Reconsider(); err != nil {
			s.errorf("Failed to reload daemon: %s", reason(err))
			return exitFailure
		}
	}
	return s.follow(verb, names)
}

// follow starts or stops what --now was given for.
func (s *ctl) follow(verb string, names []string) int {
	if !s.now || !s.live() {
		return exitOK
	}
	names = slices.DeleteFunc(slices.Clone(names), unit.IsTemplate)
	code := exitOK
	for _, name := range names {
		job := "start"
		if verb == "disable" || verb == "mask" {
			job = "stop"
		}
		u := s.look(name)
		if job == "stop" && (verb == "mask" || u.Load != unit.Loaded) {
			// The file is out of sight now, but what runs of it is to end.
			if c := s.report(job, name, s.perform(job, name)); c != exitOK {
				code = c
			}
			continue
		}
		if c := s.jobOf(job, name); c != exitOK {
			code = c
		}
	}
	return code
}

// linkPaths completes names. A path names a unit file; one outside of the unit folders is linked into them first.
func (s *ctl) linkPaths(verb string, args []string) ([]string, int) {
	var names []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "/") {
			names = append(names, s.mangle([]string{arg})...)
			continue
		}
		name := path.Base(arg)
		names = append(names, name)
		if verb == "disable" || verb == "mask" || verb == "unmask" || s.units().Unit(name).Path == arg && verb != "link" {
			continue
		}
		change, _, err := s.units().Link(s.how(), arg)
		if err == nil {
			err = s.apply([]unit.Change{change}, !s.quiet)
		}
		if err != nil {
			s.errorf("Failed to %s unit: %s", verb, err)
			return nil, exitFailure
		}
	}
	return names, exitOK
}

func (s *ctl) how() unit.How { return unit.How{Runtime: s.runtime, Force: s.force} }

// changes asks what a verb does to the files.
func (s *ctl) changes(verb string, names []string) ([]unit.Change, error) {
	how, set := s.how(), s.units()
	switch verb {
	case "enable":
		return set.Enable(how, names...)
	case "disable":
		return set.Disable(how, names...)
	case "reenable":
		return set.Reenable(how, names...)
	case "mask":
		for _, name := range names {
			if set.FileState(name) == "" && !s.quiet {
				s.errorf("Unit %s does not exist, proceeding anyway.", name)
			}
		}
		return set.Mask(how, names...)
	case "unmask":
		return set.Unmask(how, names...)
	case "preset":
		return s.presets(names)
	case "revert":
		return s.reverts(names), nil
	}
	return nil, nil // link: done before
}

// presets is what the distribution wants of units.
func (s *ctl) presets(names []string) ([]unit.Change, error) {
	var all []unit.Change
	for _, name := range names {
		wish := s.units().Preset(name)
		if s.presetMode != "" && s.presetMode != "full" && s.presetMode != strings.TrimSuffix(wish, "d")+"-only" {
			continue
		}
		do := s.units().Enable
		if wish == string(unit.Disabled) {
			do = s.units().Disable
		}
		changes, err := do(unit.How{Runtime: s.runtime, Force: true}, name)
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
	}
	return all, nil
}

// presetAll does it to all units that can be enabled.
func (s *ctl) presetAll() int {
	var names []string
	for _, f := range s.units().Files() {
		if f.State == unit.Enabled || f.State == unit.Disabled {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return exitOK
	}
	return s.install("preset", names)
}

// preset is the distribution's wish for a unit that can be enabled; empty for others.
func (c *call) preset(name string) string {
	for _, f := range c.files() {
		if f.Name == name {
			return f.Preset
		}
	}
	return ""
}

// files are the unit files, read once a call.
func (c *call) files() []unit.File {
	if c.listedFiles == nil {
		c.listedFiles = c.units().Files()
	}
	return c.listedFiles
}

// reverts are the drop-ins and copies below /etc that hide what a package brought, and masks.
func (s *ctl) reverts(names []string) []unit.Change {
	var all []unit.Change
	for _, name := range names {
		for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system"} {
			drops, _ := filepath.Glob(s.path(dir + "/" + name + ".d/*.conf"))
			for _, d := range drops {
				all = append(all, unit.Change{Remove: true, Path: path.Join(dir, name+".d", filepath.Base(d))})
			}
			if s.exists("/lib/systemd/system/"+name) || s.exists("/usr/lib/systemd/system/"+name) {
				if _, err := os.Lstat(s.path(path.Join(dir, name))); err == nil {
					all = append(all, unit.Change{Remove: true, Path: path.Join(dir, name)})
				}
			}
		}
	}
	return all
}

// addWants makes units start with a target without asking their [Install] sections.
func (s *ctl) addWants(verb, target string, names []string) int {
	if !s.privileged("add dependency") {
		return exitFailure
	}
	suffix := map[string]string{"add-wants": ".wants", "add-requires": ".requires"}[verb]
	dir := "/etc/systemd/system"
	if s.runtime {
		dir = "/run/systemd/system"
	}
	var changes []unit.Change
	target = s.mangleAs([]string{target}, ".target")[0]
	for _, name := range s.mangle(names) {
		u := s.units().Unit(name)
		if u.Path == "" {
			s.errorf("Failed to add dependency: Unit %s does not exist.", name)
			return exitFailure
		}
		changes = append(changes, unit.Change{Path: path.Join(dir, target+suffix, name), Target: u.Path})
	}
	if err := s.apply(changes, !s.quiet); err != nil {
		s.errorf("Failed to add dependency: %s", err)
		return exitFailure
	}
	if s.live() {
		return s.daemonReload(nil)
	}
	return exitOK
}

// tellScripts says of init scripts that their runlevel links are changed along, as systemctl does before it calls systemd-sysv-install.
func (s *ctl) tellScripts(verb string, names []string) {
	if s.quiet {
		return
	}
	for _, name := range names {
		u := s.units().Unit(name)
		if u.SysV != nil {
			s.errorf("%s is not a native service, redirecting to systemd-sysv-install.", u.Name)
			s.errorf("Executing: /lib/systemd/systemd-sysv-install %s %s", verb, strings.TrimSuffix(u.Name, ".service"))
		}
	}
}

// hintStatic tells of units that enable can do nothing to.
func (s *ctl) hintStatic(verb string, names []string) {
	for _, name := range names {
		u := s.units().Unit(name)
		if u.SysV != nil || u.Installable() || s.quiet {
			return
		}
	}
	s.errorf("The unit files have no installation config (WantedBy=, RequiredBy=, Also=,\n" +
		"Alias= settings in the [Install] section, and DefaultInstance= for template\n" +
		"units). This means they are not meant to be enabled using systemctl.\n" +
		" \n" +
		"Possible reasons for having this kind of units are:\n" +
		s.glyph("•", "*") + " A unit may be statically enabled by being symlinked from another unit's\n" +
		"  .wants/ or .requires/ directory.\n" +
		s.glyph("•", "*") + " A unit's purpose may be to act as a helper for some other unit which has\n" +
		"  a requirement dependency on it.\n" +
		s.glyph("•", "*") + " A unit may be started when needed via activation (socket, path, timer,\n" +
		"  D-Bus, udev, scripted systemctl call, ...).\n" +
		s.glyph("•", "*") + " In case of template units, the unit is meant to be enabled with some\n" +
		"  instance name specified.")
}

// apply makes and removes links, and tells of each that is not a runlevel's. Removing what is gone already is no error.
func (c *call) apply(changes []unit.Change, tell bool) error {
	defer c.reread()
	for _, change := range changes {
		if err := c.applyOne(change); err != nil {
			return err
		}
		if !tell || change.Script {
			continue
		}
		text := change.String()
		if !c.utf8() {
			text = strings.ReplaceAll(text, "→", "->")
		}
		c.errorf("%s", text)
	}
	return nil
}

func (c *call) applyOne(change unit.Change) error {
	full := c.path(change.Path)
	if change.Remove {
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", change.Path, cause(err))
		}
		// A .wants folder that has become empty goes, as with systemd; others are the packages'.
		if dir := path.Dir(change.Path); strings.HasSuffix(dir, ".wants") || strings.HasSuffix(dir, ".requires") || strings.HasSuffix(dir, ".d") && strings.Contains(dir, "/systemd/") {
			os.Remove(c.path(dir))
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", change.Path, cause(err))
	}
	// Under another name first: a link is never missing in between.
	fresh := full + ".new"
	os.Remove(fresh)
	if err := os.Symlink(change.Target, fresh); err != nil {
		return fmt.Errorf("make %s: %w", change.Path, cause(err))
	}
	if err := os.Rename(fresh, full); err != nil {
		os.Remove(fresh)
		return fmt.Errorf("make %s: %w", change.Path, cause(err))
	}
	return nil
}

// cause is the system's error without the path, which the sentence around it has.
func cause(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

const defaultTarget = "/etc/systemd/system/default.target"

// getDefault prints the target that a container starts.
func (s *ctl) getDefault([]string) int {
	for _, p := range []string{defaultTarget, "/run/systemd/system/default.target", "/lib/systemd/system/default.target", "/usr/lib/systemd/system/default.target"} {
		if target, err := os.Readlink(s.path(p)); err == nil {
			s.printf("%s\n", path.Base(target))
			return exitOK
		}
	}
	s.printf("%s\n", s.units().Unit("default.target").Name)
	return exitOK
}

// setDefault changes it.
func (s *ctl) setDefault(args []string) int {
	if !s.privileged("set default target") {
		return exitFailure
	}
	name := s.mangleAs(args, ".target")[0]
	u := s.units().Unit(name)
	switch {
	case u.Kind != unit.KindTarget || name == "default.target":
		s.errorf("Failed to set default target: Invalid argument")
		return exitFailure
	case u.Load == unit.NotFound:
		s.errorf("Failed to set default target: Unit %s does not exist", name)
		return exitFailure
	case u.Load == unit.Masked:
		s.errorf("Failed to set default target: Unit file %s is masked.", name)
		return exitFailure
	}
	target := u.Path
	if target == "" {
		target = "/lib/systemd/system/" + u.Name // reached without a file
	}
	changes := []unit.Change{{Path: defaultTarget, Target: target}}
	if _, err := os.Lstat(s.path(defaultTarget)); err == nil {
		changes = slices.Insert(changes, 0, unit.Change{Remove: true, Path: defaultTarget})
	}
	if err := s.apply(changes, !s.quiet); err != nil {
		s.errorf("Failed to set default target: %s", err)
		return exitFailure
	}
	if s.live() {
		return s.daemonReload(nil)
	}
	return exitOK
}
