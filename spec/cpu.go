package spec

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Startup is a start-up allowance: for a while after its start a container may use a multiple of its quota. What is stamped
// at creation is the plain quota, so that a host whose agent is dead gives no allowance rather than an endless one.
type Startup struct {
	Times float64 // of the quota; more than 1
	For   time.Duration
}

// Bounds of a start-up allowance.
const (
	maxStartupTimes = 64
	maxStartup      = time.Hour
)

// ParseStartup reads "2x30s" (AppLabelStartup).
func ParseStartup(text string) (Startup, error) {
	times, length, ok := strings.Cut(strings.TrimSpace(text), "x")
	n, err1 := strconv.ParseFloat(times, 64)
	d, err2 := time.ParseDuration(length)
	if !ok || errors.Join(err1, err2) != nil {
		return Startup{}, fmt.Errorf("%q is no start-up allowance such as 2x30s", text)
	}
	if !(n > 1 && n <= maxStartupTimes) || d <= 0 || d > maxStartup {
		return Startup{}, fmt.Errorf("%q: a start-up allowance is more than 1 and at most %d times the quota, for at most %v", text, maxStartupTimes, maxStartup)
	}
	return Startup{Times: n, For: d}, nil
}

// maxCores is more than any machine has; larger values are mistakes, and could overflow.
const maxCores = 1 << 16

// ParseCores reads a number of cores such as "1.5" (AppLabelMaxCPUs).
func ParseCores(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n > maxCores {
		return 0, fmt.Errorf("%q is no number of cores such as 1.5", text)
	}
	return n, nil
}

// leastCores is the smallest quota that the kernel takes: 1 ms in a period of 100.
const leastCores = 0.01

// SameQuota says whether a quota in cores, as a host measured it, is the one that is wanted. The kernel has whole microseconds of a period.
func SameQuota(measured, wanted float64) bool {
	wanted = max(wanted, leastCores)
	return math.Abs(measured-wanted) <= 0.01*wanted
}

// ParseBurst reads the CPU time that a container may save up, such as "50ms" (AppLabelBurst).
func ParseBurst(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < time.Millisecond || d > time.Minute {
		return 0, fmt.Errorf("%q is no CPU time such as 50ms (1ms to 1m)", text)
	}
	return d, nil
}

// The kernel's bounds of cpu.shares.
const (
	minWeight = 2
	maxWeight = 262144
)

// ParseWeight reads a weight in cgroup v1's cpu.shares (AppLabelWeight).
func ParseWeight(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < minWeight || n > maxWeight {
		return 0, fmt.Errorf("%q is no CPU weight such as 1024 (%d to %d)", text, minWeight, maxWeight)
	}
	return n, nil
}

// MaxServiceWeight is Consul's bound of an instance's share of requests.
const MaxServiceWeight = 65535

// ParseServiceWeight reads an instance's share of requests (AppLabelServiceWeight).
func ParseServiceWeight(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 1 || n > MaxServiceWeight {
		return 0, fmt.Errorf("%q is no weight such as 10 (1 to %d)", text, MaxServiceWeight)
	}
	return n, nil
}

// ServiceWeight is the share of requests of the app's instance on the seat: the seat's own, or the app's, or 1.
func (a *App) ServiceWeight(seat Seat) int {
	if seat.Weight > 0 {
		return seat.Weight
	}
	if n, err := ParseServiceWeight(a.Labels[AppLabelServiceWeight]); err == nil {
		return n
	}
	return 1
}

// DrainFor is the longest wait for the connections of the app's instances when they stop; byDefault where it names none.
func (a *App) DrainFor(byDefault time.Duration) time.Duration {
	if text, ok := a.Labels[AppLabelDrain]; ok {
		if d, err := ParseDrain(text); err == nil { // others are refused at the door
			return d
		}
	}
	return byDefault
}

// maxDrain is less than the time after which a deployment is called stuck.
const maxDrain = time.Hour

// ParseDrain reads the longest wait for a draining instance's connections, in seconds (AppLabelDrain).
func ParseDrain(text string) (time.Duration, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n >= 0 && n <= maxDrain.Seconds()) {
		return 0, fmt.Errorf("%q is no number of seconds from 0 to %v", text, maxDrain.Seconds())
	}
	return time.Duration(n * float64(time.Second)), nil
}
