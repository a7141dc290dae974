package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

type prepullFlags struct {
	hosts   []string
	refresh bool
	timeout time.Duration
}

func newImageCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Have hosts pull images ahead of a rollout", GroupID: groupImages,
		Example: `  berth image prepull registry.example.com/web:2`,
	}
	var f prepullFlags
	pull := &cobra.Command{
		Use: "prepull IMAGE|APP", Short: "Have hosts pull an image, or those of an app, and wait until they have", Args: cobra.ExactArgs(1),
		Long: `Have the hosts pull an image, so that a rollout of it does not wait for a registry. Of an app or a pod it is the images of its
definition as it is now. The hosts' agents do it, with the credentials that the Docker configuration of their user has (/root/.docker/config.json,
or DOCKER_CONFIG); on a host that has an image of that name nothing is pulled, unless --refresh is given.

The command waits, shows a line a host, and ends with 1 when a host failed. Interrupting it does not end the pulls; asking again
shows how far they are. An hour after it was asked for, a pull that is not done is given up.`,
		Example: `  berth image prepull registry.example.com/web:2
  berth image prepull registry.example.com/web:2 --hosts host-1,host-2
  berth image prepull /shop/web --timeout 10m
  berth image prepull registry.example.com/web:latest --refresh`,
		ValidArgsFunction: c.completeApps(false, 1),
		RunE:              c.verb(func(ctx context.Context, a *apiClient, args []string) error { return c.prepull(ctx, a, args[0], f) }),
	}
	pull.Flags().StringSliceVar(&f.hosts, "hosts", nil, "the `names` of the hosts, separated by commas (default: all)")
	pull.Flags().BoolVar(&f.refresh, "refresh", false, "pull also where an image of that name is")
	pull.Flags().DurationVar(&f.timeout, "timeout", 0, "give the wait up after this time, exit code 4 (0: never)")
	_ = pull.RegisterFlagCompletionFunc("hosts", c.completeHosts)
	cmd.AddCommand(pull)
	return cmd
}

func (c *cli) prepull(ctx context.Context, a *apiClient, arg string, f prepullFlags) error {
	images, err := a.imagesOf(arg)
	if err != nil {
		return err
	}
	waiting, cancel := ctx, func() {}
	if f.timeout > 0 {
		waiting, cancel = context.WithTimeout(ctx, f.timeout)
	}
	defer cancel()
	pulls := make([]api.PullAnswer, len(images))
	for i, image := range images {
		body, err := json.Marshal(api.PullRequest{Image: image, Hosts: f.hosts, Refresh: f.refresh})
		if err != nil {
			return err
		}
		if _, err := a.call(http.MethodPost, "/berth/v1/images/pulls", body, &pulls[i]); err != nil {
			return doing(err, "pull %s", image)
		}
	}
	waitErr := c.awaitPulls(waiting, a, pulls)
	if err := c.showPulls(pulls); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w; the hosts go on (the same command shows how far they are)", errInterrupted)
	case waiting.Err() != nil:
		return fmt.Errorf("%w after %s; the hosts go on (the same command shows how far they are)", errTimeout, f.timeout)
	case waitErr != nil:
		return waitErr
	}
	return pullFailures(pulls)
}

// imagesOf are those of an app's definition; what is no app's id is the name of an image.
func (a *apiClient) imagesOf(arg string) ([]string, error) {
	if strings.ContainsAny(arg, ":@") { // no app has such an id
		return []string{arg}, nil
	}
	var app struct {
		App struct {
			Container *struct{ Docker *struct{ Image string } }
		}
	}
	var refused *apiError
	_, err := a.call(http.MethodGet, "/v2/apps"+string(absolute(arg)), nil, &app)
	if err == nil {
		if k := app.App.Container; k != nil && k.Docker != nil && k.Docker.Image != "" {
			return []string{k.Docker.Image}, nil
		}
		return nil, fmt.Errorf("app %s names no image: it runs in Berth's base image, which is made on the hosts", absolute(arg))
	}
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return nil, doing(err, "look for app %s", absolute(arg))
	}
	var pod struct {
		Containers []struct{ Image *struct{ ID string } }
	}
	_, err = a.call(http.MethodGet, "/v2/pods"+string(absolute(arg)), nil, &pod)
	if err == nil {
		var images []string
		for _, k := range pod.Containers {
			if k.Image != nil && k.Image.ID != "" {
				images = append(images, k.Image.ID)
			}
		}
		slices.Sort(images)
		if images = slices.Compact(images); len(images) == 0 {
			return nil, fmt.Errorf("pod %s names no image: it runs in Berth's base image, which is made on the hosts", absolute(arg))
		}
		return images, nil
	}
	if strings.HasPrefix(arg, "/") {
		return nil, fmt.Errorf("there is neither an app nor a pod %s", arg)
	}
	return []string{arg}, nil
}

// awaitPulls asks until every host is done, and says what changed.
func (c *cli) awaitPulls(ctx context.Context, a *apiClient, pulls []api.PullAnswer) error {
	said := map[string]string{}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		under := 0
		for i := range pulls {
			for _, h := range pulls[i].Hosts {
				text := strings.TrimSpace(h.State + " " + h.Note)
				if key := pulls[i].Image + "\n" + h.Host; said[key] != text && c.output != "json" {
					said[key] = text
					c.say("%s  %s  %s", h.Host, pulls[i].Image, text)
				}
				if h.State != string(spec.PullDone) && h.State != string(spec.PullFailed) {
					under++
				}
			}
		}
		if under == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for i := range pulls {
			var now api.PullAnswer
			if _, err := a.call(http.MethodGet, fmt.Sprintf("/berth/v1/images/pulls/%d", pulls[i].Number), nil, &now); err != nil {
				return doing(err, "see how far %s is", pulls[i].Image)
			}
			pulls[i] = now
		}
	}
}

func (c *cli) showPulls(pulls []api.PullAnswer) error {
	if c.output == "json" {
		return c.printJSON(pulls)
	}
	var rows [][]string
	for _, p := range pulls {
		for _, h := range p.Hosts {
			rows = append(rows, []string{h.Host, p.Image, h.State, h.Note})
		}
	}
	return c.printTable([]string{"HOST", "IMAGE", "STATE", "WHY"}, rows, "WHY")
}

// pullFailures names the hosts that do not have what they should.
func pullFailures(pulls []api.PullAnswer) error {
	var failed []string
	for _, p := range pulls {
		for _, h := range p.Hosts {
			if h.State == string(spec.PullFailed) {
				failed = append(failed, h.Host)
			}
		}
	}
	if len(failed) == 0 {
		return nil
	}
	slices.Sort(failed)
	return fmt.Errorf("not all hosts have it: %s", strings.Join(slices.Compact(failed), ", "))
}
