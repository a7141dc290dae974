package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Unit reads a unit. It is never nil: Load says how it went, and Problem why. The name has to be complete (Complete); an alias gives the unit it
// stands for.
func (s *Set) Unit(name string) *Unit {
	name = s.resolve(name)
	if u := s.units[name]; u != nil {
		return u
	}
	u := s.load(name)
	s.units[name] = u
	return u
}

func (s *Set) load(name string) *Unit {
	_, kind := split(name)
	u := &Unit{Name: name, Names: []string{name}, Kind: Kind(kind), Load: NotFound, Problem: fmt.Sprintf("Unit %s not found.", name)}
	if !ValidName(name) {
		u.Problem = fmt.Sprintf("Unit name %s is not valid.", name)
		return u
	}
	u.Names = append(u.Names, s.aliases(name)...)
	file, found := s.fragment(name)
	switch {
	case found && file.masked:
		u.Load, u.Path, u.Problem = Masked, file.path, fmt.Sprintf("Unit %s is masked.", name)
		return u
	case found:
		u.Path = file.path
	case s.sysv[name] != nil:
		u.SysV, u.Path = s.sysv[name], s.sysv[name].Script
	case reached(name):
		u.Description = name
		u.Requires, u.Wants = chain(name)
	default:
		return u
	}
	u.Load, u.Problem = Loaded, ""
	s.fill(u)
	return u
}

