package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Group is one container's control group. It holds folders only and stays valid until the container ends.
type Group struct{ cpu, usage, memory, pids place }

// place is a group's folder for one controller; the zero place means that the controller is not there.
type place struct {
	dir string
	v2  bool
}

// DefaultPeriod is the kernel's enforcement period.
const DefaultPeriod = 100 * time.Millisecond

// MinQuota is the smallest quota that the kernel accepts.
const MinQuota = time.Millisecond

// Quota is the CPU time that a group may use in each period; Time 0 means no quota.
type Quota struct{ Time, Period time.Duration }

// Cores is the quota as a number of cores; 0: none.
func (q Quota) Cores() float64 {
	if q.Time <= 0 || q.Period <= 0 {
		return 0
	}
	return float64(q.Time) / float64(q.Period)
}

// Stats is what a group has used. Counters run since the group was made.
type Stats struct {
	CPU           time.Duration // counter: CPU time
	Periods       uint64        // counter: enforcement periods in which the group wanted to run
	Throttled     uint64        // counter: those in which it ran out of quota
	ThrottledTime time.Duration // counter
	Memory        int64         // bytes: the working set, that is without inactive page cache
	MemoryLimit   int64         // bytes; 0: none
	Pids          int64         // processes and threads
}

// Quota reads the group's CPU quota.
func (g *Group) Quota() (Quota, error) {
	if g.cpu.dir == "" {
		return Quota{}, fmt.Errorf("read the quota: %w", ErrNotFound)
	}
	if g.cpu.v2 {
		b, err := readSmall(filepath.Join(g.cpu.dir, "cpu.max"))
		if errors.Is(err, ErrNotFound) && isDir(g.cpu.dir) {
			return Quota{}, nil // the cpu controller is not enabled for this group, so nothing limits it
		}
		if err != nil {
			return Quota{}, fmt.Errorf("read the quota: %w", err)
		}
		q, err := parseMax(b)
		if err != nil {
			return Quota{}, fmt.Errorf("read the quota in %s: %w", g.cpu.dir, err)
		}
		return q, nil
	}
	quota, err := readInt(filepath.Join(g.cpu.dir, "cpu.cfs_quota_us"))
	if err != nil {
		return Quota{}, fmt.Errorf("read the quota: %w", err)
	}
	period, err := readInt(filepath.Join(g.cpu.dir, "cpu.cfs_period_us"))
	if err != nil {
		return Quota{}, fmt.Errorf("read the quota: %w", err)
	}
	return Quota{Time: time.Duration(max(quota, 0)) * time.Microsecond, Period: time.Duration(period) * time.Microsecond}, nil
}

// SetQuota writes the group's CPU quota; Time 0 removes it, Period 0 means DefaultPeriod.
func (g *Group) SetQuota(q Quota) error {
	if g.cpu.dir == "" {
		return fmt.Errorf("set the quota: %w", ErrNotFound)
	}
	if q.Period == 0 {
		q.Period = DefaultPeriod
	}
	period := strconv.FormatInt(q.Period.Microseconds(), 10)
	quota := strconv.FormatInt(q.Time.Microseconds(), 10)
	if g.cpu.v2 {
		if q.Time <= 0 {
			quota = "max"
		}
		return wrapSet(writeSmall(filepath.Join(g.cpu.dir, "cpu.max"), quota+" "+period))
	}
	if q.Time <= 0 {
		quota = "-1"
	}
	quotaFile, periodFile := filepath.Join(g.cpu.dir, "cpu.cfs_quota_us"), filepath.Join(g.cpu.dir, "cpu.cfs_period_us")
	have, err := readInt(periodFile)
	if err != nil {
		return wrapSet(err)
	}
	if have != q.Period.Microseconds() {
		// The two files are two writes. Without a quota any period is valid, and the moment between is short; in the other
		// order the kernel refuses pairs that exceed a parent's share.
		if err := writeSmall(quotaFile, "-1"); err != nil {
			return wrapSet(err)
		}
		if err := writeSmall(periodFile, period); err != nil {
			return wrapSet(err)
		}
	}
	return wrapSet(writeSmall(quotaFile, quota))
}

