package spec

import (
	"net/netip"
	"reflect"
	"time"
)

// HostDocument is everything one host must know that is not fixed when a container is created. The scheduler decides it
// (scheduler/hostdoc), the host's agent fetches it by long poll, keeps it on disk and converges to it.
type HostDocument struct {
	Schema  int // 1
	Version uint64
	Host    string
	Pools   []Pool
	// AuthorizedKeys are the operators' public keys, in authorized_keys form.
	AuthorizedKeys []string
	Seats          []HostSeat // sorted by seat
	// FreeVolumes are the persistent volumes whose data the host is to remove (SeatVolume.Path), sorted. Nothing else is ever
	// removed: a folder that no document names is kept.
	FreeVolumes []string `json:",omitempty"`
	// Ended are tasks that are over although a container of theirs runs on, sorted: the host is to stop it, as it is on an
	// address that its seat's next task needs.
	Ended []string `json:",omitempty"`
	// Cluster is the cluster's name in Zabbix's host names; "": DefaultCluster.
	Cluster string `json:",omitempty"`
	// Blocks are the parts of pools that are this host's, sorted: from them containers that name no address (docker run) get
	// theirs, and each is announced as a whole.
	Blocks []netip.Prefix `json:",omitempty"`
	// Taken are the parts of Blocks that are seats', or that something on another host is on, sorted: only containers that name an
	// address there get it.
	Taken []netip.Prefix `json:",omitempty"`
	// BGP is with whom this host exchanges routes; nil: with nobody.
	BGP *HostBGP `json:",omitempty"`
	// Policies are what the host's containers may say to whom; nil: there are no network policies anywhere.
	Policies *HostPolicies `json:",omitempty"`
	// FenceAfter is how long after its last word with the scheduler the host may count on its seats' addresses: after that the
	// scheduler may give them to another host. 0: for ever.
	FenceAfter time.Duration `json:",omitempty"`
	// Withdrawn are addresses that the host is not to answer on any more, whatever container has them, sorted: their seats are
	// about to go to other hosts, or have gone.
	Withdrawn []netip.Addr `json:",omitempty"`
	// Pulls are images that the host is to have before something of them starts there, by number; at most MaxPulls.
	Pulls []ImagePull `json:",omitempty"`
}

// ImagePull is one image that somebody wants on a host.
type ImagePull struct {
	Number uint64 // of the wish; they grow
	Image  string
	// Refresh: it is pulled although the host has an image of that name.
	Refresh bool `json:",omitempty"`
}

// MaxPulls bounds the images that are wanted at a time.
const MaxPulls = 32

// PullState says how far a host is with an image.
type PullState string

// The states of a pull. Before the first the host has not heard of it.
const (
	Pulling    PullState = "pulling"
	PullDone   PullState = "done"
	PullFailed PullState = "failed"
)

// PullResult is what became of an ImagePull on a host.
type PullResult struct {
	Number uint64
	State  PullState
	Note   string `json:",omitempty"` // how far, that it was there, or why it failed
}

// HostSeat is one seat with a live task on the host.
type HostSeat struct {
	Seat     SeatID
	TaskID   string
	Instance string
	Hostname string
	Pool     string
	Address  netip.Addr
	HostKeys []HostKey // secret

	AppVersion string            // Marathon timestamp
	Labels     map[string]string // the app's labels
	CPUs       float64           // quota in cores
	Mem        float64           // MiB
	Ports      []HostPort

	Probes   []Probe // health checks in the app's order, then the readiness check, if there is one
	Services []Service
	// Drain: clients must be told that this task goes away: out of Consul, then acknowledge with HostReport.Drained.
	Drain bool
	// DrainFor is the longest wait, once clients find the draining task no more, for the connections to its ports to end.
	DrainFor time.Duration `json:",omitempty"`
	// Temporary seats exist only during a rolling update.
	Temporary bool
	// Weight is the instance's share of its service's requests beside the other instances' (Consul's Weights.Passing); 0: 1.
	Weight int `json:",omitempty"`
	// Maintenance is why no requests are to be sent to the instance for now (Consul's maintenance mode); "": they are.
	Maintenance string `json:",omitempty"`

	// Containers are a pod's; empty for apps. The container with the seat's TaskID then is the sandbox, which holds the
	// address.
	Containers []SeatContainer
}

// SeatContainer is one container of a pod's seat.
type SeatContainer struct {
	Name   string
	TaskID string
	CPUs   float64 // quota in cores
}

// HostPort is one port of the instance on its own address.
type HostPort struct {
	Name     string
	Port     int
	Protocol string
	Labels   map[string]string
}

