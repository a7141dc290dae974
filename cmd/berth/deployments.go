package main

import (
	"context"
	"fmt"
	"strings"

	marathon "github.com/gambol99/go-marathon"
	"github.com/spf13/cobra"
)

func newDeploymentsCommand(c *cli) *cobra.Command {
	var cancel, revert string
	cmd := &cobra.Command{
		Use:     "deployments",
		Short:   "List running deployments, or end one",
		GroupID: groupLook,
		Args:    cobra.NoArgs,
		Example: `  berth deployments
  berth deployments --revert 6a3f0c1e-...   # go back to what was before
  berth deployments --cancel 6a3f0c1e-...   # stop where it stands`,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			switch {
			case cancel != "":
				_, err := a.DeleteDeployment(cancel, true)
				if err == nil {
					c.say("Deployment %s is cancelled; nothing was reverted.", cancel)
				}
				return doing(err, "cancel deployment %s", cancel)
			case revert != "":
				d, err := a.DeleteDeployment(revert, false)
				if err != nil {
					return doing(err, "revert deployment %s", revert)
				}
				c.say("Deployment %s is reverted by deployment %s.", revert, d.DeploymentID)
				return nil
			}
			return c.listDeployments(a)
		}),
	}
	cmd.Flags().StringVar(&cancel, "cancel", "", "stop the deployment with this `id`, revert nothing")
	cmd.Flags().StringVar(&revert, "revert", "", "go back to what was before the deployment with this `id`")
	cmd.MarkFlagsMutuallyExclusive("cancel", "revert")
	return cmd
}

func (c *cli) listDeployments(a *apiClient) error {
	list, err := a.Deployments()
	if err != nil {
		return doing(err, "list deployments")
	}
	if c.output == "json" {
		return c.printJSON(list)
	}
	if len(list) == 0 {
		c.say("No deployment is running.")
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, d := range list {
		rows = append(rows, []string{
			d.ID, d.Version, fmt.Sprintf("%d/%d", d.CurrentStep, d.TotalSteps), strings.Join(d.AffectedApps, ","), actionText(d.CurrentActions),
		})
	}
	return c.printTable([]string{"ID", "VERSION", "STEP", "APPS", "NOW"}, rows)
}

func actionText(actions []*marathon.DeploymentStep) string {
	parts := make([]string, 0, len(actions))
	for _, a := range actions {
		parts = append(parts, a.Action+" "+a.App)
	}
	return strings.Join(parts, ", ")
}
