package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/spec"
)

type removeFlags struct {
	waitFlags
	all, yes bool
}

func newRemoveCommand(c *cli) *cobra.Command {
	f := &removeFlags{}
	cmd := &cobra.Command{
		Use:     "rm APP... | --all",
		Aliases: []string{"remove", "delete"},
		Short:   "Remove apps and end their instances",
		GroupID: groupApps,
		Long: `Remove apps. Their addresses rest before another app can get them; an app that comes back in the meantime finds its
addresses, names and host keys again. Running deployments of the apps are ended.`,
		Example: `  berth rm web
  berth rm /prod/web /prod/db --wait
  berth rm --all --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			if f.all == (len(args) > 0) {
				return errors.New("rm needs either APP... or --all")
			}
			return nil
		},
		ValidArgsFunction: c.completeApps(false, 0),
		RunE:              c.verb(func(ctx context.Context, a *apiClient, args []string) error { return c.remove(ctx, a, f, args) }),
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "remove every app")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask (needed with --all when nobody can be asked)")
	f.register(cmd)
	return cmd
}

func (c *cli) remove(ctx context.Context, a *apiClient, f *removeFlags, args []string) error {
	ids := make([]spec.AppID, 0, len(args))
	for _, arg := range args {
		ids = append(ids, absolute(arg))
	}
	if f.all {
		list, err := a.ListApplications(nil)
		if err != nil {
			return doing(err, "list apps")
		}
		for _, id := range list {
			ids = append(ids, spec.AppID(id))
		}
		if len(ids) == 0 {
			c.say("There are no apps.")
			return nil
		}
		if err := c.confirm(f.yes, ids); err != nil {
			return err
		}
	}
	type started struct {
		app spec.AppID
		id  string
	}
	var deployments []started
	var failed error
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		d, err := a.DeleteApplication(string(id), false)
		if err != nil {
			// Explained at once: the next call's failure would take its place.
			failed = errors.Join(failed, a.explain(doing(err, "remove %s", id)))
			continue
		}
		if err := c.printDeployment(string(id)+" removed", id, d.DeploymentID); err != nil {
			return err
		}
		deployments = append(deployments, started{id, d.DeploymentID})
	}
	for _, d := range deployments {
		if err := c.await(ctx, a, f.waitFlags, d.id, []spec.AppID{d.app}); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// confirm asks before everything is removed.
func (c *cli) confirm(yes bool, ids []spec.AppID) error {
	if yes {
		return nil
	}
	if !c.tty {
		return fmt.Errorf("rm --all would remove %d apps; --yes confirms it", len(ids))
	}
	fmt.Fprintf(c.err, "Remove all %d apps and end their instances? [y/N] ", len(ids))
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing was removed")
	}
	return nil
}
