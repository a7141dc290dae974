package svc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// launch is all that is done between "a process of ours" and "the daemon". It is carried out by the process that becomes the program: by run
// itself, or by a child that is berth-svc again (see apply).
type launch struct {
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env"`

	Dir           string       `json:"dir,omitempty"`
	DirMayMiss    bool         `json:"dirMayMiss,omitempty"`
	Root          string       `json:"root,omitempty"`
	Credentials   *credentials `json:"credentials,omitempty"` // nil: stays who it is
	UMask         uint32       `json:"umask"`
	Nice          *int         `json:"nice,omitempty"`
	OOM           *int         `json:"oom,omitempty"`
	Limits        []unit.Limit `json:"limits,omitempty"`
	Ambient       []string     `json:"ambient,omitempty"`
	NoNewPrivs    bool         `json:"noNewPrivs,omitempty"`
	Stdin         unit.Output  `json:"stdin"`
	Stdout        unit.Output  `json:"stdout"`
	Stderr        unit.Output  `json:"stderr"`
	WatchdogPID   bool         `json:"watchdogPid,omitempty"`
	IgnoreSIGPIPE bool         `json:"ignoreSigpipe,omitempty"`

	Passed []unit.Passed `json:"passed,omitempty"` // only by family.start, which keeps the places of their descriptors free
}

// Exit codes with which systemd says at which step a program could not be started; systemd.exec(5).
const (
	exitChdir   = 200
	exitStdin   = 208
	exitStdout  = 209
	exitExec    = 203
	exitLimits  = 205
	exitFDs     = 202
	exitStderr  = 222
	exitChroot  = 210
	exitCaps    = 218
	exitGroup   = 216
	exitUser    = 217
	exitNNP     = 227
	exitRuntime = 233
	exitState   = 238
	exitCache   = 239
	exitLogs    = 240
	exitConfig  = 241
)

// stepError is a failed step with the exit code that tells it.
type stepError struct {
	code int
	err  error
}

func (e *stepError) Error() string { return e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

func failed(code int, err error) error {
	if err == nil {
		return nil
	}
	return &stepError{code, err}
}

// exitCodeOf gives the exit code of a failed step.
func exitCodeOf(err error) int {
	if step := (*stepError)(nil); errors.As(err, &step) {
		return step.code
	}
	return 1
}

// become turns this process into the program. It returns only when it cannot. What a container's kernel refuses and a daemon can do without
// is skipped, as systemd does in a container: niceness below 0, limits above the container's, OOM scores, capabilities that it lacks.
func (l *launch) become() error {
	runtime.LockOSThread() // niceness and capabilities are a thread's, and the thread that calls exec is the one that remains
	if err := l.redirect(); err != nil {
		return err
	}
	sockets, names, err := openSockets(l.Passed)
	if err != nil {
		return err
	}
	if l.Nice != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, *l.Nice)
	}
	if l.OOM != nil {
		_ = os.WriteFile("/proc/self/oom_score_adj", fmt.Appendln(nil, *l.OOM), 0)
	}
	for _, limit := range l.Limits {
		setLimit(limit)
	}
	unix.Umask(int(l.UMask))
	if l.Root != "" && l.Root != "/" {
		if err := errors.Join(unix.Chroot(l.Root), unix.Chdir("/")); err != nil {
			return failed(exitChroot, fmt.Errorf("change root to %s: %w", l.Root, err))
		}
		l.Root = ""
	}
	if err := l.impersonate(); err != nil {
		return err
	}
	if l.Dir != "" {
		if err := os.Chdir(l.Dir); err != nil && !l.DirMayMiss {
			return failed(exitChdir, fmt.Errorf("change to WorkingDirectory: %w", err))
		}
	}
	if l.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return failed(exitNNP, err)
		}
	}
	path, err := l.find()
	if err != nil {
		return err
	}
	if l.IgnoreSIGPIPE {
		signal.Ignore(unix.SIGPIPE)
	}
	if l.WatchdogPID {
		l.Env = append(l.Env, fmt.Sprintf("WATCHDOG_PID=%d", os.Getpid()))
	}
	if err := l.handSockets(sockets, names); err != nil {
		return err
	}
	err = syscall.Exec(path, l.Args, l.Env)
	return failed(exitExec, fmt.Errorf("execute %s: %w", path, err))
}

