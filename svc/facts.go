package svc

import (
	"bufio"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// conditions gives the condition that keeps a unit from starting, or true.
func (s *Supervisor) conditions(u *unit.Unit) (unit.Condition, bool) {
	if len(u.Conditions) == 0 {
		return unit.Condition{}, true
	}
	unmet, ok := s.facts().Unmet(u.Conditions)
	return unmet, !ok
}

// facts asks the machine what conditions ask for.
func (s *Supervisor) facts() *unit.Facts {
	env := Environment(s.root)
	f := &unit.Facts{
		Files: os.DirFS(s.root), MountPoint: mountPoint, Writable: writable, Virtualization: []string{"container", "docker"},
		Architecture: env.Architecture, Hostname: env.Hostname, KernelRelease: env.KernelRelease, Capabilities: bounding(), CPUs: runtime.NumCPU(),
	}
	id, _ := os.ReadFile(s.path("etc/machine-id"))
	f.MachineID = strings.TrimSpace(string(id))
	line, _ := os.ReadFile("/proc/1/cmdline")
	f.CommandLine = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
	var e environment
	s.containerEnv(&e)
	f.Environment = e.pairs()
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		f.Memory = info.Totalram * uint64(info.Unit)
	}
	return f
}

func mountPoint(path string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[4] == path {
			return true
		}
	}
	return false
}

func writable(path string) bool {
	var info unix.Statfs_t
	return unix.Statfs(path, &info) == nil && info.Flags&unix.ST_RDONLY == 0
}

// bounding are the capabilities that a process of this container can have.
func bounding() []string {
	var out []string
	for i, name := range capabilityNames() {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(i), 0, 0, 0); err == nil && has == 1 {
			out = append(out, name)
		}
	}
	return out
}
