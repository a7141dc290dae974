package unit

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// scriptDirs are where init scripts are: Debian's, and Red Hat's, of which /etc/init.d is a link.
var scriptDirs = []string{"/etc/init.d", "/etc/rc.d/init.d"}

// findScripts makes a unit of each init script that has no unit file of its name, as systemd-sysv-generator does. A mask is a unit file, too.
func (s *Set) findScripts() {
	s.sysv = map[string]*SysV{}
	for _, dir := range scriptDirs {
		for _, e := range s.tree.readDir(dir) {
			name := ScriptUnit(e.Name())
			if _, known := s.files[name]; known || s.sysv[name] != nil || !ValidName(name) || strings.HasPrefix(name, ".") || backup(e.Name()) {
				continue
			}
			full := path.Join(dir, e.Name())
			info, err := s.tree.stat(full)
			if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
				continue
			}
			if text, err := s.tree.readFile(full); err == nil && strings.HasPrefix(text, "#!") {
				script := ParseScript(full, text)
				s.sysv[name] = &script
			}
		}
	}
}

// backup says whether a file is what an editor or dpkg left.
func backup(name string) bool {
	return strings.HasSuffix(name, "~") || slices.Contains([]string{".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-tmp", ".dpkg-bak", ".rpmnew",
		".rpmsave", ".rpmorig", ".swp", ".orig", ".bak"}, path.Ext(name))
}

// defaultOrder is the place in a runlevel of a script that asks for none.
const defaultOrder = 50

// ScriptUnit is the unit that an init script is: "ssh" is ssh.service, "hwclock.sh" is hwclock.service.
func ScriptUnit(script string) string { return strings.TrimSuffix(script, ".sh") + ".service" }

// header reads the comments at the top of a script.
type header struct {
	SysV
	inLSB, inDescription bool
	short, long          string
	chkconfigText        string
}

