package store

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockHolder says who holds the file's lock, as well as /proc tells; for an error message only.
func lockHolder(path string) string {
	const unknown = "another process (perhaps another berth)"
	info, err := os.Stat(path)
	if err != nil {
		return unknown
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	pid := flockHolder(string(locks), stat.Ino)
	if pid == "" {
		return unknown
	}
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}

// flockHolder finds the holder of a flock in the text of /proc/locks, by inode only: on overlay file systems the device
// there is not the one that stat gives. "" when there is none, or it is in another PID namespace.
func flockHolder(locks string, inode uint64) string {
	suffix := fmt.Sprintf(":%d", inode)
	for line := range strings.Lines(locks) {
		// 1: FLOCK  ADVISORY  WRITE 4177 08:01:1835 0 EOF
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], suffix) && f[4] != "0" && f[4] != "-1" {
			return f[4]
		}
	}
	return ""
}
