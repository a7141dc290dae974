package verbs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// status shows units to a person. The code is that of the first that does not run.
func (s *ctl) status(names []string) int {
	if len(names) == 0 {
		if len(s.states) == 0 && len(s.types) == 0 && !s.all {
			return s.systemStatus()
		}
		names = s.listed(nil)
	}
	code, first := exitOK, true
	for _, name := range names {
		for _, full := range s.ofStatus(name) {
			if !first {
				s.printf("\n")
			}
			first = false
			if c := s.statusOf(full); c != exitOK && code == exitOK {
				code = c
			}
		}
	}
	return code
}

// ofStatus are the units that an operand means: names, patterns, or the unit of a process.
func (s *ctl) ofStatus(name string) []string {
	pid, err := strconv.Atoi(name)
	if err != nil {
		return s.expand([]string{name})
	}
	for _, known := range s.known() {
		if st, err := s.Manager.State(known); err == nil && (st.MainPID == pid || slices.Contains(st.Processes, pid)) {
			return []string{known}
		}
	}
	s.errorf("Failed to get unit for PID %d: PID %d does not belong to any loaded unit.", pid, pid)
	return nil
}

func (s *ctl) statusOf(name string) int {
	u := s.look(name)
	switch {
	case u.hidden != nil:
		s.errorf("Failed to get properties of %s: %s", name, reason(u.hidden))
		return exitUnknown
	case u.Load == unit.NotFound && u.Active == manager.Inactive:
		s.errorf("Unit %s could not be found.", name)
		return exitUnknown
	}
	s.head(u)
	s.activity(u)
	if len(u.Docs) > 0 {
		s.field("Docs", u.Docs[0])
		for _, d := range u.Docs[1:] {
			s.printf("%s%s\n", strings.Repeat(" ", 13), d)
		}
	}
	s.inside(u)
	if s.lines > 0 && u.Kind == unit.KindService {
		s.lastLines(u)
	}
	if u.Active == manager.IsActive || u.Active == manager.Reloading {
		return exitOK
	}
	return exitNotRunning
}

// field prints "   Name: value" with systemctl's alignment.
func (s *ctl) field(name, value string) { s.printf("%11s: %s\n", name, value) }

// dot is the mark in front of a unit, coloured by its state.
func (s *ctl) dot(u seen) string {
	switch u.Active {
	case manager.IsActive:
		return s.paint(green, s.glyph("●", "*"))
	case manager.Reloading:
		return s.paint(green, s.glyph("↻", "R"))
	case manager.Failed:
		return s.paint(red, s.glyph("×", "x"))
	case manager.Activating, manager.Deactivating:
		return s.glyph("●", "*")
	}
	return s.glyph("○", "o")
}

func (s *ctl) head(u seen) {
	title := u.Name
	if u.Description != "" && u.Description != u.Name {
		title += " - " + u.Description
	}
	s.printf("%s %s\n", s.dot(u), title)
	if u.Load != unit.Loaded {
		why := u.Problem
		if u.Load == unit.Masked || u.Load == unit.NotFound {
			why = fmt.Sprintf("Unit %s is masked.", u.Name)
			if u.Load == unit.NotFound {
				why = fmt.Sprintf("Unit %s not found.", u.Name)
			}
		}
		s.field("Loaded", fmt.Sprintf("%s (Reason: %s)", s.paint(red, string(u.Load)), why))
	} else {
		s.field("Loaded", "loaded ("+s.loadedFrom(u.Unit)+")")
	}
	// The folder is told once above the names of its files.
	last := ""
	for i, file := range u.DropIns {
		dir, base := file[:strings.LastIndexByte(file, '/')], file[strings.LastIndexByte(file, '/')+1:]
		if dir != last {
			if last == "" {
				s.field("Drop-In", dir)
			} else {
				s.printf("%13s%s\n", "", dir)
			}
		}
		last = dir
		branch := s.glyph("├─", "|-")
		if i == len(u.DropIns)-1 || !strings.HasPrefix(u.DropIns[i+1], dir+"/") {
			branch = s.glyph("└─", "`-")
		}
		s.printf("%13s%s%s\n", "", branch, base)
	}
}

