package api

import (
	"slices"
	"time"

	"github.com/berth-project/berth/spec"
)

// taskCounts are the counters beside an app. A task without health results is neither healthy nor unhealthy.
type taskCounts struct {
	Staged    int `json:"tasksStaged"`
	Running   int `json:"tasksRunning"`
	Healthy   int `json:"tasksHealthy"`
	Unhealthy int `json:"tasksUnhealthy"`
}

func countTasks(tasks []*spec.Task) taskCounts {
	var c taskCounts
	for _, t := range tasks {
		switch t.VisibleState() {
		case "TASK_STAGING":
			c.Staged++
		case "TASK_RUNNING":
			c.Running++
		}
		if alive := taskAlive(t); alive != nil && *alive {
			c.Healthy++
		} else if alive != nil {
			c.Unhealthy++
		}
	}
	return c
}

// taskAlive says whether all known health results are good; nil when there is none.
func taskAlive(t *spec.Task) *bool {
	var alive *bool
	for _, h := range t.Health {
		if !h.Known {
			continue
		}
		if alive == nil {
			alive = new(bool)
			*alive = true
		}
		*alive = *alive && h.Alive
	}
	return alive
}

type taskStats struct {
	StartedAfterLastScaling *statsJSON `json:"startedAfterLastScaling,omitempty"`
	WithLatestConfig        *statsJSON `json:"withLatestConfig,omitempty"`
	WithOutdatedConfig      *statsJSON `json:"withOutdatedConfig,omitempty"`
	TotalSummary            *statsJSON `json:"totalSummary,omitempty"`
}

type statsJSON struct {
	Stats struct {
		Counts struct {
			Staged    int `json:"staged"`
			Running   int `json:"running"`
			Healthy   int `json:"healthy"`
			Unhealthy int `json:"unhealthy"`
		} `json:"counts"`
		LifeTime *lifeTime `json:"lifeTime,omitempty"`
	} `json:"stats"`
}

type lifeTime struct {
	Average float64 `json:"averageSeconds"`
	Median  float64 `json:"medianSeconds"`
}

func newTaskStats(app *spec.App, tasks []*spec.Task, now time.Time) *taskStats {
	pick := func(want func(*spec.Task) bool) *statsJSON {
		var picked []*spec.Task
		for _, t := range tasks {
			if want(t) {
				picked = append(picked, t)
			}
		}
		return newStats(picked, now)
	}
	outdated := func(t *spec.Task) bool { return t.ConfigVersion.Before(app.LastConfigChange) }
	return &taskStats{
		StartedAfterLastScaling: pick(func(t *spec.Task) bool { return !t.AppVersion.Before(app.LastScaling) }),
		WithLatestConfig:        pick(func(t *spec.Task) bool { return !outdated(t) }),
		WithOutdatedConfig:      pick(outdated),
		TotalSummary:            pick(func(*spec.Task) bool { return true }),
	}
}

func newStats(tasks []*spec.Task, now time.Time) *statsJSON {
	if len(tasks) == 0 {
		return nil
	}
	out := new(statsJSON)
	c := countTasks(tasks)
	out.Stats.Counts.Staged, out.Stats.Counts.Running = c.Staged, c.Running
	out.Stats.Counts.Healthy, out.Stats.Counts.Unhealthy = c.Healthy, c.Unhealthy
	var ages []float64
	sum := 0.0
	for _, t := range tasks {
		if !t.StartedAt.IsZero() {
			age := now.Sub(t.StartedAt).Seconds()
			ages, sum = append(ages, age), sum+age
		}
	}
	if n := len(ages); n > 0 {
		slices.Sort(ages)
		out.Stats.LifeTime = &lifeTime{Average: sum / float64(n), Median: (ages[(n-1)/2] + ages[n/2]) / 2}
	}
	return out
}
