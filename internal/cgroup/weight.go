package cgroup

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"
)

// SetBurst writes how much CPU time the group may save up. The kernel refuses more than the group's quota.
func (g *Group) SetBurst(d time.Duration) error {
	file := g.burstFile()
	if file == "" {
		return fmt.Errorf("set the burst: %w", ErrNotFound)
	}
	if err := writeSmall(file, strconv.FormatInt(d.Microseconds(), 10)); err != nil {
		return fmt.Errorf("set the burst: %w", err)
	}
	return nil
}

func (g *Group) burstFile() string {
	switch {
	case g.cpu.dir == "":
		return ""
	case g.cpu.v2:
		return filepath.Join(g.cpu.dir, "cpu.max.burst")
	}
	return filepath.Join(g.cpu.dir, "cpu.cfs_burst_us")
}

// DefaultShares is the weight that the kernel gives a group, in version 1's cpu.shares; version 2 calls it defaultWeight.
const (
	DefaultShares = 1024
	defaultWeight = 100
)

// The bounds of version 1's cpu.shares and of version 2's cpu.weight.
const (
	minShares, maxShares = 2, 262144
	minWeight, maxWeight = 1, 10000
)

// SetWeight writes what the group gets of a core that is fought over, in version 1's cpu.shares.
func (g *Group) SetWeight(shares int64) error {
	if g.cpu.dir == "" {
		return fmt.Errorf("set the weight: %w", ErrNotFound)
	}
	file, n := "cpu.shares", clampShares(shares)
	if g.cpu.v2 {
		file, n = "cpu.weight", weightOf(shares)
	}
	if err := writeSmall(filepath.Join(g.cpu.dir, file), strconv.FormatInt(n, 10)); err != nil {
		return fmt.Errorf("set the weight: %w", err)
	}
	return nil
}

func clampShares(shares int64) int64 { return min(max(shares, minShares), maxShares) }

// weightOf turns shares into a version 2 weight as runc does: [2, 262144] onto [1, 10000] in a straight line.
func weightOf(shares int64) int64 {
	return minWeight + (clampShares(shares)-minShares)*(maxWeight-minWeight)/(maxShares-minShares)
}

// sharesOf are the fewest shares with that weight.
func sharesOf(weight int64) int64 {
	weight = min(max(weight, minWeight), maxWeight)
	return minShares + ((weight-minWeight)*(maxShares-minShares)+maxWeight-minWeight-1)/(maxWeight-minWeight)
}

// curvedWeightOf does it as engines of 2025 and later (opencontainers/cgroups 0.0.3): along a curve on which version 1's
// default becomes version 2's, 1024 and 100.
func curvedWeightOf(shares int64) int64 {
	switch shares = clampShares(shares); shares {
	case minShares:
		return minWeight
	case maxShares:
		return maxWeight
	}
	l := math.Log2(float64(shares))
	return int64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
