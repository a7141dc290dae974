package monitor

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// instance is one seat at one moment, as the items see it. It is immutable.
type instance struct {
	seat                     spec.SeatID
	id, hostname, pool, task string
	address                  netip.Addr
	state                    string // starting, running, draining
	health                   int
	started                  time.Time // zero: no running container
	figures                  *figures  // nil: none
	trouble                  string    // why there are none
}

// Values of berth.health.
const (
	unhealthy     = 0
	healthy       = 1
	healthUnknown = 2
)

// figures are what was measured of a running container.
type figures struct {
	stats     cgroup.Stats
	quota     cgroup.Quota
	cpu       float64 // cores, over the window
	throttled float64 // share, over the window
	traffic   traffic
	ownNet    bool // the container has a network namespace of its own
}

// plus adds a container of the same pod: its network is the sandbox's. nil adds nothing.
func (f *figures) plus(c *figures) *figures {
	if c == nil {
		return f
	}
	sum := *f
	sum.stats.Memory, sum.stats.Pids = f.stats.Memory+c.stats.Memory, f.stats.Pids+c.stats.Pids
	sum.cpu, sum.throttled = f.cpu+c.cpu, max(f.throttled, c.throttled)
	// A sum with something unlimited in it has no limit.
	if sum.stats.MemoryLimit += c.stats.MemoryLimit; f.stats.MemoryLimit == 0 || c.stats.MemoryLimit == 0 {
		sum.stats.MemoryLimit = 0
	}
	cores := f.quota.Cores() + c.quota.Cores()
	if f.quota.Cores() == 0 || c.quota.Cores() == 0 {
		cores = 0
	}
	sum.quota = cgroup.Quota{Time: time.Duration(cores * float64(time.Second)), Period: time.Second}
	return &sum
}

// sampler reads the files of the running containers; one goroutine owns it.
type sampler struct {
	o       Options
	hostNet string              // the host's network namespace
	tracked map[string]*tracked // by container id
}

// tracked is a running container.
type tracked struct {
	pid     int
	group   *cgroup.Group
	ownNet  bool
	samples []sample // oldest first
	figures *figures
	trouble string
}

// sample is the counters at one moment.
type sample struct {
	at                 time.Time
	cpu                time.Duration
	periods, throttled uint64
}

func newSampler(o Options) *sampler {
	return &sampler{o: o, hostNet: netNamespace(o.Proc, "self"), tracked: map[string]*tracked{}}
}

// netNamespace names a process's network namespace; "" when it cannot be read.
func netNamespace(proc, pid string) string {
	name, err := os.Readlink(filepath.Join(proc, pid, "ns", "net"))
	if err != nil {
		return ""
	}
	return name
}

// pass gives all instances of the host, by seat. With measure it reads the files of every container, otherwise only those
// of new ones.
func (s *sampler) pass(state spec.HostState, snapshot docker.Snapshot, measure bool) []instance {
	running := map[string]docker.Container{} // task -> container
	alive := map[string]bool{}
	for _, c := range snapshot.Containers {
		if !c.Running || c.Pid <= 0 || c.Labels[spec.LabelApp] == "" {
			continue
		}
		alive[c.ID] = true
		t := s.tracked[c.ID]
		if t == nil || t.pid != c.Pid { // a restarted container's counters begin anew
			t = &tracked{pid: c.Pid}
			s.tracked[c.ID] = t
		}
		if measure || t.figures == nil {
			s.measure(t, c)
		}
		task := cmp.Or(c.Labels[spec.LabelTask], c.ID)
		if have, ok := running[task]; !ok || have.StartedAt.Before(c.StartedAt) {
			running[task] = c
		}
	}
	for id := range s.tracked {
		if !alive[id] {
			delete(s.tracked, id)
		}
	}
	return s.instances(state, running)
}

