// Package policy decides what every running container of a host may use: its CPU quota, a start-up allowance, burst and
// weight beside it, and the limits of memory and processes that it was created with. In come the host document, the
// containers and the time, out come the wanted settings, what differs from them and why, and advice about quotas; it reads
// and writes nothing.
package policy

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// The kernel's default period, and the smallest quota that it accepts.
const (
	DefaultPeriod = 100 * time.Millisecond
	MinQuota      = time.Millisecond
)

// Rules are what the host's operators decide.
type Rules struct {
	Floor, Ceiling float64 // cores, of every quota, also of one with a start-up allowance; 0: no bound
	// NoMarathon leaves tasks of another Marathon without a quota: they were promised a share of the CPUs, not a limit.
	NoMarathon bool
}

// Container is one running container.
type Container struct {
	ID, Name string
	Labels   map[string]string
	Env      []string
	Started  time.Time
	// As created:
	Quota, Period time.Duration // Period 0: the default
	NanoCPUs      int64
	Shares        int64 // 0: the kernel's default
	Memory        int64 // bytes in whole pages; 0: no limit
	Pids          int64 // 0: no limit
}

// Assignment is what one container should have.
type Assignment struct {
	ID, Name string
	App      string
	Task     string

	Base   float64       // cores, without a start-up allowance; 0: its quota is nobody's business
	Cores  float64       // cores now
	Quota  time.Duration // CPU time in each period; 0: left alone
	Period time.Duration
	Source string    // who wants that quota
	Until  time.Time // when a start-up allowance ends; zero: none
	// Lenient: only a quota that is missing is put back. See foreign.
	Lenient bool

	Burst  time.Duration // 0: left alone
	Weight int64         // as cpu.shares; 0: left alone
	Memory int64         // bytes; 0: left alone
	Pids   int64         // 0: left alone
}

// Assign decides about each container, sorted by container id. What it decides stays right until the document or a
// container changes, or the first Until comes.
func Assign(document spec.HostDocument, containers []Container, r Rules, now time.Time) []Assignment {
	seats := seatsByTask(document)
	all := make([]Assignment, 0, len(containers))
	for _, c := range containers {
		seat, known := seats[c.Labels[spec.LabelTask]]
		all = append(all, assign(c, seat, known, document.Version > 0, r, now))
	}
	slices.SortFunc(all, func(a, b Assignment) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func assign(c Container, s seat, known, hasDocument bool, r Rules, now time.Time) Assignment {
	a := Assignment{
		ID: c.ID, Name: c.Name, App: c.Labels[spec.LabelApp], Task: c.Labels[spec.LabelTask], Period: cmp.Or(c.Period, DefaultPeriod),
		Weight: c.Shares, Memory: c.Memory, Pids: c.Pids,
	}
	wish := func(key string) string { return wished(c, s, known, key) }
	if n, err := spec.ParseWeight(wish(spec.AppLabelWeight)); err == nil {
		a.Weight = n
	}
	cores, source := base(c, s, known, r)
	if !sane(cores) {
		return a
	}
	a.Base, a.Source = r.bound(cores), source
	a.Cores = a.Base
	a.Lenient = foreign(c, known, hasDocument)
	if up, err := spec.ParseStartup(wish(spec.AppLabelStartup)); err == nil && allowed(up, c.Started, now) {
		a.Cores, a.Until = r.bound(a.Base*up.Times), c.Started.Add(up.For)
		a.Source += " with its start-up allowance"
	}
	a.Quota = max(share(a.Cores, a.Period), MinQuota)
	if d, err := spec.ParseBurst(wish(spec.AppLabelBurst)); err == nil {
		a.Burst = min(d, a.Quota) // the kernel allows no more
	}
	return a
}

// foreign says whether a container is a task of which this host's document knows nothing: one that is about to be stopped,
// or another Berth's on the same machine. Whoever knows it may have given it another quota than its label says, so that two
// who put back what each of them believes would do so for ever.
func foreign(c Container, known, hasDocument bool) bool {
	return hasDocument && !known && c.Labels[spec.LabelTask] != ""
}

// allowed says whether a container is still in its start-up. A clock that was set back lengthens it by itself at most.
func allowed(up spec.Startup, started, now time.Time) bool {
	if started.IsZero() {
		return false
	}
	age := now.Sub(started)
	return age < up.For && age > -up.For
}

func (r Rules) bound(cores float64) float64 {
	cores = max(cores, r.Floor)
	if r.Ceiling > 0 {
		cores = min(cores, r.Ceiling)
	}
	return cores
}

func share(cores float64, period time.Duration) time.Duration {
	return time.Duration(math.Round(cores*float64(period.Microseconds()))) * time.Microsecond
}

// maxCores is more than any machine has; larger values are mistakes, and could overflow.
const maxCores = 1 << 16

func sane(cores float64) bool { return cores > 0 && cores <= maxCores }
