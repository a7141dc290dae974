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

	Hostname    string
	TTY         bool
	NetworkMode string        // "host", "bridge", "none", "container:" with a name or id, or the network's name or id
	StopTimeout time.Duration // 0: the engine's default
	StopSignal  string        // "SIGQUIT" or "3"; "": SIGTERM
	// Stopping is when somebody told the container to end ("docker stop"), or when it died and the engine has not described it
	// since; zero otherwise. Its clients should not come any more. Only inventories know it.
	Stopping time.Time

	Addresses    map[string]netip.Addr // Docker network name -> address, IPv4, while attached
	MACs         map[string]string     // the same -> hardware address
	CgroupParent string
	CPUQuota     int64 // microseconds a period, as created; 0: none
	CPUPeriod    int64
	MemoryLimit  int64 // bytes, 0: none
	CPUShares    int64 // as created, 0: the kernel's default
	NanoCPUs     int64 // "--cpus" as created, in billionths of a core; CPUQuota is then 0
	PidsLimit    int64 // 0: none
	RestartCount int   // by the engine's own restart policy

	// Ports are those that the image or whoever created it exposes, and where the engine publishes them; sorted.
	Ports []Port

	// Partial says that the engine has listed the container but not described it, or not since its state changed: it is
	// slow to answer for it, or cannot. ID, Name, Image, Labels, State, Running, CreatedAt (to the second), NetworkMode,
	// Addresses and MACs are as listed; all else is unknown or older.
	Partial bool
}

// Port is one port of a container. One that is published on several host addresses is there several times.
type Port struct {
	Port     int
	Protocol string // tcp, udp or sctp
	HostIP   netip.Addr
	HostPort int // 0: not published
}

// Snapshot is the inventory at one moment. Containers holds all containers, running or not, sorted by Name.
type Snapshot struct {
	// Connected is false while the engine cannot be reached; Containers is then the last known state.
	Connected  bool
	Containers []Container
}

// Info is what the engine tells about itself and its machine.
type Info struct {
	ID              string // of the engine's data folder: it outlives restarts and the machine's name
	Name            string // the machine's host name
	ServerVersion   string
	APIVersion      string // as negotiated
	NCPU            int
	MemTotal        int64 // bytes
	LiveRestore     bool
	RootDir         string
	Driver          string
	DriverStatus    [][2]string
	CgroupDriver    string
	CgroupVersion   string // "1" or "2"
	OperatingSystem string
	KernelVersion   string
}

// LogOptions choose a part of a container's log.
type LogOptions struct {
	Follow     bool
	Tail       int // last lines; 0: all
	Since      time.Time
	Timestamps bool
}

// Network is one Docker network.
type Network struct {
	ID string
	NetworkSpec
}

// NetworkSpec is what a network is created from.
type NetworkSpec struct {
	Name        string
	Driver      string // "bridge", "macvlan" or a plugin's name
	IPAMDriver  string // "" means Docker's own
	Subnet      netip.Prefix
	Gateway     netip.Addr
	Options     map[string]string
	IPAMOptions map[string]string
	Labels      map[string]string
	Internal    bool
}

// Event is one change that the engine tells about.
type Event struct {
	Type   string // "container" or "network"
	Action string // start, die, destroy, rename, connect, ...
	// ID is the object's id: of the container, or of the network for network events.
	ID string
	// Container is the id of the container concerned, also for connect and disconnect of a network; "" when there is none.
	Container string
	Name      string // of the object
	// Labels of the container; the engine puts its own attributes (image, name, signal) among them.
	Labels   map[string]string
	ExitCode int // of a die event
	Time     time.Time
}
