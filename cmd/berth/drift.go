package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/images/instance"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

type driftFlags struct {
	all, json, here    bool
	container          string
	tag, message, host string
	with               []string
}

const driftLong = `Show what was done to an instance by hand since it was started from its image: packages that were installed, removed or
upgraded (dpkg and rpm), services that were enabled, accounts, configuration of packages that was edited, and files that no
package explains. What comes and goes on any running machine (/run, /tmp, logs, caches, pid files, what is mounted) is only
counted; --all shows it, and what the packages brought. Without .N all instances of the app are shown.

With --commit an image is made of the instance, so that what was done by hand becomes the app's next version: the instance's
image, and one layer with what differs. The recipe is in its labels and in ` + drift.RecipePath + `. What is mounted, host
keys, private keys, authorized_keys, credentials, passwords, histories, logs, caches and package lists are not in it, nor is the container's
environment; what was left out of this is named. A file that looks like a secret and must be in the image is
named with --with. The instance stands still for a moment. A tag that exists is never overwritten.

With --here the instance is looked for on this host's Docker Engine, without the scheduler: for hosts of a Mesos cluster.`

const driftExample = `  berth drift web.0
  berth drift web --all
  berth drift web.0 -o json
  berth drift web.0 --commit registry.example.com/web:2 --message "nginx for the new front page"
  berth drift web.0 --commit web:2 --with /etc/ssl/private/test.key
  berth drift web.0 --here          # on the host where it runs`

