package svc

import (
	"bufio"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ownerOf is the user and the group of a file.
func ownerOf(path string) (uid, gid int, err error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return int(info.Uid), int(info.Gid), nil
}

// shellOf is a user's login shell, which os/user does not tell.
func shellOf(name string) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 && fields[0] == name {
			return fields[6]
		}
	}
	return ""
}
