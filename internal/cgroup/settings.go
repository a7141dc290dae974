package cgroup

import (
	"fmt"
	"time"
)

// Settings are all that is set of a group, as far as this package knows it. A controller that the group does not have sets
// nothing: its fields are zero.
type Settings struct {
	Quota       Quota
	Burst       time.Duration // CPU time that the group may save up
	Weight      int64         // as version 1's cpu.shares; of a version 2 group the fewest shares that runc turns into its weight
	MemoryLimit int64         // bytes; 0: none
	PidsLimit   int64         // 0: none

	// CanBurst: the kernel has such a thing (Linux 5.14 and newer). The others: the group has the controller.
	CanBurst, CanWeight, CanMemory, CanPids bool

	weight int64 // as the group has it
	v2     bool
}

// HasWeight says whether the group has the weight that an engine makes of so many shares. There are two such conversions on
// version 2, an old and a new one; either is right.
func (s Settings) HasWeight(shares int64) bool {
	if !s.v2 {
		return s.weight == clampShares(shares)
	}
	return s.weight == weightOf(shares) || s.weight == curvedWeightOf(shares)
}

// Parts are what is read beside quota and weight. Whoever compares hundreds of groups each second reads only what it would repair;
// to find that a kernel has no burst costs more than all the rest.
type Parts struct{ Burst, Memory, Pids bool }

// AllParts is everything.
func AllParts() Parts { return Parts{true, true, true} }

// Settings reads what is set of a group; what is not among the parts is zero, as if the group did not have it. A group that is gone
// is ErrNotFound.
func (r *Reader) Settings(g *Group, parts Parts) (Settings, error) {
	s := Settings{v2: g.cpu.v2}
	for _, step := range []struct {
		of   func(*Reader, *Group, *Settings) error
		want bool
	}{{(*Reader).quota, true}, {(*Reader).weight, true}, {(*Reader).burst, parts.Burst}, {(*Reader).memoryLimits, parts.Memory}, {(*Reader).pidsLimits, parts.Pids}} {
		if !step.want {
			continue
		}
		if err := step.of(r, g, &s); err != nil {
			return Settings{}, fmt.Errorf("read the group's settings: %w", err)
		}
	}
	return s, nil
}

func (r *Reader) quota(g *Group, s *Settings) error {
	if g.cpu.v2 {
		b, err := r.setting(g.cpu, "cpu.max")
		if err != nil || b == nil {
			return err
		}
		s.Quota, err = parseMax(b)
		return g.cpu.named("cpu.max", err)
	}
	quota, there, err := r.settingNumber(g.cpu, "cpu.cfs_quota_us")
	if err != nil || !there {
		return err
	}
	period, there, err := r.settingNumber(g.cpu, "cpu.cfs_period_us")
	if err == nil && there {
		s.Quota = Quota{Time: time.Duration(max(quota, 0)) * time.Microsecond, Period: time.Duration(period) * time.Microsecond}
	}
	return err
}

func (r *Reader) burst(g *Group, s *Settings) error {
	name := "cpu.cfs_burst_us"
	if g.cpu.v2 {
		name = "cpu.max.burst"
	}
	n, there, err := r.settingNumber(g.cpu, name)
	s.Burst, s.CanBurst = time.Duration(n)*time.Microsecond, there
	return err
}

func (r *Reader) weight(g *Group, s *Settings) (err error) {
	name := "cpu.shares"
	if g.cpu.v2 {
		name = "cpu.weight"
	}
	if s.weight, s.CanWeight, err = r.settingNumber(g.cpu, name); err != nil || !s.CanWeight {
		return err
	}
	s.Weight = s.weight
	if s.v2 {
		s.Weight = sharesOf(s.weight)
		if s.weight == defaultWeight || s.weight == weightOf(DefaultShares) {
			s.Weight = DefaultShares // of the kernel itself, or of an engine that was told so
		}
	}
	return nil
}

func (r *Reader) memoryLimits(g *Group, s *Settings) (err error) {
	name := "memory.limit_in_bytes"
	if g.memory.v2 {
		name = "memory.max"
	}
	s.MemoryLimit, s.CanMemory, err = r.settingLimit(g.memory, name)
	return err
}

func (r *Reader) pidsLimits(g *Group, s *Settings) (err error) {
	s.PidsLimit, s.CanPids, err = r.settingLimit(g.pids, "pids.max")
	return err
}

func (r *Reader) settingNumber(p place, name string) (n int64, there bool, err error) {
	b, err := r.setting(p, name)
	if err != nil || b == nil {
		return 0, false, err
	}
	n, err = parseInt(b)
	return n, true, p.named(name, err)
}

func (r *Reader) settingLimit(p place, name string) (n int64, there bool, err error) {
	b, err := r.setting(p, name)
	if err != nil || b == nil {
		return 0, false, err
	}
	n, err = parseLimit(b)
	return n, true, p.named(name, err)
}

// setting reads one file; nil when the group has no such file: the controller is not enabled for it, or the kernel does not have
// it; either may come yet.
func (r *Reader) setting(p place, name string) ([]byte, error) {
	if p.dir == "" {
		return nil, nil
	}
	b, err := r.file(p, name)
	if err != nil {
		return nil, optionalIn(p, err)
	}
	return b, nil
}

func (p place) named(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s/%s: %w", p.dir, name, err)
	}
	return nil
}
