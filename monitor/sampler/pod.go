package sampler

import "github.com/berth-project/berth/monitor/figures"

// member is a container of a pod.
type member struct {
	run    *tracked
	last   *figures.Figures // of this run
	former figures.Figures  // the counters of its runs before
}

// add adds what a container of the pod does, and what it did: nil does not run. A sum of counters must not go back because one of
// several containers has ended, or could not be read once: to whoever makes rates of it, it would have begun anew with all that the
// others have ever counted.
func (t *tracked) add(f *figures.Figures, name string, run *tracked) {
	m := t.members[name]
	if m == nil {
		m = &member{}
		if t.members == nil {
			t.members = map[string]*member{}
		}
		t.members[name] = m
	}
	runs := run != nil && run.figures != nil
	if runs {
		if m.run != run {
			plusCounters(&m.former, m.last)
		}
		m.run, m.last = run, run.figures
		plusNow(f, name, run.figures)
	}
	plusCounters(f, m.last)
	plusCounters(f, &m.former)
}

// plusNow adds what a container does now: its network is the sandbox's.
func plusNow(f *figures.Figures, name string, c *figures.Figures) {
	f.CPU.Used += c.CPU.Used
	// A sum with something unlimited in it has no limit.
	f.CPU.Quota, f.CPU.Base = sumOfLimits(f.CPU.Quota, c.CPU.Quota), sumOfLimits(f.CPU.Base, c.CPU.Base)
	f.CPU.Weight += c.CPU.Weight
	f.CPU.Share = max(f.CPU.Share, c.CPU.Share)
	f.Memory.Used += c.Memory.Used
	f.Memory.RSS += c.Memory.RSS
	f.Memory.Cache += c.Memory.Cache
	f.Memory.Swap += c.Memory.Swap
	f.Memory.Limit = sumOfLimits(f.Memory.Limit, c.Memory.Limit)
	f.Pids = figures.Pids{Current: f.Pids.Current + c.Pids.Current, Limit: sumOfLimits(f.Pids.Limit, c.Pids.Limit)}
	services := f.Services[:len(f.Services):len(f.Services)] // appending copies: others share the array
	for _, service := range c.Services {
		service.Name = name + "/" + service.Name
		services = append(services, service)
	}
	f.Services = services
}

// plusCounters adds what was counted; nil adds nothing.
func plusCounters(f, c *figures.Figures) {
	if c == nil {
		return
	}
	f.CPU.Seconds += c.CPU.Seconds
	f.CPU.Periods += c.CPU.Periods
	f.CPU.Throttled += c.CPU.Throttled
	f.CPU.Waited += c.CPU.Waited
	f.Memory.OOMKills += c.Memory.OOMKills
	f.IO.ReadBytes += c.IO.ReadBytes
	f.IO.WriteBytes += c.IO.WriteBytes
	f.IO.Reads += c.IO.Reads
	f.IO.Writes += c.IO.Writes
}

func sumOfLimits[T int64 | float64](a, b T) T {
	if a == 0 || b == 0 {
		return 0
	}
	return a + b
}
