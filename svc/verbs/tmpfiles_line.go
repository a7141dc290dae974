package verbs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// errOtherKind is for lines that are understood and have no effect here: ages' exceptions, extended attributes, ACLs.
var errOtherKind = errors.New("no effect in a container")

// parseLine takes "Type Path Mode User Group Age Argument" apart.
func (t *tmp) parseLine(raw string) (tmpLine, error) {
	l := tmpLine{uid: -1, gid: -1}
	fields, rest, err := fieldsOf(raw, 6)
	if err != nil {
		return l, err
	}
	if len(fields) < 2 {
		return l, sentencef("Syntax error: a type and a path are needed.")
	}
	l.kind = fields[0][0]
	for _, mark := range fields[0][1:] {
		switch mark {
		case '!':
			l.boot = true
		case '-':
			l.maybe = true
		case '+':
			l.plus = true
		case '=':
			l.force = true
		default:
			return l, sentencef("Unknown modifiers in command '%s'", fields[0])
		}
	}
	switch l.kind {
	case 'x', 'X', 't', 'T', 'h', 'H', 'a', 'A', 'm':
		return l, errOtherKind
	case 'F':
		l.kind, l.plus = 'f', true
	case 'd', 'D', 'e', 'v', 'q', 'Q', 'f', 'w', 'p', 'L', 'c', 'b', 'C', 'r', 'R', 'z', 'Z':
	default:
		return l, sentencef("Unknown command type '%c'.", l.kind)
	}
	if l.path, err = t.specifiers(fields[1]); err != nil {
		return l, err
	}
	if !path.IsAbs(l.path) {
		return l, sentencef("Path '%s' not absolute.", l.path)
	}
	l.path = path.Clean(l.path)
	if l.argument, err = t.specifiers(rest); err != nil {
		return l, err
	}
	return l, t.access(&l, fields[2:])
}

// access reads mode, user and group; "-" leaves each as it is.
func (t *tmp) access(l *tmpLine, fields []string) error {
	field := func(i int) string {
		if i >= len(fields) || fields[i] == "-" {
			return ""
		}
		return fields[i]
	}
	mode := field(0)
	for mode != "" && (mode[0] == '~' || mode[0] == ':') {
		l.masked, l.fresh = l.masked || mode[0] == '~', l.fresh || mode[0] == ':'
		mode = mode[1:]
	}
	if mode != "" {
		n, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || n > 0o7777 {
			return sentencef("Invalid mode '%s'.", mode)
		}
		l.mode, l.hasMode = fileMode(uint32(n)), true
	}
	var err error
	user, fresh := strings.CutPrefix(field(1), ":")
	l.freshUser = fresh
	if user != "" {
		if l.uid, err = t.idOf("/etc/passwd", user); err != nil {
			return sentencef("Failed to resolve user '%s': No such process", user)
		}
	}
	group, fresh := strings.CutPrefix(field(2), ":")
	l.freshGrp = fresh
	if group != "" {
		if l.gid, err = t.idOf("/etc/group", group); err != nil {
			return sentencef("Failed to resolve group '%s': No such process", group)
		}
	}
	return nil
}

// fileMode makes Go's mode of chmod's number.
func fileMode(n uint32) fs.FileMode {
	mode := fs.FileMode(n & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// idOf finds a user's or group's number in a file of the tree; a number is taken as it is.
func (c *call) idOf(file, name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	text, err := os.ReadFile(c.path(file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 2 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fs.ErrNotExist
}

// fieldsOf cuts the first n words, in which quotes hold blanks together; the rest is given as it stands.
func fieldsOf(raw string, n int) (fields []string, rest string, err error) {
	for len(fields) < n {
		raw = strings.TrimLeft(raw, " \t")
		if raw == "" {
			return fields, "", nil
		}
		var b strings.Builder
		quote, i := byte(0), 0
		for ; i < len(raw); i++ {
			switch ch := raw[i]; {
			case ch == '\\' && i+1 < len(raw):
				i++
				b.WriteByte(raw[i])
				continue
			case quote != 0 && ch == quote:
				quote = 0
				continue
			case quote == 0 && (ch == '"' || ch == '\''):
				quote = ch
				continue
			case quote == 0 && (ch == ' ' || ch == '\t'):
			default:
				b.WriteByte(ch)
				continue
			}
			break
		}
		if quote != 0 {
			return nil, "", sentencef("Syntax error: unbalanced quotes.")
		}
		fields, raw = append(fields, b.String()), raw[i:]
	}
	rest = strings.TrimSpace(raw)
	if rest == "-" {
		rest = ""
	}
	return fields, rest, nil
}

// specifiers resolves what "%" stands for.
func (t *tmp) specifiers(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	line := func(file string) string {
		text, _ := os.ReadFile(t.path(file))
		return strings.TrimSpace(string(text))
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '%':
			b.WriteByte('%')
		case 'b':
			b.WriteString(strings.ReplaceAll(line("/proc/sys/kernel/random/boot_id"), "-", ""))
		case 'm':
			b.WriteString(line("/etc/machine-id"))
		case 'v':
			b.WriteString(line("/proc/sys/kernel/osrelease"))
		case 'H':
			b.WriteString(t.Hostname)
		case 'l':
			short, _, _ := strings.Cut(t.Hostname, ".")
			b.WriteString(short)
		case 'a':
			b.WriteString(architecture())
		case 'u', 'g':
			b.WriteString("root")
		case 'U', 'G':
			b.WriteString("0")
		case 'h':
			b.WriteString("/root")
		case 't':
			b.WriteString("/run")
		case 'S':
			b.WriteString("/var/lib")
		case 'C':
			b.WriteString("/var/cache")
		case 'L':
			b.WriteString("/var/log")
		case 'T':
			b.WriteString("/tmp")
		case 'V':
			b.WriteString("/var/tmp")
		default:
			return "", sentencef("Failed to replace specifiers in '%s': Invalid slot", s)
		}
	}
	return b.String(), nil
}
