package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/unit"
)

// logs is one call of journalctl.
type logs struct {
	*call
	units, idents                            []string
	pids                                     []int
	since, until                             time.Time
	lines                                    int // -1: all
	follow, reverse, quiet, noHost           bool
	highest                                  int // the least important level that is shown
	lowest                                   int
	output, field                            string
	grep                                     *regexp.Regexp
	printed                                  int
	listBoots, diskUsage, housekeeping, boot bool
}

func journalOptions() []option {
	return []option{
		{long: "help", short: 'h'}, {long: "version"}, {long: "unit", short: 'u', value: true}, {long: "identifier", short: 't', value: true},
		{long: "follow", short: 'f'}, {long: "lines", short: 'n', value: true, optional: true}, {long: "since", short: 'S', value: true},
		{long: "until", short: 'U', value: true}, {long: "priority", short: 'p', value: true}, {long: "output", short: 'o', value: true},
		{long: "boot", short: 'b', value: true, optional: true}, {long: "reverse", short: 'r'}, {long: "no-pager"}, {long: "grep", short: 'g', value: true},
		{long: "case-sensitive", value: true, optional: true}, {long: "dmesg", short: 'k'}, {long: "pager-end", short: 'e'}, {long: "catalog", short: 'x'},
		{long: "all", short: 'a'}, {long: "full", short: 'l'}, {long: "no-full"}, {long: "quiet", short: 'q'}, {long: "no-hostname"}, {long: "utc"},
		{long: "no-tail"}, {long: "system"}, {long: "user"}, {long: "user-unit", value: true}, {long: "merge", short: 'm'}, {long: "list-boots"},
		{long: "disk-usage"}, {long: "vacuum-size", value: true}, {long: "vacuum-time", value: true}, {long: "vacuum-files", value: true},
		{long: "rotate"}, {long: "flush"}, {long: "sync"}, {long: "field", short: 'F', value: true}, {long: "output-fields", value: true},
		{long: "header"}, {long: "facility", value: true}, {long: "machine", short: 'M', value: true}, {long: "directory", short: 'D', value: true},
		{long: "file", value: true}, {long: "root", value: true}, {long: "cursor", short: 'c', value: true}, {long: "after-cursor", value: true},
		{long: "show-cursor"}, {long: "verify"}, {long: "update-catalog"}, {long: "list-catalog"},
	}
}

const journalHelp = `journalctl [OPTIONS...] [MATCHES...]

Shows what the services of this container wrote, from their logs below /var/log/units.

  -u --unit=UNIT       of a unit, or of those that match a pattern
  -t --identifier=ID   of a program
  -f --follow          go on with what is written from now
  -n --lines[=N]       the newest lines only (10); "all" for all
  -S --since=TIME      "2026-11-21 21:10", "today", "-1h", "5 min ago"
  -U --until=TIME
  -b --boot            since the container's start
  -p --priority=LEVEL  emerg to debug, or a range: warning..err
  -g --grep=PATTERN    lines that match
  -r --reverse         the newest first
  -o --output=FORMAT   short, short-iso, short-precise, short-iso-precise,
                       short-full, short-unix, cat, json, json-pretty
     --utc, --no-hostname, -q --quiet, --no-pager
     --disk-usage      how much room the logs take

Examples:
  journalctl -u nginx -f
  journalctl -u nginx --since today -p warning
  journalctl -b -o json -n 100

The kernel's messages (-k) belong to the host.
`

// journalctl is the program. Who may not read the logs is told so.
func journalctl(c *call, args []string) int {
	l := &logs{call: c, lines: -1, highest: 7, output: "short"}
	found, rest, err := parse(journalOptions(), withValues(args))
	if err == nil {
		for _, o := range found {
			if o.name == "help" {
				c.printf("%s", journalHelp)
				return exitOK
			}
			if o.name == "version" {
				c.printf("%s\n", version)
				return exitOK
			}
			if err = l.take(o); err != nil {
				break
			}
		}
	} else {
		err = fmt.Errorf("journalctl: %w", err)
	}
	for _, match := range rest {
		if err == nil {
			err = l.match(match)
		}
	}
	if err != nil {
		c.errorf("%s", err)
		return exitFailure
	}
	return l.run()
}

