package svc

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// Options are what a Supervisor needs to know of its surroundings.
type Options struct {
	Root    string    // of the files it reads and keeps; default "/". Others are for tests: programs still run in the machine's own root
	Self    string    // the program berth-svc; default: this process's
	Console io.Writer // where a service that fails is told, too; default: the container's log
}

// Supervisor carries out units under s6. It has no state of its own: all of it is in files, so that each call of systemctl, and each run and
// finish of a service, is a process that comes and goes. It is for one goroutine but for what says otherwise.
type Supervisor struct {
	root    string
	self    string
	console io.Writer
	units   *unit.Set // read at the first question; nil before
}

// New makes a Supervisor. It touches nothing.
func New(o Options) (*Supervisor, error) {
	s := &Supervisor{root: cmp.Or(o.Root, "/"), self: o.Self, console: o.Console}
	if s.self == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.self = self
	}
	if s.console == nil {
		s.console = containerLog{}
	}
	return s, nil
}

// containerLog is the standard output of PID 1, opened when there is something to say.
type containerLog struct{}

func (containerLog) Write(b []byte) (int, error) {
	f, err := os.OpenFile("/proc/1/fd/1", os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK, 0)
	if err != nil {
		return len(b), nil // not ours to write to; a log line is not worth an error
	}
	defer f.Close()
	return f.Write(b)
}

// path is a path below the root.
func (s *Supervisor) path(elements ...string) string {
	return filepath.Join(append([]string{s.root}, elements...)...)
}

const (
	scanFolder   = "run/service"          // s6-svscan's
	stateFolder  = "run/berth/units"      // one folder a unit that has a state
	keptEnv      = "run/berth/env"        // the container's environment, kept by /init
	notifyFolder = "run/systemd/notify.d" // sockets of services that say when they are ready; every user must reach them
	logFolder    = "var/log/units"        // one folder a unit
	nativeFolder = "etc/s6/services"      // the image's own services
	cronFolder   = "etc/cron.d"           // timers
)

// serviceFolder is where s6-supervise finds a unit.
func (s *Supervisor) serviceFolder(name string) string { return s.path(scanFolder, name) }

// stateOf is a unit's folder of state.
func (s *Supervisor) stateOf(name string) string { return s.path(stateFolder, name) }

// rootOf finds the root from a service's folder, in which s6 calls run and finish.
func rootOf(folder, name string) (string, bool) {
	root, ok := strings.CutSuffix(folder, "/"+scanFolder+"/"+name)
	return cmp.Or(root, "/"), ok
}

// set is all units as they were when first asked.
func (s *Supervisor) set() *unit.Set {
	if s.units == nil {
		s.units = s.freshSet()
	}
	return s.units
}

func (s *Supervisor) freshSet() *unit.Set {
	return unit.New(os.DirFS(s.root), Environment(s.root))
}

// Environment asks the machine what units ask of it. It is also for those who read units themselves.
func Environment(root string) unit.Environment {
	env := unit.Environment{}
	env.Hostname, _ = os.Hostname()
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	env.BootID = strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		env.KernelRelease = unix.ByteSliceToString(uts.Release[:])
		env.Architecture = architecture(unix.ByteSliceToString(uts.Machine[:]))
	}
	return env
}

// architecture translates the kernel's word into systemd's.
func architecture(machine string) string {
	switch machine {
	case "x86_64":
		return "x86-64"
	case "aarch64":
		return "arm64"
	case "i386", "i686":
		return "x86"
	}
	return machine
}

// uptime is the time since the kernel's boot, also that in which it slept: nobody can set it, unlike the clock of the wall.
func uptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