// Probe is one health check with its target resolved to the container's own address.
type Probe struct {
	Protocol    string // HTTP, HTTPS, TCP, COMMAND
	Path        string
	Port        int
	Command     string   // COMMAND: a shell line, or
	Argv        []string `json:",omitempty"` // words that run as they are, without a shell
	Container   string   // pods: the container in which COMMAND runs; "" otherwise
	GracePeriod time.Duration
	Interval    time.Duration
	Timeout     time.Duration
	Delay       time.Duration
	// Statuses are the HTTP status codes that count as success, comma separated ("200,204"); empty: 200 to 399.
	Statuses string
	// Once: the probe ends for good with its first success (readiness).
	Once bool `json:",omitempty"`
	// KeepResponse: the last answer comes with the result, shortened.
	KeepResponse bool `json:",omitempty"`
	// Reported: the result counts for nothing, it is only shown; the last answer's code comes with it (Marathon's "check").
	Reported bool `json:",omitempty"`
}

// Equal says whether the two probe the same in the same way.
func (p Probe) Equal(o Probe) bool { return reflect.DeepEqual(p, o) }

// ProbeResponse is the answer to a probe. Only those that keep it have one.
type ProbeResponse struct {
	Status      int  // HTTP; 0: none
	Exited      bool // COMMAND: it ended in time
	ExitCode    int
	ContentType string
	Body        string // text, at most MaxProbeBody bytes
}

// MaxProbeBody bounds what is kept of the body of an answer.
const MaxProbeBody = 4 << 10

// Service is one Consul service that the instance should have once its probes pass.
type Service struct {
	Name  string
	Tags  []string
	Port  int
	Meta  map[string]string
	Check *Probe // nil: no check, or
	// CheckSettings say it in Registrator's words (ServiceSettings.CheckSettings), where no health check of the app is about the port.
	CheckSettings map[string]string `json:",omitempty"`
}

// HostReport is what an agent tells the scheduler: only what changed matters, but each part present is whole. A report
// without Networks is of a process that keeps the host's network and nothing else: it tells of Endpoints only.
type HostReport struct {
	Host            string
	DocumentVersion uint64                   // the version that the host has applied
	Networks        map[string]string        // pool -> "" when ready, otherwise the reason why not
	Held            []Held                   // addresses that something else holds
	Health          map[string][]CheckHealth // task id -> one entry a probe
	Drained         []string                 // task ids whose drain is done
	Drains          map[string]Drain         `json:",omitempty"` // task id -> how the drains of Drained went
	FreedVolumes    []string                 // those of the document's FreeVolumes that are gone
	Usage           map[string]Usage         // task id -> figures for people
	// Endpoints is nil when nothing of it changed since the last report, or another process on the host tells it.
	Endpoints *HostEndpoints `json:",omitempty"`
	// Policies is what became of the network policies, told by who keeps the host's network.
	Policies *PolicyReport `json:",omitempty"`
	// Pulls are what became of the document's Pulls, by number.
	Pulls []PullResult `json:",omitempty"`
	// Metrics is where the agent serves Prometheus, HOST:PORT; "": it does not. Without a HOST it does so at all of the host's addresses.
	Metrics string `json:",omitempty"`
}

// Drain is how a host drained a task: the steps with their times, by the host's clock. Steps that were not reached have none.
type Drain struct {
	Heard time.Time // the host learned that the task is to stop
	// Out is when Consul's clients could find it no more; zero where it was not in Consul, and where Unsure.
	Out    time.Time `json:",omitzero"`
	Unsure string    `json:",omitempty"` // why it is not certain that it is out of Consul
	Over   time.Time // the wait for its connections was over, as there were none, or it had lasted long enough
	// Open are the connections that were open at the beginning of that wait, Left at its end.
	Open int `json:",omitempty"`
	Left int `json:",omitempty"`
}

// Usage is what the host measured of one task.
type Usage struct {
	CPUQuota       float64 // cores, read from the cgroup; 0: no quota
	ThrottledShare float64 // throttled periods / periods since the last measurement, 0..1
	CPU            float64 // cores used since the last measurement
	MemBytes       int64
	// Base is the quota in cores without a start-up allowance, Weight what the container has beside it, as cgroup v1's cpu.shares;
	// 0: not known, or none.
	Base   float64 `json:",omitempty"`
	Weight int64   `json:",omitempty"`
	// Lost is the share of periods in which the container was held back, in the last hour with this Base, 0..1. Advice is the
	// quota in cores with which it would hardly be; 0: the present one will do.
	Lost   float64 `json:",omitempty"`
	Advice float64 `json:",omitempty"`
}

// Quota is the quota in cores that the kernel has, without a start-up allowance; 0: not known, or none.
func (u Usage) Quota() float64 {
	if u.Base > 0 {
		return u.Base
	}
	return u.CPUQuota
}

// HostState is what the components on one host share: the document beside what the host found out.
type HostState struct {
	Document HostDocument
	Health   map[string][]CheckHealth // task id -> results
}

// Healthy says whether all probes of the task have passed; a task without probes is healthy.
func (s HostState) Healthy(seat HostSeat) bool {
	got := s.Health[seat.TaskID]
	for i, p := range seat.Probes {
		if p.Reported {
			continue
		}
		if i >= len(got) || !got[i].Alive {
			return false
		}
	}
	return true
}
