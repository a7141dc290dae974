package netplugin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listen takes the plugin's socket. A file that a killed predecessor left is replaced; a live owner is an error that names
// it. The folder is locked meanwhile, so that of two processes starting at once one sees the other.
func listen(dir, name string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make plugin folder: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := filepath.Join(dir, name+".sock")
	if err := clearStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("take plugin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close plugin socket to others: %w", err)
	}
	return l, nil
}

func lock(dir string) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open plugin folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock plugin folder %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// clearStale removes the socket of a process that is gone.
func clearStale(path string) error {
	if s, err := os.Lstat(path); err == nil && s.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("take plugin socket %s: there is a file that is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		defer c.Close()
		return fmt.Errorf("take plugin socket %s: %s holds it", path, peer(c))
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove stale plugin socket: %w", err)
		}
		return nil
	}
	return fmt.Errorf("look who holds plugin socket %s: %w", path, err)
}

// peer names the process at the other end for people.
func peer(c net.Conn) string {
	const unknown = "another process"
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return unknown
	}
	text := fmt.Sprintf("process %d", cred.Pid)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cred.Pid)); err == nil {
		text += " (" + strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")) + ")"
	}
	return text
}
