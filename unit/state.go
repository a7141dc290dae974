package unit

import (
	"path"
	"slices"
	"strings"
)

// File is a row of `systemctl list-unit-files`.
type File struct {
	Name   string
	State  FileState
	Preset string // "enabled", "disabled"; empty where it says nothing
}

// Files lists all unit files and scripts, by name.
func (s *Set) Files() []File {
	var all []File
	for _, name := range s.Names() {
		f := File{Name: name, State: s.FileState(name)}
		switch {
		case s.sysv[name] != nil:
			f.State = Generated
		case f.State == Enabled || f.State == Disabled || f.State == EnabledRuntime || f.State == MaskedF || f.State == MaskedRuntime || f.State == Indirect:
			f.Preset = s.Preset(name)
		}
		all = append(all, f)
	}
	return all
}

// FileState tells how a unit is installed, as `systemctl is-enabled` does; empty for one that has no file. Of an init script its runlevel links tell.
func (s *Set) FileState(name string) FileState {
	file, found := s.fragment(name)
	if of, ok := s.fragment(s.resolve(name)); ok && of.masked {
		file = of
	}
	if script := s.sysv[s.resolve(name)]; !found && script != nil {
		return s.scriptState(s.resolve(name))
	}
	switch {
	case !found:
		return ""
	case file.masked && strings.HasPrefix(file.path, "/run/"):
		return MaskedRuntime
	case file.masked:
		return MaskedF
	case strings.HasPrefix(file.path, generatorDir):
		return Generated
	case file.target != "" && path.Base(file.path) == name:
		return Alias
	}
	u := s.Unit(name)
	if u.Load == NotFound {
		return ""
	}
	indirect := false
	for _, scope := range []struct {
		dir   string
		state FileState
	}{{configDir, Enabled}, {runtimeDir, EnabledRuntime}} {
		named, other := s.linkedIn(scope.dir, u)
		if named {
			return scope.state
		}
		indirect = indirect || other
	}
	switch {
	case file.linked:
		return LinkedF
	case indirect:
		return Indirect
	case len(u.Install.WantedBy)+len(u.Install.RequiredBy)+len(u.Install.Alias) > 0:
		return Disabled
	case len(u.Install.Also) > 0:
		return Indirect
	}
	return Static
}

// Installable says whether a unit has an [Install] section that enable can act on.
func (u *Unit) Installable() bool {
	return len(u.Install.WantedBy)+len(u.Install.RequiredBy)+len(u.Install.Alias)+len(u.Install.Also) > 0
}

// linkedIn says whether a folder has links that enable would have made for a unit, in any .wants and .requires folder or as an alias, and whether it
// has others that lead to it.
func (s *Set) linkedIn(dir string, u *Unit) (named, other bool) {
	names := []string{u.Name}
	if instance := s.defaultInstance(u); instance != "" {
		names = append(names, instance)
	}
	look := func(full string, names []string) {
		target, isLink := s.tree.readLink(full)
		switch base := path.Base(full); {
		case !isLink || target == "/dev/null":
		case slices.Contains(names, base):
			named = true
		case path.Base(target) == u.Name && base != u.Name:
			other = true
		}
	}
	for folder, dirs := range s.extra {
		for _, d := range dirs {
			if path.Dir(d) != dir || !hasExt(folder, ".wants", ".requires") {
				continue
			}
			for _, e := range s.tree.readDir(d) {
				look(path.Join(d, e.Name()), names)
			}
		}
	}
	aliases := u.Install.Alias
	if path.Base(u.Path) != u.Name {
		aliases = nil // those of a template are not an instance's
	}
	for _, e := range s.tree.readDir(dir) {
		if ValidName(e.Name()) {
			look(path.Join(dir, e.Name()), aliases)
		}
	}
	return named, other
}

func (s *Set) scriptState(name string) FileState {
	for _, level := range []int{2, 3, 4, 5} {
		if start, known := s.Runlevel(name, level); start && known {
			return Enabled
		}
	}
	return Disabled
}

// presetDirs are where presets are, most important first.
var presetDirs = []string{
	"/etc/systemd/system-preset", "/run/systemd/system-preset", "/usr/local/lib/systemd/system-preset", "/usr/lib/systemd/system-preset",
	"/lib/systemd/system-preset",
}

// Preset is what the distribution wants of a unit that nobody has decided on: "enabled" or "disabled". The first rule that fits counts, and
// without any it is enabled.
func (s *Set) Preset(name string) string {
	files := map[string]string{}
	for _, dir := range presetDirs {
		for _, e := range s.tree.readDir(dir) {
			if _, ok := files[e.Name()]; !ok && path.Ext(e.Name()) == ".preset" {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	var order []string
	for base := range files {
		order = append(order, base)
	}
	slices.Sort(order)
	for _, base := range order {
		text, _ := s.tree.readFile(files[base])
		for _, ln := range strings.Split(text, "\n") {
			f := strings.Fields(ln)
			if len(f) < 2 || f[0] != "enable" && f[0] != "disable" {
				continue
			}
			if ok, _ := path.Match(f[1], name); ok {
				return f[0] + "d"
			}
		}
	}
	return "enabled"
}