func wrapSet(err error) error {
	if err != nil {
		return fmt.Errorf("set the quota: %w", err)
	}
	return nil
}

// Read reads what the group has used. A controller that is not mounted leaves its fields zero.
func (g *Group) Read() (Stats, error) {
	var s Stats
	for _, step := range []func(*Group, *Stats) error{readUsage, readThrottling, readMemory, readPids} {
		if err := step(g, &s); err != nil {
			return Stats{}, fmt.Errorf("read the group's usage: %w", err)
		}
	}
	return s, nil
}

func readUsage(g *Group, s *Stats) error {
	if g.usage.dir == "" || g.usage.v2 {
		return nil // version 2 keeps it in cpu.stat
	}
	n, err := readInt(filepath.Join(g.usage.dir, "cpuacct.usage"))
	s.CPU = time.Duration(n)
	return err
}

func readThrottling(g *Group, s *Stats) error {
	if g.cpu.dir == "" {
		return nil
	}
	b, err := readSmall(filepath.Join(g.cpu.dir, "cpu.stat"))
	if err != nil {
		return err
	}
	v := parseFlat(b, "nr_periods", "nr_throttled", "throttled_time", "throttled_usec", "usage_usec")
	s.Periods, s.Throttled = v[0], v[1]
	s.ThrottledTime = time.Duration(v[2])
	if g.cpu.v2 {
		s.ThrottledTime = time.Duration(v[3]) * time.Microsecond
		s.CPU = time.Duration(v[4]) * time.Microsecond
	}
	return nil
}

func readMemory(g *Group, s *Stats) error {
	if g.memory.dir == "" {
		return nil
	}
	usage, limit, inactive := "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"
	if g.memory.v2 {
		usage, limit, inactive = "memory.current", "memory.max", "inactive_file"
	}
	used, err := readInt(filepath.Join(g.memory.dir, usage))
	if errors.Is(err, ErrNotFound) && g.memory.v2 && isDir(g.memory.dir) {
		return nil // the memory controller is not enabled for this group
	}
	if err != nil {
		return err
	}
	b, err := readSmall(filepath.Join(g.memory.dir, "memory.stat"))
	if err != nil {
		return err
	}
	// The page cache that nobody uses is given back before anything is killed, so it is not counted as used.
	s.Memory = max(used-int64(parseFlat(b, inactive)[0]), 0)
	b, err = readSmall(filepath.Join(g.memory.dir, limit))
	if err != nil {
		return err
	}
	s.MemoryLimit, err = parseLimit(b)
	return err
}

func readPids(g *Group, s *Stats) error {
	if g.pids.dir == "" {
		return nil
	}
	n, err := readInt(filepath.Join(g.pids.dir, "pids.current"))
	if errors.Is(err, ErrNotFound) && isDir(g.pids.dir) {
		return nil // the controller is not enabled for this group
	}
	s.Pids = n
	return err
}

// readSmall reads one of the kernel's small files, with the bare system calls: such files have no size to ask for and
// never block, and what the os package does for files that might (a poller, a finalizer) is half the cost of a read here.
func readSmall(path string) ([]byte, error) {
	fd, err := retryInterrupted(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, gone(&os.PathError{Op: "open", Path: path, Err: err})
	}
	defer syscall.Close(fd)
	buf := make([]byte, 0, 2048)
	for {
		n, err := retryInterrupted(func() (int, error) { return syscall.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return nil, gone(&os.PathError{Op: "read", Path: path, Err: err})
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) > maxSmall {
			return nil, fmt.Errorf("read %s: larger than %d bytes", path, maxSmall)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

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
