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
	members map[string]*member // of a pod's sandbox: its containers by name
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
