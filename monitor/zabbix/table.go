package zabbix

import (
	"strconv"

	"github.com/berth-project/berth/monitor/figures"
)

// The tags by which items are grouped.
const (
	tagStatus  = "status"
	tagCPU     = "cpu"
	tagMemory  = "memory"
	tagDisk    = "disk"
	tagNetwork = "network"
	tagProcess = "processes"
	tagService = "services"
	tagBerth   = "berth"
)

// InstanceFigures are those of an instance; their parameters are [APP,SEAT].
func InstanceFigures() []Figure[figures.Instance] {
	type instance = figures.Instance
	type running = figures.Figures
	return []Figure[instance]{
		{Meta{Key: "berth.state", Name: "State", Component: tagStatus, ValueMap: mapState},
			signed(func(i *instance) int64 { return instanceState(i.State) })},
		{Meta{Key: "berth.health", Name: "Health", Component: tagStatus, ValueMap: mapHealth, Description: "Of all its health checks together."},
			signed(func(i *instance) int64 { return int64(i.Health) })},
		{Meta{Key: "berth.uptime", Name: "Uptime", Units: "uptime", Component: tagStatus},
			whole(func(f *running) int64 { return int64(f.Uptime) })},
		{Meta{Key: "berth.restarts", Name: "Restarts", Component: tagStatus, Description: "How often its container was started again."},
			signed(func(i *instance) int64 { return int64(i.Restarts) })},

		{Meta{Key: "berth.cpu.usage", Name: "CPU used", Units: "cores", Float: true, Component: tagCPU, Description: "Average of the last minute."},
			real(func(f *running) float64 { return f.CPU.Used })},
		{Meta{Key: "berth.cpu.quota", Name: "CPU quota", Units: "cores", Float: true, Component: tagCPU, Slow: true, Description: "0 means no quota."},
			real(func(f *running) float64 { return f.CPU.Quota })},
		{Meta{Key: "berth.cpu.pct", Name: "CPU used of its quota", Units: "%", Float: true, Component: tagCPU},
			share(func(f *running) (float64, float64) { return f.CPU.Used, f.CPU.Quota })},
		{Meta{Key: "berth.cpu.throttled", Name: "CPU throttled", Units: "%", Float: true, Factor: 100, Component: tagCPU,
			Description: "Share of the enforcement periods in which the instance ran out of its quota."},
			real(func(f *running) float64 { return f.CPU.Share })},
		{Meta{Key: "berth.cpu.waited", Name: "CPU held back", Units: "cores", Float: true, Rate: true, Component: tagCPU,
			Description: "Seconds a second for which its threads were held back by the quota."},
			real(func(f *running) float64 { return f.CPU.Waited })},
		{Meta{Key: "berth.cpu.lost", Name: "CPU periods lost in the last hour", Units: "%", Float: true, Factor: 100, Component: tagCPU},
			real(func(f *running) float64 { return f.CPU.Lost })},
		{Meta{Key: "berth.cpu.advice", Name: "CPU quota that would do", Units: "cores", Float: true, Component: tagCPU, Slow: true,
			Description: "With this quota it would hardly be held back; 0: the present one will do."},
			real(func(f *running) float64 { return f.CPU.Advice })},
		{Meta{Key: "berth.cpu.seconds", Name: "CPU time", Units: "cores", Float: true, Rate: true, Component: tagCPU, Spare: true},
			real(func(f *running) float64 { return f.CPU.Seconds })},
		{Meta{Key: "berth.cpu.base", Name: "CPU quota without start-up allowance", Units: "cores", Float: true, Component: tagCPU, Slow: true, Spare: true},
			real(func(f *running) float64 { return f.CPU.Base })},
		{Meta{Key: "berth.cpu.weight", Name: "CPU weight", Component: tagCPU, Slow: true, Spare: true},
			whole(func(f *running) int64 { return f.CPU.Weight })},

		{Meta{Key: "berth.mem.used", Name: "Memory used", Units: "B", Component: tagMemory, Description: "The working set: without page cache that can be given back."},
			whole(func(f *running) int64 { return f.Memory.Used })},
		{Meta{Key: "berth.mem.limit", Name: "Memory limit", Units: "B", Component: tagMemory, Slow: true, Description: "0 means no limit."},
			whole(func(f *running) int64 { return f.Memory.Limit })},
		{Meta{Key: "berth.mem.pct", Name: "Memory used of its limit", Units: "%", Float: true, Component: tagMemory},
			share(func(f *running) (float64, float64) { return float64(f.Memory.Used), float64(f.Memory.Limit) })},
		{Meta{Key: "berth.mem.rss", Name: "Memory of its processes", Units: "B", Component: tagMemory},
			whole(func(f *running) int64 { return f.Memory.RSS })},
		{Meta{Key: "berth.mem.cache", Name: "Page cache", Units: "B", Component: tagMemory},
			whole(func(f *running) int64 { return f.Memory.Cache })},
		{Meta{Key: "berth.mem.swap", Name: "Swap used", Units: "B", Component: tagMemory, Slow: true},
			whole(func(f *running) int64 { return f.Memory.Swap })},
		{Meta{Key: "berth.mem.oom", Name: "Processes killed for want of memory", Component: tagMemory},
			counter(func(f *running) uint64 { return f.Memory.OOMKills })},

		{Meta{Key: "berth.io.read", Name: "Disk read", Units: "Bps", Rate: true, Component: tagDisk},
			counter(func(f *running) uint64 { return f.IO.ReadBytes })},
		{Meta{Key: "berth.io.write", Name: "Disk written", Units: "Bps", Rate: true, Component: tagDisk},
			counter(func(f *running) uint64 { return f.IO.WriteBytes })},
		{Meta{Key: "berth.io.reads", Name: "Disk reads", Units: "/s", Rate: true, Component: tagDisk, Spare: true},
			counter(func(f *running) uint64 { return f.IO.Reads })},
		{Meta{Key: "berth.io.writes", Name: "Disk writes", Units: "/s", Rate: true, Component: tagDisk, Spare: true},
			counter(func(f *running) uint64 { return f.IO.Writes })},

		{Meta{Key: "berth.net.in", Name: "Network received", Units: "Bps", Rate: true, Component: tagNetwork},
			traffic(func(n *figures.Interface) uint64 { return n.RxBytes })},
		{Meta{Key: "berth.net.out", Name: "Network sent", Units: "Bps", Rate: true, Component: tagNetwork},
			traffic(func(n *figures.Interface) uint64 { return n.TxBytes })},
		{Meta{Key: "berth.net.errors", Name: "Network errors and drops", Units: "/s", Rate: true, Component: tagNetwork},
			traffic(func(n *figures.Interface) uint64 { return n.RxErrors + n.TxErrors + n.RxDropped + n.TxDropped })},
		{Meta{Key: "berth.sockets.tcp", Name: "TCP sockets", Component: tagNetwork},
			whole(func(f *running) int64 { return f.Sockets.TCP })},
		{Meta{Key: "berth.sockets.timewait", Name: "TCP sockets in TIME_WAIT", Component: tagNetwork},
			whole(func(f *running) int64 { return f.Sockets.TimeWait })},
		{Meta{Key: "berth.sockets.udp", Name: "UDP sockets", Component: tagNetwork, Spare: true},
			whole(func(f *running) int64 { return f.Sockets.UDP })},

		{Meta{Key: "berth.procs", Name: "Processes and threads", Component: tagProcess},
			whole(func(f *running) int64 { return f.Pids.Current })},
		{Meta{Key: "berth.procs.limit", Name: "Limit of processes and threads", Component: tagProcess, Slow: true, Spare: true, Description: "0 means no limit."},
			whole(func(f *running) int64 { return f.Pids.Limit })},
		{Meta{Key: "berth.procs.pct", Name: "Processes and threads of their limit", Units: "%", Float: true, Component: tagProcess},
			share(func(f *running) (float64, float64) { return float64(f.Pids.Current), float64(f.Pids.Limit) })},
		{Meta{Key: "berth.services.down", Name: "Services that are down", Component: tagService, Description: "Those that should be up."},
			servicesDown},
	}
}

