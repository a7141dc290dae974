package verbs

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/unit"
)

// entry is one line of a log.
type entry struct {
	at    time.Time
	unit  string
	ident string // who said it: a program's name
	pid   int    // 0: unknown
	level int    // of syslog(3)
	own   bool   // said by the manager about the unit
	text  string
}

// logRoot has a folder a unit, each written by an s6-log: "current", and older files named by the time at which they were closed.
const logRoot = "/var/log/units"

// ownLine begins what the manager itself says about a unit in the unit's log.
const ownLine = "systemd[1]: "

// short is an entry as `journalctl` prints it by default.
func (e entry) short(c *call) string { return e.line(c, "Jan 02 15:04:05") }

func (e entry) line(c *call, form string) string {
	return e.at.In(c.Zone).Format(form) + " " + c.Hostname + " " + e.from() + ": " + printable(e.text)
}

// from is "nginx[12]".
func (e entry) from() string {
	if e.pid > 0 {
		return fmt.Sprintf("%s[%d]", e.ident, e.pid)
	}
	return e.ident
}

// logFiles are a folder's, oldest first. s6-log's names sort by time, "current" after them.
func (c *call) logFiles(name string) []string {
	dir := c.path(path.Join(logRoot, name))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "@") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files)
	return append(files, filepath.Join(dir, "current"))
}

