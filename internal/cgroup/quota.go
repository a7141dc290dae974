package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// DefaultPeriod is the kernel's enforcement period.
const DefaultPeriod = 100 * time.Millisecond

// MinQuota is the smallest quota that the kernel accepts.
const MinQuota = time.Millisecond

// Quota is the CPU time that a group may use in each period; Time 0 means no quota.
type Quota struct{ Time, Period time.Duration }

// Cores is the quota as a number of cores; 0: none.
func (q Quota) Cores() float64 {
	if q.Time <= 0 || q.Period <= 0 {
		return 0
	}
	return float64(q.Time) / float64(q.Period)
}

// Quota reads the group's CPU quota.
func (g *Group) Quota() (Quota, error) {
	if g.cpu.dir == "" {
		return Quota{}, fmt.Errorf("read the quota: %w", ErrNotFound)
	}
	s, err := new(Reader).Settings(g, Parts{})
	return s.Quota, err
}

// SetQuota writes the group's CPU quota; Time 0 removes it, Period 0 means DefaultPeriod. A burst that is larger than the
// new quota is made as small as it, as the kernel refuses such a pair.
func (g *Group) SetQuota(q Quota) error {
	if g.cpu.dir == "" {
		return fmt.Errorf("set the quota: %w", ErrNotFound)
	}
	if q.Period == 0 {
		q.Period = DefaultPeriod
	}
	err := g.setQuota(q)
	if !errors.Is(err, syscall.EINVAL) || q.Time <= 0 {
		return err
	}
	if s, serr := new(Reader).Settings(g, Parts{Burst: true}); serr != nil || s.Burst <= q.Time || g.SetBurst(q.Time) != nil {
		return err
	}
	return g.setQuota(q)
}

func (g *Group) setQuota(q Quota) error {
	period := strconv.FormatInt(q.Period.Microseconds(), 10)
	quota := strconv.FormatInt(q.Time.Microseconds(), 10)
	if g.cpu.v2 {
		if q.Time <= 0 {
			quota = "max"
		}
		return wrapSet(writeSmall(filepath.Join(g.cpu.dir, "cpu.max"), quota+" "+period))
	}
	if q.Time <= 0 {
		quota = "-1"
	}
	quotaFile, periodFile := filepath.Join(g.cpu.dir, "cpu.cfs_quota_us"), filepath.Join(g.cpu.dir, "cpu.cfs_period_us")
	have, err := readInt(periodFile)
	if err != nil {
		return wrapSet(err)
	}
	if have != q.Period.Microseconds() {
		// The two files are two writes. Without a quota any period is valid, and the moment between is short; in the other
		// order the kernel refuses pairs that exceed a parent's share.
		if err := writeSmall(quotaFile, "-1"); err != nil {
			return wrapSet(err)
		}
		if err := writeSmall(periodFile, period); err != nil {
			return wrapSet(err)
		}
	}
	return wrapSet(writeSmall(quotaFile, quota))
}

func wrapSet(err error) error {
	if err != nil {
		return fmt.Errorf("set the quota: %w", err)
	}
	return nil
}
