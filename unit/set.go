package unit

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Environment is what units ask of the machine that no file of the tree says.
type Environment struct {
	Hostname      string
	MachineID     string // 32 hex digits; empty: /etc/machine-id of the tree
	BootID        string
	KernelRelease string
	Architecture  string   // systemd's word: "x86-64", "arm64"
	UnitDirs      []string // nil: UnitDirs of the tree
}

// Set is all units of a file tree. It reads what it is asked for once and remembers it: a new Set sees the tree as it is then. It is for one
// goroutine.
type Set struct {
	tree  tree
	env   Environment
	dirs  []string // unit folders, most important first
	files map[string]entry
	extra map[string][]string // folder name ("nginx.service.d", "multi-user.target.wants") to the folders of that name
	alias map[string][]string // unit to the names of links to it
	sysv  map[string]*SysV    // unit to the script that is all there is of it
	units map[string]*Unit
	os    map[string]string // os-release
	made  map[string][]made // what enable may have made, by configuration folder
	rules []rule            // of presets
}

// entry is one name in a unit folder.
type entry struct {
	path   string
	target string // for an alias: the name of the unit it leads to; empty: the file is this unit's own
	masked bool
	linked bool // a link that leads out of the unit folders
}

const (
	configDir  = "/etc/systemd/system"
	runtimeDir = "/run/systemd/system"
	// generatorDir is where what is generated at the start goes; ".early" and ".late" beside it are more and less important.
	generatorDir = "/run/systemd/generator"
)

// New makes the set of a tree: "/" is the machine's root. It should be an fs.ReadLinkFS, as aliases and masks are links.
func New(files fs.FS, env Environment) *Set {
	s := &Set{tree: tree{fs: files, dirs: map[string]string{}}, env: env, units: map[string]*Unit{}, made: map[string][]made{}}
	s.os = s.osRelease()
	dirs := env.UnitDirs
	if dirs == nil {
		dirs = UnitDirs(strings.Contains(" "+s.os["ID"]+" "+s.os["ID_LIKE"]+" ", " debian "))
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		// Of /lib and /usr/lib one is a link to the other where they are merged.
		if real, err := s.tree.real(dir); err == nil && !seen[real] {
			seen[real] = true
			s.dirs = append(s.dirs, dir)
		}
	}
	s.index()
	s.findScripts()
	return s
}

// UnitDirs are the folders in which units are looked for, most important first: systemd's own list, generators' folders included. Debian calls
// the packages' one /lib/systemd/system even where that is a link, others by its new name.
func UnitDirs(debian bool) []string {
	packages := []string{"/usr/lib/systemd/system", "/lib/systemd/system"}
	if debian {
		slices.Reverse(packages)
	}
	return slices.Concat([]string{
		"/run/systemd/transient", generatorDir + ".early", configDir, runtimeDir, generatorDir, "/usr/local/lib/systemd/system",
	}, packages, []string{generatorDir + ".late"})
}

func (s *Set) osRelease() map[string]string {
	found := map[string]string{}
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		text, err := s.tree.readFile(p)
		if err != nil {
			continue
		}
		for _, line := range ParseEnvironmentFile(text) {
			key, value, _ := strings.Cut(line, "=")
			found[key] = value
		}
		break
	}
	return found
}

// index reads the names in all unit folders. The first folder that has a name wins.
func (s *Set) index() {
	s.files, s.extra, s.alias = map[string]entry{}, map[string][]string{}, map[string][]string{}
	for _, dir := range s.dirs {
		for _, e := range s.tree.readDir(dir) {
			name := e.Name()
			switch full := path.Join(dir, name); {
			case hasExt(name, ".d", ".wants", ".requires"):
				s.extra[name] = append(s.extra[name], full)
			case e.IsDir() || !ValidName(name):
			default:
				if _, ok := s.files[name]; !ok {
					s.files[name] = s.entry(full, e)
				}
			}
		}
	}
	for name, e := range s.files {
		if e.target != "" {
			final := s.resolve(name)
			s.alias[final] = append(s.alias[final], name)
		}
	}
	for _, names := range s.alias {
		slices.Sort(names)
	}
}

func hasExt(name string, exts ...string) bool { return slices.Contains(exts, path.Ext(name)) }

// entry looks at one file of a unit folder.
func (s *Set) entry(full string, d fs.DirEntry) entry {
	e := entry{path: full}
	if d.Type().IsRegular() {
		info, err := d.Info()
		e.masked = err == nil && info.Size() == 0
		return e
	}
	text, isLink := s.tree.readLink(full)
	if s.tree.null(full) {
		e.masked = true
		return e
	}
	if !isLink {
		return e
	}
	target := beside(full, text)
	if !s.isUnitDir(path.Dir(target)) {
		e.linked = true
		return e
	}
	if base := path.Base(target); base != path.Base(full) {
		e.target = base
	} else {
		e.path = target
	}
	return e
}

func (s *Set) isUnitDir(dir string) bool {
	real, err := s.tree.real(dir)
	return err == nil && slices.ContainsFunc(s.dirs, func(d string) bool {
		r, err := s.tree.real(d)
		return err == nil && r == real
	})
}

// resolve follows aliases from a name to the unit's own. An alias of a template is one of its instances, too.
func (s *Set) resolve(name string) string {
	for range maxLinks {
		e, ok := s.files[name]
		next := e.target
		if template, instance := Template(name); !ok && template != "" {
			if next = s.files[template].target; next != "" && IsTemplate(next) {
				next = Instance(next, instance)
			}
		} else if template != "" && IsTemplate(next) {
			next = Instance(next, instance)
		}
		if next == "" {
			return s.special(name)
		}
		name = next
	}
	return name
}

// special gives the names that are aliases without a file.
func (s *Set) special(name string) string {
	if _, ok := s.files[name]; ok {
		return name
	}
	switch name {
	case "default.target", "runlevel2.target", "runlevel3.target", "runlevel4.target":
		return "multi-user.target"
	case "runlevel5.target":
		return "graphical.target"
	}
	for unit, script := range s.sysv {
		if slices.ContainsFunc(script.Provides, func(p string) bool { return p+".service" == name }) && s.sysv[name] == nil {
			return unit
		}
	}
	return name
}

// Names lists all units that have a file or a script, aliases included, sorted.
func (s *Set) Names() []string {
	var names []string
	for name := range s.files {
		names = append(names, name)
	}
	for name := range s.sysv {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