// servicesDown is nothing where no S6 is.
func servicesDown(dst []byte, i *figures.Instance) []byte {
	if i.Figures == nil || len(i.Services) == 0 {
		return dst
	}
	n := int64(0)
	for s := range i.Services {
		if serviceState(&i.Services[s]) == serviceDown {
			n++
		}
	}
	return strconv.AppendInt(dst, n, 10)
}

// InterfaceFigures are those of one network interface of an instance; their parameters are [APP,SEAT,INTERFACE].
func InterfaceFigures() []Figure[figures.Interface] {
	figure := func(key, name, units string, pick func(*figures.Interface) uint64) Figure[figures.Interface] {
		return Figure[figures.Interface]{Meta{Key: "berth.network." + key, Name: name, Units: units, Rate: true, Component: tagNetwork},
			unsigned(pick)}
	}
	return []Figure[figures.Interface]{
		figure("in", "received", "Bps", func(i *figures.Interface) uint64 { return i.RxBytes }),
		figure("out", "sent", "Bps", func(i *figures.Interface) uint64 { return i.TxBytes }),
		figure("in.packets", "packets received", "pps", func(i *figures.Interface) uint64 { return i.RxPackets }),
		figure("out.packets", "packets sent", "pps", func(i *figures.Interface) uint64 { return i.TxPackets }),
		figure("errors", "errors", "/s", func(i *figures.Interface) uint64 { return i.RxErrors + i.TxErrors }),
		figure("dropped", "packets dropped", "/s", func(i *figures.Interface) uint64 { return i.RxDropped + i.TxDropped }),
	}
}

