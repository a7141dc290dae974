package api

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// ListenUnix opens the API's socket at path with mode 0660. The socket of a process that died is replaced; one that
// answers, or a file that is no socket, is refused.
//
// The socket is made under another name and renamed when its mode is right, so that there is no moment at which it answers
// with a wider mode.
func ListenUnix(path string) (net.Listener, error) {
	if err := checkStale(path); err != nil {
		return nil, err
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make room for socket %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: next, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it knows only the first name
	if err = os.Chmod(next, 0o660); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(next)
		return nil, fmt.Errorf("put socket %s in place: %w", path, err)
	}
	return &unixListener{UnixListener: l, path: path}, nil
}

func checkStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on socket %s: there is a file that is no socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen on socket %s: another process answers there", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("find out whether socket %s is alive: %w", path, err)
}

type unixListener struct {
	*net.UnixListener
	path string
}

// Addr names the final path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket, if it is still ours.
func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil && checkStale(l.path) == nil {
		_ = os.Remove(l.path)
	}
	return err
}

// httpErrorLog passes net/http's own complaints (broken handshakes, panics) to the log.
func httpErrorLog(to logrus.FieldLogger) *log.Logger { return log.New(lineWriter{to}, "", 0) }

type lineWriter struct{ to logrus.FieldLogger }

func (w lineWriter) Write(b []byte) (int, error) {
	w.to.Warn(string(b))
	return len(b), nil
}