// withValues joins "-n 20" and "-b -1", whose values getopt takes only if they touch: journalctl looks ahead itself.
func withValues(args []string) []string {
	var all []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(all, args[i:]...)
		}
		short := len(arg) > 1 && arg[0] == '-' && arg[1] != '-'
		if i+1 < len(args) && (short && strings.HasSuffix(arg, "n") || arg == "--lines") && (args[i+1] == "all" || digits(args[i+1])) ||
			i+1 < len(args) && (short && strings.HasSuffix(arg, "b") || arg == "--boot") && digits(strings.TrimLeft(args[i+1], "+-")) {
			if !short {
				arg += "="
			}
			arg += args[i+1]
			i++
		}
		all = append(all, arg)
	}
	return all
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// take is one option.
func (l *logs) take(o given) error {
	var err error
	switch o.name {
	case "unit":
		l.units = append(l.units, o.value)
	case "identifier":
		l.idents = append(l.idents, o.value)
	case "follow":
		l.follow = true
		if l.lines < 0 {
			l.lines = 10
		}
	case "lines":
		switch n, bad := strconv.Atoi(orElse(o.value, "10")); {
		case o.value == "all":
			l.lines = -1
		case bad != nil || n < 0:
			return sentencef("Failed to parse lines '%s'", o.value)
		default:
			l.lines = n
		}
	case "no-tail":
		l.lines = -1
	case "since":
		l.since, err = l.time(o.value)
	case "until":
		l.until, err = l.time(o.value)
	case "priority":
		err = l.priority(o.value)
	case "output":
		l.output = o.value
		if !slices.Contains([]string{"short", "short-iso", "short-precise", "short-iso-precise", "short-full", "short-unix", "short-monotonic", "with-unit", "cat", "json", "json-pretty"}, o.value) {
			return sentencef("Unknown output format '%s'.", o.value)
		}
	case "boot":
		if o.value != "" && strings.TrimLeft(o.value, "+-0") != "" {
			return sentencef("Data from the specified boot (%s) is not available: only the present one of the container is known", o.value)
		}
		l.boot = true
	case "grep":
		// As journalctl: a pattern without capitals matches both.
		flags := ""
		if o.value == strings.ToLower(o.value) {
			flags = "(?i)"
		}
		if l.grep, err = regexp.Compile(flags + o.value); err != nil {
			return sentencef("Bad pattern \"%s\": %s", o.value, err)
		}
	case "dmesg":
		return sentencef("The kernel's messages belong to the host: they are not seen in a container.")
	case "user", "user-unit":
		return sentencef("No journal files were found: a container has no user managers.")
	case "machine", "directory", "file", "cursor", "after-cursor", "header", "verify", "root":
		return sentencef("Option --%s is not possible here: the logs are plain files below %s.", o.name, logRoot)
	case "vacuum-size", "vacuum-time", "vacuum-files", "rotate", "flush", "sync", "update-catalog":
		l.housekeeping = true
	case "field":
		l.field = o.value
	default:
		l.flag(o.name)
	}
	return err
}

func (l *logs) flag(name string) {
	switch name {
	case "reverse":
		l.reverse = true
	case "quiet":
		l.quiet = true
	case "utc":
		l.Zone = time.UTC
	case "no-hostname":
		l.noHost = true
	case "pager-end":
		if l.lines < 0 {
			l.lines = 1000
		}
	case "list-boots":
		l.listBoots = true
	case "disk-usage":
		l.diskUsage = true
	}
}

// match is FIELD=VALUE.
func (l *logs) match(s string) error {
	name, value, ok := strings.Cut(s, "=")
	switch {
	case name == "_SYSTEMD_UNIT" || name == "UNIT":
		l.units = append(l.units, value)
	case name == "SYSLOG_IDENTIFIER" || name == "_COMM":
		l.idents = append(l.idents, value)
	case name == "_PID" || name == "SYSLOG_PID":
		pid, err := strconv.Atoi(value)
		if err != nil {
			return sentencef("Failed to add match '%s': Invalid argument", s)
		}
		l.pids = append(l.pids, pid)
	case name == "PRIORITY":
		return l.priority(value)
	case !ok:
		return sentencef("Failed to add match '%s': Invalid argument", s)
	default:
		return sentencef("Failed to add match '%s': only _SYSTEMD_UNIT, SYSLOG_IDENTIFIER, _PID and PRIORITY are kept here", s)
	}
	return nil
}

