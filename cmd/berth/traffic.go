package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

func newMaintenanceCommand(c *cli) *cobra.Command {
	var reason string
	var off bool
	cmd := &cobra.Command{
		Use:     "maintenance APP[.N] --reason TEXT | --off",
		Short:   "Keep requests away from an instance for a while",
		GroupID: groupApps,
		Long: `Put an instance, or all that an app has now, into Consul's maintenance mode: it runs on, and whoever finds it through Consul sends
it nothing more. It stays so through restarts and moves of the instance, until --off, or until the instance is scaled away.`,
		Example: `  berth maintenance web.0 --reason "ticket 1234: looking at a core dump"
  berth maintenance web.0 --off`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeApps(true, 1),
		PreRunE: func(*cobra.Command, []string) error {
			if off == (reason != "") {
				return fmt.Errorf("maintenance needs either --reason TEXT or --off")
			}
			return nil
		},
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			done := "is in maintenance: " + reason
			if off {
				done = "is out of maintenance"
			}
			return c.changeSeats(a, args[0], api.SeatUpdate{Maintenance: &reason}, done)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown in Consul and in berth ps")
	cmd.Flags().BoolVar(&off, "off", false, "end it")
	return cmd
}

func newWeightCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "weight APP[.N] WEIGHT",
		Short:   "Change an instance's share of requests",
		GroupID: groupApps,
		Long: fmt.Sprintf(`Give an instance, or all that an app has now, a weight from 1 to %d in Consul, for clients that weigh: one with weight 1 gets a tenth of
what one with weight 10 gets. It stays through restarts and moves of the instance, until the instance is scaled away. 0 is what the
app's label BERTH_WEIGHT says again, 1 without one.`, spec.MaxServiceWeight),
		Example: `  berth weight web 10      # of all that there are now
  berth weight web.3 1     # the new release gets a little
  berth weight web.3 0     # as the app says`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("weight needs APP[.N] and WEIGHT, got %d arguments", len(args))
			}
			if n, err := strconv.Atoi(args[1]); err != nil || n < 0 || n > spec.MaxServiceWeight {
				return fmt.Errorf("weight: %q is no number from 0 to %d", args[1], spec.MaxServiceWeight)
			}
			return nil
		},
		ValidArgsFunction: c.completeApps(true, 1),
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			return c.changeSeats(a, args[0], api.SeatUpdate{Weight: &n}, "")
		}),
	}
}

// changeSeats changes one instance, or all of an app, and tells of each.
func (c *cli) changeSeats(a *apiClient, arg string, u api.SeatUpdate, done string) error {
	rows, err := a.rows(arg)
	if err != nil {
		return err
	}
	path := "/berth/v1/instances?app=" + url.QueryEscape(string(rows[0].App))
	if rows[0].App != absolute(arg) {
		path += "&seat=" + strconv.Itoa(rows[0].Seat)
	}
	body, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("change %s: %w", arg, err)
	}
	var changed api.InstanceList
	if _, err := a.call(http.MethodPatch, path, body, &changed); err != nil {
		return doing(err, "change %s", arg)
	}
	if c.output == "json" {
		return c.printJSON(changed.Instances)
	}
	for _, row := range changed.Instances {
		text := done
		if text == "" {
			text = fmt.Sprintf("has weight %d", row.Weight)
		}
		fmt.Fprintf(c.out, "%s %s\n", name(row), text)
	}
	return nil
}
