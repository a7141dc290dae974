package verbs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Codes of systemd-tmpfiles: a line that cannot be understood, and a file that cannot be made.
const (
	exitDataError  = 65
	exitCantCreate = 73
)

// tmp is one call of systemd-tmpfiles: what packages want to be there at each start, as tmpfiles.d(5) says it. The lines may name folders that a
// daemon's own user can write to, so links of others are not followed (see safe).
type tmp struct {
	*call
	create, remove, boot bool
	prefixes, excluded   []string
	rooted               bool
	code                 int
}

// tmpLine is one line. Mode, user and group count only where they were given.
type tmpLine struct {
	from                string // "file:line", for messages
	kind                byte
	plus, force, maybe  bool // "+", "=", "-" behind the kind
	path, argument      string
	mode                fs.FileMode
	hasMode, fresh      bool // fresh, ":": only for what is made now
	masked              bool // "~": the mode is cut down to what the file has already
	uid, gid            int  // -1: not given
	freshUser, freshGrp bool
	boot                bool // "!"
}

const tmpHelp = `systemd-tmpfiles --create | --remove [--boot] [--prefix=PATH] [--exclude-prefix=PATH] [--root=PATH] [FILE...]

Makes or removes files and folders as tmpfiles.d(5) describes. A FILE without a slash is looked for in /etc/tmpfiles.d,
/run/tmpfiles.d, /usr/local/lib/tmpfiles.d and /usr/lib/tmpfiles.d; without any, all *.conf there count. Nothing is aged (--clean).

Example: systemd-tmpfiles --create nginx.conf
`

func tmpfiles(c *call, args []string) int {
	found, rest, err := parse([]option{
		{long: "create"}, {long: "remove"}, {long: "clean"}, {long: "boot"}, {long: "prefix", value: true}, {long: "exclude-prefix", value: true},
		{long: "root", value: true}, {long: "graceful"}, {long: "help", short: 'h'}, {long: "version"}, {long: "no-pager"}, {long: "user"},
		{long: "exclude-boot", short: 'E'},
	}, args)
	if err != nil {
		c.errorf("systemd-tmpfiles: %s", err)
		return exitFailure
	}
	t := &tmp{call: c}
	clean := false
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", tmpHelp)
			return exitOK
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "create":
			t.create = true
		case "remove":
			t.remove = true
		case "clean":
			clean = true
		case "boot":
			t.boot = true
		case "prefix":
			t.prefixes = append(t.prefixes, path.Clean(o.value))
		case "exclude-prefix":
			t.excluded = append(t.excluded, path.Clean(o.value))
		case "exclude-boot":
			t.excluded = append(t.excluded, "/dev", "/proc", "/run", "/sys")
		case "root":
			if o.value != "" && o.value != "/" {
				t.Root, t.rooted = t.path(o.value), true
			}
		case "user":
			c.errorf("systemd-tmpfiles: a container has no user managers, so --user is not possible")
			return exitFailure
		}
	}
	if clean {
		c.errorf("systemd-tmpfiles: nothing is aged in a container, so --clean does nothing: use cron and find -mtime")
	}
	if !t.create && !t.remove {
		if clean {
			return exitOK
		}
		c.errorf("You need to specify at least one of --clean, --create or --remove.")
		return exitFailure
	}
	return t.run(rest)
}

func (t *tmp) run(files []string) int {
	lines := t.lines(files)
	if t.remove {
		for _, l := range slices.Backward(lines) {
			t.fail(l, t.removeOne(l))
		}
	}
	if t.create {
		for _, l := range lines {
			t.fail(l, t.createOne(l))
		}
	}
	return t.code
}

// fail tells what did not work. A line with "-" may fail.
func (t *tmp) fail(l tmpLine, err error) {
	if err == nil {
		return
	}
	t.errorf("%s: %s: %s", l.from, l.path, cause(err))
	if !l.maybe && t.code == exitOK {
		t.code = exitCantCreate
	}
}

func tmpDirs() []string {
	return []string{"/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d", "/lib/tmpfiles.d"}
}

// configs finds the files that count: of each name the one in the first folder. Those named on the command line may lie anywhere.
func (c *call) configs(dirs, names []string) (files []string, missing []string) {
	if len(names) > 0 {
		for _, name := range names {
			found := name
			if !strings.Contains(name, "/") && name != "-" {
				found = ""
				for _, dir := range dirs {
					if found == "" && c.exists(path.Join(dir, name)) {
						found = path.Join(dir, name)
					}
				}
			}
			if found == "" || found != "-" && !c.exists(found) {
				missing = append(missing, name)
				continue
			}
			files = append(files, found)
		}
		return files, missing
	}
	first := map[string]string{}
	for _, dir := range dirs {
		all, _ := filepath.Glob(c.path(dir) + "/*.conf")
		for _, f := range all {
			if base := filepath.Base(f); first[base] == "" {
				first[base] = path.Join(dir, base)
			}
		}
	}
	var bases []string
	for base := range first {
		bases = append(bases, base)
	}
	slices.Sort(bases)
	for _, base := range bases {
		files = append(files, first[base])
	}
	return files, nil
}

// config reads one of them; a link to /dev/null is empty.
func (c *call) config(file string) (string, error) {
	if file == "-" {
		text, err := io.ReadAll(c.Stdin)
		return string(text), err
	}
	if target, err := os.Readlink(c.path(file)); err == nil && target == "/dev/null" {
		return "", nil
	}
	text, err := os.ReadFile(c.path(file))
	return string(text), err
}

// lines reads all lines that count here, folders before what is in them. The first line for a path wins.
func (t *tmp) lines(names []string) []tmpLine {
	files, missing := t.configs(tmpDirs(), names)
	for _, m := range missing {
		t.errorf("Failed to open '%s', ignoring: No such file or directory", m)
		t.code = exitFailure
	}
	var all []tmpLine
	seen := map[string]string{}
	for _, file := range files {
		text, err := t.config(file)
		if err != nil {
			t.errorf("Failed to open '%s': %s", file, cause(err))
			t.code = exitFailure
			continue
		}
		n := 0
		for raw := range strings.Lines(text) {
			n++
			raw = strings.TrimSpace(raw)
			if raw == "" || raw[0] == '#' {
				continue
			}
			l, err := t.parseLine(raw)
			l.from = file + ":" + strconv.Itoa(n)
			switch {
			case errors.Is(err, errOtherKind):
			case err != nil:
				t.errorf("%s: %s", l.from, err)
				t.code = exitDataError
			case l.boot && !t.boot, !t.within(l.path):
			case seen[l.path] != "" && l.kind != 'z' && l.kind != 'Z' && l.kind != 'w' && seen[l.path] != "z":
				t.errorf("%s: Duplicate line for path \"%s\", ignoring.", l.from, l.path)
			default:
				if seen[l.path] == "" || seen[l.path] == "z" {
					seen[l.path] = strings.ToLower(string(l.kind))
				}
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b tmpLine) int {
		if g := boolOrder(isGlob(a.path)) - boolOrder(isGlob(b.path)); g != 0 {
			return g
		}
		return strings.Compare(a.path, b.path)
	})
	return all
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// within holds a path against --prefix and --exclude-prefix.
func (t *tmp) within(p string) bool {
	below := func(prefix string) bool { return prefix == "/" || p == prefix || strings.HasPrefix(p, prefix+"/") }
	return (len(t.prefixes) == 0 || slices.ContainsFunc(t.prefixes, below)) && !slices.ContainsFunc(t.excluded, below)
}
