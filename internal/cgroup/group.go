package cgroup

import "syscall"

// Group is one container's control group. It holds folders, and after KeepOpen open files, and stays valid until the container ends.
type Group struct{ cpu, usage, memory, pids, io place }

// place is a group's folder for one controller; the zero place means that the controller is not there.
type place struct {
	dir   string
	v2    bool
	open  map[string]int // files that are kept open, name -> descriptor; nil: none are
	below int            // descriptors from here on are not kept
}

func (g *Group) places() []*place { return []*place{&g.cpu, &g.usage, &g.memory, &g.pids, &g.io} }

// KeepOpen has the files that are read of the group stay open for the next time: opening one costs several times what reading it
// does. They do not keep the group alive. Close ends it; until then the group belongs to one goroutine.
//
// All of them together take no more than about half of the descriptors that the process may have, so that there are some left for
// connections: the others' files are opened each time.
func (g *Group) KeepOpen() {
	below := descriptors() / 2
	for _, p := range g.places() {
		if p.dir != "" && p.open == nil {
			p.open, p.below = map[string]int{}, below
		}
	}
}

// descriptors are how many the process may have; the kernel gives the lowest number that is free.
func descriptors() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30))
}

// Close closes what KeepOpen kept.
func (g *Group) Close() {
	for _, p := range g.places() {
		for _, fd := range p.open {
			_ = syscall.Close(fd)
		}
		p.open = nil
	}
}
