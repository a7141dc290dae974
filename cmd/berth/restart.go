package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/spec"
)

func newRestartCommand(c *cli) *cobra.Command {
	f := &waitFlags{}
	var force bool
	cmd := &cobra.Command{
		Use:     "restart APP",
		Short:   "Replace all instances of an app by fresh ones",
		GroupID: groupApps,
		Long: `Start a rolling update to the same definition, within the app's upgradeStrategy. Every instance keeps its address, name
and host keys.`,
		Example:           "  berth restart web --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeApps(false, 1),
		RunE: c.verb(func(ctx context.Context, a *apiClient, args []string) error {
			id := absolute(args[0])
			if pod, err := a.isPod(id); err != nil {
				return err
			} else if pod {
				return fmt.Errorf("%s is a pod, which Marathon's API cannot restart; apply it with a changed label instead", id)
			}
			d, err := a.RestartApplication(string(id)[1:], force)
			if err != nil {
				return doing(err, "restart %s", id)
			}
			if err := c.printDeployment(string(id)+" restarts", id, d.DeploymentID); err != nil {
				return err
			}
			return c.await(ctx, a, *f, d.DeploymentID, []spec.AppID{id})
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "end running deployments of the app")
	f.register(cmd)
	return cmd
}