// ParseScript reads what an init script says of itself: the LSB header, which counts most, and chkconfig's lines.
func ParseScript(file, text string) SysV {
	h := header{SysV: SysV{Script: file, StartOrder: defaultOrder, StopOrder: defaultOrder}}
	more := false
	for _, raw := range strings.Split(text, "\n") {
		ln := strings.TrimRight(raw, " \t\r")
		if !strings.HasPrefix(ln, "#") {
			continue
		}
		body := strings.TrimPrefix(ln, "#")
		switch trimmed := strings.TrimSpace(body); {
		case ln == "### BEGIN INIT INFO":
			h.inLSB, h.LSB = true, true
		case ln == "### END INIT INFO":
			h.inLSB = false
		case h.inLSB:
			h.lsb(body)
		case more:
			more = strings.HasSuffix(trimmed, `\`)
			h.chkconfigText += " " + strings.TrimSuffix(trimmed, `\`)
		default:
			more = h.chkconfig(trimmed)
		}
	}
	h.settle()
	h.PIDGuesses = pidGuesses(text)
	return h.SysV
}

// lsb takes a line between BEGIN and END INIT INFO. A description goes on in lines that begin with a tab or two blanks.
func (h *header) lsb(body string) {
	if h.inDescription && (strings.HasPrefix(body, "\t") || strings.HasPrefix(body, "  ")) {
		h.long = strings.TrimSpace(h.long + " " + strings.TrimSpace(body))
		return
	}
	h.inDescription = false
	key, value, found := strings.Cut(body, ":")
	if !found {
		return
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(strings.TrimSpace(key)) {
	case "provides":
		h.Provides = append(h.Provides, strings.Fields(value)...)
	case "required-start":
		h.Required = append(h.Required, strings.Fields(value)...)
	case "should-start":
		h.Should = append(h.Should, strings.Fields(value)...)
	case "default-start":
		h.Start = append(h.Start, runlevels(value)...)
	case "default-stop":
		h.Stop = append(h.Stop, runlevels(value)...)
	case "x-start-before":
		h.Before = append(h.Before, strings.Fields(value)...)
	case "short-description":
		h.short = value
	case "description":
		h.long, h.inDescription = value, true
	}
}

// chkconfig takes a line outside of the LSB header, and says whether it goes on.
func (h *header) chkconfig(text string) bool {
	key, value, found := strings.Cut(text, ":")
	if !found {
		key, value, found = strings.Cut(text, "=")
	}
	if value = strings.TrimSpace(value); !found || value == "" {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(key)) {
	case "chkconfig":
		h.chkconfigLine(value)
	case "description":
		if h.chkconfigText == "" {
			h.chkconfigText = strings.TrimSpace(strings.TrimSuffix(value, `\`))
			return strings.HasSuffix(value, `\`)
		}
	case "pidfile":
		if strings.HasPrefix(value, "/") {
			_ = pidFile(&h.PIDFile)(strings.Fields(value)[0])
		}
	case "processname":
		h.Process = strings.Fields(value)[0]
	}
	return false
}

// chkconfigLine takes "2345 85 15"; "-" instead of the runlevels: none.
func (h *header) chkconfigLine(value string) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return
	}
	start, err1 := strconv.Atoi(f[1])
	stop, err2 := strconv.Atoi(f[2])
	if err1 != nil || err2 != nil || start < 0 || start > 99 || stop < 0 || stop > 99 {
		return
	}
	h.StartOrder, h.StopOrder = start, stop
	if !h.LSB {
		h.Start, h.Stop = nil, nil
		for level := range 7 {
			if strings.Contains(f[0], strconv.Itoa(level)) {
				h.Start = append(h.Start, level)
			} else {
				h.Stop = append(h.Stop, level)
			}
		}
	}
}

func (h *header) settle() {
	for _, d := range []string{h.short, h.long, h.chkconfigText} {
		if h.Description == "" {
			h.Description = d
		}
	}
	slices.Sort(h.Start)
	slices.Sort(h.Stop)
	h.Start, h.Stop = slices.Compact(h.Start), slices.Compact(h.Stop)
}

// runlevels takes "2 3 4 5"; "S" is the start of the machine, which a container has in each of its runlevels.
func runlevels(v string) []int {
	var levels []int
	for _, c := range v {
		switch {
		case '0' <= c && c <= '6':
			levels = append(levels, int(c-'0'))
		case c == 'S' || c == 's':
			levels = append(levels, 2, 3, 4, 5)
		}
	}
	return levels
}

// Runlevel tells for one runlevel whether the links of a script start it there. known is false if it has no link in there.
func (s *Set) Runlevel(name string, level int) (start, known bool) {
	script, ok := s.anyScript(name)
	if !ok {
		return false, false
	}
	for _, e := range s.links(level) {
		if kind, rest, ok := rcLink(e.Name()); ok && rest == path.Base(script) {
			return kind == 'S', true
		}
	}
	return false, false
}

// links lists a runlevel's folder: Debian's layout first, then Red Hat's.
func (s *Set) links(level int) []fs.DirEntry {
	return s.tree.readDir(s.rcDir(level))
}

// rcDir is the folder of a runlevel's links in this tree.
func (s *Set) rcDir(level int) string {
	plain := "/etc/rc" + strconv.Itoa(level) + ".d"
	if red := "/etc/rc.d/rc" + strconv.Itoa(level) + ".d"; !s.tree.exists(plain) && (s.tree.exists(red) || s.tree.exists("/etc/rc.d")) {
		return red
	}
	return plain
}

// rcLink cuts "S20nginx".
func rcLink(link string) (kind byte, script string, ok bool) {
	if len(link) < 4 || link[0] != 'S' && link[0] != 'K' || !plainNumber(link[1:3]) {
		return 0, "", false
	}
	return link[0], link[3:], true
}

// anyScript is the path of a unit's init script, also where a unit file hides it.
func (s *Set) anyScript(name string) (string, bool) {
	if script := s.sysv[name]; script != nil {
		return script.Script, true
	}
	stem, _ := split(name)
	for _, dir := range scriptDirs {
		for _, base := range []string{stem, stem + ".sh"} {
			if full := path.Join(dir, base); s.tree.exists(full) {
				return full, true
			}
		}
	}
	return "", false
}

// scriptsOf lists the scripts that runlevel links put into a target: 2, 3 and 4 are multi-user.target, 5 is graphical.target.
func (s *Set) scriptsOf(target string) []string {
	levels := map[string][]int{"multi-user.target": {2, 3, 4}, "graphical.target": {5}}[target]
	var found []string
	for _, level := range levels {
		for _, e := range s.links(level) {
			kind, script, ok := rcLink(e.Name())
			if name := ScriptUnit(script); ok && kind == 'S' && s.sysv[name] != nil {
				found = append(found, name)
			}
		}
	}
	return found
}
