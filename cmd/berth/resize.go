package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

type resizeFlags struct {
	waitFlags
	api.ResizeRequest
	force, dryRun bool
}

func newResizeCommand(c *cli) *cobra.Command {
	f := &resizeFlags{}
	cmd := &cobra.Command{
		Use:     "resize APP --cpus N",
		Short:   "Change an app's CPU quota while it runs",
		GroupID: groupApps,
		Long: `Give every instance of an app another CPU quota without restarting any. The quota stays through restarts, and is the app's "cpus"
from then on.

An instance holds cores of its host: its cpus when it was started, or more where the label BERTH_CPU_MAX says so. Within them the
quota goes up and down at once; the engine, which gives the rest of the host to others, need not be told. What goes down stays
held, so that it can go up again. To hold more, or to give back what is held, instances must be replaced: --restart allows that,
as an ordinary rolling update; with it just as much is held as the quota is, or what --held says.

The command waits until the hosts say that the kernel has the new quota (--wait=false does not).`,
		Example: `  berth resize web --cpus 1.5                      # in place, within what is held
  berth resize web --cpus 1.5 --restart            # in place if just 1.5 are held already, otherwise a rolling update
  berth resize web --cpus 1 --held 2 --restart     # from now on web can go up to 2 cores in place
  berth resize web --cpus 1.5 --dry-run -o json    # would it be in place?`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeApps(false, 1),
		PreRunE: func(*cobra.Command, []string) error {
			for name, n := range map[string]float64{"cpus": f.CPUs, "held": f.Held} {
				if n < 0 || math.IsNaN(n) || math.IsInf(n, 0) {
					return fmt.Errorf("resize: --%s is no number of cores such as 1.5", name)
				}
			}
			if f.CPUs == 0 && f.Held == 0 {
				return fmt.Errorf("resize needs --cpus N, such as --cpus 1.5")
			}
			return nil
		},
		RunE: c.verb(func(ctx context.Context, a *apiClient, args []string) error {
			return c.resize(ctx, a, f, absolute(args[0]))
		}),
	}
	cmd.Flags().Float64Var(&f.CPUs, "cpus", 0, "the new quota of each instance, in cores")
	cmd.Flags().Float64Var(&f.Held, "held", 0, "how many cores to hold for each instance (the label BERTH_CPU_MAX)")
	cmd.Flags().BoolVar(&f.Restart, "restart", false, "replace the instances where it cannot be done in place")
	cmd.Flags().BoolVar(&f.force, "force", false, "end running deployments of the app")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would happen")
	f.register(cmd)
	return cmd
}

// resized is what became of a resize, for people and as JSON.
type resized struct {
	api.Resized
	Instances []resizedInstance `json:"instances,omitempty"`
}

// resizedInstance is one instance that has its new quota, after that time.
type resizedInstance struct {
	Instance     string  `json:"instance"`
	Host         string  `json:"host"`
	Before       float64 `json:"before"` // cores; 0: not known
	CPUs         float64 `json:"cpus"`
	Milliseconds int64   `json:"milliseconds"`
}

func (c *cli) resize(ctx context.Context, a *apiClient, f *resizeFlags, id spec.AppID) error {
	before, err := a.instances(id)
	if err != nil {
		return err
	}
	body, err := json.Marshal(f.ResizeRequest)
	if err != nil {
		return fmt.Errorf("resize %s: %w", id, err)
	}
	out, began := resized{}, time.Now()
	path := fmt.Sprintf("/berth/v1/resize?app=%s&force=%t&dryRun=%t", url.QueryEscape(string(id)), f.force, f.dryRun)
	if _, err := a.call(http.MethodPost, path, body, &out.Resized); err != nil {
		return doing(err, "resize %s", id)
	}
	switch {
	case f.dryRun:
		return c.printResized(out, "would be ")
	case !out.InPlace:
		if err := c.printResized(out, ""); err != nil {
			return err
		}
		return c.await(ctx, a, f.waitFlags, out.DeploymentID, []spec.AppID{id})
	case !f.set || f.wait:
		out.Instances, err = c.awaitQuota(ctx, a, f.waitFlags, out.Resized, before, began)
	}
	if printed := c.printResized(out, ""); err == nil {
		err = printed
	}
	return err
}

func (c *cli) printResized(r resized, would string) error {
	if c.output == "json" {
		return c.printJSON(r)
	}
	way := "in place, no restart"
	if !r.InPlace {
		way = "by a rolling update"
	}
	deployment := ""
	if r.DeploymentID != "" {
		deployment = fmt.Sprintf(" (deployment %s)", r.DeploymentID)
	}
	fmt.Fprintf(c.out, "%s %sresized from %s to %s cpus %s; %s are held for each instance%s\n", r.App, would, cores(r.Before), cores(r.CPUs), way, cores(r.Held), deployment)
	for _, i := range r.Instances {
		fmt.Fprintf(c.out, "%s: %s -> %s cpus on %s after %d ms\n", i.Instance, cores(i.Before), cores(i.CPUs), i.Host, i.Milliseconds)
	}
	return nil
}

// quotaTimeout is how long hosts that are in touch may take at most.
const quotaTimeout = 30 * time.Second

// quotaPoll is how often the wait for a quota looks: it is over in tens of milliseconds.
const quotaPoll = 20 * time.Millisecond

// awaitQuota waits until the host of every running instance says that the kernel has the quota.
func (c *cli) awaitQuota(ctx context.Context, a *apiClient, f waitFlags, r api.Resized, before *api.InstanceList, began time.Time) ([]resizedInstance, error) {
	timeout := f.timeout
	if timeout == 0 {
		timeout = quotaTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	was := map[string]float64{}
	for _, row := range before.Instances {
		was[row.TaskID] = quotaOf(row)
	}
	tick := time.NewTicker(quotaPoll)
	defer tick.Stop()
	done := map[string]bool{}
	var out []resizedInstance
	for {
		list, err := a.instances(r.App)
		if err != nil {
			return out, waitError(ctx, &statusLine{c: c}, r.DeploymentID, err)
		}
		missing := ""
		for _, row := range list.Instances {
			switch {
			case row.State != "running" || row.Outdated || done[row.TaskID]:
			case row.CPUs == r.CPUs && spec.SameQuota(quotaOf(row), r.CPUs):
				done[row.TaskID] = true
				out = append(out, resizedInstance{name(row), row.Host, was[row.TaskID], quotaOf(row), time.Since(began).Milliseconds()})
			case missing == "":
				missing = fmt.Sprintf("%s on %s has %s", name(row), row.Host, cores(quotaOf(row)))
			}
		}
		if missing == "" {
			return out, nil
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return out, fmt.Errorf("%w after %s: %s cpus so far; its host sets %s as soon as it hears of it", errTimeout, timeout, missing, cores(r.CPUs))
			}
			return out, errInterrupted
		case <-tick.C:
		}
	}
}

// quotaOf is the quota in cores that a host measured, without a start-up allowance; 0: not known.
func quotaOf(row api.Instance) float64 {
	switch {
	case row.CPUBase != nil && *row.CPUBase > 0:
		return *row.CPUBase
	case row.CPUQuota != nil:
		return *row.CPUQuota
	}
	return 0
}

func cores(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
