// Package policy decides the CPU quota of every running container of a host. In come the host document and the
// containers, out come the wanted quotas; it reads and writes nothing.
package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/berth-project/berth/spec"
)

// The kernel's default period, and the smallest quota that it accepts.
const (
	DefaultPeriod = 100 * time.Millisecond
	MinQuota      = time.Millisecond
)

// Where a wanted quota comes from.
const (
	FromDocument = "host document"
	FromLabel    = "container label"
)

// Container is one running container.
type Container struct {
	ID, Name string
	Labels   map[string]string
	Period   time.Duration // as created; 0: the default
}

// Assignment is the quota that one container should have.
type Assignment struct {
	ID, Name string
	App      string
	Task     string
	Cores    float64
	Quota    time.Duration // CPU time in each period
	Period   time.Duration
	Source   string
}

// Assign gives each container its quota, sorted by container id. The document wins over the label, which cannot change in
// a container's life. Containers without a wanted quota (0, or no label) are left out, and so left alone.
func Assign(document spec.HostDocument, containers []Container) []Assignment {
	byTask := make(map[string]float64, len(document.Seats))
	for _, s := range document.Seats {
		if len(s.Containers) == 0 {
			byTask[s.TaskID] = s.CPUs
		}
		for _, c := range s.Containers { // the seat's CPUs are their sum; its own container is the sandbox, quota by label
			byTask[c.TaskID] = c.CPUs
		}
	}
	var all []Assignment
	for _, c := range containers {
		a := Assignment{
			ID: c.ID, Name: c.Name, App: c.Labels[spec.LabelApp], Task: c.Labels[spec.LabelTask],
			Period: cmp.Or(c.Period, DefaultPeriod), Source: FromDocument,
		}
		var known bool
		if a.Task != "" {
			a.Cores, known = byTask[a.Task]
		}
		if !known {
			a.Cores, a.Source = labelled(c.Labels[spec.LabelCPUs]), FromLabel
		}
		if a.Cores <= 0 || math.IsNaN(a.Cores) || math.IsInf(a.Cores, 0) || a.Cores > maxCores {
			continue
		}
		a.Quota = max(time.Duration(math.Round(a.Cores*float64(a.Period.Microseconds())))*time.Microsecond, MinQuota)
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Assignment) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// maxCores is more than any machine has; larger values are mistakes, and could overflow.
const maxCores = 1 << 16

func labelled(text string) float64 {
	cores, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return cores
}

// Repair says why a container's quota must be written; "" when it is as it should be.
func Repair(want Assignment, quota, period time.Duration) string {
	switch {
	case quota == want.Quota && period == want.Period:
		return ""
	case quota <= 0:
		return fmt.Sprintf("it had no quota, %s wants %s", want.Source, cores(want.Quota, want.Period))
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
