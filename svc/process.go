package svc

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is one of /proc. Its start tells it from a later one with the same id.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in ticks since the kernel's boot

	Parent  int  `json:"-"`
	Session int  `json:"-"`
	State   byte `json:"-"`
}

// parseStat reads /proc/PID/stat. The name of the program, in parentheses, may hold anything.
func parseStat(text string) (process, error) {
	head, tail, ok := cutLast(text, ")")
	fields := strings.Fields(tail)
	pid, _, _ := strings.Cut(head, " ")
	if !ok || len(fields) < 20 || len(fields[0]) != 1 {
		return process{}, fmt.Errorf("no line of /proc/PID/stat: %q", text)
	}
	p := process{State: fields[0][0]}
	for _, field := range []struct {
		text string
		into *int
	}{{pid, &p.PID}, {fields[1], &p.Parent}, {fields[3], &p.Session}} {
		n, err := strconv.Atoi(field.text)
		if err != nil {
			return process{}, err
		}
		*field.into = n
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	p.Start = start
	return p, err
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// look finds a process by its id; one that has ended and waits to be buried does not count.
func look(pid int) (process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	p, err := parseStat(string(text))
	return p, err == nil && !p.dead()
}

func (p process) dead() bool { return p.State == 'Z' || p.State == 'X' }

// alive says whether it is still the same process.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	now, ok := look(p.PID)
	return ok && now.Start == p.Start
}

// processes lists all that live.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []process
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := look(pid); ok {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b process) int { return a.PID - b.PID })
	return all
}

// marked says whether a process was started with an invocation's id. Without CAP_SYS_PTRACE, which containers lack, only those of the asking
// user can be asked.
func marked(pid int, invocation string) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	mark := []byte("INVOCATION_ID=" + invocation)
	for pair := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(pair, mark) {
			return true
		}
	}
	return false
}

// belonging picks the processes of a service: its main process, what is in its session or was started with its invocation's id, and all
// descendants of these. A container has no control groups to tell it better. Those in not, and the asking process, are left out, though
// their descendants are not.
func belonging(all []process, r *record, mark func(pid int, invocation string) bool, not ...int) []process {
	in := map[int]bool{}
	for _, p := range all {
		switch {
		case p.PID <= 1:
		case p.PID == r.Main.PID && p.Start == r.Main.Start,
			r.Supervised > 1 && (p.PID == r.Supervised || p.Session == r.Supervised),
			r.Invocation != "" && mark(p.PID, r.Invocation):
			in[p.PID] = true
		}
	}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if !in[p.PID] && in[p.Parent] {
				in[p.PID], grew = true, true
			}
		}
	}
	var out []process
	for _, p := range all {
		if in[p.PID] && !slices.Contains(not, p.PID) {
			out = append(out, p)
		}
	}
	// The main process first.
	slices.SortStableFunc(out, func(a, b process) int {
		switch r.Main.PID {
		case a.PID:
			return -1
		case b.PID:
			return 1
		}
		return 0
	})
	return out
}

// members are the processes of a service as it is now, without the one of ours that follows it.
func members(r *record) []process {
	not := []int{os.Getpid()}
	if r.Followed {
		not = append(not, r.Supervised)
	}
	return belonging(processes(), r, marked, not...)
}

// send signals processes that are still the same; those that have ended are as good as signalled.
func send(signal unix.Signal, to ...process) {
	for _, p := range to {
		if p.PID > 1 && p.alive() {
			_ = unix.Kill(p.PID, signal)
		}
	}
}
