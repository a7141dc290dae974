package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Locks are flock(2)'s: the kernel lets go of them when a process ends, in whatever way. The folder is for all users of the
// machine, as /tmp is: everyone may make files in it, nobody may remove another's, and links are not followed.

// errBusy says that another holds a lock.
var errBusy = errors.New("another holds it")

// openFolder makes the folder of the locks, unless it is there.
func openFolder(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	switch {
	case err == nil:
		err = os.Chmod(dir, 0o777|fs.ModeSticky) // not as the umask has it
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Lstat(dir); err == nil && !info.IsDir() {
			err = errors.New("it is no folder")
		}
	}
	if err != nil {
		return fmt.Errorf("make the folder %s for the queue of builds: %w", dir, err)
	}
	return nil
}

// openLock opens a file to lock, and makes it if need be. A file of another user must not be opened for creation in such a folder
// (fs.protected_regular), and need not be written to.
func openLock(file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
		if err == nil {
			return f, errors.Join(f.Chmod(0o644))
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

// try takes a lock without waiting; errBusy when another has it. Closing the file gives it back.
func try(file string) (*os.File, error) {
	f, err := openLock(file)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// The file may have been removed between the two.
	mine, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Lstat(file); err == nil && !os.SameFile(mine, there) {
			err = errBusy
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errBusy
		default:
			return err
		}
	}
}

// hold waits for a lock of its own file, which goes when the lock is given back: there is one for every version that is ever built.
// Waiting is called once, if it has to.
func hold(ctx context.Context, file string, waiting func()) (release func(), err error) {
	for {
		f, err := try(file)
		if err == nil {
			return func() {
				_ = os.Remove(file) // while it is held; who waits finds that it is another file
				_ = f.Close()
			}, nil
		}
		if !errors.Is(err, errBusy) && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock %s: %w", file, err)
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
