package sampler

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/spec"
)

// Options of a Sampler; Groups, Every, Window and Log are needed.
type Options struct {
	Groups  *cgroup.FS
	Proc    string        // "" for /proc
	Every   time.Duration // between samples
	Window  time.Duration // over which rates are averaged
	Host    string        // its name
	Version string        // of the program
	Log     logrus.FieldLogger
}

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	if o.Proc == "" {
		o.Proc = cgroup.DefaultProc
	}
	var faults []error
	if o.Groups == nil || o.Log == nil {
		faults = append(faults, errors.New("sampler: Groups and Log are needed"))
	}
	if o.Every <= 0 || o.Window < o.Every {
		faults = append(faults, errors.New("sampler: Every must be positive, and Window at least Every"))
	}
	return errors.Join(faults...)
}

// Sources are what is known of the host beside its files.
type Sources struct {
	State     spec.HostState
	Inventory docker.Snapshot
	Usage     map[string]spec.Usage // task, or container without one -> what the quota keeper says
	DataDir   string                // Docker's; "" while it is unknown
}

// Sampler measures the running containers; one goroutine owns it.
type Sampler struct {
	o       Options
	hostNet string // the host's network namespace
	reader  cgroup.Reader
	buf     []byte              // of files below /proc
	tracked map[string]*tracked // by container id
	counts  map[figures.Key]*count
	host    figures.Host
	at      time.Time // of the last sample
	slow    *companion
}

// New checks the options.
func New(o Options) (*Sampler, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Sampler{
		o: o, hostNet: netNamespace(o.Proc, "self"), tracked: map[string]*tracked{}, counts: map[figures.Key]*count{},
		slow: newCompanion(o.Log),
	}, nil
}

// Close ends what works beside the sampler, and closes what it keeps open. There is no Pass after it.
func (s *Sampler) Close() {
	s.slow.close()
	for _, t := range s.tracked {
		t.close()
	}
}

// netNamespace names a process's network namespace; "" when it cannot be read.
func netNamespace(proc, pid string) string {
	name, err := os.Readlink(filepath.Join(proc, pid, "ns", "net"))
	if err != nil {
		return ""
	}
	return name
}

// Pass gives the host as it is now. With measure it reads the files of every container, otherwise only those of new ones; the
// snapshot's time is that of the last measurement.
func (s *Sampler) Pass(from Sources, measure bool) *figures.Snapshot {
	began := time.Now()
	if measure = measure || s.at.IsZero(); measure {
		s.at = began
	}
	todo := s.follow(from.Inventory, measure)
	dataDir := ""
	if measure {
		dataDir = from.DataDir
	}
	s.measureAll(todo, dataDir)
	all := s.instances(from)
	if measure {
		s.readHost()
		s.host.SampleSeconds = time.Since(began).Seconds()
	}
	host := s.host
	host.DockerConnected, host.Document = from.Inventory.Connected, from.State.Document.Version
	host.Containers = len(s.tracked)
	for i := range all {
		if f := all[i].Figures; f != nil {
			host.Quota += f.CPU.Quota
		}
	}
	return &figures.Snapshot{At: s.at, Version: s.o.Version, Host: host, Instances: all}
}

// follow knows the running containers, and forgets those that ended; it returns those to measure.
func (s *Sampler) follow(inventory docker.Snapshot, measure bool) []*tracked {
	alive := make(map[string]bool, len(s.tracked))
	killed := map[string]bool{}
	var todo []*tracked
	for _, c := range inventory.Containers {
		t := s.tracked[c.ID]
		if t != nil && c.Partial && c.Running { // as it was last described: its process and its counters go on
			c = t.Container
		}
		if !c.Running || c.Pid <= 0 {
			killed[c.ID] = c.OOMKilled
			continue
		}
		alive[c.ID] = true
		if t != nil && (t.pid != c.Pid || !t.StartedAt.Equal(c.StartedAt)) { // a restarted container's counters begin anew
			s.ended(t, c.OOMKilled)
			t = s.newTracked(c.Pid, t.key)
			s.tracked[c.ID] = t
		}
		if t == nil {
			t = s.newTracked(c.Pid, figures.Key{})
			s.tracked[c.ID] = t
		}
		t.Container = c
		if measure || t.figures == nil {
			todo = append(todo, t)
		}
	}
	for id, t := range s.tracked {
		if !alive[id] {
			s.ended(t, killed[id])
			delete(s.tracked, id)
		}
	}
	return todo
}

// measureAll takes a sample of each, and of the file system at dataDir.
func (s *Sampler) measureAll(todo []*tracked, dataDir string) {
	if len(todo) == 0 && dataDir == "" {
		return
	}
	asked := s.slow.ask(todo, dataDir)
	for _, t := range todo {
		s.measure(t)
	}
	if !asked {
		return
	}
	if a, ok := s.slow.answer(); ok {
		for n, t := range todo {
			if t.figures != nil {
				t.figures.Services = a.services[n]
			}
		}
		if a.diskTotal > 0 {
			s.host.DiskTotal, s.host.DiskAvailable = a.diskTotal, a.diskAvailable
		}
	}
}
