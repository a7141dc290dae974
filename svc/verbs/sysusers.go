package verbs

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// accounts is one call of systemd-sysusers: system users and groups as packages describe them in sysusers.d(5). What exists is left alone.
type accounts struct {
	*call
	dryRun  bool
	files   map[string]*accountFile // "passwd", "group", "shadow", "gshadow"
	ranges  [][2]int                // of "r" lines
	code    int
	changed bool
}

// accountFile is one of /etc's files, as lines.
type accountFile struct {
	path  string
	lines []string
	had   bool // it was there
}

func (f *accountFile) find(name string) []string {
	for _, line := range f.lines {
		if fields := strings.Split(line, ":"); fields[0] == name && name != "" {
			return fields
		}
	}
	return nil
}

// taken says whether a number in the third field is somebody's.
func (f *accountFile) taken(id int) bool {
	for _, line := range f.lines {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[2] == strconv.Itoa(id) {
			return true
		}
	}
	return false
}

const sysusersHelp = `systemd-sysusers [--root=PATH] [--dry-run] [--inline] [--replace=PATH] [FILE...]

Makes system users and groups as sysusers.d(5) describes. A FILE without a slash is looked for in /etc/sysusers.d,
/run/sysusers.d, /usr/local/lib/sysusers.d and /usr/lib/sysusers.d; without any, all *.conf there count. With --inline the
arguments are lines themselves.

Example: systemd-sysusers --inline 'u web - "Web server" /var/lib/web'
`

func sysusers(c *call, args []string) int {
	found, rest, err := parse([]option{
		{long: "root", value: true}, {long: "replace", value: true}, {long: "inline"}, {long: "dry-run"}, {long: "cat-config"}, {long: "no-pager"},
		{long: "help", short: 'h'}, {long: "version"},
	}, args)
	if err != nil {
		c.errorf("systemd-sysusers: %s", err)
		return exitFailure
	}
	a := &accounts{call: c, files: map[string]*accountFile{}}
	inline := false
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", sysusersHelp)
			return exitOK
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "root":
			a.Root = a.path(o.value)
		case "inline":
			inline = true
		case "dry-run":
			a.dryRun = true
		}
	}
	lines := rest
	if !inline {
		lines = a.configured(rest)
	}
	return a.run(lines)
}

// configured reads the lines of the files that count.
func (a *accounts) configured(names []string) []string {
	dirs := []string{"/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d", "/lib/sysusers.d"}
	files, missing := a.configs(dirs, names)
	for _, m := range missing {
		a.errorf("Failed to open '%s', ignoring: No such file or directory", m)
		a.code = exitFailure
	}
	var all []string
	for _, file := range files {
		text, err := a.config(file)
		if err != nil {
			a.errorf("Failed to open '%s': %s", file, cause(err))
			a.code = exitFailure
		}
		all = append(all, strings.Split(text, "\n")...)
	}
	return all
}

// run makes groups before users, and memberships last, whatever the order of the lines.
func (a *accounts) run(lines []string) int {
	unlock, err := a.lock()
	if err != nil {
		a.errorf("Failed to take /etc/passwd lock: %s", cause(err))
		return exitFailure
	}
	defer unlock()
	if err := a.load(); err != nil {
		a.errorf("Failed to read users and groups: %s", cause(err))
		return exitFailure
	}
	parsed := map[byte][][]string{}
	for _, raw := range lines {
		raw = strings.TrimSpace(raw)
		if raw == "" || raw[0] == '#' {
			continue
		}
		fields, _, err := fieldsOf(raw, 6)
		if err != nil || len(fields) < 2 || len(strings.TrimSuffix(fields[0], "!")) != 1 || !strings.Contains("ugmr", fields[0][:1]) {
			a.errorf("Line '%s' is not a user, group, member or range.", raw)
			a.code = exitDataError
			continue
		}
		for len(fields) < 6 {
			fields = append(fields, "-")
		}
		parsed[fields[0][0]] = append(parsed[fields[0][0]], fields[1:])
	}
	for _, step := range []struct {
		kind byte
		do   func([]string) error
	}{{'r', a.addRange}, {'g', a.addGroup}, {'u', a.addUser}, {'m', a.addMember}} {
		for _, fields := range parsed[step.kind] {
			if err := step.do(fields); err != nil {
				a.errorf("%s: %s", fields[0], err)
				a.code = exitFailure
			}
		}
	}
	if a.changed && !a.dryRun {
		if err := a.save(); err != nil {
			a.errorf("Failed to write users and groups: %s", err)
			return exitFailure
		}
	}
	return a.code
}

// lock keeps useradd and its like away, as lckpwdf(3) does.
func (a *accounts) lock() (func(), error) {
	if a.dryRun {
		return func() {}, nil
	}
	f, err := os.OpenFile(a.path("/etc/.pwd.lock"), os.O_WRONLY|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLKW, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (a *accounts) load() error {
	for _, name := range []string{"passwd", "group", "shadow", "gshadow"} {
		f := &accountFile{path: a.path("/etc/" + name)}
		text, err := os.ReadFile(f.path)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		f.had = err == nil
		for line := range strings.Lines(string(text)) {
			f.lines = append(f.lines, strings.TrimSuffix(line, "\n"))
		}
		a.files[name] = f
	}
	return nil
}

// save replaces the files in one step each; the old ones stay beside them with a dash, as the tools of /etc/passwd leave them.
func (a *accounts) save() error {
	for _, name := range []string{"group", "gshadow", "passwd", "shadow"} {
		f := a.files[name]
		if !f.had && (name == "shadow" || name == "gshadow") {
			continue // a system without shadow passwords
		}
		if err := f.save(a.Chown); err != nil {
			return fmt.Errorf("/etc/%s: %w", name, cause(err))
		}
	}
	return nil
}

func (f *accountFile) save(chown func(string, int, int) error) error {
	mode, uid, gid := os.FileMode(0o644), 0, 0
	if info, err := os.Stat(f.path); err == nil {
		mode = info.Mode().Perm()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(stat.Uid), int(stat.Gid)
		}
		old, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		if err := writeAs(f.path+"-", old, mode, uid, gid, chown); err != nil {
			return err
		}
	}
	return writeAs(f.path, []byte(strings.Join(f.lines, "\n")+"\n"), mode, uid, gid, chown)
}

// writeAs writes a file under another name first: who reads it never sees half of it, nor a mode that is not its own.
func writeAs(name string, text []byte, mode os.FileMode, uid, gid int, chown func(string, int, int) error) error {
	fresh := path.Join(path.Dir(name), ".#"+path.Base(name)+".berth")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	if err := chown(fresh, uid, gid); err != nil {
		return err
	}
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	return os.Rename(fresh, name)
}
