package unit

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

var errSpecifier = errors.New("unknown specifier")

// resolveSpecifiers replaces %n, %i and their like in a value, as systemd.unit(5)'s table says for units of the system. Its user is root,
// also where the service has another User=: that is what %u and %h mean there.
func (s *Set) resolveSpecifiers(value string, u *Unit) (string, error) {
	if !strings.Contains(value, "%") {
		return value, nil
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '%' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		i++
		text, err := s.specifier(value[i], u)
		if err != nil {
			return "", fmt.Errorf("resolve %%%c in %q: %w", value[i], value, err)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func (s *Set) specifier(c byte, u *Unit) (string, error) {
	p := partsOf(u.Name)
	switch c {
	case '%':
		return "%", nil
	case 'n':
		return p.name, nil
	case 'N':
		return p.stem, nil
	case 'p':
		return p.prefix, nil
	case 'P':
		return Unescape(p.prefix), nil
	case 'i':
		return p.instance, nil
	case 'I':
		return Unescape(p.instance), nil
	case 'j':
		return lastDash(p.prefix), nil
	case 'J':
		return Unescape(lastDash(p.prefix)), nil
	case 'f':
		if p.instance != "" {
			return "/" + strings.TrimPrefix(Unescape(p.instance), "/"), nil
		}
		return "/" + strings.TrimPrefix(Unescape(p.prefix), "/"), nil
	case 'y':
		return u.Path, nil
	case 'Y':
		return path.Dir(u.Path), nil
	}
	if text, ok := folderSpecifier(c); ok {
		return text, nil
	}
	return s.machineSpecifier(c)
}

func lastDash(s string) string { return s[strings.LastIndexByte(s, '-')+1:] }

func folderSpecifier(c byte) (string, bool) {
	switch c {
	case 't':
		return "/run", true
	case 'S':
		return "/var/lib", true
	case 'C':
		return "/var/cache", true
	case 'L':
		return "/var/log", true
	case 'E':
		return "/etc", true
	case 'T':
		return "/tmp", true
	case 'V':
		return "/var/tmp", true
	case 'u', 'g':
		return "root", true
	case 'U', 'G':
		return "0", true
	case 'h':
		return "/root", true
	case 's':
		return "/bin/sh", true
	}
	return "", false
}

func (s *Set) machineSpecifier(c byte) (string, error) {
	switch c {
	case 'H', 'q':
		return s.env.Hostname, nil
	case 'l':
		short, _, _ := strings.Cut(s.env.Hostname, ".")
		return short, nil
	case 'm':
		if s.env.MachineID != "" {
			return s.env.MachineID, nil
		}
		text, err := s.tree.readFile("/etc/machine-id")
		return strings.TrimSpace(text), err
	case 'b':
		return s.env.BootID, nil
	case 'v':
		return s.env.KernelRelease, nil
	case 'a':
		return s.env.Architecture, nil
	case 'o':
		return s.os["ID"], nil
	case 'w':
		return s.os["VERSION_ID"], nil
	case 'W':
		return s.os["VARIANT_ID"], nil
	case 'B':
		return s.os["BUILD_ID"], nil
	case 'A':
		return s.os["IMAGE_VERSION"], nil
	case 'M':
		return s.os["IMAGE_ID"], nil
	}
	return "", errSpecifier
}
