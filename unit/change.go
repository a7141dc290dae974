package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Change is one link to make or to remove. A link that is there already under the name is replaced.
type Change struct {
	Remove bool
	Path   string // of the link
	Target string // of a link to make
	Script bool   // a runlevel's link of an init script: systemctl says nothing of it
}

// String says it in systemctl's words.
func (c Change) String() string {
	if c.Remove {
		return fmt.Sprintf("Removed %q.", c.Path)
	}
	return fmt.Sprintf("Created symlink %s → %s.", c.Path, c.Target)
}

// How tells how units are enabled.
type How struct {
	Runtime bool // below /run, until the container starts again
	Force   bool // replace links that lead elsewhere
}

func (h How) dir() string {
	if h.Runtime {
		return runtimeDir
	}
	return configDir
}

// Errors of Enable and its like, in systemctl's words.
var (
	ErrNoFile     = errors.New("does not exist")
	ErrMasked     = errors.New("is masked")
	ErrExists     = errors.New("already exists")
	ErrNoInstance = errors.New("template without an instance")
	ErrAlias      = errors.New("refusing to operate on alias name or linked unit file")
	ErrInvalid    = errors.New("invalid unit name")
)

// InstallError is why a unit cannot be enabled, masked and so on. Is tells which of the errors above it is.
type InstallError struct {
	Unit string
	Text string // in systemctl's words, after "Failed to enable unit: "
	Err  error
}

func (e *InstallError) Error() string { return e.Text }

func (e *InstallError) Unwrap() error { return e.Err }

// installed finds the unit of a name for Enable and its like. An alias that came with a package is followed, one that enable has made is refused.
func (s *Set) installed(name string) (*Unit, error) {
	fail := func(err error, form string, args ...any) (*Unit, error) {
		return nil, &InstallError{name, fmt.Sprintf(form, args...), err}
	}
	if !ValidName(name) {
		return fail(ErrInvalid, "Invalid unit name %q.", name)
	}
	file, found := s.fragment(name)
	switch {
	case !found && s.sysv[name] != nil:
	case !found:
		return fail(ErrNoFile, "Unit file %s does not exist.", name)
	case file.masked:
		return fail(ErrMasked, "Unit file %s is masked.", file.path)
	case file.target != "" && (strings.HasPrefix(file.path, configDir) || strings.HasPrefix(file.path, runtimeDir)):
		return fail(ErrAlias, "Refusing to operate on alias name or linked unit file: %s", name)
	}
	u := s.Unit(name)
	if u.Load == Masked {
		return fail(ErrMasked, "Unit file %s is masked.", u.Path)
	}
	return u, nil
}

// Enable lists the links that make units start with the container, those of their Also= as well, and the runlevel links of their init scripts.
func (s *Set) Enable(how How, names ...string) ([]Change, error) {
	var all []Change
	err := s.withAlso(names, func(u *Unit) error {
		wished, err := s.wished(u, how)
		if err != nil {
			return err
		}
		for _, c := range wished {
			if slices.Contains(all, c) || s.there(c) {
				continue
			}
			if slices.ContainsFunc(all, func(other Change) bool { return other.Path == c.Path }) {
				return &InstallError{u.Name, fmt.Sprintf("File %s already exists.", c.Path), ErrExists}
			}
			if err := s.collides(u, c, how); err != nil {
				return err
			}
			all = append(all, c)
		}
		if script, ok := s.anyScript(u.Name); ok && !how.Runtime {
			all = append(all, s.switchScript(script, true, nil)...)
		}
		return nil
	})
	return all, err
}

// withAlso calls f with each unit and those of their Also= lines.
func (s *Set) withAlso(names []string, f func(*Unit) error) error {
	queue, seen := slices.Clone(names), map[string]bool{}
	for i := 0; i < len(queue); i++ {
		if seen[queue[i]] {
			continue
		}
		seen[queue[i]] = true
		u, err := s.installed(queue[i])
		if err != nil && i >= len(names) {
			continue // of Also=: systemd warns and goes on
		}
		if err != nil {
			return err
		}
		if err := f(u); err != nil {
			return err
		}
		queue = append(queue, u.Install.Also...)
	}
	return nil
}

