package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// SetMemoryLimit writes how many bytes the group may use; 0 removes the limit.
func (g *Group) SetMemoryLimit(bytes int64) error {
	if g.memory.dir == "" {
		return fmt.Errorf("set the memory limit: %w", ErrNotFound)
	}
	if g.memory.v2 {
		return wrapLimit("memory", writeSmall(filepath.Join(g.memory.dir, "memory.max"), limitText(bytes, "max")))
	}
	text := limitText(bytes, "-1")
	err := writeSmall(filepath.Join(g.memory.dir, "memory.limit_in_bytes"), text)
	if errors.Is(err, syscall.EINVAL) {
		// Version 1 refuses a limit above the one of memory and swap together, which somebody must have lowered, too. What it was
		// is not known here, and without swap is the hardest reading of a memory limit.
		if err = writeSmall(filepath.Join(g.memory.dir, "memory.memsw.limit_in_bytes"), text); err == nil {
			err = writeSmall(filepath.Join(g.memory.dir, "memory.limit_in_bytes"), text)
		}
	}
	return wrapLimit("memory", err)
}

// AsMemoryLimit is what the kernel makes of a limit: whole pages.
func AsMemoryLimit(bytes int64) int64 { return bytes - bytes%int64(os.Getpagesize()) }

// SetPidsLimit writes how many processes and threads the group may have; 0 removes the limit.
func (g *Group) SetPidsLimit(n int64) error {
	if g.pids.dir == "" {
		return fmt.Errorf("set the pids limit: %w", ErrNotFound)
	}
	return wrapLimit("pids", writeSmall(filepath.Join(g.pids.dir, "pids.max"), limitText(n, "max")))
}

func limitText(n int64, none string) string {
	if n <= 0 {
		return none
	}
	return strconv.FormatInt(n, 10)
}

func wrapLimit(what string, err error) error {
	if err != nil {
		return fmt.Errorf("set the %s limit: %w", what, err)
	}
	return nil
}
