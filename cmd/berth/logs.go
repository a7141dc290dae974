package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
)

func newLogsCommand(c *cli) *cobra.Command {
	var follow bool
	var tail int
	var container string
	var units []string
	cmd := &cobra.Command{
		Use:     "logs APP[.N]",
		Short:   "Show what an instance's first process, or a service in it, wrote",
		GroupID: groupLook,
		Long: "Copy an instance's standard output and error. Without .N the first instance with a task is taken, and of a pod its first container.\n\n" +
			"With --unit it is the log of a service inside the instance, as journalctl -u shows it there. Where the scheduler has no Docker Engine of its\n" +
			"own (berth scheduler --mesos), journalctl does it over SSH: berth ssh APP.N -- journalctl -u NAME.",
		Example: `  berth logs web.0
  berth logs -f --tail 20 web
  berth logs web.0 -u nginx -f
  berth logs web.0 -u nginx -u php8.2-fpm -n 50
  berth logs pod.1 -c side`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeApps(true, 1),
		RunE: c.verb(func(ctx context.Context, a *apiClient, args []string) error {
			rows, err := a.rows(args[0])
			if err != nil {
				return err
			}
			row, err := withTask(rows)
			if err != nil {
				return err
			}
			q := url.Values{"task": {row.TaskID}, "follow": {strconv.FormatBool(follow)}, "unit": units}
			if tail >= 0 {
				q.Set("tail", strconv.Itoa(tail))
			}
			if container != "" {
				q.Set("container", container)
			}
			resp, err := a.do(http.MethodGet, "/berth/v1/logs?"+q.Encode(), http.Header{"Accept": {"*/*"}}, nil)
			if err != nil {
				return doing(err, "read output of %s", name(row))
			}
			defer func() { _ = resp.Body.Close() }()
			if _, err = io.Copy(c.out, resp.Body); err != nil && ctx.Err() == nil {
				return fmt.Errorf("output of %s broke off: %w", name(row), err)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written, until interrupted")
	cmd.Flags().StringVarP(&container, "container", "c", "", "the `name` of a pod's container")
	cmd.Flags().StringArrayVarP(&units, "unit", "u", nil, "the `name` of a service inside the instance; repeatable")
	cmd.Flags().IntVarP(&tail, "tail", "n", -1, "begin with the last `lines` only (-1: all)")
	return cmd
}

func withTask(rows []api.Instance) (api.Instance, error) {
	for _, r := range rows {
		if r.TaskID != "" {
			return r, nil
		}
	}
	return rows[0], fmt.Errorf("instance %s has no task and so no output: it is %s", name(rows[0]), rows[0].State)
}