// wished are the links that a unit's [Install] section asks for.
func (s *Set) wished(u *Unit, how How) ([]Change, error) {
	if u.SysV != nil {
		return nil, nil
	}
	var all []Change
	link := func(elements ...string) {
		all = append(all, Change{Path: path.Join(append([]string{how.dir()}, elements...)...), Target: u.Path})
	}
	var refused error
	name := s.defaultInstance(u)
	for _, alias := range u.Install.Alias {
		if _, instance := Template(name); IsTemplate(alias) && instance != "" && !IsTemplate(u.Name) {
			alias = Instance(alias, instance)
		}
		if aliasFits(alias, u.Name) {
			link(alias)
		}
	}
	for _, member := range []struct {
		suffix  string
		targets []string
	}{{".wants", u.Install.WantedBy}, {".requires", u.Install.RequiredBy}} {
		for _, target := range member.targets {
			as := name
			if as == "" && IsTemplate(target) {
				as = u.Name // each of the target's instances gets the one of its own name
			}
			switch {
			case as == "":
				refused = &InstallError{u.Name, fmt.Sprintf("Destination unit %s is a non-template unit.", target), ErrNoInstance}
			case ValidName(target):
				link(target+member.suffix, as)
			}
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, refused
}

// aliasFits says whether a name can be an alias of a unit: of the same kind, and one of an instance or template only if the unit is such.
func aliasFits(alias, unit string) bool {
	_, kind := split(unit)
	_, other := split(alias)
	_, instance := Template(unit)
	_, otherInstance := Template(alias)
	switch {
	case !ValidName(alias) || alias == unit || kind != other:
		return false
	case IsTemplate(unit):
		return IsTemplate(alias) || otherInstance != ""
	}
	return !IsTemplate(alias) && otherInstance == instance
}

// defaultInstance is what is enabled when a template is; empty if it names none.
func (s *Set) defaultInstance(u *Unit) string {
	switch {
	case !IsTemplate(u.Name):
		return u.Name
	case u.Install.DefaultInstance == "":
		return ""
	}
	return Instance(u.Name, u.Install.DefaultInstance)
}

// there says whether a link is as it shall be.
func (s *Set) there(c Change) bool {
	target, ok := s.tree.readLink(c.Path)
	if !ok {
		return false
	}
	is, err1 := s.tree.real(beside(c.Path, target))
	want, err2 := s.tree.real(c.Target)
	return err1 == nil && err2 == nil && is == want
}

// collides says what is at a link's place already.
func (s *Set) collides(u *Unit, c Change, how How) error {
	target, isLink := s.tree.readLink(c.Path)
	switch {
	case isLink && (how.Force || strings.Contains(path.Dir(c.Path), ".")):
		return nil // links in .wants folders are replaced always
	case isLink:
		return &InstallError{u.Name, fmt.Sprintf("File %s already exists and is a symlink to %s.", c.Path, target), ErrExists}
	case s.tree.exists(c.Path):
		return &InstallError{u.Name, fmt.Sprintf("File %s already exists.", c.Path), ErrExists}
	}
	return nil
}

// Disable lists the links to remove so that units do not start with the container: all that bear their names or lead to them, also those that
// somebody made by hand.
func (s *Set) Disable(how How, names ...string) ([]Change, error) {
	var units []string
	var scripts []Change
	err := s.withAlso(names, func(u *Unit) error {
		units = append(units, u.Name)
		if script, ok := s.anyScript(u.Name); ok && !how.Runtime {
			scripts = append(scripts, s.switchScript(script, false, nil)...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append(s.linksTo(how.dir(), units), scripts...), nil
}

// linksTo lists the links below a configuration folder that stand for units.
func (s *Set) linksTo(dir string, units []string) []Change {
	var all []Change
	matches := func(full, name string) bool {
		target, ok := s.tree.readLink(full)
		if !ok {
			return false
		}
		return slices.ContainsFunc([]string{name, path.Base(target)}, func(n string) bool {
			template, _ := Template(n)
			return slices.Contains(units, n) || template != "" && slices.Contains(units, template)
		})
	}
	for _, e := range s.tree.readDir(dir) {
		full := path.Join(dir, e.Name())
		if hasExt(e.Name(), ".wants", ".requires") {
			for _, m := range s.tree.readDir(full) {
				if inner := path.Join(full, m.Name()); ValidName(m.Name()) && matches(inner, m.Name()) {
					all = append(all, Change{Remove: true, Path: inner})
				}
			}
		} else if ValidName(e.Name()) && matches(full, e.Name()) {
			all = append(all, Change{Remove: true, Path: full})
		}
	}
	return all
}

// Reenable is Disable and Enable in one.
func (s *Set) Reenable(how How, names ...string) ([]Change, error) {
	removed, err := s.Disable(how, names...)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(removed, func(c Change) bool { return c.Script })
	err = s.withAlso(names, func(u *Unit) error {
		wished, err := s.wished(u, how)
		if err != nil {
			return err
		}
		for _, c := range wished {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
		if script, ok := s.anyScript(u.Name); ok && !how.Runtime {
			all = append(all, s.switchScript(script, true, nil)...)
		}
		return nil
	})
	return all, err
}

// Mask lists the links to /dev/null that keep units from being started at all. A unit need not exist.
func (s *Set) Mask(how How, names ...string) ([]Change, error) {
	var all []Change
	for _, name := range names {
		if !ValidName(name) {
			return nil, &InstallError{name, fmt.Sprintf("Invalid unit name %q.", name), ErrInvalid}
		}
		c := Change{Path: path.Join(how.dir(), name), Target: "/dev/null"}
		target, isLink := s.tree.readLink(c.Path)
		switch {
		case isLink && target == "/dev/null" || slices.Contains(all, c):
			continue
		case isLink && !how.Force:
			return nil, &InstallError{name, fmt.Sprintf("File %s already exists and is a symlink to %s.", c.Path, target), ErrExists}
		case !isLink && s.tree.exists(c.Path):
			return nil, &InstallError{name, fmt.Sprintf("File %s already exists.", c.Path), ErrExists}
		}
		all = append(all, c)
	}
	return all, nil
}

// Unmask takes masks away. What is not masked is left alone.
func (s *Set) Unmask(how How, names ...string) ([]Change, error) {
	var all []Change
	for _, name := range unique(names) {
		if !ValidName(name) {
			return nil, &InstallError{name, fmt.Sprintf("Invalid unit name %q.", name), ErrInvalid}
		}
		full := path.Join(how.dir(), name)
		if _, isLink := s.tree.readLink(full); isLink && s.tree.null(full) {
			all = append(all, Change{Remove: true, Path: full})
		}
	}
	return all, nil
}

// Link lists the link that makes a unit file outside of the search path known, and its name.
func (s *Set) Link(how How, file string) (Change, string, error) {
	name := path.Base(file)
	if !path.IsAbs(file) || !ValidName(name) {
		return Change{}, "", &InstallError{name, fmt.Sprintf("Invalid unit file path %q.", file), ErrInvalid}
	}
	if !s.tree.exists(file) {
		return Change{}, "", &InstallError{name, fmt.Sprintf("Unit file %s does not exist.", file), ErrNoFile}
	}
	return Change{Path: path.Join(how.dir(), name), Target: file}, name, nil
}
