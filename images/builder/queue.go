package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Queue lets as many builds of this machine go on at a time as it has slots, whoever started them, in the order in which they
// came. It is a folder of locks: who waits holds the lock of a ticket, who builds that of a slot. A process that is killed leaves
// a file without a lock, which counts for nothing and is removed by whoever meets it and may.
type Queue struct {
	Dir   string
	Slots int
}

// Times of the queue. The first in it looks for a free slot often; all others only have to find out who is first.
const (
	lookPause   = 50 * time.Millisecond
	lookPauseTo = time.Second
	abandoned   = time.Minute
)

const (
	ticketPrefix = "ticket-"
	newPrefix    = "new-"
)

// Enter waits for a slot. Waiting is told how many are before this one whenever that changes. The slot is free again when the
// returned function is called, or the process ends.
func (q Queue) Enter(ctx context.Context, waiting func(before int)) (leave func(), err error) {
	if err := openFolder(q.Dir); err != nil {
		return nil, err
	}
	ticket, mine, err := q.ticket()
	if err != nil {
		return nil, fmt.Errorf("queue the build: %w", err)
	}
	defer func() {
		_ = os.Remove(ticket)
		_ = mine.Close()
	}()
	told := -1
	for {
		before, err := q.before(filepath.Base(ticket))
		if err != nil {
			return nil, fmt.Errorf("queue the build: %w", err)
		}
		if before == 0 {
			slot, err := q.slot()
			if err != nil {
				return nil, fmt.Errorf("queue the build: %w", err)
			}
			if slot != nil {
				return func() { _ = slot.Close() }, nil
			}
		}
		if before != told && waiting != nil {
			waiting(before)
			told = before
		}
		if err := pause(ctx, min(lookPause*time.Duration(before+1), lookPauseTo)); err != nil {
			return nil, err
		}
	}
}

// ticket makes this build's place: a file that is locked before it has its name, so that nobody takes it for an abandoned one.
func (q Queue) ticket() (string, *os.File, error) {
	f, err := os.CreateTemp(q.Dir, newPrefix)
	if err != nil {
		return "", nil, err
	}
	fail := func(err error) (string, *os.File, error) {
		return "", nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err := errors.Join(f.Chmod(0o644), flock(f)); err != nil {
		return fail(err)
	}
	name := fmt.Sprintf("%s%020d-%s", ticketPrefix, time.Now().UnixNano(), strings.TrimPrefix(filepath.Base(f.Name()), newPrefix))
	if err := os.Rename(f.Name(), filepath.Join(q.Dir, name)); err != nil {
		return fail(err)
	}
	return filepath.Join(q.Dir, name), f, nil
}

// before counts the live tickets before this one, and clears away dead ones.
func (q Queue) before(ticket string) (int, error) {
	files, err := os.ReadDir(q.Dir) // sorted by name, and so by time
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		switch name := f.Name(); {
		case strings.HasPrefix(name, newPrefix):
			if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
				q.clear(name)
			}
		case strings.HasPrefix(name, ticketPrefix) && name < ticket:
			if !q.clear(name) {
				n++
			}
		}
	}
	return n, nil
}

// clear removes a ticket that nobody holds, and says whether that was so. Another user's stays, and counts as gone all the same.
func (q Queue) clear(name string) bool {
	file := filepath.Join(q.Dir, name)
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	if flock(f) != nil {
		return false
	}
	_ = os.Remove(file)
	return true
}

// slot takes a free one; nil when there is none.
func (q Queue) slot() (*os.File, error) {
	for i := range max(q.Slots, 1) {
		f, err := try(filepath.Join(q.Dir, fmt.Sprintf("slot-%d", i)))
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, errBusy) && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return nil, nil
}
