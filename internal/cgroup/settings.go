package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Settings are all that is set of a group, as far as this package knows it. A controller that the group does not have sets
// nothing: its fields are zero.
type Settings struct {
	Quota       Quota
	Burst       time.Duration // CPU time that the group may save up
	Weight      int64         // as version 1's cpu.shares; of a version 2 group the fewest shares that runc turns into its weight
	MemoryLimit int64         // bytes; 0: none
	PidsLimit   int64         // 0: none

	// CanBurst: the kernel has such a thing (Linux 5.14 and newer). The others: the group has the controller.
	CanBurst, CanWeight, CanMemory, CanPids bool

	weight int64 // as the group has it
	v2     bool
}

// HasWeight says whether the group has the weight that an engine makes of so many shares. There are two such conversions on
// version 2, an old and a new one; either is right.
func (s Settings) HasWeight(shares int64) bool {
	if !s.v2 {
		return s.weight == clampShares(shares)
	}
	return s.weight == weightOf(shares) || s.weight == curvedWeightOf(shares)
}

// The files of Settings.
const (
	quotaFile = iota
	periodFile
	burstFile
	weightFile
	memoryFile
	pidsFile
	settingsFiles
)

// Kept holds the files of a group's settings open: opening one costs several times what reading it does, and they are read
// once a second for every container of the host. They do not keep the group alive.
type Kept struct {
	g   *Group
	fds [settingsFiles]int // -1: not open
	buf [128]byte
}

// Keep opens the group's settings for Read after Read. Close ends it.
func (g *Group) Keep() *Kept {
	k := &Kept{g: g}
	for i := range k.fds {
		k.fds[i] = -1
	}
	return k
}

// Settings reads what is set of the group, once.
func (g *Group) Settings() (Settings, error) {
	k := g.Keep()
	defer k.Close()
	return k.Read()
}

// Close closes the files.
func (k *Kept) Close() {
	for i, fd := range k.fds {
		if fd >= 0 {
			_ = syscall.Close(fd)
			k.fds[i] = -1
		}
	}
}

// Read reads what is set of the group. A group that is gone is ErrNotFound.
func (k *Kept) Read() (Settings, error) {
	s := Settings{v2: k.g.cpu.v2}
	for _, step := range []func(*Kept, *Settings) error{readKeptQuota, readKeptBurst, readKeptWeight, readKeptLimits} {
		if err := step(k, &s); err != nil {
			return Settings{}, fmt.Errorf("read the group's settings: %w", err)
		}
	}
	return s, nil
}

func readKeptQuota(k *Kept, s *Settings) error {
	b, err := k.read(quotaFile)
	if err != nil || b == nil {
		return err
	}
	if s.v2 {
		s.Quota, err = parseMax(b)
		return k.named(quotaFile, err)
	}
	quota, err := parseInt(b)
	if err != nil {
		return k.named(quotaFile, err)
	}
	if b, err = k.read(periodFile); err != nil || b == nil {
		return err
	}
	period, err := parseInt(b)
	s.Quota = Quota{Time: time.Duration(max(quota, 0)) * time.Microsecond, Period: time.Duration(period) * time.Microsecond}
	return k.named(periodFile, err)
}

func readKeptBurst(k *Kept, s *Settings) error {
	n, there, err := k.readInt(burstFile)
	s.Burst, s.CanBurst = time.Duration(n)*time.Microsecond, there
	return err
}

func readKeptWeight(k *Kept, s *Settings) (err error) {
	if s.weight, s.CanWeight, err = k.readInt(weightFile); err != nil || !s.CanWeight {
		return err
	}
	s.Weight = s.weight
	if s.v2 {
		s.Weight = sharesOf(s.weight)
		if s.weight == defaultWeight || s.weight == weightOf(DefaultShares) {
			s.Weight = DefaultShares // of the kernel itself, or of an engine that was told so
		}
	}
	return nil
}

func readKeptLimits(k *Kept, s *Settings) error {
	b, err := k.read(memoryFile)
	if s.CanMemory = b != nil; s.CanMemory {
		s.MemoryLimit, err = parseLimit(b)
	}
	if err != nil {
		return k.named(memoryFile, err)
	}
	b, err = k.read(pidsFile)
	if s.CanPids = b != nil; s.CanPids {
		s.PidsLimit, err = parseLimit(b)
	}
	return k.named(pidsFile, err)
}

func (k *Kept) readInt(file int) (n int64, there bool, err error) {
	b, err := k.read(file)
	if err != nil || b == nil {
		return 0, false, err
	}
	n, err = parseInt(b)
	return n, true, k.named(file, err)
}

// read reads one file from its beginning; nil when the group has no such file. What it returns holds until the next read.
func (k *Kept) read(file int) ([]byte, error) {
	if k.fds[file] < 0 {
		path := k.path(file)
		if path == "" {
			return nil, nil
		}
		fd, err := retryInterrupted(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
		if errors.Is(err, syscall.ENOENT) && isDir(filepath.Dir(path)) {
			return nil, nil // the controller is not enabled here, or the kernel does not have it; either may come yet
		}
		if err != nil {
			return nil, gone(&os.PathError{Op: "open", Path: path, Err: err})
		}
		k.fds[file] = fd
	}
	n, err := retryInterrupted(func() (int, error) { return syscall.Pread(k.fds[file], k.buf[:], 0) })
	if err != nil {
		return nil, gone(&os.PathError{Op: "read", Path: k.path(file), Err: err})
	}
	return k.buf[:n], nil
}

// path is where a file is; "" where there cannot be one.
func (k *Kept) path(file int) string {
	p := k.g.cpu
	switch file {
	case memoryFile:
		p = k.g.memory
	case pidsFile:
		p = k.g.pids
	}
	name := [settingsFiles]string{"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.shares", "memory.limit_in_bytes", "pids.max"}[file]
	if p.v2 {
		name = [settingsFiles]string{"cpu.max", "", "cpu.max.burst", "cpu.weight", "memory.max", "pids.max"}[file]
	}
	if p.dir == "" || name == "" {
		return ""
	}
	return filepath.Join(p.dir, name)
}

func (k *Kept) named(file int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", k.path(file), err)
	}
	return nil
}
