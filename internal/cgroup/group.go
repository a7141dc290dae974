package cgroup

// Group is one container's control group. It holds folders only and stays valid until the container ends.
type Group struct{ cpu, usage, memory, pids, io place }

// place is a group's folder for one controller; the zero place means that the controller is not there.
type place struct {
	dir string
	v2  bool
}
