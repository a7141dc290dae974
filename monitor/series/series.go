// Package series gives a host's figures the names by which time series databases know them: one table, from which Prometheus,
// StatsD and Graphite are told. Names are Prometheus's, and behind "berth_" those of cAdvisor wherever it has the figure, so that
// queries are easily carried over.
//
// Only berth_instance_info has labels that change from one container to the next (task, version, address): a series is an app's
// seat, and goes on when the container is replaced.
package series

import (
	"strconv"

	"github.com/berth-project/berth/monitor/figures"
)

// Kind is what a value means.
type Kind int

// The kinds.
const (
	Gauge   Kind = iota
	Counter      // it only grows, until the container begins anew
	Info         // always 1: the labels are what it says
)

// Scope is what a family's series are of.
type Scope int

// The scopes.
const (
	OfHost     Scope = iota // label host
	OfInstance              // labels app, seat, host
)

// Family is all series of one name.
type Family struct {
	Name string
	Help string
	Unit string // "seconds", "bytes"; "" for none
	Kind Kind
	Of   Scope
	// Labels are the names of the labels beside the scope's.
	Labels []string

	each func(s *figures.Snapshot, emit Emit)
}

// Emit takes one value; i is nil for the host's. values are of the Labels, in their order.
type Emit func(i *figures.Instance, value float64, values ...string)

// Each gives every series of a snapshot.
func (f *Family) Each(s *figures.Snapshot, emit Emit) { f.each(s, emit) }

// Families are all that there are, in the order in which they are shown.
func Families() []Family {
	var all []Family
	all = append(all, instanceFamilies()...)
	all = append(all, containerFamilies()...)
	all = append(all, networkFamilies()...)
	all = append(all, serviceFamilies()...)
	return append(all, hostFamilies()...)
}

// instances makes a family of all instances, running or not; without ok there is no value.
func instances(name, help string, kind Kind, value func(*figures.Instance) (v float64, ok bool)) Family {
	return Family{Name: "berth_instance_" + name, Help: help, Kind: kind, Of: OfInstance, each: func(s *figures.Snapshot, emit Emit) {
		for n := range s.Instances {
			if v, ok := value(&s.Instances[n]); ok {
				emit(&s.Instances[n], v)
			}
		}
	}}
}

func instanceFamilies() []Family {
	info := Family{
		Name: "berth_instance_info", Kind: Info, Of: OfInstance,
		Help:   "An instance of an app: what changes when its container is replaced.",
		Labels: []string{"address", "hostname", "instance_id", "managed", "pool", "state", "task", "version"},
		each: func(s *figures.Snapshot, emit Emit) {
			for n := range s.Instances {
				i := &s.Instances[n]
				emit(i, 1, i.Address, i.Hostname, i.Instance, strconv.FormatBool(i.Managed), i.Pool, string(i.State), i.Task, i.Version)
			}
		},
	}
	checks := Family{
		Name: "berth_instance_check_health", Help: "Whether a probe of the instance passes, by its number in the app's definition; none while it has no result.", Of: OfInstance,
		Labels: []string{"check", "protocol"},
		each: func(s *figures.Snapshot, emit Emit) {
			for n := range s.Instances {
				for c, check := range s.Instances[n].Checks {
					if check.Health != figures.Unknown {
						emit(&s.Instances[n], float64(check.Health), strconv.Itoa(c), check.Protocol)
					}
				}
			}
		},
	}
	started := instances("start_time_seconds", "When its container started, in seconds since 1970.", Gauge, func(i *figures.Instance) (float64, bool) {
		return float64(i.Started.UnixMilli()) / 1000, !i.Started.IsZero()
	})
	started.Unit = "seconds"
	return []Family{
		info,
		instances("health", "Whether all its probes pass: 1 or 0; none while that is unknown, or nobody probes.", Gauge, func(i *figures.Instance) (float64, bool) {
			return float64(i.Health), i.Health != figures.Unknown
		}),
		checks,
		instances("up", "Whether it has a running container that can be measured.", Gauge, func(i *figures.Instance) (float64, bool) { return truth(i.Figures != nil), true }),
		instances("draining", "Whether it is being stopped.", Gauge, func(i *figures.Instance) (float64, bool) { return truth(i.State == figures.Draining), true }),
		instances("restarts_total", "How often a container of it started after the first that the agent saw.", Counter, func(i *figures.Instance) (float64, bool) {
			return float64(i.Restarts), true
		}),
		started,
	}
}