// ServiceFigures are those of one service in an instance; their parameters are [APP,SEAT,SERVICE].
func ServiceFigures() []Figure[figures.Service] {
	return []Figure[figures.Service]{
		{Meta{Key: "berth.service.state", Name: "state", Component: tagService, ValueMap: mapService, Description: "Stopped is down, and should be."},
			signed(func(s *figures.Service) int64 { return serviceState(s) })},
		{Meta{Key: "berth.service.for", Name: "in this state for", Units: "s", Component: tagService},
			signed(func(s *figures.Service) int64 { return int64(s.For) })},
	}
}

// HostFigures are those of the host itself; they have no parameters.
func HostFigures() []Figure[figures.Snapshot] {
	type snap = figures.Snapshot
	bytes := func(key, name, component string, pick func(*snap) int64) Figure[snap] {
		return Figure[snap]{Meta{Key: key, Name: name, Units: "B", Component: component}, signed(pick)}
	}
	share := func(key, name, component string, pick func(*snap) (part, all int64)) Figure[snap] {
		return Figure[snap]{Meta{Key: key, Name: name, Units: "%", Float: true, Component: component}, func(dst []byte, s *snap) []byte {
			part, all := pick(s)
			return percent(dst, float64(part), float64(all))
		}}
	}
	load := func(n int, name string) Figure[snap] {
		return Figure[snap]{Meta{Key: "berth.host.load" + name, Name: "Load of " + name + " min", Float: true, Component: tagCPU},
			fraction(func(s *snap) float64 { return s.Host.Load[n] })}
	}
	return []Figure[snap]{
		{Meta{Key: "berth.host.docker", Name: "Docker answers", Component: tagStatus, ValueMap: mapAnswer}, signed(func(s *snap) int64 { return number(s.Host.DockerConnected) })},
		{Meta{Key: "berth.host.uptime", Name: "Uptime", Units: "uptime", Component: tagStatus}, signed(func(s *snap) int64 { return int64(s.Host.Uptime) })},
		{Meta{Key: "berth.host.document", Name: "Version of the host document", Component: tagBerth, Slow: true, Description: "What the scheduler wants of this host; 0 without a scheduler."},
			unsigned(func(s *snap) uint64 { return s.Host.Document })},
		{Meta{Key: "berth.host.containers", Name: "Running containers", Component: tagStatus}, signed(func(s *snap) int64 { return int64(s.Host.Containers) })},
		{Meta{Key: "berth.host.instances", Name: "Instances", Component: tagStatus}, signed(func(s *snap) int64 { return int64(len(s.Instances)) })},
		{Meta{Key: "berth.host.unhealthy", Name: "Unhealthy instances", Component: tagStatus}, signed(func(s *snap) int64 {
			return count(s, func(i *figures.Instance) bool { return i.Health == figures.Unhealthy })
		})},
		{Meta{Key: "berth.host.starting", Name: "Instances without a container yet", Component: tagStatus}, signed(func(s *snap) int64 {
			return count(s, func(i *figures.Instance) bool { return i.State == figures.Starting })
		})},

		{Meta{Key: "berth.host.cores", Name: "Cores", Component: tagCPU, Slow: true}, signed(func(s *snap) int64 { return int64(s.Host.Cores) })},
		{Meta{Key: "berth.host.cpu", Name: "CPU used", Units: "cores", Float: true, Rate: true, Component: tagCPU}, fraction(func(s *snap) float64 { return s.Host.CPUSeconds })},
		{Meta{Key: "berth.host.idle", Name: "CPU idle", Units: "cores", Float: true, Rate: true, Component: tagCPU}, fraction(func(s *snap) float64 { return s.Host.IdleSeconds })},
		{Meta{Key: "berth.host.quota", Name: "Sum of CPU quotas", Units: "cores", Float: true, Component: tagCPU, Slow: true}, fraction(func(s *snap) float64 { return s.Host.Quota })},
		load(0, "1"), load(1, "5"), load(2, "15"),

		bytes("berth.host.mem.total", "Memory", tagMemory, func(s *snap) int64 { return s.Host.MemTotal }),
		bytes("berth.host.mem.available", "Memory available", tagMemory, func(s *snap) int64 { return s.Host.MemAvailable }),
		share("berth.host.mem.pct", "Memory used", tagMemory, func(s *snap) (int64, int64) { return s.Host.MemTotal - s.Host.MemAvailable, s.Host.MemTotal }),
		bytes("berth.host.swap.total", "Swap", tagMemory, func(s *snap) int64 { return s.Host.SwapTotal }),
		bytes("berth.host.swap.free", "Swap free", tagMemory, func(s *snap) int64 { return s.Host.SwapFree }),
		bytes("berth.host.disk.total", "Disk of Docker's data", tagDisk, func(s *snap) int64 { return s.Host.DiskTotal }),
		bytes("berth.host.disk.available", "Disk available to Docker's data", tagDisk, func(s *snap) int64 { return s.Host.DiskAvailable }),
		share("berth.host.disk.pct", "Disk used of Docker's data", tagDisk, func(s *snap) (int64, int64) { return s.Host.DiskTotal - s.Host.DiskAvailable, s.Host.DiskTotal }),

		{Meta{Key: "berth.agent.cpu", Name: "Berth: CPU used", Units: "cores", Float: true, Rate: true, Component: tagBerth}, fraction(func(s *snap) float64 { return s.Host.Agent.CPUSeconds })},
		bytes("berth.agent.rss", "Berth: memory", tagBerth, func(s *snap) int64 { return s.Host.Agent.RSS }),
		{Meta{Key: "berth.agent.goroutines", Name: "Berth: goroutines", Component: tagBerth}, signed(func(s *snap) int64 { return int64(s.Host.Agent.Goroutines) })},
		{Meta{Key: "berth.agent.sample", Name: "Berth: time of a sample", Units: "s", Float: true, Component: tagBerth, Description: "How long reading all containers' figures took."},
			fraction(func(s *snap) float64 { return s.Host.SampleSeconds })},
	}
}

func number(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func count(s *figures.Snapshot, is func(*figures.Instance) bool) int64 {
	n := int64(0)
	for i := range s.Instances {
		if is(&s.Instances[i]) {
			n++
		}
	}
	return n
}
