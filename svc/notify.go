package svc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// notice is one datagram of sd_notify(3).
type notice struct {
	from   int // the sender's process
	user   int // and its user
	fields map[string]string
}

// parseNotice reads assignments, one a line. What is none is left out.
func parseNotice(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok && name != "" {
			fields[name] = value
		}
	}
	return fields
}

// socketOf is where a service's NOTIFY_SOCKET is.
func (s *Supervisor) socketOf(name string) string { return s.path(notifyFolder, name) }

// listen opens a service's NOTIFY_SOCKET. It lives as long as the process.
func (s *Supervisor) listen(name string) (<-chan notice, string, error) {
	path := s.socketOf(name)
	// Services of every user have to reach it.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, "", err
	}
	_ = os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, "", fmt.Errorf("listen for the service's notices: %w", err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, "", err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, "", err
	}
	if ctrlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); ctrlErr != nil || err != nil {
		return nil, "", fmt.Errorf("ask for the senders of notices: %w", err)
	}
	out := make(chan notice)
	go func() {
		text, control := make([]byte, 4096), make([]byte, 512)
		for {
			n, nc, _, _, err := conn.ReadMsgUnix(text, control)
			if err != nil {
				return
			}
			from, user := sender(control[:nc])
			out <- notice{from, user, parseNotice(string(text[:n]))}
		}
	}()
	return out, path, nil
}

// sender finds who sent a datagram, and closes what came along: nobody here keeps a service's descriptors (FDSTORE=1), and the sender of
// BARRIER=1 waits for its to be closed.
func sender(control []byte) (pid, user int) {
	user = -1
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, -1
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			pid, user = int(cred.Pid), int(cred.Uid)
		}
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	return pid, user
}

func (s *Supervisor) forgetSocket(name string) { _ = os.Remove(s.socketOf(name)) }