// loggedUnits are those that have a log.
func (c *call) loggedUnits() []string {
	entries, _ := os.ReadDir(c.path(logRoot))
	var names []string
	for _, e := range entries {
		if e.IsDir() && unit.ValidName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// unitLog gives the newest entries of a unit: of its own log, and what the daemon said to /dev/log. Files are read from the newest until there
// is enough.
func (c *call) unitLog(u *unit.Unit, last int) []entry {
	all := c.newest(c.readerOf(u), last)
	if u.Name != syslogUnit {
		r := c.readerOf(c.units().Unit(syslogUnit))
		r.said = []*unit.Unit{u}
		all = append(all, c.newest(r, last)...)
		slices.SortStableFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	}
	return all[max(0, len(all)-last):]
}

func (c *call) newest(r reader, last int) []entry {
	var all []entry
	files := c.logFiles(r.unit)
	for i := len(files) - 1; i >= 0 && len(all) < last; i-- {
		f, err := os.Open(files[i])
		if err != nil {
			continue // rotated meanwhile
		}
		all = append(r.read(f), all...)
		f.Close()
	}
	return all[max(0, len(all)-last):]
}

// readerOf knows what of a unit a log does not say itself.
func (c *call) readerOf(u *unit.Unit) reader {
	r := reader{unit: u.Name, ident: identifier(u)}
	if c.Manager != nil {
		if st, err := c.Manager.State(u.Name); err == nil {
			r.pid, r.started = st.MainPID, st.Started
		}
	}
	return r
}

// identifier is the name under which a service's output is shown.
func identifier(u *unit.Unit) string {
	if u.Service != nil {
		if u.Service.SyslogIdentifier != "" {
			return u.Service.SyslogIdentifier
		}
		if u.SysV == nil && len(u.Service.ExecStart) > 0 {
			return path.Base(u.Service.ExecStart[0].Path)
		}
	}
	stem, _, _ := strings.Cut(strings.TrimSuffix(u.Name, ".service"), "@")
	return stem
}

// reader makes entries of one unit's log.
type reader struct {
	unit, ident string
	pid         int          // of the main process
	started     time.Time    // when that was; older lines are not its own
	said        []*unit.Unit // of the syslog: only what these said, as theirs; nil: everything
}

// maxLine is as long as s6-log lets a line become, and a margin.
const maxLine = 1 << 16

// read takes what is whole. A line without a time belongs to the entry before it.
func (r reader) read(from io.Reader) []entry {
	var all []entry
	b := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		if e, ok := r.entry(string(bytes.TrimSuffix(line, []byte("\n")))); ok && len(line) > 0 {
			all = append(all, e)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return all
		}
	}
}

// entry takes one line apart.
func (r reader) entry(line string) (entry, bool) {
	// sshd ends its lines as if they went to a terminal.
	at, text, ok := stamped(strings.TrimRight(line, "\r"))
	if !ok {
		return entry{}, false
	}
	e := entry{at: at, unit: r.unit, ident: r.ident, text: text, level: levelInfo}
	if rest, own := strings.CutPrefix(text, ownLine); own {
		e.ident, e.pid, e.text, e.own = "systemd", 1, rest, true
		if strings.Contains(rest, "Failed") || strings.Contains(rest, "status=") && !strings.Contains(rest, "status=0/") {
			e.level = levelWarning
		}
		return e, r.said == nil
	}
	if r.unit == syslogUnit {
		e.fromSyslog()
		return e, r.claim(&e)
	}
	e.prefix()
	if r.pid > 0 && !at.Before(r.started) {
		e.pid = r.pid
	}
	return e, true
}

// claim gives an entry of the syslog to the unit whose daemon said it.
func (r reader) claim(e *entry) bool {
	if r.said == nil {
		return true
	}
	for _, u := range r.said {
		stem, _, _ := strings.Cut(strings.TrimSuffix(u.Name, ".service"), "@")
		if e.ident == identifier(u) || e.ident == stem || strings.HasPrefix(e.ident, stem+"/") {
			e.unit = u.Name
			return true
		}
	}
	return false
}

// Levels of syslog(3).
const (
	levelWarning = 4
	levelInfo    = 6
)

func levels() []string {
	return []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
}

// prefix takes "<3>" off, as sd-daemon(3) has it.
func (e *entry) prefix() {
	if len(e.text) > 3 && e.text[0] == '<' && e.text[2] == '>' && e.text[1] >= '0' && e.text[1] <= '7' {
		e.level, e.text = int(e.text[1]-'0'), e.text[3:]
	}
}

// syslogUnit answers /dev/log in the image.
const syslogUnit = "syslog.service"

// fromSyslog takes "daemon.info: Nov 21 21:10:25 cron[12]: text" apart. What does not look like it stays one text of the syslog's own.
func (e *entry) fromSyslog() {
	rest := e.text
	if facility, after, ok := strings.Cut(rest, ": "); ok && !strings.ContainsAny(facility, " [") {
		_, level, _ := strings.Cut(facility, ".")
		if n := slices.Index(levels(), level); n >= 0 {
			e.level = n
		}
		rest = after
	}
	const form = "Jan _2 15:04:05 "
	if len(rest) > len(form) {
		if _, err := time.Parse(form, rest[:len(form)]); err == nil {
			rest = rest[len(form):]
		}
	}
	who, text, ok := strings.Cut(rest, ":")
	if !ok || who == "" || strings.ContainsAny(who, " \t") {
		return
	}
	name, pid, _ := strings.Cut(who, "[")
	e.pid, _ = strconv.Atoi(strings.TrimSuffix(pid, "]"))
	e.ident, e.text = name, strings.TrimPrefix(text, " ")
}

// stamped cuts the time off a line: TAI64N ("@" and 24 hex digits), or s6-log's ISO form, which is local time.
func stamped(line string) (time.Time, string, bool) {
	if strings.HasPrefix(line, "@") {
		label, text, _ := strings.Cut(line, " ")
		at, ok := tai64n(label[1:])
		return at, text, ok
	}
	const form = "2006-01-02 15:04:05.999999999"
	if len(line) < 29 {
		return time.Time{}, "", false
	}
	at, err := time.ParseInLocation(form, line[:29], time.Local)
	return at, strings.TrimPrefix(line[29:], "  "), err == nil
}

// leapSeconds is how far TAI is ahead of UTC since 2017, in skalibs' table as well.
const leapSeconds = 37

// tai64n reads a label: 2^62 plus seconds, then nanoseconds.
func tai64n(label string) (time.Time, bool) {
	raw, err := hex.DecodeString(label)
	if err != nil || len(raw) != 12 {
		return time.Time{}, false
	}
	var seconds uint64
	for _, b := range raw[:8] {
		seconds = seconds<<8 | uint64(b)
	}
	var nano uint32
	for _, b := range raw[8:] {
		nano = nano<<8 | uint32(b)
	}
	if seconds>>62 != 1 || nano >= 1e9 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds-1<<62)-leapSeconds, int64(nano)), true
}
