package verbs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// realStartStop is dpkg's own program, put aside by the image's setup.
const realStartStop = "/usr/sbin/start-stop-daemon.distrib"

// startStopDaemon becomes dpkg's program of this name. It finds daemons by /proc/PID/exe if it is told --exec, and in a container, where
// root lacks CAP_SYS_PTRACE, that link cannot be read of a process that runs as somebody else: init scripts would start such a daemon twice,
// not stop it, or say that it did not start. Then the process is asked for by the name that the kernel has for it, or by its number.
func startStopDaemon(c *call, args []string) int {
	if o, ok := parseStartStop(args); ok && o.exec != "" {
		if instead := c.insteadOfExec(o); instead != nil {
			args = o.with(instead...)
		}
	}
	if err := c.Become(realStartStop, append([]string{c.name}, args...)); err != nil {
		c.errorf("%s: cannot execute %s: %s", c.name, realStartStop, err)
		return 3 // "trouble"; start-stop-daemon(8)
	}
	return exitOK
}

// startStopOptions are what tells which processes are meant, and all else as it was said.
type startStopOptions struct {
	exec, startAs, name, pidFile, pid, ppid, root string

	others []string // all but --exec, in order, the operands behind "--"
}

// optionsOfStartStop are all options of start-stop-daemon 1.21, written as "long:short", with "=" at the end if it takes an argument.
func optionsOfStartStop() []option {
	var all []option
	for _, text := range strings.Fields(`start:S stop:K status:T help:H version:V background:b notify-await: no-close:C make-pidfile:m
		remove-pidfile: test:t oknodo:o quiet:q verbose:v pid:= ppid:= pidfile:p= exec:x= name:n= user:u= group:g= chuid:c= signal:s= startas:a=
		chroot:r= chdir:d= nicelevel:N= procsched:P= iosched:I= umask:k= notify-timeout:= output:O= retry:R=`) {
		long, short, _ := strings.Cut(text, ":")
		o := option{long: long}
		if short, o.value = strings.CutSuffix(short, "="); short != "" {
			o.short = short[0]
		}
		all = append(all, o)
	}
	return all
}

// parseStartStop reads a command line. It is not ok if it is one that start-stop-daemon would not take, or with empty words, which are better left
// to it.
func parseStartStop(args []string) (o startStopOptions, ok bool) {
	options := optionsOfStartStop()
	found, rest, err := parse(options, args)
	if err != nil {
		return o, false
	}
	for _, g := range found {
		takes := slices.ContainsFunc(options, func(o option) bool { return o.long == g.name && o.value })
		if takes && g.value == "" {
			return o, false
		}
		o.set(g.name, g.value, takes)
	}
	if len(rest) > 0 {
		o.others = append(append(o.others, "--"), rest...)
	}
	return o, true
}

// set takes in one option; the last of its kind counts.
func (o *startStopOptions) set(long, value string, takes bool) {
	known := map[string]*string{
		"exec": &o.exec, "startas": &o.startAs, "name": &o.name, "pidfile": &o.pidFile, "pid": &o.pid, "ppid": &o.ppid, "chroot": &o.root,
	}
	if into := known[long]; into != nil {
		*into = value
	}
	switch {
	case long == "exec":
	case takes:
		o.others = append(o.others, "--"+long, value)
	default:
		o.others = append(o.others, "--"+long)
	}
}

// with is the same command line with other options for what the process executes.
func (o *startStopOptions) with(instead ...string) []string {
	if o.startAs == "" {
		instead = append(instead, "--startas", o.exec)
	}
	return append(instead, o.others...)
}

// insteadOfExec gives the options that find the daemon when one of its processes may not be asked what it executes; nil if all may. A name
// must be all of the daemon's and nobody else's: an init script likes to be called as its daemon is. A number will do if one process is the
// parent of all others.
func (c *call) insteadOfExec(o startStopOptions) []string {
	daemon, others, hidden := c.byExec(o)
	if !hidden {
		return nil
	}
	name := daemon[0].comm
	same := func(p process) bool { return p.comm == name }
	if !slices.ContainsFunc(others, same) && !slices.ContainsFunc(daemon, func(p process) bool { return !same(p) }) {
		if o.name != "" {
			return []string{}
		}
		return []string{"--name", name}
	}
	var first []process
	for _, p := range daemon {
		if !slices.ContainsFunc(daemon, func(q process) bool { return q.pid == p.parent }) {
			first = append(first, p)
		}
	}
	if len(first) != 1 {
		return nil
	}
	return []string{"--pid", strconv.Itoa(first[0].pid)}
}

// byExec parts the processes in question into those that are the daemon, and others. One that may not be asked is, if it is called so.
func (c *call) byExec(o startStopOptions) (daemon, others []process, hidden bool) {
	file := c.path(filepath.Join("/", o.root, o.exec))
	program, err := os.Stat(file)
	if err != nil {
		return nil, nil, false
	}
	called := []string{filepath.Base(o.exec)}
	if target, err := filepath.EvalSymlinks(file); err == nil {
		called = append(called, filepath.Base(target))
	}
	for _, p := range c.inQuestion(o) {
		exe := c.path("/proc/" + strconv.Itoa(p.pid) + "/exe")
		_, err := c.Readlink(exe)
		unknown := errors.Is(err, fs.ErrPermission)
		info, statErr := os.Stat(exe)
		switch {
		case unknown && p.looksLike(called):
			daemon, hidden = append(daemon, p), true
		case !unknown && statErr == nil && os.SameFile(info, program):
			daemon = append(daemon, p)
		default:
			others = append(others, p)
		}
	}
	return daemon, others, hidden
}

// inQuestion lists the processes that the other options allow, and that have not ended.
func (c *call) inQuestion(o startStopOptions) []process {
	var all []process
	for _, pid := range c.numbers(o) {
		if p, ok := c.glance(pid); ok && p.state != 'Z' && (o.ppid == "" || strconv.Itoa(p.parent) == o.ppid) {
			all = append(all, p)
		}
	}
	return all
}

// numbers are the process ids that the options name, or all.
func (c *call) numbers(o startStopOptions) []int {
	only := o.pid
	if o.pidFile != "" {
		text, err := os.ReadFile(c.path(o.pidFile))
		if err != nil {
			return nil
		}
		only, _, _ = strings.Cut(strings.TrimSpace(string(text)), "\n")
	}
	if only != "" {
		if pid, err := strconv.Atoi(strings.TrimSpace(only)); err == nil {
			return []int{pid}
		}
		return nil
	}
	entries, _ := os.ReadDir(c.path("/proc"))
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// commLength is how much of a program's name the kernel keeps.
const commLength = 15

// looksLike compares what a process says of itself with the names of a program. Daemons like to write "name: what they do" over their
// arguments.
func (p process) looksLike(called []string) bool {
	for _, name := range called {
		if p.comm == name[:min(len(name), commLength)] {
			return true
		}
	}
	if len(p.args) == 0 {
		return false
	}
	first, _, _ := strings.Cut(p.args[0], ":")
	return slices.Contains(called, filepath.Base(first))
}