// containers makes a family of all running containers.
func containers(name, help, unit string, kind Kind, value func(*figures.Figures) float64) Family {
	return Family{Name: "berth_container_" + name, Help: help, Unit: unit, Kind: kind, Of: OfInstance, each: func(s *figures.Snapshot, emit Emit) {
		for n := range s.Instances {
			if f := s.Instances[n].Figures; f != nil {
				emit(&s.Instances[n], value(f))
			}
		}
	}}
}

// limits is the same for what is absent where it is 0.
func limits(name, help, unit string, value func(*figures.Figures) float64) Family {
	f := containers(name, help, unit, Gauge, value)
	every := f.each
	f.each = func(s *figures.Snapshot, emit Emit) {
		every(s, func(i *figures.Instance, v float64, values ...string) {
			if v > 0 {
				emit(i, v, values...)
			}
		})
	}
	return f
}

func containerFamilies() []Family {
	type F = figures.Figures
	return []Family{
		containers("cpu_usage_seconds_total", "CPU time used.", "seconds", Counter, func(f *F) float64 { return f.CPU.Seconds }),
		containers("cpu_usage_cores", "Cores used, on average over the agent's window of a minute.", "cores", Gauge, func(f *F) float64 { return f.CPU.Used }),
		limits("cpu_quota_cores", "CPU quota in force, start-up allowance included; none where there is no quota.", "cores", func(f *F) float64 { return f.CPU.Quota }),
		limits("cpu_base_quota_cores", "CPU quota without start-up allowance.", "cores", func(f *F) float64 { return f.CPU.Base }),
		limits("cpu_advised_quota_cores", "Quota with which it would hardly be held back; none while the present one will do.", "cores", func(f *F) float64 { return f.CPU.Advice }),
		limits("cpu_shares", "CPU weight, as cgroup v1's cpu.shares.", "", func(f *F) float64 { return float64(f.CPU.Weight) }),
		containers("cpu_cfs_periods_total", "Enforcement periods in which it wanted to run.", "", Counter, func(f *F) float64 { return float64(f.CPU.Periods) }),
		containers("cpu_cfs_throttled_periods_total", "Enforcement periods in which it ran out of quota.", "", Counter, func(f *F) float64 { return float64(f.CPU.Throttled) }),
		containers("cpu_cfs_throttled_seconds_total", "Time for which it was held back, of all cores.", "seconds", Counter, func(f *F) float64 { return f.CPU.Waited }),
		containers("cpu_lost_ratio", "Share of enforcement periods of the last hour in which it was held back.", "ratio", Gauge, func(f *F) float64 { return f.CPU.Lost }),
		containers("memory_working_set_bytes", "Memory used, without page cache that nobody uses.", "bytes", Gauge, func(f *F) float64 { return float64(f.Memory.Used) }),
		containers("memory_rss_bytes", "Anonymous memory.", "bytes", Gauge, func(f *F) float64 { return float64(f.Memory.RSS) }),
		containers("memory_cache_bytes", "Page cache.", "bytes", Gauge, func(f *F) float64 { return float64(f.Memory.Cache) }),
		containers("memory_swap_bytes", "Swapped out.", "bytes", Gauge, func(f *F) float64 { return float64(f.Memory.Swap) }),
		limits("memory_limit_bytes", "Memory limit; none where there is no limit.", "bytes", func(f *F) float64 { return float64(f.Memory.Limit) }),
		containers("oom_events_total", "Processes that the kernel killed for want of memory.", "", Counter, func(f *F) float64 { return float64(f.Memory.OOMKills) }),
		containers("fs_reads_bytes_total", "Bytes read from block devices.", "bytes", Counter, func(f *F) float64 { return float64(f.IO.ReadBytes) }),
		containers("fs_writes_bytes_total", "Bytes written to block devices.", "bytes", Counter, func(f *F) float64 { return float64(f.IO.WriteBytes) }),
		containers("fs_reads_total", "Reads from block devices.", "", Counter, func(f *F) float64 { return float64(f.IO.Reads) }),
		containers("fs_writes_total", "Writes to block devices.", "", Counter, func(f *F) float64 { return float64(f.IO.Writes) }),
		containers("threads", "Processes and threads.", "", Gauge, func(f *F) float64 { return float64(f.Pids.Current) }),
		limits("threads_max", "Limit of processes and threads; none where there is no limit.", "", func(f *F) float64 { return float64(f.Pids.Limit) }),
	}
}

