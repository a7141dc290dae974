package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"
)

// Stats is what a group has used. Counters run since the group was made.
type Stats struct {
	CPU           time.Duration // counter: CPU time
	Periods       uint64        // counter: enforcement periods in which the group wanted to run
	Throttled     uint64        // counter: those in which it ran out of quota
	ThrottledTime time.Duration // counter
	Memory        int64         // bytes: the working set, that is without inactive page cache
	Pids          int64         // processes and threads
}

// Detail is everything that can be told of a group: what it has used, what is set of it but for the burst, and what is only shown. A
// controller that is not mounted, or not enabled for the group, leaves its fields zero.
type Detail struct {
	Stats
	Settings

	RSS      int64  // bytes: anonymous memory
	Cache    int64  // bytes: page cache
	Swap     int64  // bytes
	OOMKills uint64 // counter: processes killed for want of memory

	IO IO
}

// IO is what a group read from and wrote to block devices: counters, over all devices.
type IO struct{ ReadBytes, WriteBytes, Reads, Writes uint64 }

// Reader reads groups one after the other, with one buffer for all of them. It belongs to one goroutine.
type Reader struct{ buf []byte }

// step reads a part of the figures.
type step = func(*Reader, *Group, *Detail) error

// Used reads the CPU time, the throttling and the memory in use of a group, and nothing else: it is for those who look often. A
// group that is gone is ErrNotFound.
func (r *Reader) Used(g *Group) (Stats, error) {
	var d Detail
	err := r.run(g, &d, (*Reader).cpu, (*Reader).memory)
	return d.Stats, err
}

// Read reads everything of a group.
func (r *Reader) Read(g *Group) (Detail, error) {
	set, err := r.Settings(g, Parts{Memory: true, Pids: true})
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Settings: set}
	err = r.run(g, &d, (*Reader).cpu, (*Reader).memory, (*Reader).kills, (*Reader).pids, (*Reader).io)
	return d, err
}

func (r *Reader) run(g *Group, d *Detail, steps ...step) error {
	for _, s := range steps {
		if err := s(r, g, d); err != nil {
			*d = Detail{}
			return fmt.Errorf("read the group's usage: %w", err)
		}
	}
	return nil
}

func (r *Reader) cpu(g *Group, d *Detail) error {
	if g.usage.dir != "" && !g.usage.v2 {
		n, err := r.number(g.usage, "cpuacct.usage")
		if err != nil {
			return err
		}
		d.CPU = time.Duration(n)
	}
	if g.cpu.dir == "" {
		return nil
	}
	b, err := r.file(g.cpu, "cpu.stat")
	if err != nil {
		return err
	}
	var throttled, throttledMicro, usage uint64
	eachFlat(b, func(key []byte, n uint64) {
		switch string(key) {
		case "nr_periods":
			d.Periods = n
		case "nr_throttled":
			d.Throttled = n
		case "throttled_time":
			throttled = n
		case "throttled_usec":
			throttledMicro = n
		case "usage_usec":
			usage = n
		}
	})
	d.ThrottledTime = time.Duration(throttled)
	if g.cpu.v2 {
		d.ThrottledTime, d.CPU = time.Duration(throttledMicro)*time.Microsecond, time.Duration(usage)*time.Microsecond
	}
	return nil
}

func (r *Reader) memory(g *Group, d *Detail) error {
	if g.memory.dir == "" {
		return nil
	}
	usage := "memory.usage_in_bytes"
	if g.memory.v2 {
		usage = "memory.current"
	}
	used, err := r.number(g.memory, usage)
	if err != nil {
		return optionalIn(g.memory, err)
	}
	b, err := r.file(g.memory, "memory.stat")
	if err != nil {
		return err
	}
	inactive := int64(0)
	eachFlat(b, func(key []byte, n uint64) {
		// Version 1 has each figure twice: of the group alone, and with those below it (total_).
		switch string(key) {
		case "total_inactive_file":
			inactive = int64(n)
		case "inactive_file":
			if g.memory.v2 {
				inactive = int64(n)
			}
		case "anon", "total_rss":
			d.RSS = int64(n)
		case "file", "total_cache":
			d.Cache = int64(n)
		case "total_swap":
			d.Swap = int64(n)
		}
	})
	// The page cache that nobody uses is given back before anything is killed, so it is not counted as used.
	d.Memory = max(used-inactive, 0)
	return nil
}