// loadedFrom is "path; state; preset: what".
func (s *ctl) loadedFrom(u *unit.Unit) string {
	from := []string{}
	if u.Path != "" {
		from = append(from, u.Path)
	}
	if state := s.fileState(u); state != "" {
		from = append(from, string(state))
	}
	if preset := s.preset(u.Name); preset != "" {
		from = append(from, "preset: "+preset)
	}
	if len(from) == 0 {
		return "static"
	}
	return strings.Join(from, "; ")
}

// fileState is how a unit is installed in the eyes of systemd itself, to which a script's unit is one that a generator made. Only is-enabled asks
// for the script's links.
func (s *ctl) fileState(u *unit.Unit) unit.FileState {
	if u.SysV != nil {
		return unit.Generated
	}
	return s.units().FileState(u.Name)
}

// activity is the Active line and what belongs to it.
func (s *ctl) activity(u seen) {
	text := string(u.Active)
	if u.Sub != "" && u.Sub != string(u.Active) {
		text += " (" + u.Sub + ")"
	}
	if u.Result != "" && u.Result != "success" {
		text += " (Result: " + u.Result + ")"
	}
	switch u.Active {
	case manager.IsActive, manager.Reloading:
		text = s.paint(green, text)
	case manager.Failed:
		text = s.paint(red, text)
	}
	if !u.Since.IsZero() {
		text += " since " + s.stamp(u.Since) + "; " + ago(s.Now().Sub(u.Since))
	}
	s.field("Active", text)
	if !u.Started.IsZero() && (u.Active == manager.Inactive || u.Active == manager.Failed) && u.Since.After(u.Started) {
		s.field("Duration", span(u.Since.Sub(u.Started)))
	}
	if u.State.Condition != "" {
		if strings.HasPrefix(u.State.Condition, "Assert") {
			s.field("Assert", "start assertion failed")
		} else {
			s.field("Condition", "start condition failed")
		}
		s.printf("%13s%s%s was not met\n", "", s.glyph("└─", "`-"), u.State.Condition)
	}
	if u.Socket != nil {
		s.field("Triggers", s.glyph("●", "*")+" "+u.Socket.Service)
		for _, on := range u.Socket.Listen {
			s.field("Listen", fmt.Sprintf("%s (%s)", on.Address, listenWord(on.Kind)))
		}
	}
	if u.Timer != nil {
		s.field("Trigger", "n/a (kept by cron: "+strings.Join(u.Timer.Cron, ", ")+")")
		s.field("Triggers", s.glyph("●", "*")+" "+u.Timer.Unit)
	}
}

// listenWord is what systemd calls a kind of listener.
func listenWord(kind string) string {
	switch kind {
	case "datagram":
		return "Datagram"
	case "seqpacket":
		return "SequentialPacket"
	case "fifo":
		return "FIFO"
	}
	return "Stream"
}

// inside is what runs: the main process, what it says of itself, and the tree.
func (s *ctl) inside(u seen) {
	all := s.processes(u.Processes)
	switch {
	case u.MainPID > 0:
		text := strconv.Itoa(u.MainPID)
		if p, ok := s.process(u.MainPID); ok {
			text += " (" + p.comm + ")"
		}
		s.field("Main PID", text)
	case u.ExitReason != "":
		text := ended(u.State)
		if u.ExitPID > 0 {
			text = strconv.Itoa(u.ExitPID) + " " + text
		}
		s.field("Main PID", text)
	}
	if u.ControlPID > 0 {
		text := strconv.Itoa(u.ControlPID)
		if p, ok := s.process(u.ControlPID); ok {
			text += " (" + p.comm + ")"
		}
		s.field("Cntrl PID", text)
	}
	if u.StatusText != "" {
		s.field("Status", `"`+printable(u.StatusText)+`"`)
	}
	if len(all) == 0 {
		return
	}
	tasks, memory, cpu := 0, uint64(0), time.Duration(0)
	for _, p := range all {
		tasks, memory, cpu = tasks+max(p.threads, 1), memory+p.memory, cpu+p.cpu
	}
	limit := ""
	if n := s.taskLimit(); n != "" {
		limit = " (limit: " + n + ")"
	}
	s.field("Tasks", strconv.Itoa(tasks)+limit)
	if memory > 0 {
		s.field("Memory", size(memory))
	}
	s.field("CPU", span(max(cpu, time.Millisecond)))
	s.field("CGroup", group(u.Name))
	s.tree(strings.Repeat(" ", 13), all)
}