func networkFamilies() []Family {
	type N = figures.Interface
	family := func(name, help, unit string, value func(*N) uint64) Family {
		return Family{
			Name: "berth_container_network_" + name, Help: help, Unit: unit, Kind: Counter, Of: OfInstance, Labels: []string{"interface"},
			each: func(s *figures.Snapshot, emit Emit) {
				ofInterfaces(s, func(i *figures.Instance, n *N) { emit(i, float64(value(n)), n.Name) })
			},
		}
	}
	sockets := func(name, help string, value func(figures.Sockets) int64) Family {
		f := containers(name, help, "", Gauge, func(f *figures.Figures) float64 { return float64(value(f.Sockets)) })
		every := f.each
		f.each = func(s *figures.Snapshot, emit Emit) {
			every(s, func(i *figures.Instance, v float64, _ ...string) {
				if i.Networks != nil { // in the host's network they are the host's
					emit(i, v)
				}
			})
		}
		return f
	}
	return []Family{
		family("receive_bytes_total", "Bytes received.", "bytes", func(n *N) uint64 { return n.RxBytes }),
		family("transmit_bytes_total", "Bytes sent.", "bytes", func(n *N) uint64 { return n.TxBytes }),
		family("receive_packets_total", "Packets received.", "", func(n *N) uint64 { return n.RxPackets }),
		family("transmit_packets_total", "Packets sent.", "", func(n *N) uint64 { return n.TxPackets }),
		family("receive_errors_total", "Errors while receiving.", "", func(n *N) uint64 { return n.RxErrors }),
		family("transmit_errors_total", "Errors while sending.", "", func(n *N) uint64 { return n.TxErrors }),
		family("receive_packets_dropped_total", "Received packets that were dropped.", "", func(n *N) uint64 { return n.RxDropped }),
		family("transmit_packets_dropped_total", "Packets that were dropped instead of sent.", "", func(n *N) uint64 { return n.TxDropped }),
		sockets("sockets_tcp", "TCP sockets in use, connected or listening.", func(s figures.Sockets) int64 { return s.TCP }),
		sockets("sockets_tcp_timewait", "TCP connections that wait out their end.", func(s figures.Sockets) int64 { return s.TimeWait }),
		sockets("sockets_udp", "UDP sockets in use.", func(s figures.Sockets) int64 { return s.UDP }),
	}
}

func ofInterfaces(s *figures.Snapshot, use func(*figures.Instance, *figures.Interface)) {
	for n := range s.Instances {
		if f := s.Instances[n].Figures; f != nil {
			for k := range f.Networks {
				use(&s.Instances[n], &f.Networks[k])
			}
		}
	}
}

func serviceFamilies() []Family {
	family := func(name, help, unit string, value func(*figures.Service) float64) Family {
		return Family{
			Name: "berth_service_" + name, Help: help, Unit: unit, Of: OfInstance, Labels: []string{"service"},
			each: func(s *figures.Snapshot, emit Emit) {
				for n := range s.Instances {
					if f := s.Instances[n].Figures; f != nil {
						for k := range f.Services {
							emit(&s.Instances[n], value(&f.Services[k]), f.Services[k].Name)
						}
					}
				}
			},
		}
	}
	return []Family{
		family("up", "Whether a service that S6 supervises in the container runs.", "", func(s *figures.Service) float64 { return truth(s.Up) }),
		family("ready", "Whether it runs and, where it can tell, has said that it is ready.", "", func(s *figures.Service) float64 { return truth(s.Ready) }),
		family("wanted", "Whether it should run.", "", func(s *figures.Service) float64 { return truth(s.Want) }),
		family("state_seconds", "How long it has been in this state.", "seconds", func(s *figures.Service) float64 { return s.For }),
	}
}

