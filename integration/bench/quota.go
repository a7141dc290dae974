package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/cpuquota"
	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// enoughCores is what two busy processes must get without a quota, so that what they get with one says something about it.
const enoughCores = 1.9

// measureQuota measures how far what busy processes use is from their quota, how soon a change by hand is repaired, and how soon a
// changed document is in the kernel, in the form of `go test -bench`. The keeper is that of `berth agent`, the containers are the
// machine's Docker Engine's.
func measureQuota(t *bench, image string, window time.Duration, times int) {
	q := newQuotaBench(t, image)
	free := q.spin(2)
	free.want(0)
	got := free.used(window)
	free.end()
	if got < enoughCores {
		fmt.Printf("two busy processes get %.2f cores without a quota, less than %v: the machine is busy, so quotas are not measured\n", got, enoughCores)
	} else {
		q.errors(window)
	}
	c := q.spin(1)
	fmt.Printf("BenchmarkRepair %d %.3f s-max\n", times, c.repair(times).Seconds())
	fmt.Printf("BenchmarkResize %d %.1f ms-max\n", times, float64(c.resize(times).Microseconds())/1000)
}

// errors measures each quota with each number of processes that could use more than it.
func (q *quotaBench) errors(window time.Duration) {
	worst := 0.0
	for _, n := range []int{1, 2, 8} {
		c := q.spin(n)
		for _, cpus := range []float64{0.1, 0.5, 1.0, 1.8} {
			if cpus >= float64(n) {
				continue
			}
			c.want(cpus)
			got := c.used(window)
			off := 100 * math.Abs(got-cpus) / cpus
			worst = max(worst, off)
			fmt.Printf("BenchmarkQuota/cpus=%v/processes=%d 1 %.4f cores %.2f %%-off\n", cpus, n, got, off)
		}
		c.end()
	}
	fmt.Printf("BenchmarkQuota 1 %.2f %%-off-worst\n", worst)
}

// quotaBench is a keeper and the document that it is told.
type quotaBench struct {
	t      *bench
	e      *rig.Engine
	image  string
	groups *cgroup.FS
	client *docker.Client
	state  watch.Value[spec.HostState]
	count  int
}

func newQuotaBench(t *bench, image string) *quotaBench {
	q := &quotaBench{t: t, e: rig.MachineEngine(t), image: image}
	var err error
	if q.groups, err = cgroup.Open("", ""); err != nil {
		t.Fatalf("%v", err)
	}
	if q.client, err = docker.New(q.e.Host()); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = q.client.Close() })
	log := logrus.New()
	log.SetOutput(io.Discard)
	inventory := docker.NewInventory(q.client, log)
	keeper, err := cpuquota.New(cpuquota.Options{State: &q.state, Inventory: inventory, Groups: q.groups, Log: log})
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- inventory.Run(ctx) }()
	go func() { done <- keeper.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; <-done }) //nolint:errcheck // they end as they were told
	return q
}

// spinning is a container with so many busy processes.
type spinning struct {
	q     *quotaBench
	id    string
	task  string
	group *cgroup.Group
}

// spin starts one. Its shell's processes are never waited for; they end with it.
func (q *quotaBench) spin(processes int) *spinning {
	q.count++
	s := &spinning{q: q, task: "bench-quota-" + strconv.Itoa(q.count)}
	script := "i=1; while [ $i -lt " + strconv.Itoa(processes) + " ]; do (while :; do :; done) & i=$((i+1)); done; while :; do :; done"
	s.id = q.e.Docker("run", "-d", "--network", "none", "--label", spec.LabelTask+"="+s.task, "--entrypoint", "/bin/sh", q.image, "-c", script)
	q.t.Cleanup(s.end)
	c, err := q.client.Inspect(q.t.Context(), s.id)
	if err != nil {
		q.t.Fatalf("%v", err)
	}
	if s.group, err = q.groups.Find(c.Pid, c.ID, c.CgroupParent); err != nil {
		q.t.Fatalf("%v", err)
	}
	return s
}

func (s *spinning) end() { _, _ = s.q.e.TryDocker("rm", "-f", s.id) }

// want puts a quota into the document, and waits until the kernel has it; it returns how long that took.
func (s *spinning) want(cpus float64) time.Duration {
	began := time.Now()
	s.q.state.Set(spec.HostState{Document: spec.HostDocument{Version: 1, Seats: []spec.HostSeat{{TaskID: s.task, CPUs: cpus}}}})
	return s.until(began, cpus)
}

// until waits for a quota in the kernel.
func (s *spinning) until(began time.Time, cpus float64) time.Duration {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		got, err := s.group.Quota()
		took := time.Since(began)
		switch {
		case err != nil:
			s.q.t.Fatalf("%v", err)
		case math.Abs(got.Cores()-cpus) < 1e-6:
			return took
		case took > 10*time.Second:
			s.q.t.Fatalf("the quota is %v cores after %v, not %v", got.Cores(), took, cpus)
		}
	}
}

// used is how many cores the processes used over a window, from the beginning of one of the kernel's periods to that of another: what
// is used of a period is used at its beginning.
func (s *spinning) used(window time.Duration) float64 {
	s.period() // one that began under another quota is over
	from, began := s.period()
	time.Sleep(window)
	to, ended := s.period()
	return (to - from).Seconds() / ended.Sub(began).Seconds()
}

// period waits for the next one to begin, where there are any, and reads the CPU time used until then.
func (s *spinning) period() (time.Duration, time.Time) {
	var first uint64
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		stats, err := new(cgroup.Reader).Used(s.group)
		now := time.Now()
		if err != nil {
			s.q.t.Fatalf("%v", err)
		}
		if first == 0 {
			first = stats.Periods + 1
		}
		if stats.Periods >= first || now.Sub(began) > 3*cgroup.DefaultPeriod {
			return stats.CPU, now
		}
	}
}

// repair changes the quota by hand, again and again, and returns how long the slowest repair took.
func (s *spinning) repair(times int) time.Duration {
	s.want(0.2)
	var worst time.Duration
	for range times {
		if err := s.group.SetQuota(cgroup.Quota{Time: 90 * time.Millisecond}); err != nil {
			s.q.t.Fatalf("%v", err)
		}
		worst = max(worst, s.until(time.Now(), 0.2))
	}
	return worst
}

// resize changes the document, again and again, and returns how long the slowest change took to get into the kernel.
func (s *spinning) resize(times int) time.Duration {
	var worst time.Duration
	for i := range times {
		worst = max(worst, s.want(0.2+0.1*float64(i%2+1)))
	}
	return worst
}
