package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeDisk is the free space below a folder in MiB, as Mesos's agent offers it. The folder may not exist yet; then the
// root's counts.
func freeDisk(dir string) (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		if err := unix.Statfs("/", &st); err != nil {
			return 0, fmt.Errorf("measure free disk: %w", err)
		}
	}
	return float64(st.Bavail) * float64(st.Bsize) / (1 << 20), nil
}