// hosts makes a family of the host.
func hosts(name, help, unit string, kind Kind, value func(*figures.Snapshot) float64) Family {
	return Family{Name: name, Help: help, Unit: unit, Kind: kind, each: func(s *figures.Snapshot, emit Emit) { emit(nil, value(s)) }}
}

func hostFamilies() []Family {
	type S = figures.Snapshot
	cpu := Family{
		Name: "berth_host_cpu_seconds_total", Help: "CPU time of all cores, by whether it was used.", Unit: "seconds", Kind: Counter, Labels: []string{"mode"},
		each: func(s *S, emit Emit) {
			emit(nil, s.Host.CPUSeconds, "busy")
			emit(nil, s.Host.IdleSeconds, "idle")
		},
	}
	version := Family{
		Name: "berth_agent_info", Help: "The agent's version.", Kind: Info, Labels: []string{"version"},
		each: func(s *S, emit Emit) { emit(nil, 1, s.Version) },
	}
	return []Family{
		cpu,
		hosts("berth_host_cpu_cores", "Cores of the machine.", "cores", Gauge, func(s *S) float64 { return float64(s.Host.Cores) }),
		hosts("berth_host_cpu_quota_cores", "Sum of the containers' CPU quotas.", "cores", Gauge, func(s *S) float64 { return s.Host.Quota }),
		hosts("berth_host_load1", "Load average of a minute.", "", Gauge, func(s *S) float64 { return s.Host.Load[0] }),
		hosts("berth_host_load5", "Load average of five minutes.", "", Gauge, func(s *S) float64 { return s.Host.Load[1] }),
		hosts("berth_host_load15", "Load average of a quarter of an hour.", "", Gauge, func(s *S) float64 { return s.Host.Load[2] }),
		hosts("berth_host_memory_total_bytes", "Memory of the machine.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.MemTotal) }),
		hosts("berth_host_memory_available_bytes", "Memory that can be had without swapping.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.MemAvailable) }),
		hosts("berth_host_swap_total_bytes", "Swap space.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.SwapTotal) }),
		hosts("berth_host_swap_free_bytes", "Swap space that is free.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.SwapFree) }),
		hosts("berth_host_disk_total_bytes", "Size of the file system of Docker's data.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.DiskTotal) }),
		hosts("berth_host_disk_available_bytes", "Space that is free there.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.DiskAvailable) }),
		hosts("berth_host_uptime_seconds", "Time since the machine started.", "seconds", Gauge, func(s *S) float64 { return s.Host.Uptime }),
		hosts("berth_host_containers", "Running containers.", "", Gauge, func(s *S) float64 { return float64(s.Host.Containers) }),
		hosts("berth_host_docker_up", "Whether the Docker Engine answers.", "", Gauge, func(s *S) float64 { return truth(s.Host.DockerConnected) }),
		hosts("berth_host_document_version", "Version of the host document in force; 0 without a scheduler.", "", Gauge, func(s *S) float64 { return float64(s.Host.Document) }),
		version,
		hosts("berth_agent_cpu_seconds_total", "CPU time that the agent used.", "seconds", Counter, func(s *S) float64 { return s.Host.Agent.CPUSeconds }),
		hosts("berth_agent_resident_memory_bytes", "The agent's memory.", "bytes", Gauge, func(s *S) float64 { return float64(s.Host.Agent.RSS) }),
		hosts("berth_agent_goroutines", "The agent's goroutines.", "", Gauge, func(s *S) float64 { return float64(s.Host.Agent.Goroutines) }),
		hosts("berth_agent_sample_duration_seconds", "How long the last sample of all containers took.", "seconds", Gauge, func(s *S) float64 { return s.Host.SampleSeconds }),
		hosts("berth_agent_sample_timestamp_seconds", "When the last sample was taken, in seconds since 1970.", "seconds", Gauge, func(s *S) float64 { return float64(s.At.UnixMilli()) / 1000 }),
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