// find is the program's path: of a bare name, the first in the service's PATH.
func (l *launch) find() (string, error) {
	if strings.Contains(l.Path, "/") {
		_, err := os.Stat(filepath.Join("/", l.Root, l.Path))
		return l.Path, failed(exitExec, err)
	}
	search := defaultPath
	for _, pair := range l.Env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		file := dir + "/" + l.Path
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", failed(exitExec, fmt.Errorf("find %s in PATH: %w", l.Path, exec.ErrNotFound))
}

// redirect opens what the unit says of standard input and output. The journal is where the output already goes; the input that is there is the
// container's, which may be somebody's terminal.
func (l *launch) redirect() error {
	input := "/dev/null"
	if l.Stdin.Target == "file" {
		input = l.Stdin.Path
	}
	if err := onto(0, input, os.O_RDONLY); err != nil {
		return failed(exitStdin, err)
	}
	if err := redirectOutput(1, l.Stdout); err != nil {
		return failed(exitStdout, err)
	}
	switch {
	case l.Stderr.Target == "inherit" || l.Stderr == l.Stdout:
		return failed(exitStderr, unix.Dup3(1, 2, 0))
	default:
		return failed(exitStderr, redirectOutput(2, l.Stderr))
	}
}

func redirectOutput(fd int, to unit.Output) error {
	switch to.Target {
	case "null":
		return onto(fd, "/dev/null", os.O_WRONLY)
	case "file":
		return onto(fd, to.Path, os.O_WRONLY|os.O_CREATE)
	case "append":
		return onto(fd, to.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	case "truncate":
		return onto(fd, to.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	}
	return nil // "journal", and "tty", which a container's service does not have
}

// onto opens a file as a certain descriptor.
func onto(fd int, path string, flags int) error {
	f, err := os.OpenFile(path, flags|unix.O_NOCTTY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Dup3(int(f.Fd()), fd, 0)
}

// setLimit sets a resource limit, as high as is allowed.
func setLimit(limit unit.Limit) {
	resource, ok := resources(limit.Resource)
	if !ok {
		return
	}
	var now unix.Rlimit
	if unix.Getrlimit(resource, &now) != nil {
		return
	}
	want := syscall.Rlimit{Cur: limit.Soft, Max: limit.Hard}
	// syscall's and not unix's: Go remembers the limit of open files that it found, and restores that at exec unless it is told otherwise.
	if syscall.Setrlimit(resource, &want) == nil {
		return
	}
	want = syscall.Rlimit{Cur: min(limit.Soft, now.Max), Max: min(limit.Hard, now.Max)}
	_ = syscall.Setrlimit(resource, &want)
}

func resources(name string) (int, bool) {
	names := []string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}
	i := slices.Index(names, name) // Linux numbers them in this order
	return i, i >= 0
}

// launchEnv is the variable that names the descriptor from which apply reads a launch.
const launchEnv = "BERTH_SVC_LAUNCH"

// apply is what a child of ours does: it reads a launch from a descriptor and becomes it.
func apply() error {
	fd := 0
	if _, err := fmt.Sscan(os.Getenv(launchEnv), &fd); err != nil {
		return failed(exitExec, fmt.Errorf("no launch to carry out: %w", err))
	}
	f := os.NewFile(uintptr(fd), "launch")
	l := new(launch)
	err := json.NewDecoder(f).Decode(l)
	if err = errors.Join(err, f.Close()); err != nil {
		return failed(exitExec, fmt.Errorf("read what to launch: %w", err))
	}
	return l.become()
}

// handOver makes a descriptor that a launch can be read from: a file in memory, so nobody has to wait for a reader.
func (l *launch) handOver() (*os.File, error) {
	content, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("launch", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "launch")
	if _, err = f.Write(content); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// missing says whether a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