func newDriftCommand(c *cli) *cobra.Command {
	f := &driftFlags{}
	cmd := &cobra.Command{
		Use: "drift APP[.N]", Short: "Show what was done to an instance by hand, or make an image of it", GroupID: groupLook,
		Long: driftLong, Example: driftExample, Args: cobra.ExactArgs(1), ValidArgsFunction: c.completeApps(true, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.json {
				c.output = "json"
			}
			if f.tag == "" && (f.message != "" || len(f.with) > 0) {
				return errors.New("--message and --with go with --commit")
			}
			if f.host != "" && !f.here {
				return errors.New("--docker-host goes with --here")
			}
			if f.here {
				if err := c.driftHere(cmd.Context(), args[0], f); err != nil {
					return &failure{err}
				}
				return nil
			}
			return c.verb(func(_ context.Context, a *apiClient, args []string) error { return c.drift(a, args[0], f) })(cmd, args)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "show every path, also what packages explain and what comes and goes")
	fl.BoolVar(&f.json, "json", false, "the same as --output json")
	fl.BoolVar(&f.here, "here", false, "look on this host's Docker Engine, without the scheduler")
	fl.StringVar(&f.host, "docker-host", "", "with --here: the Docker Engine's `address` (default: DOCKER_HOST, or its usual socket)")
	fl.StringVarP(&f.container, "container", "c", "", "the `name` of a pod's container")
	fl.StringVar(&f.tag, "commit", "", "make an image of the instance under this `tag`")
	fl.StringVarP(&f.message, "message", "m", "", "with --commit: what the image is for")
	fl.StringArrayVar(&f.with, "with", nil, "with --commit: a `path` that is in the image although it looks like a secret; repeatable")
	return cmd
}

// drifted is the drift of one instance.
type drifted struct {
	Instance string `json:"instance"`
	instance.Look
}

func (c *cli) drift(a *apiClient, arg string, f *driftFlags) error {
	rows, err := a.rows(arg)
	if err != nil {
		return err
	}
	if _, err := withTask(rows); err != nil {
		return err
	}
	a.wire.next.ResponseHeaderTimeout = 0 // as long as it takes to check the packages, and to read the layer
	rows = slices.DeleteFunc(rows, func(i api.Instance) bool { return i.TaskID == "" })
	if f.tag != "" {
		return c.commit(a, rows, f)
	}
	var out []drifted
	for _, row := range rows {
		d := drifted{Instance: name(row)}
		if _, err := a.call(http.MethodGet, "/berth/v1/drift?"+driftQuery(row, f).Encode(), nil, &d.Look); err != nil {
			return doing(err, "look at %s", name(row))
		}
		out = append(out, d)
	}
	return c.showDrift(out, f.all)
}

func driftQuery(row api.Instance, f *driftFlags) url.Values {
	q := url.Values{"task": {row.TaskID}}
	if f.container != "" {
		q.Set("container", f.container)
	}
	return q
}

func (c *cli) driftHere(ctx context.Context, arg string, f *driftFlags) error {
	client, err := docker.New(f.host)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctr, seat, err := localInstance(ctx, client, arg, f.container)
	if err != nil {
		return err
	}
	if f.tag == "" {
		look, err := instance.Compare(ctx, client, ctr.ID)
		if err != nil {
			return fmt.Errorf("look at %s: %w", seat, err)
		}
		return c.showDrift([]drifted{{seat.String(), *look}}, f.all)
	}
	made, err := commit(ctx, client, ctr.ID, api.CommitRequest{Tag: f.tag, Message: f.message, By: whoami(), With: f.with, Seat: seat})
	if err != nil {
		return fmt.Errorf("make an image of %s: %w", seat, err)
	}
	return c.showCommitted(made, seat.App, nil)
}

// whoami is the person at the keyboard.
func whoami() string {
	login := os.Getenv("SUDO_USER")
	if u, err := user.Current(); login == "" && err == nil {
		login = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		login += "@" + host
	}
	return login
}

func (c *cli) showDrift(list []drifted, all bool) error {
	if c.output == "json" {
		if !all {
			for i := range list {
				list[i].Other = nil
			}
		}
		return c.printJSON(list)
	}
	for i, d := range list {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		if err := c.showOne(d, all); err != nil {
			return err
		}
	}
	return nil
}

// few is how many new files in a new folder are shown one by one.
const few = 10

func (c *cli) showOne(d drifted, all bool) error {
	if d.Clean() {
		fmt.Fprintf(c.out, "%s is as its image %s (%s).\n", d.Instance, d.Image, shortID(d.ImageID))
	} else {
		fmt.Fprintf(c.out, "%s differs from its image %s (%s):\n", d.Instance, d.Image, shortID(d.ImageID))
	}
	var packages, others, files [][]string
	for _, p := range d.Packages {
		auto := ""
		if p.Auto && p.Kind == drift.Installed {
			auto = "needed by another"
		}
		packages = append(packages, []string{p.Name, p.Format, p.Words(), auto})
	}
	for _, s := range d.Services {
		others = append(others, []string{"service " + s.Name, string(s.Kind)})
	}
	for _, a := range d.Accounts {
		others = append(others, []string{a.What + " " + a.Name, string(a.Kind)})
	}
	shown, most := d.Files, few
	if all {
		shown, most = append(slices.Clone(d.Files), d.Other...), 1<<30
		slices.SortFunc(shown, func(a, b drift.File) int { return strings.Compare(a.Path, b.Path) })
	}
	for _, row := range drift.Rows(shown, most) {
		files = append(files, fileRow(row))
	}
	for _, part := range []struct {
		head []string
		rows [][]string
	}{{[]string{"PACKAGE", "FORMAT", "CHANGE", "WHY"}, packages}, {[]string{"WHAT", "CHANGE"}, others}, {[]string{"FILE", "CHANGE", "WHAT"}, files}} {
		if len(part.rows) == 0 {
			continue
		}
		fmt.Fprintln(c.out)
		if err := c.printTable(part.head, part.rows, "WHY"); err != nil {
			return err
		}
	}
	for _, u := range d.Unsure {
		c.say("Not known: %s.", u)
	}
	if noise, explained := d.Count(); !all && noise+explained > 0 {
		c.say("Not shown: %d paths that packages, services and accounts explain, %d that come and go (--all shows them).", explained, noise)
	}
	return nil
}

func fileRow(row drift.Row) []string {
	what := map[drift.Class]string{
		drift.Conffile: "configuration of %s", drift.Altered: "not as %s has it", drift.OfPackage: "of %s", drift.Data: "data of a package's program",
		drift.Service: "says which services start", drift.Account: "says which accounts there are", drift.Noise: row.Why, drift.ByHand: "by hand",
	}[row.Class]
	if strings.Contains(what, "%s") {
		what = fmt.Sprintf(what, row.Of())
	}
	at := row.Path
	if row.Files > 0 {
		at += "/"
		what = fmt.Sprintf("%s, %d files and folders", what, row.Files)
	}
	return []string{at, string(row.Kind), what}
}

// shortID is an image's digest or id, short enough for people.
func shortID(id string) string {
	if _, digest, ok := strings.Cut(id, "@"); ok {
		id = digest
	}
	kind, hex, _ := strings.Cut(id, ":")
	return kind + ":" + hex[:min(len(hex), 12)]
}

func (c *cli) commit(a *apiClient, rows []api.Instance, f *driftFlags) error {
	if len(rows) > 1 {
		return fmt.Errorf("make an image of %s: it has %d instances; name the one that is meant, such as %s", rows[0].App, len(rows), name(rows[0]))
	}
	body, err := json.Marshal(api.CommitRequest{Tag: f.tag, Message: f.message, By: whoami(), With: f.with})
	if err != nil {
		return err
	}
	c.say("Making an image of %s; it stands still for a moment.", name(rows[0]))
	made := new(instance.Committed)
	if _, err := a.call(http.MethodPost, "/berth/v1/drift?"+driftQuery(rows[0], f).Encode(), body, made); err != nil {
		return doing(err, "make an image of %s", name(rows[0]))
	}
	var known struct {
		App json.RawMessage `json:"app"`
	}
	// Without the definition, as of a pod, the change is not shown; the image is there.
	_, err = a.call(http.MethodGet, "/v2/apps"+string(rows[0].App), nil, &known)
	if err != nil {
		known.App = nil
	}
	return c.showCommitted(made, rows[0].App, known.App)
}

// showCommitted prints the recipe, and how the image becomes the app's next version.
func (c *cli) showCommitted(made *instance.Committed, app spec.AppID, definition json.RawMessage) error {
	change := rollOut(app, definition, made.Tag)
	if c.output == "json" {
		made.Other = nil
		return c.printJSON(struct {
			*instance.Committed
			RollOut json.RawMessage `json:"rollOut,omitempty"`
		}{made, change})
	}
	fmt.Fprintf(c.out, "%s", made.Recipe)
	c.say("\nImage %s (%s) is on the host of the instance. Other hosts get it from a registry: docker push %s, then berth image prepull %s.",
		made.Tag, shortID(made.ID), made.Tag, made.Tag)
	if change != nil {
		c.say("To make it the next version of %s:\n  echo '%s' | berth apply --merge -f -", app, strings.ReplaceAll(string(change), "'", `'\''`))
	}
	return nil
}

// rollOut is the change that makes the image the app's: its container as it is, with this image. nil: it is not known.
func rollOut(app spec.AppID, definition json.RawMessage, tag string) json.RawMessage {
	var now struct {
		Container map[string]any `json:"container"`
	}
	if definition == nil || json.Unmarshal(definition, &now) != nil {
		return nil
	}
	container := now.Container
	if container == nil {
		container = map[string]any{"type": "DOCKER"}
	}
	settings, ok := container["docker"].(map[string]any)
	if !ok {
		settings = map[string]any{}
	}
	settings["image"] = tag
	container["docker"] = settings
	out, err := json.Marshal(map[string]any{"id": app, "container": container})
	if err != nil {
		return nil
	}
	return out
}
