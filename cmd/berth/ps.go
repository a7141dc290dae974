package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
)

func newPsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "ps [APP[.N] | GROUP]...",
		Short:   "List instances: where they are, how they are, and why they wait",
		GroupID: groupLook,
		Long: `List one row for each wanted instance, also those that do not run, with the reason why.

STATE is waiting, created, launched, starting, running, unreachable or stopping; "helper" marks the extra instances of a
rolling update, "surplus" those that are on their way out. CPU is the quota in cores as the kernel has it, THROTTLED the share
of scheduling periods in which it was used up, MEM what is used of what was asked for. WHY also has what else is out of the ordinary:
maintenance and weights, and what quota would do for an instance that was held back by its own in the last hour.`,
		Example: `  berth ps
  berth ps web /prod/db.0
  berth ps /prod
  berth ps -o json | jq -r '.[] | select(.ready) | .address'`,
		ValidArgsFunction: c.completeApps(true, 0),
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			list, err := a.instances()
			if err != nil {
				return err
			}
			rows := list.Instances
			if len(args) > 0 {
				rows = []api.Instance{}
			}
			for _, arg := range args {
				found, err := find(list, arg)
				if below := findGroup(list, arg); err != nil && len(below) > 0 {
					found, err = below, nil
				}
				if err != nil {
					return err
				}
				for _, row := range found {
					if !slices.ContainsFunc(rows, func(r api.Instance) bool { return name(r) == name(row) && r.TaskID == row.TaskID }) {
						rows = append(rows, row)
					}
				}
			}
			return c.printInstances(rows, list)
		}),
	}
}

func (c *cli) printInstances(rows []api.Instance, list *api.InstanceList) error {
	if c.output == "json" {
		return c.printJSON(rows)
	}
	if !list.Connected {
		c.say("The scheduler has no connection to the engine; what follows is the last known state.")
	}
	if len(rows) == 0 {
		c.say("No instances. `berth apply -f app.json` starts some.")
		return nil
	}
	table := make([][]string, 0, len(rows))
	for _, r := range rows {
		table = append(table, []string{
			name(r), stateText(r), healthText(r), r.Address, r.Hostname, r.Host, quotaText(r), throttledText(r), memText(r),
			uptimeText(r, list.Now), whyText(r),
		})
	}
	head := []string{"INSTANCE", "STATE", "HEALTH", "ADDRESS", "HOSTNAME", "HOST", "CPU", "THROTTLED", "MEM", "UPTIME", "WHY"}
	return c.printTable(head, table, "WHY")
}

// whyText is why an instance does not run, and what else is out of the ordinary.
func whyText(r api.Instance) string {
	out := slices.Clone(r.Why)
	if r.Maintenance != "" {
		out = append(out, "in maintenance: "+r.Maintenance)
	}
	if r.Weight > 1 {
		out = append(out, fmt.Sprintf("weight %d", r.Weight))
	}
	if text := r.Advice(); text != "" {
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func stateText(r api.Instance) string {
	switch {
	case r.Temporary:
		return r.State + " (helper)"
	case r.Surplus && r.State != "stopping":
		return r.State + " (surplus)"
	case r.Outdated && r.State == "running":
		return r.State + " (old)"
	}
	return r.State
}

func healthText(r api.Instance) string {
	switch {
	case r.Healthy != nil && *r.Healthy && (r.Ready || r.State != "running"):
		return "ok"
	case r.Healthy != nil && *r.Healthy:
		return "not ready"
	case r.Healthy != nil:
		return "failing"
	case r.Checks > 0 && r.State == "running":
		return "unknown"
	}
	return ""
}

func quotaText(r api.Instance) string {
	quota := r.CPUs
	if r.CPUQuota != nil {
		quota = *r.CPUQuota
	}
	switch {
	case quota > 0:
	case r.CPUQuota == nil:
		return "" // the app is gone, and nothing is measured yet
	default:
		return "none"
	}
	return fmt.Sprintf("%.2f", quota)
}

func throttledText(r api.Instance) string {
	if r.Throttled == nil {
		return ""
	}
	return fmt.Sprintf("%.1f%%", *r.Throttled*100)
}

func memText(r api.Instance) string {
	var parts []string
	if r.MemUsed != nil {
		parts = append(parts, shortBytes(float64(*r.MemUsed)/(1<<20)))
	}
	if r.Mem > 0 {
		parts = append(parts, shortBytes(r.Mem))
	}
	return strings.Join(parts, "/")
}

func uptimeText(r api.Instance, now string) string {
	if r.State == "waiting" {
		return ""
	}
	d, ok := since(r.Since, now)
	if !ok {
		return ""
	}
	return shortDuration(d)
}
