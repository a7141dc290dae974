package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newDeploymentsCommand(c *cli) *cobra.Command {
	var cancel, revert string
	cmd := &cobra.Command{
		Use:     "deployments [APP|ID]",
		Short:   "List running deployments, show how the last ones went, or end one",
		GroupID: groupLook,
		Args:    cobra.MaximumNArgs(1),
		Long: `List running deployments. Of an app or a deployment that is named, also those that are over are shown, each with the instances
that it stopped and when the steps of each stop were reached, in seconds after it was decided:

  OUT      the catalog of Consul had the instance no more
  LEFT     no client was connected any more, or the wait for them had lasted long enough; OPEN are the connections then
  KILL     the engine was told to end it: it sends TERM
  ENDED    it had ended

What changed in place (berth resize) is there, too: from how many cpus to how many, and after how long the hosts had said of all
instances that ran that the kernel has it.

The scheduler remembers the last 50 deployments, with 200 stops each, and the last 50 that only changed something in place, until it
is started again.`,
		Example: `  berth deployments
  berth deployments web                     # those of an app, with their stops and resizes
  berth deployments --revert 6a3f0c1e-...   # go back to what was before
  berth deployments --cancel 6a3f0c1e-...   # stop where it stands`,
		ValidArgsFunction: c.completeApps(false, 1),
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			switch {
			case len(args) == 1 && cancel+revert != "":
				return errors.New("--cancel and --revert take the deployment's id themselves; leave out the argument")
			case len(args) == 1:
				return c.showRecords(a, args[0])
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

// deployment is the part of a deployment that people read. go-marathon's struct has no place for pods.
type deployment struct {
	ID, Version                string
	CurrentStep, TotalSteps    int
	AffectedApps, AffectedPods []string
	CurrentActions             []deploymentAction
	Reason                     string
}

type deploymentAction struct{ Action, App, Pod string }

func (c *cli) listDeployments(a *apiClient) error {
	var answer []json.RawMessage
	if _, err := a.call(http.MethodGet, "/v2/deployments", nil, &answer); err != nil {
		return doing(err, "list deployments")
	}
	if c.output == "json" {
		return c.printJSON(answer)
	}
	if len(answer) == 0 {
		c.say("No deployment is running.")
		return nil
	}
	rows := make([][]string, 0, len(answer))
	for _, raw := range answer {
		var d deployment
		if err := json.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("read deployments: %w", err)
		}
		rows = append(rows, []string{
			d.ID, d.Version, fmt.Sprintf("%d/%d", d.CurrentStep, d.TotalSteps), strings.Join(append(d.AffectedApps, d.AffectedPods...), ","),
			strings.TrimPrefix(d.Reason+": "+actionText(d.CurrentActions), ": "),
		})
	}
	return c.printTable([]string{"ID", "VERSION", "STEP", "APPS", "NOW"}, rows)
}

func actionText(actions []deploymentAction) string {
	parts := make([]string, 0, len(actions))
	for _, a := range actions {
		parts = append(parts, a.Action+" "+a.App+a.Pod)
	}
	return strings.Join(parts, ", ")
}
