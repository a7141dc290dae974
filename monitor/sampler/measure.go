package sampler

import (
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/monitor/figures"
)

// tracked is a running container.
type tracked struct {
	docker.Container
	pid     int
	key     figures.Key // as which it was last shown; the zero Key: not at all
	group   *cgroup.Group
	ownNet  bool
	netDir  string // its network's folder below /proc
	root    string // its root's
	window  cgroup.Window
	figures *figures.Figures
	trouble string
}

func (s *Sampler) newTracked(pid int, key figures.Key) *tracked {
	dir := filepath.Join(s.o.Proc, strconv.Itoa(pid))
	return &tracked{pid: pid, key: key, netDir: filepath.Join(dir, "net"), root: filepath.Join(dir, "root")}
}

func (t *tracked) close() {
	if t.group != nil {
		t.group.Close()
	}
}

// measure takes one sample. What could not be read leaves the reason in trouble, and no figures.
func (s *Sampler) measure(t *tracked) {
	f, err := s.read(t)
	if err != nil {
		t.figures, t.trouble = nil, err.Error()
		return
	}
	t.figures, t.trouble = f, ""
}

func (s *Sampler) read(t *tracked) (*figures.Figures, error) {
	var err error
	if t.group == nil {
		if t.group, err = s.o.Groups.Find(t.Pid, t.ID, t.CgroupParent); err != nil {
			return nil, err
		}
		t.group.KeepOpen()
		t.ownNet = s.hostNet == "" || netNamespace(s.o.Proc, strconv.Itoa(t.Pid)) != s.hostNet
	}
	d, err := s.reader.Read(t.group)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f := &figures.Figures{
		Uptime: max(now.Sub(t.StartedAt), 0).Seconds(),
		CPU: figures.CPU{
			Seconds: d.CPU.Seconds(), Quota: d.Quota.Cores(), Base: base(t.Container), Weight: d.Weight,
			Periods: d.Periods, Throttled: d.Throttled, Waited: d.ThrottledTime.Seconds(),
		},
		Memory: figures.Memory{
			Used: d.Memory, RSS: d.RSS, Cache: d.Cache, Swap: d.Swap, Limit: d.MemoryLimit, OOMKills: d.OOMKills,
		},
		IO: figures.IO{
			ReadBytes: d.IO.ReadBytes, WriteBytes: d.IO.WriteBytes, Reads: d.IO.Reads, Writes: d.IO.Writes,
		},
		Pids: figures.Pids{Current: d.Pids, Limit: d.PidsLimit},
	}
	t.window.Add(now, d.Stats, s.o.Window, s.o.Every)
	f.CPU.Used, f.CPU.Share = t.window.Rates()
	if t.ownNet {
		err = s.readNetwork(t.netDir, f)
	}
	return f, err
}

// base is the quota with which a container was created, in cores.
func base(c docker.Container) float64 {
	if c.NanoCPUs > 0 {
		return float64(c.NanoCPUs) / 1e9
	}
	q := cgroup.Quota{Time: time.Duration(c.CPUQuota) * time.Microsecond, Period: time.Duration(c.CPUPeriod) * time.Microsecond}
	if q.Period == 0 {
		q.Period = cgroup.DefaultPeriod
	}
	return q.Cores()
}

// plus adds the figures of a container of the same pod: its network is the sandbox's. nil adds nothing.
func plus(f *figures.Figures, name string, c *figures.Figures) {
	if c == nil {
		return
	}
	f.CPU = figures.CPU{
		Seconds: f.CPU.Seconds + c.CPU.Seconds, Used: f.CPU.Used + c.CPU.Used,
		// A sum with something unlimited in it has no limit.
		Quota: sumOfLimits(f.CPU.Quota, c.CPU.Quota), Base: sumOfLimits(f.CPU.Base, c.CPU.Base),
		Weight: f.CPU.Weight + c.CPU.Weight, Periods: f.CPU.Periods + c.CPU.Periods, Throttled: f.CPU.Throttled + c.CPU.Throttled,
		Waited: f.CPU.Waited + c.CPU.Waited, Share: max(f.CPU.Share, c.CPU.Share),
	}
	f.Memory = figures.Memory{
		Used: f.Memory.Used + c.Memory.Used, RSS: f.Memory.RSS + c.Memory.RSS, Cache: f.Memory.Cache + c.Memory.Cache,
		Swap: f.Memory.Swap + c.Memory.Swap, Limit: sumOfLimits(f.Memory.Limit, c.Memory.Limit),
		OOMKills: f.Memory.OOMKills + c.Memory.OOMKills,
	}
	f.IO = figures.IO{
		ReadBytes: f.IO.ReadBytes + c.IO.ReadBytes, WriteBytes: f.IO.WriteBytes + c.IO.WriteBytes,
		Reads: f.IO.Reads + c.IO.Reads, Writes: f.IO.Writes + c.IO.Writes,
	}
	f.Pids = figures.Pids{Current: f.Pids.Current + c.Pids.Current, Limit: sumOfLimits(f.Pids.Limit, c.Pids.Limit)}
	services := f.Services[:len(f.Services):len(f.Services)] // appending copies: others share the array
	for _, service := range c.Services {
		service.Name = name + "/" + service.Name
		services = append(services, service)
	}
	f.Services = services
}

func sumOfLimits[T int64 | float64](a, b T) T {
	if a == 0 || b == 0 {
		return 0
	}
	return a + b
}