// group is the control group that systemd would use. Berth's containers have none inside; the line stays, as people look for the tree below.
func group(name string) string {
	if template, _ := unit.Template(name); template != "" {
		prefix, _, _ := strings.Cut(template, "@")
		return "/system.slice/system-" + prefix + ".slice/" + name
	}
	return "/system.slice/" + name
}

// taskLimit is the container's, of either version of control groups; empty if there is none.
func (s *ctl) taskLimit() string {
	for _, p := range []string{"/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"} {
		if text, err := os.ReadFile(s.path(p)); err == nil {
			if n := strings.TrimSpace(string(text)); n != "max" {
				return n
			}
		}
	}
	return ""
}

// ended is how a process ended: "(code=exited, status=1/FAILURE)".
func ended(st manager.State) string {
	if st.ExitReason == "exited" {
		status := strconv.Itoa(st.ExitCode)
		if word := exitWord(st.ExitCode); word != "" {
			status += "/" + word
		}
		return "(code=exited, status=" + status + ")"
	}
	return "(code=" + st.ExitReason + ", signal=" + signalWord(st.ExitCode) + ")"
}

// lastLines are the newest of the unit's log.
func (s *ctl) lastLines(u seen) {
	entries := s.unitLog(u.Unit, s.lines)
	if len(entries) == 0 {
		return
	}
	s.printf("\n")
	width := s.columns()
	for _, e := range entries {
		line := e.short(s.call)
		if !s.full {
			line = s.cut(line, width)
		}
		s.printf("%s\n", line)
	}
}

// columns is the terminal's width, 0 if the output goes elsewhere.
func (c *call) columns() int {
	if !c.Terminal {
		return 0
	}
	n, _ := strconv.Atoi(c.Getenv("COLUMNS"))
	return n
}

// systemStatus is `systemctl status` without a name.
func (s *ctl) systemStatus() int {
	state := s.systemState()
	if s.blind {
		return exitFailure
	}
	color := green
	if state != "running" {
		color = red
	}
	known := s.known()
	var pids []int
	for _, name := range known {
		if st, err := s.Manager.State(name); err == nil {
			pids = append(pids, st.Processes...)
		}
	}
	s.printf("%s %s\n", s.paint(color, s.glyph("●", "*")), s.Hostname)
	s.printf("    State: %s\n", s.paint(color, state))
	s.printf("    Units: %d loaded (incl. loaded aliases)\n", len(known))
	s.printf("     Jobs: 0 queued\n")
	s.printf("   Failed: %d units\n", s.failed())
	if since, ok := s.bootTime(); ok {
		s.printf("    Since: %s; %s\n", s.stamp(since), ago(s.Now().Sub(since)))
	}
	s.printf("  systemd: %s\n", strings.TrimPrefix(version, "systemd "))
	s.printf("   CGroup: /\n")
	s.tree(strings.Repeat(" ", 11), s.processes(pids))
	return exitOK
}

// bootTime is when the services of this container were last begun: PID 1 outlives a reboot, so the image's boot leaves a mark.
func (c *call) bootTime() (time.Time, bool) {
	info, err := os.Stat(c.path("/run/berth/booted"))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}
