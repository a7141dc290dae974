package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newQueueCommand(c *cli) *cobra.Command {
	var reset string
	cmd := &cobra.Command{
		Use:     "queue",
		Short:   "List apps and pods that wait for launches, and why",
		GroupID: groupLook,
		Args:    cobra.NoArgs,
		Example: `  berth queue
  berth queue --reset web   # try again now, whatever the delay after failures`,
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			if reset != "" {
				id := absolute(reset)
				if err := a.DeleteQueueDelay(string(id)[1:]); err != nil {
					return doing(err, "reset launch delay of %s", id)
				}
				c.say("The launch delay of %s is over.", id)
				return nil
			}
			return c.listQueue(a)
		}),
	}
	cmd.Flags().StringVar(&reset, "reset", "", "end the launch delay of this `app`")
	_ = cmd.RegisterFlagCompletionFunc("reset", c.completeApps(false, 0))
	return cmd
}

// queueItem is the part of a queue entry that people read. go-marathon's struct has no place for Berth's reasons.
type queueItem struct {
	App   struct{ ID string }
	Pod   struct{ ID string } // instead of App
	Count int
	Since string
	Delay struct {
		TimeLeftSeconds int
		Overdue         bool
	}
	ProcessedOffersSummary struct{ Why []string }
}

func (c *cli) listQueue(a *apiClient) error {
	var answer struct{ Queue []json.RawMessage }
	if _, err := a.call("GET", "/v2/queue", nil, &answer); err != nil {
		return doing(err, "list queue")
	}
	if c.output == "json" {
		return c.printJSON(answer.Queue)
	}
	if len(answer.Queue) == 0 {
		c.say("Nothing waits.")
		return nil
	}
	rows := make([][]string, 0, len(answer.Queue))
	for _, raw := range answer.Queue {
		var q queueItem
		if err := json.Unmarshal(raw, &q); err != nil {
			return fmt.Errorf("read queue: %w", err)
		}
		delay := "none"
		if !q.Delay.Overdue {
			delay = fmt.Sprintf("%ds", q.Delay.TimeLeftSeconds)
		}
		rows = append(rows, []string{q.App.ID + q.Pod.ID, fmt.Sprint(q.Count), q.Since, delay, strings.Join(q.ProcessedOffersSummary.Why, "; ")})
	}
	return c.printTable([]string{"APP", "MISSING", "SINCE", "DELAY", "WHY"}, rows)
}
