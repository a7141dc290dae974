package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Daemon is a process of the lab that outlives the one which started it. It is known by arguments that no other process
// has, so its id is never written down and never another's.
type Daemon struct {
	Name    string // of its log file, "h1/net"
	lab     *Lab
	space   Space
	program string
	args    []string
	marks   []string     // those of args that it is known by
	before  func() error // what must be done before a start; nil: nothing
	answers func(context.Context) error
}

// Start starts it unless it runs, and waits until it answers. Until then it is started again when it ends, as an init system
// does: an agent needs its Docker Engine, which may be starting, too.
func (d Daemon) Start(ctx context.Context) error {
	var last time.Time
	return eventually(ctx, 60*time.Second, d.Name+" answers", func() error {
		if !d.Runs() {
			if time.Since(last) < restartPause {
				return fmt.Errorf("it has ended; see %s", d.log())
			}
			last = time.Now()
			if err := d.launch(); err != nil {
				return err
			}
		}
		if err := d.answers(ctx); err != nil {
			return err
		}
		if !d.Runs() {
			return fmt.Errorf("it has ended; see %s", d.log())
		}
		return nil
	})
}

// restartPause is the time between two starts of what does not stay.
const restartPause = time.Second

func (d Daemon) launch() error {
	if d.before != nil {
		if err := d.before(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(d.log()), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- started %s\n", time.Now().Format(time.RFC3339))
	// Its life is not bound to any context, nor to the terminal.
	cmd := exec.Command("nsenter", append([]string{"--net=" + d.space.path(), d.program}, d.args...)...) //nolint:noctx // as said
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ended is in its log; who ended it knows
	return nil
}

func (d Daemon) log() string { return d.lab.path(d.Name + ".log") }

// Runs says whether it does.
func (d Daemon) Runs() bool { return len(d.PIDs()) > 0 }

// PIDs are its process ids: one, or none when it does not run.
func (d Daemon) PIDs() []int { return processes(d.marks...) }

// Signal sends it a signal. It may have ended already.
func (d Daemon) Signal(s syscall.Signal) {
	for _, pid := range d.PIDs() {
		_ = syscall.Kill(pid, s)
	}
}

// Kill ends it as kill -9 does, and waits until it is gone.
func (d Daemon) Kill(ctx context.Context) error {
	return eventually(ctx, 20*time.Second, "the end of "+d.Name, func() error {
		d.Signal(syscall.SIGKILL)
		if pids := d.PIDs(); len(pids) > 0 {
			return fmt.Errorf("it runs as %v", pids)
		}
		return nil
	})
}

// processes finds those that have all these arguments. One that has ended, and is only not yet waited for, has none.
func processes(arguments ...string) []int {
	var found []int
	for pid, text := range proc("cmdline") {
		words := strings.Split(text, "\x00")
		if !slices.ContainsFunc(arguments, func(a string) bool { return !slices.Contains(words, a) }) {
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found
}

// children finds a process's own.
func children(parent int) []int {
	var found []int
	for pid, stat := range proc("stat") {
		// "PID (name) state PPID ...": the name may hold anything, so the last bracket counts.
		if f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			found = append(found, pid)
		}
	}
	return found
}

// proc reads one file of every process.
func proc(file string) map[int]string {
	found := map[int]string{}
	names, _ := filepath.Glob("/proc/[0-9]*/" + file)
	for _, name := range names {
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
			found[pid] = string(text)
		}
	}
	return found
}

// Logs are the last lines of each daemon's log.
func (l *Lab) Logs(lines int) string {
	var out bytes.Buffer
	names, _ := filepath.Glob(l.path("*", "*.log"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		fmt.Fprintf(&out, "--- %s\n%s\n", name, strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return out.String()
}
