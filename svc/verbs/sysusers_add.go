package verbs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The numbers that systemd gives to system users where login.defs does not say otherwise.
const firstSystemID, lastSystemID = 100, 999

// addRange is "r - 500-900".
func (a *accounts) addRange(fields []string) error {
	from, to, ok := strings.Cut(fields[1], "-")
	if !ok {
		to = from
	}
	low, err1 := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || low > high {
		return fmt.Errorf("bad range %q", fields[1])
	}
	a.ranges = append(a.ranges, [2]int{low, high})
	return nil
}

// free is the highest number that neither a user nor a group has.
func (a *accounts) free() (int, error) {
	ranges := a.ranges
	if ranges == nil {
		low, high := firstSystemID, lastSystemID
		if n, ok := a.loginDefs("SYS_UID_MIN"); ok {
			low = n
		}
		if n, ok := a.loginDefs("SYS_UID_MAX"); ok {
			high = n
		}
		ranges = [][2]int{{low, high}}
	}
	for _, r := range ranges {
		for id := r[1]; id >= r[0]; id-- {
			if !a.files["passwd"].taken(id) && !a.files["group"].taken(id) {
				return id, nil
			}
		}
	}
	return 0, errors.New("no free number is left for system users")
}

func (a *accounts) loginDefs(key string) (int, bool) {
	text, _ := os.ReadFile(a.path("/etc/login.defs"))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, err := strconv.Atoi(f[1])
			return n, err == nil
		}
	}
	return 0, false
}

// wish reads an ID column: a number, a file whose owner's number is wanted, or nothing (-1).
func (a *accounts) wish(column string, owner func(*syscall.Stat_t) uint32) (int, error) {
	switch {
	case column == "-" || column == "":
		return -1, nil
	case strings.HasPrefix(column, "/"):
		info, err := os.Stat(a.path(column))
		if err != nil {
			return -1, nil // not there yet: any number will do
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && owner(stat) != 0 {
			return int(owner(stat)), nil
		}
		return -1, nil
	}
	n, err := strconv.ParseUint(column, 10, 31)
	if err != nil {
		return -1, fmt.Errorf("bad number %q", column)
	}
	return int(n), nil
}

// addGroup is "g NAME ID".
func (a *accounts) addGroup(fields []string) error {
	id, err := a.wish(fields[1], func(s *syscall.Stat_t) uint32 { return s.Gid })
	if err != nil {
		return err
	}
	_, err = a.group(fields[0], id)
	return err
}

// group makes a group if there is none and gives its number. A wished number that is taken is not insisted on.
func (a *accounts) group(name string, id int) (int, error) {
	if f := a.files["group"].find(name); len(f) > 2 {
		return strconv.Atoi(f[2])
	}
	if !validAccount(name) {
		return 0, errors.New("not a valid name of a user or group")
	}
	if id < 0 || a.files["group"].taken(id) {
		var err error
		if id, err = a.free(); err != nil {
			return 0, err
		}
	}
	a.errorf("Creating group '%s' with GID %d.", name, id)
	a.add("group", fmt.Sprintf("%s:x:%d:", name, id))
	a.add("gshadow", name+":!*::")
	return id, nil
}

// addUser is `u NAME ID "GECOS" HOME SHELL`. The ID may be "uid:gid" or "uid:group".
func (a *accounts) addUser(fields []string) error {
	name := fields[0]
	if a.files["passwd"].find(name) != nil {
		return nil
	}
	if !validAccount(name) {
		return errors.New("not a valid name of a user or group")
	}
	column, groupColumn, split := strings.Cut(fields[1], ":")
	uid, err := a.wish(column, func(s *syscall.Stat_t) uint32 { return s.Uid })
	if err != nil {
		return err
	}
	if uid < 0 || a.files["passwd"].taken(uid) {
		if uid, err = a.free(); err != nil {
			return err
		}
	}
	gid, err := 0, error(nil)
	if number, bad := strconv.Atoi(groupColumn); split && bad == nil {
		gid = number
	} else if split {
		f := a.files["group"].find(groupColumn)
		if len(f) < 3 {
			return fmt.Errorf("group %q does not exist", groupColumn)
		}
		gid, err = strconv.Atoi(f[2])
	} else {
		gid, err = a.group(name, uid)
	}
	if err != nil {
		return err
	}
	return a.user(name, uid, gid, fields[2:])
}

// user writes the lines of a new user, whose password nobody has.
func (a *accounts) user(name string, uid, gid int, rest []string) error {
	column := func(i int, otherwise string) string {
		if i < len(rest) && rest[i] != "-" && rest[i] != "" {
			return rest[i]
		}
		return otherwise
	}
	gecos, home := column(0, ""), column(1, "/")
	shell := "/usr/sbin/nologin"
	if !a.exists(shell) && a.exists("/sbin/nologin") {
		shell = "/sbin/nologin"
	}
	if uid == 0 {
		shell = "/bin/sh"
	}
	shell = column(2, shell)
	for _, text := range []string{gecos, home, shell} {
		if strings.ContainsAny(text, ":\n") {
			return fmt.Errorf("%q cannot stand in /etc/passwd", text)
		}
	}
	shown := ""
	if gecos != "" {
		shown = " (" + gecos + ")"
	}
	a.errorf("Creating user '%s'%s with UID %d and GID %d.", name, shown, uid, gid)
	a.add("passwd", fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", name, uid, gid, gecos, home, shell))
	a.add("shadow", fmt.Sprintf("%s:!*:%d::::::", name, a.Now().Unix()/int64(24*time.Hour/time.Second)))
	return nil
}

// addMember is "m USER GROUP"; both are made if they are missing.
func (a *accounts) addMember(fields []string) error {
	user, group := fields[0], fields[1]
	if group == "-" {
		return errors.New("a group is needed")
	}
	if err := a.addUser([]string{user, "-", "-", "-", "-"}); err != nil {
		return err
	}
	if _, err := a.group(group, -1); err != nil {
		return err
	}
	for _, name := range []string{"group", "gshadow"} {
		f := a.files[name]
		for i, line := range f.lines {
			cols := strings.Split(line, ":")
			if cols[0] != group || len(cols) < 4 {
				continue
			}
			members := commaList(cols[3])
			if slices.Contains(members, user) {
				continue
			}
			cols[3] = strings.Join(append(members, user), ",")
			f.lines[i], a.changed = strings.Join(cols, ":"), true
		}
	}
	return nil
}

// add appends a line, before the one that takes over from here what other databases say.
func (a *accounts) add(file, line string) {
	f := a.files[file]
	at := slices.IndexFunc(f.lines, func(l string) bool { return strings.HasPrefix(l, "+") })
	if at < 0 {
		at = len(f.lines)
	}
	f.lines = slices.Insert(f.lines, at, line)
	a.changed = true
}

// validAccount is what every tool accepts as a name.
func validAccount(s string) bool {
	if s == "" || len(s) > 31 || s[0] >= '0' && s[0] <= '9' || s[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r == '_' || r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
}
