package unit

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// ScriptAdd lists the runlevel links that an init script gets when it is made known (chkconfig --add, update-rc.d defaults). One that has links
// keeps them: the administrator may have changed them.
func (s *Set) ScriptAdd(script string) []Change {
	if s.hasLinks(script) {
		return nil
	}
	var all []Change
	start, stop := s.levels(script)
	for _, level := range start {
		all = append(all, s.rcChange(script, 'S', level))
	}
	for _, level := range stop {
		if !slices.Contains(start, level) {
			all = append(all, s.rcChange(script, 'K', level))
		}
	}
	return all
}

// ScriptRemove lists all runlevel links of a script, for removal.
func (s *Set) ScriptRemove(script string) []Change {
	var all []Change
	for level := range 7 {
		all = append(all, s.rcRemovals(script, level)...)
	}
	return all
}

// ScriptSwitch lists what turns a script's links on or off in some runlevels; nil means those that its header names for the start (chkconfig
// NAME on, update-rc.d NAME enable).
func (s *Set) ScriptSwitch(script string, on bool, levels []int) []Change {
	return s.switchScript(path.Join(s.scriptDir(), script), on, levels)
}

func (s *Set) switchScript(full string, on bool, levels []int) []Change {
	script := path.Base(full)
	start, stop := s.levels(script)
	if levels == nil {
		levels = start
	}
	kind := byte('K')
	if on {
		kind = 'S'
	}
	var all []Change
	for level := range 7 {
		wanted := kind
		if !slices.Contains(levels, level) {
			if s.hasLinks(script) || !slices.Contains(stop, level) {
				continue
			}
			wanted = 'K' // the rest of what a script without links gets
		}
		removals, there := []Change{}, false
		for _, c := range s.rcRemovals(script, level) {
			if path.Base(c.Path)[0] == wanted {
				there = true
			} else {
				removals = append(removals, c)
			}
		}
		if all = append(all, removals...); !there {
			all = append(all, s.rcChange(script, wanted, level))
		}
	}
	return all
}

// levels are the runlevels of a script's header; without any in there it is 2 to 5 and the others.
func (s *Set) levels(script string) (start, stop []int) {
	full := path.Join(s.scriptDir(), script)
	if text, err := s.tree.readFile(full); err == nil {
		header := ParseScript(full, text)
		if header.LSB || header.Start != nil || header.Stop != nil {
			return header.Start, header.Stop
		}
	}
	return []int{2, 3, 4, 5}, []int{0, 1, 6}
}

func (s *Set) scriptDir() string {
	if !s.tree.exists(scriptDirs[0]) && s.tree.exists(scriptDirs[1]) {
		return scriptDirs[1]
	}
	return scriptDirs[0]
}

func (s *Set) hasLinks(script string) bool {
	for level := range 7 {
		if len(s.rcRemovals(script, level)) > 0 {
			return true
		}
	}
	return false
}

func (s *Set) rcRemovals(script string, level int) []Change {
	var all []Change
	for _, e := range s.links(level) {
		if _, name, ok := rcLink(e.Name()); ok && name == script {
			all = append(all, Change{Remove: true, Path: path.Join(s.rcDir(level), e.Name()), Script: true})
		}
	}
	return all
}

// rcChange makes one link. Its number is chkconfig's; Debian's scripts have none, as their order is that of their headers.
func (s *Set) rcChange(script string, kind byte, level int) Change {
	start, stop := 1, 1
	full := path.Join(s.scriptDir(), script)
	if text, err := s.tree.readFile(full); err == nil {
		if h := ParseScript(full, text); h.StartOrder != defaultOrder || h.StopOrder != defaultOrder || !h.LSB {
			start, stop = h.StartOrder, h.StopOrder
		}
	}
	n := start
	if kind == 'K' {
		n = stop
	}
	dir := s.rcDir(level)
	target := "../init.d/" + script
	if strings.HasPrefix(s.scriptDir(), "/etc/rc.d") && !strings.HasPrefix(dir, "/etc/rc.d") {
		target = "../rc.d/init.d/" + script
	}
	return Change{Path: path.Join(dir, fmt.Sprintf("%c%02d%s", kind, n, script)), Target: target, Script: true}
}
