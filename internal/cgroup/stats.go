package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

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
