package verbs

import (
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// listed are the units that a list shows: those with a state that is not plain inactive; with --all, or a state that asks for it, also those that
// have a file and do not run.
func (s *ctl) listed(patterns []string) []string {
	names := s.known()
	if s.all || len(s.states) > 0 || len(patterns) > 0 {
		for _, name := range s.units().Names() {
			if unit.IsTemplate(name) || s.units().Unit(name).Name != name {
				continue
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool { return !s.wanted(name, patterns) })
}

// wanted holds a unit against the patterns, types and states of the command line.
func (s *ctl) wanted(name string, patterns []string) bool {
	u := s.look(name)
	if len(patterns) > 0 && !slices.ContainsFunc(u.Names, func(n string) bool { return matches(patterns, n) }) {
		return false
	}
	if len(s.types) > 0 && !slices.Contains(s.types, string(u.Kind)) {
		return false
	}
	if len(s.states) > 0 {
		return slices.Contains(s.states, string(u.Load)) || slices.Contains(s.states, string(u.Active)) || slices.Contains(s.states, u.Sub)
	}
	return s.all || len(patterns) > 0 && u.Load != unit.NotFound || u.Active != manager.Inactive
}

// listUnits is `systemctl list-units`, and systemctl without a word.
func (s *ctl) listUnits(patterns []string) int {
	names := s.listed(s.mangle(patterns))
	if s.blind {
		return exitFailure
	}
	t := table{head: []string{"UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"}}
	if !s.plain {
		t.head[0] = "  " + t.head[0]
	}
	for _, name := range names {
		u := s.look(name)
		first := u.Name
		if !s.plain {
			mark := " "
			if u.Active == manager.Failed || u.Load != unit.Loaded {
				mark = s.dotOf(u)
			}
			first = mark + " " + first
		}
		t.add(first, string(u.Load), string(u.Active), u.Sub, orElse(u.Description, u.Name))
	}
	s.printTable(t, s.legend && len(names) > 0)
	if !s.legend {
		return exitOK
	}
	if len(names) > 0 {
		s.printf("\nLOAD   = Reflects whether the unit definition was properly loaded.\n" +
			"ACTIVE = The high-level unit activation state, i.e. generalization of SUB.\n" +
			"SUB    = The low-level unit activation state, values depend on unit type.\n")
	}
	s.printf("%d loaded units listed.", len(names))
	if !s.all {
		s.printf(" Pass --all to see loaded but inactive units, too.")
	}
	s.printf("\nTo show all installed unit files use 'systemctl list-unit-files'.\n")
	return exitOK
}

// dotOf is the mark of a line in a list: systemd puts a full one there, whatever the state.
func (s *ctl) dotOf(u seen) string {
	if u.Active == manager.Failed {
		return s.paint(red, s.glyph("●", "*"))
	}
	return s.glyph("●", "*")
}

// listUnitFiles is what is installed, whether it runs or not.
func (s *ctl) listUnitFiles(args []string) int {
	patterns := s.mangle(args)
	t := table{head: []string{"UNIT FILE", "STATE", "PRESET"}}
	for _, f := range s.files() {
		kind := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
		switch {
		case len(patterns) > 0 && !matches(patterns, f.Name):
		case len(s.types) > 0 && !slices.Contains(s.types, kind):
		case len(s.states) > 0 && !slices.Contains(s.states, string(f.State)):
		default:
			t.add(f.Name, string(f.State), orElse(f.Preset, "-"))
		}
	}
	s.printTable(t, s.legend)
	if s.legend {
		s.printf("\n%d unit files listed.\n", len(t.rows))
	}
	if len(t.rows) == 0 && len(patterns) > 0 {
		return exitFailure
	}
	return exitOK
}

// listTimers shows the timers that cron keeps. When one elapses next is cron's to know.
func (s *ctl) listTimers(patterns []string) int {
	s.types = []string{string(unit.KindTimer)}
	t := table{head: []string{"NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"}}
	for _, name := range s.listed(s.mangle(patterns)) {
		u := s.look(name)
		when := "n/a"
		activates := strings.TrimSuffix(name, ".timer") + ".service"
		if u.Timer != nil {
			if u.Timer.Unit != "" {
				activates = u.Timer.Unit
			}
			if len(u.Timer.Cron) > 0 {
				when = "cron: " + strings.Join(u.Timer.Cron, ", ")
			}
		}
		last, passed := "n/a", "n/a"
		if st, err := s.Manager.State(activates); err == nil && !st.Since.IsZero() {
			last, passed = s.stamp(st.Since), ago(s.Now().Sub(st.Since))
		}
		t.add(when, "n/a", last, passed, name, activates)
	}
	return s.printListed(t, "timers")
}

// printListed ends a list of units of one kind.
func (s *ctl) printListed(t table, kind string) int {
	s.printTable(t, s.legend && len(t.rows) > 0)
	if s.legend {
		if len(t.rows) > 0 {
			s.printf("\n")
		}
		s.printf("%d %s listed.\n", len(t.rows), kind)
		if !s.all {
			s.printf("Pass --all to see loaded but inactive %s, too.\n", kind)
		}
	}
	return exitOK
}

// listSockets shows what active sockets listen on.
func (s *ctl) listSockets(patterns []string) int {
	s.types = []string{string(unit.KindSocket)}
	t := table{head: []string{"LISTEN", "UNIT", "ACTIVATES"}}
	for _, name := range s.listed(s.mangle(patterns)) {
		if u := s.look(name); u.Socket != nil {
			for _, on := range u.Socket.Listen {
				t.add(on.Address, name, u.Socket.Service)
			}
		}
	}
	return s.printListed(t, "sockets")
}

// listNothing is for kinds of units that a container does not have, and jobs, which nobody sees: a call waits for its own.
func (s *ctl) listNothing(verb string) int {
	kind := strings.TrimPrefix(verb, "list-")
	switch kind {
	case "jobs":
		s.printf("No jobs running.\n")
	case "machines":
		t := table{head: []string{"NAME", "STATE", "FAILED", "JOBS"}}
		t.add(s.Hostname+" (host)", s.systemState(), strconv.Itoa(s.failed()), "0")
		s.printTable(t, s.legend)
		if s.legend {
			s.printf("\n1 machines listed.\n")
		}
	default:
		if s.legend {
			s.printf("0 %s listed.\n", kind)
		}
	}
	return exitOK
}

// listDependencies draws what a unit pulls in, or with --reverse who pulls it in.
func (s *ctl) listDependencies(names []string) int {
	if len(names) == 0 {
		names = []string{"default.target"}
	}
	code := exitOK
	for i, name := range s.mangle(names) {
		if i > 0 {
			s.printf("\n")
		}
		u := s.look(name)
		if u.Load == unit.NotFound {
			s.errorf("Unit %s could not be found.", name)
			code = exitFailure
			continue
		}
		s.printf("%s\n", u.Name)
		s.branches(u.Unit, "", []string{u.Name})
	}
	return code
}

func (s *ctl) branches(u *unit.Unit, indent string, above []string) {
	deps := s.dependencies(u)
	for i, name := range deps {
		branch, next := s.glyph("├─", "|-"), s.glyph("│ ", "| ")
		if i == len(deps)-1 {
			branch, next = s.glyph("└─", "`-"), "  "
		}
		line := indent + branch
		if s.plain {
			line, next = indent, "  "
		}
		below := s.look(name)
		s.printf("%s %s%s\n", s.dot(below), line, name)
		if slices.Contains(above, below.Name) || !s.all && below.Kind != unit.KindTarget {
			continue
		}
		s.branches(below.Unit, indent+next, append(slices.Clone(above), below.Name))
	}
}

// dependencies are the names on the next level, sorted.
func (s *ctl) dependencies(u *unit.Unit) []string {
	var all []string
	switch {
	case s.before:
		all = u.Before
	case s.after:
		all = u.After
	case s.reverse:
		for _, name := range s.units().Names() {
			if other := s.units().Unit(name); other.Name == name && slices.Contains(slices.Concat(other.Requires, other.Requisite, other.Wants, other.BindsTo), u.Name) {
				all = append(all, name)
			}
		}
	default:
		all = slices.Concat(u.Requires, u.Requisite, u.Wants, u.BindsTo)
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}
