package unit

import (
	"maps"
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
	aliases := u.Install.Alias
	if path.Base(u.Path) != u.Name {
		aliases = nil // those of a template are not an instance's
	}
	for _, m := range s.madeIn(dir) {
		switch {
		case m.member && slices.Contains(names, m.name), !m.member && slices.Contains(aliases, m.name):
			named = true
		case m.target == u.Name && m.name != u.Name:
			other = true
		}
	}
	return named, other
}

// made is a link of a configuration folder: in a .wants or .requires folder, or an alias.
type made struct {
	member       bool
	name, target string // base names of the link and of what it leads to
}

// madeIn lists such links once.
func (s *Set) madeIn(dir string) []made {
	if all, ok := s.made[dir]; ok {
		return all
	}
	all := []made{}
	add := func(full string, member bool) {
		if target, ok := s.tree.readLink(full); ok && target != "/dev/null" {
			all = append(all, made{member, path.Base(full), path.Base(target)})
		}
	}
	for _, e := range s.tree.readDir(dir) {
		full := path.Join(dir, e.Name())
		if !hasExt(e.Name(), ".wants", ".requires") {
			add(full, false)
			continue
		}
		for _, m := range s.tree.readDir(full) {
			add(path.Join(full, m.Name()), true)
		}
	}
	s.made[dir] = all
	return all
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

// rule is a line of a preset.
type rule struct{ verb, pattern string }

// Preset is what the distribution wants of a unit that nobody has decided on: "enabled" or "disabled". The first rule that fits counts, and
// without any it is enabled.
func (s *Set) Preset(name string) string {
	if s.rules == nil {
		s.rules = s.presetRules()
	}
	for _, r := range s.rules {
		if ok, _ := path.Match(r.pattern, name); ok {
			return r.verb + "d"
		}
	}
	return "enabled"
}

// presetRules reads all presets in the order of their base names; the more important folder has a name.
func (s *Set) presetRules() []rule {
	files := map[string]string{}
	for _, dir := range presetDirs {
		for _, e := range s.tree.readDir(dir) {
			if _, ok := files[e.Name()]; !ok && path.Ext(e.Name()) == ".preset" {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	rules := []rule{}
	for _, base := range slices.Sorted(maps.Keys(files)) {
		text, _ := s.tree.readFile(files[base])
		for _, ln := range strings.Split(text, "\n") {
			if f := strings.Fields(ln); len(f) >= 2 && (f[0] == "enable" || f[0] == "disable") {
				rules = append(rules, rule{f[0], f[1]})
			}
		}
	}
	return rules
}
