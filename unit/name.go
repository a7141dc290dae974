package unit

import (
	"encoding/hex"
	"path"
	"slices"
	"strings"
)

const maxName = 255

var suffixes = []string{"service", "target", "timer", "socket", "path", "mount", "automount", "swap", "slice", "scope", "device"}

// Complete makes a unit's name of what a person types: without a suffix a service is meant; a path is a mount; "/dev/x" a device.
func Complete(name string) string {
	switch {
	case strings.HasPrefix(name, "/dev/"):
		return EscapePath(name) + ".device"
	case strings.HasPrefix(name, "/"):
		return EscapePath(name) + ".mount"
	case slices.Contains(suffixes, strings.TrimPrefix(path.Ext(name), ".")):
		return name
	}
	return name + ".service"
}

// ValidName says whether a name is one of a unit, of a template or of an instance.
func ValidName(name string) bool {
	stem, kind := split(name)
	if len(name) > maxName || stem == "" || strings.HasPrefix(stem, "@") || !slices.Contains(suffixes, kind) {
		return false
	}
	return !strings.ContainsFunc(stem, func(r rune) bool {
		return !alphanumeric(r) && !strings.ContainsRune(`:-_.\@`, r)
	})
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// split cuts a name before its suffix.
func split(name string) (stem, kind string) {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext), strings.TrimPrefix(ext, ".")
}

// Template is the template of an instance: "getty@.service" of "getty@tty1.service", and its instance "tty1". A name that is no instance has
// no template.
func Template(name string) (template, instance string) {
	stem, kind := split(name)
	prefix, instance, found := strings.Cut(stem, "@")
	if !found || instance == "" {
		return "", ""
	}
	return prefix + "@." + kind, instance
}

// IsTemplate says whether a name is one of a template, which cannot be started.
func IsTemplate(name string) bool {
	stem, _ := split(name)
	return strings.HasSuffix(stem, "@") && strings.Count(stem, "@") == 1
}

// Instance is a template with an instance put in.
func Instance(template, instance string) string {
	stem, kind := split(template)
	prefix, _, _ := strings.Cut(stem, "@")
	return prefix + "@" + instance + "." + kind
}

// Escape writes a text so that it can be a part of a unit's name, as systemd-escape(1) does.
func Escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '/':
			b.WriteByte('-')
		case alphanumeric(rune(c)) || c == ':' || c == '_' || c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteString(`\x` + hex.EncodeToString([]byte{c}))
		}
	}
	return b.String()
}

// EscapePath is Escape for a path: "/" is "-".
func EscapePath(p string) string {
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return "-"
	}
	return Escape(p)
}

// Unescape is the reverse of Escape. What is no escape stays as it is.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			b.WriteByte('/')
		case strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4:
			if c, err := hex.DecodeString(s[i+2 : i+4]); err == nil {
				b.WriteByte(c[0])
				i += 3
				continue
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// parts are a unit's name and its parts, for specifiers.
type parts struct{ name, stem, kind, prefix, instance string }

func partsOf(name string) parts {
	p := parts{name: name}
	p.stem, p.kind = split(name)
	p.prefix, p.instance, _ = strings.Cut(p.stem, "@")
	return p
}