// aliases are the other names of a unit: links to it, links of its template with its instance, and what a script provides.
func (s *Set) aliases(name string) []string {
	names := slices.Clone(s.alias[name])
	if template, instance := Template(name); template != "" {
		for _, a := range s.alias[template] {
			if IsTemplate(a) {
				names = append(names, Instance(a, instance))
			}
		}
	}
	if script := s.sysv[name]; script != nil {
		for _, p := range script.Provides {
			if alias := p + ".service"; s.resolve(alias) == name && alias != name {
				names = append(names, alias)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// fragment is the file of a unit, or of its template.
func (s *Set) fragment(name string) (entry, bool) {
	if e, ok := s.files[name]; ok {
		return e, true
	}
	template, _ := Template(name)
	e, ok := s.files[template]
	return e, ok
}

// loader carries what one unit's reading needs.
type loader struct {
	set         *Set
	unit        *Unit
	at          line
	defaults    bool // DefaultDependencies=
	startOnly   bool // PermissionsStartOnly=
	bus         bool // BusName= is given
	folderModes []folderMode
	timer       timerUse
	given       map[string]bool // settings with a value
	bad         []string        // why the unit cannot be
}

// badSetting is a value that keeps a unit from being loaded.
type badSetting struct{ error }

// without is a setting that is understood and has no effect.
type without string

func (w without) Error() string { return string(w) }

func (s *Set) fill(u *Unit) {
	l := &loader{set: s, unit: u, defaults: true, given: map[string]bool{}}
	u.StartLimitBurst, u.StartLimitInterval = 5, 10*time.Second
	if u.Kind == KindService {
		u.Service = newService()
	}
	if u.Kind == KindTimer {
		u.Timer = &Timer{Unit: strings.TrimSuffix(u.Name, ".timer") + ".service"}
	}
	if u.Kind == KindSocket {
		u.Socket = &Socket{Service: strings.TrimSuffix(u.Name, ".socket") + ".service", Mode: 0o666, DirectoryMode: 0o755}
	}
	tables := l.tables()
	if u.SysV != nil {
		for _, ln := range s.generated(u.SysV) {
			l.apply(tables, ln)
		}
		s.order(u)
	}
	for _, text := range s.texts(u) {
		lines, faults := parse(text.path, text.body)
		for _, f := range faults {
			u.Ignored = append(u.Ignored, Ignored{f.text, fmt.Sprintf("%s:%d: not understood", f.file, f.row)})
		}
		for _, ln := range lines {
			l.apply(tables, ln)
		}
	}
	l.folders()
	l.finish()
}

// text is one file of a unit.
type text struct{ path, body string }

// texts reads the unit's own file and its drop-ins.
func (s *Set) texts(u *Unit) []text {
	var all []text
	if u.SysV == nil && u.Path != "" {
		body, err := s.tree.readFile(u.Path)
		if err != nil {
			u.Load, u.Problem = BadSetting, fmt.Sprintf("Failed to load unit file %s: %v", u.Path, err)
			return nil
		}
		all = append(all, text{u.Path, body})
	}
	for _, p := range s.dropIns(u) {
		if body, err := s.tree.readFile(p); err == nil {
			u.DropIns = append(u.DropIns, p)
			all = append(all, text{p, body})
		}
	}
	return all
}

// dropIns lists *.conf of all drop-in folders of a unit, in the order of their base names: its own and those of its aliases, of its template,
// "foo-.service.d" of "foo-bar.service", and of its kind. Of two with the same base name the nearer and more important folder's counts.
func (s *Set) dropIns(u *Unit) []string {
	var folders []string
	for _, suffix := range familyOf(u) {
		folders = append(folders, s.extra[suffix+".d"]...)
	}
	found := map[string]string{}
	for _, dir := range folders {
		for _, e := range s.tree.readDir(dir) {
			if _, ok := found[e.Name()]; !ok && path.Ext(e.Name()) == ".conf" && !e.IsDir() {
				found[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	var names []string
	for name, p := range found {
		if !s.tree.null(p) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = found[name]
	}
	return names
}

// familyOf lists the names whose drop-ins count for a unit, nearest first.
func familyOf(u *Unit) []string {
	var all []string
	for _, name := range u.Names {
		p := partsOf(name)
		all = append(all, name)
		if t, _ := Template(name); t != "" {
			all = append(all, t)
		}
		at := ""
		if strings.Contains(p.stem, "@") {
			at = "@"
		}
		for stem := p.prefix; ; {
			i := strings.LastIndexByte(strings.TrimSuffix(stem, "-"), '-')
			if i < 0 {
				break
			}
			stem = stem[:i+1]
			all = append(all, stem+at+"."+p.kind)
		}
	}
	return append(all, string(u.Kind))
}

// apply carries out one assignment.
func (l *loader) apply(tables map[string]map[string]setter, ln line) {
	u := l.unit
	l.at = ln
	table, known := tables[ln.Section]
	private := strings.HasPrefix(ln.Section, "X-") || strings.HasPrefix(ln.Key, "X-")
	switch {
	case private:
		u.Settings = append(u.Settings, ln.Setting)
		return
	case !known:
		l.ignore(fmt.Sprintf("section [%s] is not one of a %s", ln.Section, u.Kind))
		return
	}
	set, raw := table[ln.Key], ln.Value
	value, err := l.set.resolveSpecifiers(ln.Value, u)
	if set == nil {
		set = l.general(ln.Section, ln.Key)
	}
	if rawValue(ln.Key) {
		value, err = raw, nil
	}
	if err == nil {
		l.given[ln.Key] = value != ""
		err = set(value)
	}
	resolved, failed := l.set.resolveSpecifiers(raw, u)
	if failed != nil {
		resolved = raw
	}
	u.Settings = append(u.Settings, Setting{ln.Section, ln.Key, resolved})
	var fatal badSetting
	switch {
	case errors.As(err, &fatal):
		l.bad = append(l.bad, fmt.Sprintf("%s:%d: %s=%s: %v", ln.file, ln.row, ln.Key, ln.Value, err))
	case err != nil:
		l.ignore(err.Error())
	}
}

func (l *loader) ignore(reason string) {
	l.unit.Ignored = append(l.unit.Ignored, Ignored{l.at.Key + "=" + l.at.Value, reason})
}

// rawValue says which settings resolve specifiers word by word, after quotes are gone.
func rawValue(key string) bool { return strings.HasPrefix(key, "Exec") || key == "Environment" }

// folders adds what the .wants and .requires folders of the unit ask for.
func (l *loader) folders() {
	u := l.unit
	add := func(suffix string, into *[]string) {
		for _, name := range l.set.memberships(u, suffix) {
			if name != u.Name {
				*into = append(*into, name)
			}
		}
	}
	add(".wants", &u.Wants)
	add(".requires", &u.Requires)
}

// memberships lists the units in a unit's .wants or .requires folders. A template in there is the instance of the same name as the unit's.
func (s *Set) memberships(u *Unit, suffix string) []string {
	var found []string
	names := slices.Clone(u.Names)
	if t, _ := Template(u.Name); t != "" {
		names = append(names, t)
	}
	if u.Name == "multi-user.target" {
		names = append(names, "default.target", "runlevel2.target", "runlevel3.target", "runlevel4.target")
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		for _, dir := range s.extra[name+suffix] {
			for _, e := range s.tree.readDir(dir) {
				member := e.Name()
				if IsTemplate(member) {
					if _, instance := Template(u.Name); instance != "" {
						member = Instance(member, instance)
					}
				}
				if ValidName(member) && !s.tree.null(path.Join(dir, e.Name())) {
					found = append(found, member)
				}
			}
		}
	}
	if suffix == ".wants" {
		found = append(found, s.scriptsOf(u.Name)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// finish adds what a unit has without saying so, and refuses what does not fit together.
func (l *loader) finish() {
	u := l.unit
	if u.Service != nil {
		l.finishService()
	}
	if u.Timer != nil {
		l.finishTimer()
	}
	if u.Socket != nil {
		l.finishSocket()
	}
	l.implicit()
	for _, list := range []*[]string{&u.After, &u.Before, &u.Requires, &u.Requisite, &u.Wants, &u.BindsTo, &u.PartOf, &u.Conflicts} {
		*list = unique(*list)
	}
	if len(l.bad) > 0 {
		u.Load, u.Problem = BadSetting, strings.Join(l.bad, "\n")
	}
	if u.Load != Loaded {
		u.Service, u.Timer, u.Socket = nil, nil, nil
	}
}

// implicit adds the dependencies of DefaultDependencies=yes, and the order that a target has towards what it wants.
func (l *loader) implicit() {
	u := l.unit
	l.implicitSockets()
	if u.SysV == nil && !l.defaults {
		return
	}
	switch u.Kind {
	case KindService:
		u.Requires = append(u.Requires, "sysinit.target")
		u.After = append(u.After, "sysinit.target", "basic.target")
		u.Conflicts = append(u.Conflicts, "shutdown.target")
		u.Before = append(u.Before, "shutdown.target")
	case KindTarget:
		for _, list := range [][]string{u.Requires, u.Wants, u.BindsTo, u.Requisite} {
			for _, name := range list {
				if !slices.Contains(u.Before, name) {
					u.After = append(u.After, name)
				}
			}
		}
	case KindTimer:
		u.Before = append(u.Before, "timers.target", u.Timer.Unit)
	case KindSocket:
		u.Before = append(u.Before, "sockets.target")
	}
}

// implicitSockets orders a service after the sockets that it is given. What comes after a socket comes after its service, too: it may connect at
// once, and there is nobody who would start the service then.
func (l *loader) implicitSockets() {
	u := l.unit
	if u.Socket != nil {
		u.Before = append(u.Before, u.Socket.Service)
		return
	}
	if u.Service != nil {
		u.Wants = append(u.Wants, u.Service.Sockets...)
		u.After = append(u.After, u.Service.Sockets...)
	}
	if l.bus {
		u.Wants = append(u.Wants, "dbus.socket")
		u.After = append(u.After, "dbus.socket")
	}
	for _, name := range u.After {
		if !strings.HasSuffix(name, ".socket") {
			continue
		}
		if s := l.set.Unit(name).Socket; s != nil && s.Refused == "" && s.Service != u.Name {
			u.After = append(u.After, s.Service)
		}
	}
}

// unique drops what has been there already and keeps the order.
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