// instances joins the document's seats with the running containers. Only while there is no document at all, as without a
// scheduler, containers are instances by their labels alone: those that a document does not name may be another Berth's,
// with the same apps and seats.
func (s *sampler) instances(state spec.HostState, running map[string]docker.Container) []instance {
	bySeat := map[spec.SeatID]instance{}
	add := func(i instance) {
		have, ok := bySeat[i.seat]
		if !ok || have.started.Before(i.started) {
			bySeat[i.seat] = i
		}
	}
	for _, seat := range state.Document.Seats {
		i := instance{
			seat: seat.Seat, id: seat.Instance, hostname: seat.Hostname, pool: seat.Pool, task: seat.TaskID,
			address: seat.Address, state: "starting", health: healthOf(state, seat), trouble: "it has no running container",
		}
		if c, ok := running[seat.TaskID]; ok {
			s.fill(&i, c)
			for _, m := range seat.Containers {
				if c, ok := running[m.TaskID]; ok && i.figures != nil {
					i.figures = i.figures.plus(s.tracked[c.ID].figures)
				}
			}
		}
		if seat.Drain {
			i.state = "draining"
		}
		add(i)
	}
	if state.Document.Version == 0 {
		for task, c := range running {
			if i, ok := s.labelled(task, c); ok {
				add(i)
			}
		}
	}
	all := make([]instance, 0, len(bySeat))
	for _, i := range bySeat {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b instance) int {
		return cmp.Or(cmp.Compare(a.seat.App, b.seat.App), cmp.Compare(a.seat.Index, b.seat.Index))
	})
	return all
}

// labelled is a container's instance as its labels tell it.
func (s *sampler) labelled(task string, c docker.Container) (instance, bool) {
	index, err := strconv.Atoi(c.Labels[spec.LabelSeat])
	if err != nil || index < 0 || c.Labels[spec.LabelContainer] != "" { // a pod's containers are part of their sandbox's seat
		return instance{}, false
	}
	i := instance{seat: spec.SeatID{App: spec.AppID(c.Labels[spec.LabelApp]), Index: index}, id: task, task: task, health: healthUnknown}
	i.hostname = i.seat.Hostname()
	for name, a := range c.Addresses {
		if i.pool == "" || name < i.pool {
			i.pool, i.address = name, a
		}
	}
	s.fill(&i, c)
	return i, true
}

func (s *sampler) fill(i *instance, c docker.Container) {
	t := s.tracked[c.ID]
	i.state, i.started, i.figures, i.trouble = "running", c.StartedAt, t.figures, t.trouble
}

// healthOf is unknown until every probe has a result; a seat without probes is healthy.
func healthOf(state spec.HostState, seat spec.HostSeat) int {
	results := state.Health[seat.TaskID]
	for i, p := range seat.Probes {
		if p.Reported {
			continue
		}
		if i >= len(results) || !results[i].Known {
			return healthUnknown
		}
	}
	if state.Healthy(seat) {
		return healthy
	}
	return unhealthy
}

// measure takes one sample. What could not be read leaves the reason in trouble, and no figures.
func (s *sampler) measure(t *tracked, c docker.Container) {
	f, err := s.read(t, c)
	if err != nil {
		t.figures, t.trouble = nil, err.Error()
		return
	}
	t.add(sample{at: time.Now(), cpu: f.stats.CPU, periods: f.stats.Periods, throttled: f.stats.Throttled}, s.o.Window, s.o.Every)
	f.cpu, f.throttled = t.rates()
	t.figures, t.trouble = f, ""
}

func (s *sampler) read(t *tracked, c docker.Container) (*figures, error) {
	var err error
	if t.group == nil {
		if t.group, err = s.o.Groups.Find(c.Pid, c.ID, c.CgroupParent); err != nil {
			return nil, err
		}
		t.ownNet = s.hostNet == "" || netNamespace(s.o.Proc, strconv.Itoa(c.Pid)) != s.hostNet
	}
	f := &figures{ownNet: t.ownNet}
	if f.stats, err = t.group.Read(); err != nil {
		return nil, err
	}
	if f.quota, err = t.group.Quota(); err != nil {
		return nil, err
	}
	if t.ownNet {
		f.traffic, err = readTraffic(s.o.Proc, c.Pid)
	}
	return f, err
}

// add appends a sample and forgets those older than the window, except the one that the window begins at.
func (t *tracked) add(now sample, window, every time.Duration) {
	t.samples = append(t.samples, now)
	drop := 0
	for len(t.samples)-drop > 2 && now.at.Sub(t.samples[drop+1].at) >= window-every/2 {
		drop++
	}
	t.samples = append(t.samples[:0], t.samples[drop:]...)
}

// rates are the cores used and the throttled share over the window.
func (t *tracked) rates() (cpu, throttled float64) {
	first, last := t.samples[0], t.samples[len(t.samples)-1]
	if took := last.at.Sub(first.at); took > 0 && last.cpu >= first.cpu {
		cpu = float64(last.cpu-first.cpu) / float64(took)
	}
	if last.periods > first.periods && last.throttled >= first.throttled {
		throttled = float64(last.throttled-first.throttled) / float64(last.periods-first.periods)
	}
	return cpu, throttled
}
