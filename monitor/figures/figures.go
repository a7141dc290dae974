// Package figures names everything that is measured on one host: of each container, and of the host beside them. The sampler
// fills a Snapshot once an interval; what Zabbix, Prometheus, StatsD and Graphite are told is all read from it, so that one
// figure has one name, one unit and one value wherever it is shown.
//
// Snapshots are values that never change once they are given out: readers share them.
package figures

import (
	"net/netip"
	"time"
)

// Snapshot is one host at one moment.
type Snapshot struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"` // of the program
	Host    Host      `json:"host"`
	// Instances are the host's running containers and the seats that should have one, sorted by App, then Seat.
	Instances []Instance `json:"instances"`
}

// Instance is one seat of an app, or a container that is nobody's seat.
//
// App and Seat identify it wherever its history is kept. A seat of Berth's has those of the scheduler. A container of another
// Marathon has the app that Marathon put into its environment, and the lowest number that is free among this app's containers
// on this host; any other container is the app "/NAME" with the seat 0, NAME being the container's.
type Instance struct {
	App      string `json:"app"`
	Seat     int    `json:"seat"`
	Instance string `json:"instance"` // Marathon's instance id, else the container's name
	Hostname string `json:"hostname"`
	Task     string `json:"task"` // Mesos task id; "" without one
	Version  string `json:"version"`
	Pool     string `json:"pool"`    // the Docker network of Address
	Address  string `json:"address"` // its own; "" without one
	// Managed: it is a seat of Berth's.
	Managed bool `json:"managed"`

	State State `json:"state"`
	// Health is of all probes together.
	Health Health `json:"health"`
	// Trouble is why Figures is nil.
	Trouble  string    `json:"trouble,omitempty"`
	Started  time.Time `json:"started"` // zero: no running container
	Restarts int       `json:"restarts"`
	// Checks are the last results of its probes, in the app's order.
	Checks []Check `json:"checks,omitempty"`

	*Figures
}

// State is how far an instance is.
type State string

// The states of an instance.
const (
	Starting State = "starting" // no container yet
	Running  State = "running"
	Draining State = "draining" // it is being stopped
)

// Health is a verdict, with the numbers that Zabbix is told.
type Health int

// The verdicts.
const (
	Unhealthy Health = 0
	Healthy   Health = 1
	Unknown   Health = 2 // a probe has no result yet, or nobody probes
)

// Check is one probe.
type Check struct {
	Protocol string `json:"protocol"`
	Target   string `json:"target"` // port and path, or the program of a command; at most 120 bytes
	Health   Health `json:"health"`
}

// Figures are what was measured of a running container. Counters run since the container started; they begin anew with it.
type Figures struct {
	Uptime float64 `json:"uptime"` // seconds

	CPU    CPU    `json:"cpu"`
	Memory Memory `json:"memory"`
	IO     IO     `json:"io"`
	Pids   Pids   `json:"pids"`
	// Networks are its interfaces without loopback, by name; nil in the host's network namespace.
	Networks []Interface `json:"networks,omitempty"`
	Sockets  Sockets     `json:"sockets"`
	// Services are those that the S6 in the container supervises, by name; nil without one.
	Services []Service `json:"services,omitempty"`
}

// CPU is what a container's processes did.
type CPU struct {
	Seconds   float64 `json:"seconds"`   // counter: CPU time
	Used      float64 `json:"used"`      // cores, over the window
	Quota     float64 `json:"quota"`     // cores; 0: none
	Base      float64 `json:"base"`      // cores: the quota without a start-up allowance; 0: none
	Weight    int64   `json:"weight"`    // as cgroup v1's cpu.shares: 1024 is the kernel's default
	Periods   uint64  `json:"periods"`   // counter: enforcement periods in which it wanted to run
	Throttled uint64  `json:"throttled"` // counter: those in which it ran out of quota
	Waited    float64 `json:"waited"`    // counter: seconds for which it was held back
	Share     float64 `json:"share"`     // throttled periods / periods over the window, 0 to 1
	// Advice is the quota in cores with which it would hardly be held back; 0: the present one will do.
	Advice float64 `json:"advice"`
	// Lost is the share of periods over the last hour in which it was held back, 0 to 1.
	Lost float64 `json:"lost"`
}

// Memory is in bytes.
type Memory struct {
	Used  int64 `json:"used"`  // the working set: without page cache that nobody uses
	RSS   int64 `json:"rss"`   // anonymous
	Cache int64 `json:"cache"` // page cache
	Swap  int64 `json:"swap"`
	Limit int64 `json:"limit"` // 0: none
	// OOMKills is a counter: processes that the kernel killed for want of memory.
	OOMKills uint64 `json:"oom_kills"`
}

// IO is what went to and from block devices: counters.
type IO struct {
	ReadBytes  uint64 `json:"read_bytes"`
	WriteBytes uint64 `json:"write_bytes"`
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`
}

// Pids counts processes and threads.
type Pids struct {
	Current int64 `json:"current"`
	Limit   int64 `json:"limit"` // 0: none
}

// Interface is one network interface: counters.
type Interface struct {
	Name      string `json:"name"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxBytes   uint64 `json:"tx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	TxPackets uint64 `json:"tx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	TxErrors  uint64 `json:"tx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxDropped uint64 `json:"tx_dropped"`
}

// Sockets counts those of the container's network namespace.
type Sockets struct {
	TCP      int64 `json:"tcp"` // in use: connected and listening
	TimeWait int64 `json:"time_wait"`
	UDP      int64 `json:"udp"`
}

// Service is one supervised service in a container.
type Service struct {
	Name  string  `json:"name"`
	Up    bool    `json:"up"`
	Ready bool    `json:"ready"`
	Want  bool    `json:"want"` // it should be up
	Pid   int     `json:"pid"`  // in the container; 0: none
	For   float64 `json:"for"`  // seconds in this state
}

// Host is the machine itself.
type Host struct {
	Name          string     `json:"name"`
	Cores         int        `json:"cores"`
	CPUSeconds    float64    `json:"cpu_seconds"`  // counter: not idle, of all cores
	IdleSeconds   float64    `json:"idle_seconds"` // counter
	Load          [3]float64 `json:"load"`         // of 1, 5 and 15 minutes
	MemTotal      int64      `json:"mem_total"`    // bytes
	MemAvailable  int64      `json:"mem_available"`
	SwapTotal     int64      `json:"swap_total"`
	SwapFree      int64      `json:"swap_free"`
	DiskTotal     int64      `json:"disk_total"` // bytes, of the file system of Docker's data
	DiskAvailable int64      `json:"disk_available"`
	Uptime        float64    `json:"uptime"` // seconds
	// Quota is the sum of the containers' quotas in cores.
	Quota float64 `json:"quota"`
	// Containers counts running ones.
	Containers int `json:"containers"`
	// DockerConnected: the engine answers.
	DockerConnected bool   `json:"docker_connected"`
	Document        uint64 `json:"document"` // the host document's version; 0 without a scheduler
	// Agent is this process itself.
	Agent Process `json:"agent"`
	// SampleSeconds is how long the last sample of all containers took.
	SampleSeconds float64 `json:"sample_seconds"`
}

// Process is what one process uses.
type Process struct {
	CPUSeconds float64 `json:"cpu_seconds"` // counter
	RSS        int64   `json:"rss"`         // bytes
	Goroutines int     `json:"goroutines"`
}

// AddressOf is the instance's address; the zero Addr without one.
func (i *Instance) AddressOf() netip.Addr {
	a, err := netip.ParseAddr(i.Address)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
