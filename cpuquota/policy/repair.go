package policy

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Setting is one thing that is set of a container.
type Setting string

// The settings, in the order in which they are repaired: the kernel allows no burst above the quota.
const (
	Quota       Setting = "CPU quota"
	Burst       Setting = "CPU burst"
	Weight      Setting = "CPU weight"
	MemoryLimit Setting = "memory limit"
	PidsLimit   Setting = "pids limit"
)

// Have is what a container's control group has.
type Have struct {
	Quota, Period, Burst time.Duration
	Weight, Memory, Pids int64
	// What the group can have at all.
	CanBurst, CanWeight, CanMemory, CanPids bool
	// WeightRight: its weight is what an engine makes of the wanted one.
	WeightRight bool
}

// Change is one setting that must be written, and why.
type Change struct {
	Setting Setting
	Reason  string
}

// Compare says what must be written so that a container has what it should have.
func Compare(want Assignment, have Have) []Change {
	var all []Change
	add := func(s Setting, format string, args ...any) {
		all = append(all, Change{s, fmt.Sprintf(format, args...)})
	}
	if want.Quota > 0 {
		if reason := quotaFault(want, have.Quota, have.Period); reason != "" {
			add(Quota, "%s", reason)
		}
	}
	if want.Burst > 0 && have.CanBurst && have.Burst != want.Burst && !want.Lenient {
		add(Burst, "it was %v, the app wants %v", have.Burst, want.Burst)
	}
	if want.Weight > 0 && have.CanWeight && !have.WeightRight && !want.Lenient {
		add(Weight, "it was %d, wanted are %d shares", have.Weight, want.Weight)
	}
	if want.Memory > 0 && have.CanMemory && have.Memory != want.Memory {
		add(MemoryLimit, "it was %s, the container was created with %s", mib(have.Memory), mib(want.Memory))
	}
	if want.Pids > 0 && have.CanPids && have.Pids != want.Pids {
		add(PidsLimit, "it was %s, the container was created with %d", count(have.Pids), want.Pids)
	}
	return all
}

// quotaFault says why a container's quota must be written; "" when it is as it should be.
func quotaFault(want Assignment, quota, period time.Duration) string {
	switch {
	case quota == want.Quota && period == want.Period:
		return ""
	case quota <= 0:
		return fmt.Sprintf("it had no quota, %s wants %s", want.Source, cores(want.Quota, want.Period))
	case want.Lenient:
		return ""
	case cores(quota, period) != cores(want.Quota, want.Period):
		return fmt.Sprintf("it had %s, %s wants %s", cores(quota, period), want.Source, cores(want.Quota, want.Period))
	}
	return fmt.Sprintf("its period was %v, it was created with %v", period, want.Period)
}

func cores(quota, period time.Duration) string {
	if period <= 0 {
		return "0 CPUs"
	}
	return strconv.FormatFloat(math.Round(float64(quota)/float64(period)*1e5)/1e5, 'f', -1, 64) + " CPUs"
}

func mib(bytes int64) string {
	if bytes <= 0 {
		return "unlimited"
	}
	return strconv.FormatFloat(math.Round(float64(bytes)/(1<<20)*100)/100, 'f', -1, 64) + " MiB"
}

func count(n int64) string {
	if n <= 0 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}
