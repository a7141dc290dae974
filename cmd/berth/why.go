package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
)

func newWhyCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "why APP",
		Short:   "Say why an app is not what it should be, with the numbers",
		GroupID: groupLook,
		Args:    cobra.ExactArgs(1),
		Long: `Say why an app is not what it should be: which step of a deployment it waits in, what that step waits for, which hosts
were refused for what, which addresses are left, until when a launch delay runs, and what the last task that failed said.`,
		Example: `  berth why web
  berth why /prod/web -o json`,
		ValidArgsFunction: c.completeApps(false, 1),
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			id := absolute(args[0])
			var w api.Why
			if _, err := a.call("GET", "/berth/v1/why?app="+url.QueryEscape(string(id)), nil, &w); err != nil {
				return doing(err, "explain %s", id)
			}
			if c.output == "json" {
				return c.printJSON(w)
			}
			return c.printWhy(w)
		}),
	}
}

func (c *cli) printWhy(w api.Why) error {
	line := func(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }
	line("%s: %s", w.State, w.Summary)
	if w.Advice != "" {
		line("cpu: %s", w.Advice)
	}
	if len(w.Causes) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(w.Causes))
	for _, cause := range w.Causes {
		text := cause.Text
		if cause.Until != "" {
			text += " (until " + cause.Until + ")"
		}
		rows = append(rows, []string{cause.Kind, cause.Since, text})
	}
	line("")
	if err := c.printTable([]string{"CAUSE", "SINCE", "WHAT"}, rows); err != nil {
		return err
	}
	line("")
	hosts := fmt.Sprintf("Hosts known: %d.", w.Hosts.Known)
	if w.Hosts.Offered > 0 {
		hosts += fmt.Sprintf(" Offers looked at the last time: %d.", w.Hosts.Offered)
	}
	line("%s", hosts)
	for _, r := range w.Hosts.Refused {
		line("  %s: %d refused, such as %s", r.Reason, r.Hosts, r.Example)
	}
	if p := w.Addresses; p != nil {
		line("Pool %s (%s): %d of %d addresses free, %d leased, %d resting, %d held by others, %d kept for docker run.", p.Pool, p.CIDR, p.Free, p.Size, p.Leased, p.Resting, p.Held, p.Kept)
	}
	return nil
}