// priority is a level, "err", or a range, "warning..err".
func (l *logs) priority(s string) error {
	level := func(word string) (int, error) {
		if n := slices.Index(levels(), map[string]string{"error": "err", "warn": "warning", "panic": "emerg"}[word]); n >= 0 {
			return n, nil
		}
		if n := slices.Index(levels(), word); n >= 0 {
			return n, nil
		}
		if n, err := strconv.Atoi(word); err == nil && n >= 0 && n <= 7 {
			return n, nil
		}
		return 0, sentencef("Unknown log level %s", s)
	}
	from, to, ranged := strings.Cut(s, "..")
	a, err := level(from)
	if err != nil {
		return err
	}
	l.lowest, l.highest = 0, a
	if ranged {
		b, err := level(to)
		if err != nil {
			return err
		}
		l.lowest, l.highest = min(a, b), max(a, b)
	}
	return nil
}

// run shows what is wanted.
func (l *logs) run() int {
	switch {
	case l.housekeeping:
		if !l.quiet {
			l.errorf("The logs below %s are rotated and bounded by themselves: nothing to do.", logRoot)
		}
		return exitOK
	case l.diskUsage:
		l.printf("Archived and active journals take up %s in the file system.\n", size(l.usage()))
		return exitOK
	case l.listBoots:
		return l.boots()
	}
	if _, err := os.ReadDir(l.path(logRoot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.errorf("No journal files were opened due to insufficient permissions.")
		return exitFailure
	}
	if l.boot {
		if at, ok := l.bootTime(); ok && at.After(l.since) {
			l.since = at
		}
	}
	sources := l.sources()
	if l.field != "" {
		return l.fields(sources)
	}
	last := l.show(sources)
	if l.printed == 0 && !l.quiet && !l.follow {
		l.printf("-- No entries --\n")
	}
	if l.follow {
		l.goOn(sources, last)
		return exitOK
	}
	if l.printed == 0 && l.grep != nil {
		return exitFailure
	}
	return exitOK
}

// sources opens the logs that the wanted units have.
func (l *logs) sources() []*source {
	var all []*source
	said := []*unit.Unit{}
	for _, name := range l.loggedUnits() {
		u := l.call.units().Unit(name)
		if !l.wantedUnit(u) {
			continue
		}
		if name != syslogUnit {
			all = append(all, l.open(l.readerOf(u), l.since))
		}
	}
	for _, name := range l.units {
		if !isGlob(name) {
			said = append(said, l.call.units().Unit(unit.Complete(name)))
		}
	}
	r := l.readerOf(l.call.units().Unit(syslogUnit))
	r.unit = syslogUnit
	if !slices.ContainsFunc(said, func(u *unit.Unit) bool { return u.Name == syslogUnit }) && len(l.units) > 0 {
		r.said = said
	}
	return append(all, l.open(r, l.since))
}

// wantedUnit says whether a unit was asked for by any of its names.
func (l *logs) wantedUnit(u *unit.Unit) bool {
	if len(l.units) == 0 {
		return true
	}
	for _, want := range l.units {
		if !isGlob(want) {
			want = unit.Complete(want)
		}
		if slices.ContainsFunc(u.Names, func(n string) bool { return matches([]string{want}, n) || matches([]string{want + ".service"}, n) }) {
			return true
		}
	}
	return false
}

// wanted holds an entry against the command line.
func (l *logs) wanted(e entry) bool {
	switch {
	case e.at.Before(l.since), !l.until.IsZero() && e.at.After(l.until), e.level > l.highest, e.level < l.lowest:
		return false
	case len(l.idents) > 0 && !slices.Contains(l.idents, e.ident), len(l.pids) > 0 && !slices.Contains(l.pids, e.pid):
		return false
	}
	return l.grep == nil || l.grep.MatchString(e.text)
}

// usage is the size of all logs.
func (l *logs) usage() uint64 {
	var total uint64
	files, _ := filepath.Glob(l.path(logRoot) + "/*/*")
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
			total += uint64(info.Size())
		}
	}
	return total
}

// boots lists the one that is known.
func (l *logs) boots() int {
	if at, ok := l.bootTime(); ok {
		t := table{head: []string{"IDX", "BOOT ID", "FIRST ENTRY", "LAST ENTRY"}}
		t.add("  0", "-", l.stamp(at), l.stamp(l.Now()))
		l.printTable(t, true)
	}
	return exitOK
}