// kills reads what became of a group that was short of memory. Kernels before 4.13 do not count it in version 1.
func (r *Reader) kills(g *Group, d *Detail) error {
	if g.memory.dir == "" {
		return nil
	}
	name := "memory.oom_control"
	if g.memory.v2 {
		name = "memory.events"
		swap, err := r.number(g.memory, "memory.swap.current")
		if optional(err) != nil {
			return err
		}
		d.Swap = swap
	}
	b, err := r.file(g.memory, name)
	if err != nil {
		return optional(err)
	}
	eachFlat(b, func(key []byte, n uint64) {
		if string(key) == "oom_kill" {
			d.OOMKills = n
		}
	})
	return nil
}

func (r *Reader) pids(g *Group, d *Detail) error {
	if g.pids.dir == "" {
		return nil
	}
	n, err := r.number(g.pids, "pids.current")
	if err != nil {
		return optionalIn(g.pids, err)
	}
	d.Pids = n
	return nil
}

func (r *Reader) io(g *Group, d *Detail) error {
	if g.io.dir == "" {
		return nil
	}
	if g.io.v2 {
		b, err := r.file(g.io, "io.stat")
		if err != nil {
			return optionalIn(g.io, err)
		}
		d.IO = parseIOStat(b)
		return nil
	}
	var err error
	if d.IO.ReadBytes, d.IO.WriteBytes, err = r.blkio(g, "blkio.throttle.io_service_bytes"); err != nil {
		return err
	}
	d.IO.Reads, d.IO.Writes, err = r.blkio(g, "blkio.throttle.io_serviced")
	return err
}

// blkio reads one of version 1's files, with the groups below where the kernel has that.
func (r *Reader) blkio(g *Group, name string) (read, written uint64, err error) {
	b, err := r.file(g.io, name+"_recursive")
	if errors.Is(err, ErrNotFound) {
		b, err = r.file(g.io, name)
	}
	if err != nil {
		return 0, 0, optionalIn(g.io, err)
	}
	read, written = parseBlkio(b)
	return read, written, nil
}

// optional passes over a file that this kernel does not have.
func optional(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// optionalIn passes over a missing file of a group that is there: the controller is not enabled for it.
func optionalIn(p place, err error) error {
	if errors.Is(err, ErrNotFound) && isDir(p.dir) {
		return nil
	}
	return err
}

func (r *Reader) number(p place, name string) (int64, error) {
	b, err := r.file(p, name)
	if err != nil {
		return 0, err
	}
	n, err := parseInt(b)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(p.dir, name), err)
	}
	return n, nil
}

// file reads one of a group's files into the buffer; what it returns counts until the next call. A file that was kept open and is
// gone is opened anew: another group may have its name by now, as that of a container that was started again.
func (r *Reader) file(p place, name string) ([]byte, error) {
	if fd, kept := p.open[name]; kept {
		b, err := r.open(fd, p, name)
		if !errors.Is(err, ErrNotFound) {
			return b, err
		}
		delete(p.open, name)
		_ = syscall.Close(fd)
	}
	fd, err := openSmall(p.dir + "/" + name)
	if err != nil {
		return nil, err
	}
	if p.open != nil && fd < p.below {
		p.open[name] = fd
	} else {
		defer syscall.Close(fd)
	}
	return r.open(fd, p, name)
}

// open reads a file that is open. All but the lists of processes, which nobody reads here, come in one piece.
func (r *Reader) open(fd int, p place, name string) ([]byte, error) {
	b, err := readOpen(fd, r.buf, true)
	if b != nil {
		r.buf = b
	}
	if err != nil { // the path is made only for those who read it
		return b, unread(p.dir+"/"+name, err)
	}
	return b, nil
}
