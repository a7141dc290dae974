package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
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
		Use:     "rm APP|GROUP... | --all",
		Aliases: []string{"remove", "delete"},
		Short:   "Remove apps, pods or groups and end their instances",
		GroupID: groupApps,
		Long: `Remove apps and pods. Their addresses rest before another app can get them; an app that comes back in the meantime finds its
addresses, names and host keys again. Running deployments of the apps are ended.

A group is removed with everything in it, as one deployment, after a question that --yes answers.`,
		Example: `  berth rm web
  berth rm /prod/web /prod/db --wait
  berth rm /shop --yes
  berth rm --all --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			if f.all == (len(args) > 0) {
				return errors.New("rm needs either APP or GROUP, or --all")
			}
			return nil
		},
		ValidArgsFunction: c.completeApps(false, 0),
		RunE:              c.verb(func(ctx context.Context, a *apiClient, args []string) error { return c.remove(ctx, a, f, args) }),
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "remove every app and pod")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask (needed with --all and for groups when nobody can be asked)")
	f.register(cmd)
	return cmd
}

// removal is one thing to remove: an app, a pod, or a group with all its apps and pods.
type removal struct {
	id    spec.AppID
	pod   bool
	group bool
	apps  []spec.AppID
}

func (c *cli) remove(ctx context.Context, a *apiClient, f *removeFlags, args []string) error {
	known, err := a.ids()
	if err != nil {
		return err
	}
	pods, err := a.podIDs()
	if err != nil {
		return err
	}
	var todo []removal
	if f.all {
		for _, id := range known {
			todo = append(todo, removal{id: spec.AppID(id), pod: slices.Contains(pods, id), apps: []spec.AppID{spec.AppID(id)}})
		}
		if len(todo) == 0 {
			c.say("There are no apps and no pods.")
			return nil
		}
		if err := c.confirm(f.yes, "rm --all", len(todo)); err != nil {
			return err
		}
	}
	for _, arg := range args {
		r, err := findRemoval(a, absolute(arg), known)
		if err != nil {
			return err
		}
		r.pod = slices.Contains(pods, string(r.id))
		if r.group {
			if err := c.confirm(f.yes, "rm "+string(r.id), len(r.apps)); err != nil {
				return err
			}
		}
		todo = append(todo, r)
	}
	slices.SortFunc(todo, func(a, b removal) int { return strings.Compare(string(a.id), string(b.id)) })
	todo = slices.CompactFunc(todo, func(a, b removal) bool { return a.id == b.id })
	started := map[spec.AppID]string{}
	var failed error
	for _, r := range todo {
		id, err := a.remove(r)
		if err != nil {
			// Explained at once: the next call's failure would take its place.
			failed = errors.Join(failed, a.explain(doing(err, "remove %s", r.id)))
			continue
		}
		if err := c.printDeployment(string(r.id)+" removed", r.id, id); err != nil {
			return err
		}
		started[r.id] = id
	}
	for _, r := range todo {
		if id := started[r.id]; id != "" {
			if err := c.await(ctx, a, f.waitFlags, id, r.apps); err != nil {
				return errors.Join(failed, err)
			}
		}
	}
	return failed
}

// findRemoval says what an id means. Ids that are neither app, pod nor group stay apps: the API's answer is the clearest.
func findRemoval(a *apiClient, id spec.AppID, known []string) (removal, error) {
	r := removal{id: id, apps: []spec.AppID{id}}
	if id == "/" || slices.Contains(known, string(id)) {
		return r, nil
	}
	there, err := a.hasGroup(id)
	if err != nil || !there {
		return r, err
	}
	r.group, r.apps = true, nil
	for _, app := range known {
		if spec.AppID(app).In(id) {
			r.apps = append(r.apps, spec.AppID(app))
		}
	}
	return r, nil
}

// remove starts the removal and returns its deployment.
func (a *apiClient) remove(r removal) (string, error) {
	if r.pod {
		return a.deletePod(r.id)
	}
	if !r.group {
		d, err := a.DeleteApplication(string(r.id), false)
		if err != nil {
			return "", err
		}
		return d.DeploymentID, nil
	}
	var result struct{ DeploymentID string }
	_, err := a.call(http.MethodDelete, groupPath(r.id)+"?force=true", nil, &result)
	return result.DeploymentID, err
}

// confirm asks before many apps and pods are removed at once.
func (c *cli) confirm(yes bool, what string, apps int) error {
	if yes {
		return nil
	}
	if !c.tty {
		return fmt.Errorf("%s would remove %d apps and pods; --yes confirms it", what, apps)
	}
	fmt.Fprintf(c.err, "%s: remove %d apps and pods and end their instances? [y/N] ", what, apps)
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing was removed")
	}
	return nil
}
