package cgroup

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ReadFile reads one of the kernel's small files, as are below /sys/fs/cgroup and /proc, into a buffer that it may replace by a
// larger one. It uses the bare system calls: such files have no size to ask for and never block, and what the os package does for
// files that might (a poller, a finalizer) is half the cost of a read here. Of a file that is too large its beginning comes with the error.
func ReadFile(path string, buf []byte) ([]byte, error) {
	fd, err := openSmall(path)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	b, err := readOpen(fd, buf, false)
	return b, unread(path, err)
}

func openSmall(path string) (int, error) {
	fd, err := retryInterrupted(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return -1, gone(&os.PathError{Op: "open", Path: path, Err: err})
	}
	return fd, nil
}

// readOpen reads an open file from its beginning. Of one that the kernel makes in one piece (atOnce) a read that leaves some of the
// buffer empty is the last: another, that finds nothing, costs nearly as much. Files of many records, as some of /proc are, end such a
// read also where the next record does not fit into the kernel's own page.
func readOpen(fd int, buf []byte, atOnce bool) ([]byte, error) {
	if cap(buf) < smallBuffer {
		buf = make([]byte, 0, smallBuffer)
	}
	buf = buf[:0]
	for {
		n, err := retryInterrupted(func() (int, error) { return syscall.Pread(fd, buf[len(buf):cap(buf)], int64(len(buf))) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) > maxSmall {
			return buf, errLarge
		}
		if len(buf) < cap(buf) && atOnce {
			return buf, nil
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

var errLarge = fmt.Errorf("larger than %d bytes", maxSmall)

// unread says which file could not be read, if any.
func unread(path string, err error) error {
	if err == nil {
		return nil
	}
	return gone(&os.PathError{Op: "read", Path: path, Err: err})
}

// smallBuffer holds nearly all of them at once.
const smallBuffer = 4 << 10

// readSmall reads one of the kernel's small files.
func readSmall(path string) ([]byte, error) { return ReadFile(path, nil) }

// retryInterrupted repeats a system call that a signal interrupted, as Go's own scheduler sends some.
func retryInterrupted(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// maxSmall bounds what is read of one file; memory.stat, the largest, has about 2 KiB.
const maxSmall = 64 << 10

func readInt(path string) (int64, error) {
	b, err := readSmall(path)
	if err != nil {
		return 0, err
	}
	n, err := parseInt(b)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

// writeSmall writes one of the kernel's files in a single write, and never creates it.
func writeSmall(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return gone(err)
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return gone(err)
}

func isVanished(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH)
}
