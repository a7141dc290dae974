package docker

import (
	"net/netip"
	"time"
)

// Container is the part of an inspected container that Berth uses. Docker's own types stop in this package.
type Container struct {
	ID     string
	Name   string // without the leading slash
	Image  string // the name it was created from
	Labels map[string]string
	Env    []string

	State      string // created, running, paused, restarting, removing, exited, dead
	Running    bool
	Pid        int // of the first process, in the host's PID namespace; 0 when not running
	ExitCode   int
	OOMKilled  bool
	Error      string // the engine's own error of the last start
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time

	Addresses    map[string]netip.Addr // Docker network name -> address, IPv4, while attached
	CgroupParent string
	CPUQuota     int64 // microseconds a period, as created; 0: none
	CPUPeriod    int64
	MemoryLimit  int64 // bytes, 0: none
}

// Snapshot is the inventory at one moment. Containers holds all containers, running or not, sorted by Name.
type Snapshot struct {
	// Connected is false while the engine cannot be reached; Containers is then the last known state.
	Connected  bool
	Containers []Container
}
