package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/spec"
)

func newScaleCommand(c *cli) *cobra.Command {
	f := &waitFlags{}
	var force bool
	cmd := &cobra.Command{
		Use:     "scale APP N",
		Short:   "Change how many instances an app or pod has",
		GroupID: groupApps,
		Long: `Set an app's or a pod's number of instances. Scaling down ends the instances with the highest numbers; their addresses, names and
host keys are kept for when they come back.`,
		Example: `  berth scale web 5
  berth scale /prod/web 0 --wait`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("scale needs APP and N, got %d arguments", len(args))
			}
			if n, err := strconv.Atoi(args[1]); err != nil || n < 0 {
				return fmt.Errorf("scale: %q is no number of instances", args[1])
			}
			return nil
		},
		ValidArgsFunction: c.completeApps(false, 1),
		RunE: c.verb(func(ctx context.Context, a *apiClient, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			id := absolute(args[0])
			deployment, err := scale(a, id, n, force)
			if err != nil {
				return doing(err, "scale %s", id)
			}
			if err := c.printDeployment(fmt.Sprintf("%s scaled to %d", id, n), id, deployment); err != nil {
				return err
			}
			return c.await(ctx, a, *f, deployment, []spec.AppID{id})
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "end running deployments of the app")
	f.register(cmd)
	return cmd
}

func scale(a *apiClient, id spec.AppID, n int, force bool) (deployment string, err error) {
	if pod, err := a.isPod(id); err != nil {
		return "", err
	} else if pod {
		return a.scalePod(id, n, force)
	}
	// Marathon's way to scale would try to create an app that does not exist, and complain about its missing command.
	if _, err := a.Application(string(id)); err != nil {
		return "", err
	}
	d, err := a.ScaleApplicationInstances(string(id), n, force)
	if err != nil {
		return "", err
	}
	return d.DeploymentID, nil
}

// printDeployment is the result of verbs that start one deployment of one app.
func (c *cli) printDeployment(text string, app spec.AppID, deployment string) error {
	if c.output == "json" {
		return c.printJSON(map[string]string{"app": string(app), "deploymentId": deployment})
	}
	_, err := fmt.Fprintf(c.out, "%s (deployment %s)\n", text, deployment)
	return err
}
