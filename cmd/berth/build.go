package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/images/builder"
	"github.com/berth-project/berth/images/recipe"
	"github.com/berth-project/berth/internal/docker"
)

const buildLong = `Build makes an image of a short description, berth.yaml: a language or a base, packages (names, or .deb and .rpm files), files, services,
environment and a version. No Dockerfile is needed; --dry-run shows the one that it stands for. docs/build.md explains every key.

The image is called NAME:VERSION. A version is never given to another image: when it exists in the Docker Engine, or in the registry
that it is to be pushed to, and was made of the same description and files, nothing is left to do; otherwise the build is refused.
Credentials of registries are those of Docker's own configuration.

Builds of all users of this machine share one queue: as many are made at a time as the engine has cores, the others wait in the
order in which they came. The queue is a folder of locks, /run/lock/berth-build (BERTH_BUILD_DIR).`

// buildFlags are what the command line says about a build.
type buildFlags struct {
	file, push, tag, network, init string
	noPush, dryRun, fresh, verbose bool
}

func newBuildCommand(c *cli) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use: "build [DIR...]", Short: "Build an image of berth.yaml, and push it", Long: buildLong, GroupID: groupImages,
		Example: `  berth build --init php        # writes a berth.yaml to begin with
  berth build                   # of the folder that one is in
  berth build shop --dry-run    # shows the Dockerfile and the files
  berth build shop --push registry.example.org:5000/shop
  berth build shop basket search --network host`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.init != "" && (f.dryRun || f.push != "" || len(args) > 1) {
				return errors.New("--init only writes a berth.yaml, into one folder")
			}
			if f.push != "" && (f.noPush || len(args) > 1) {
				return errors.New("--push is the place of one image, and does not go with --no-push")
			}
			if f.push != "" {
				if err := recipe.ValidPush(f.push); err != nil {
					return fmt.Errorf("--push: %w", err)
				}
			}
			if f.tag != "" && !recipe.ValidVersion(f.tag) {
				return fmt.Errorf("--tag %q cannot be an image's tag: letters, digits and . _ - can", f.tag)
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			if err := c.build(cmd.Context(), f, args); err != nil {
				if cmd.Context().Err() != nil {
					err = errInterrupted
				}
				return &failure{err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "the description, instead of DIR/"+builder.DefaultFile)
	flags.StringVar(&f.push, "push", "", "push the image to `REGISTRY/NAME`, instead of where the description says")
	flags.BoolVar(&f.noPush, "no-push", false, "do not push, whatever the description says")
	flags.StringVar(&f.tag, "tag", "", "the `VERSION`, instead of the description's or git's")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show the Dockerfile and the files that it needs")
	flags.StringVar(&f.init, "init", "", "only write a berth.yaml to begin with: "+strings.Join(recipe.Starters(), ", "))
	flags.StringVar(&f.network, "network", "", "network of the commands that are run: host, none, or a network's name (default: the engine's)")
	flags.BoolVar(&f.fresh, "fresh", false, "use no layer of earlier builds, so that packages are the newest")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show all that the steps print")
	_ = cmd.RegisterFlagCompletionFunc("init", cobra.FixedCompletions(recipe.Starters(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// build does what the flags say for each folder.
func (c *cli) build(ctx context.Context, f buildFlags, folders []string) error {
	if f.init != "" {
		return c.initRecipe(f.init, folders[0])
	}
	engine, err := docker.New("")
	if err != nil {
		return err
	}
	defer engine.Close()
	b := builder.New(builder.Options{Engine: engine, Dir: os.Getenv("BERTH_BUILD_DIR")})
	requests := make([]builder.Request, 0, len(folders))
	for _, folder := range folders {
		requests = append(requests, builder.Request{
			Folder: folder, File: f.file, Version: f.tag, Push: f.push, NoPush: f.noPush, Network: f.network, Args: proxies(f.network), Fresh: f.fresh,
		})
	}
	if f.dryRun {
		for _, r := range requests {
			if err := c.showPlan(ctx, b, r); err != nil {
				return err
			}
		}
		return nil
	}
	return c.buildEach(ctx, b, requests, f.verbose)
}

// buildEach submits all requests to the queue at once.
func (c *cli) buildEach(ctx context.Context, b *builder.Builder, requests []builder.Request, verbose bool) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	results, errs := make([]builder.Result, len(requests)), make([]error, len(requests))
	for i, r := range requests {
		wg.Go(func() {
			screen := &buildScreen{c: c, mu: &mu, verbose: verbose, inPlace: c.tty && len(requests) == 1 && !verbose}
			if len(requests) > 1 {
				screen.prefix = r.Folder + ": "
			}
			results[i], errs[i] = b.Build(ctx, r, screen.report())
			screen.finish(ctx, errs[i])
		})
	}
	wg.Wait()
	done := []builder.Result{} // so that a script reads [], too
	for i, r := range results {
		if errs[i] == nil {
			done = append(done, r)
			c.tellBuilt(r)
		}
	}
	if c.output == "json" {
		if err := c.printJSON(done); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// tellBuilt prints the image, which is the result, and says what has become of it.
func (c *cli) tellBuilt(r builder.Result) {
	switch {
	case r.Built:
		c.say("%s is built, in %.1f s.", r.Image, r.Took)
	default:
		c.say("%s is there already, of the same description and files.", r.Image)
	}
	switch {
	case r.Sent:
		c.say("%s is pushed.", r.Pushed)
	case r.Pushed != "":
		c.say("%s is in the registry already, of the same description and files.", r.Pushed)
	}
	if c.output == "json" {
		return
	}
	image := r.Image
	if r.Pushed != "" {
		image = r.Pushed
	}
	fmt.Fprintln(c.out, image)
}

func (c *cli) showPlan(ctx context.Context, b *builder.Builder, r builder.Request) error {
	plan, ref, err := b.Plan(ctx, r)
	if err != nil {
		return err
	}
	type file struct {
		Name   string `json:"name"`
		Source string `json:"source,omitempty"`
		Mode   string `json:"mode"`
	}
	var files []file
	for _, e := range plan.Context(-1) {
		files = append(files, file{e.Name, e.Source, e.Mode.String()})
	}
	if c.output == "json" {
		return c.printJSON(struct {
			Image      string `json:"image"`
			Recipe     string `json:"recipe"`
			Dockerfile string `json:"dockerfile"`
			Context    []file `json:"context"`
		}{ref, plan.Digest, plan.Dockerfile(-1), files})
	}
	fmt.Fprintf(c.out, "# %s, recipe %.12s\n%s", ref, plan.Digest, plan.Dockerfile(-1))
	for _, f := range files {
		if f.Source == "" {
			f.Source = "(made)"
		}
		fmt.Fprintf(c.out, "# %s %s %s\n", f.Mode, f.Name, f.Source)
	}
	return nil
}

// initRecipe writes a description to begin with; never over another.
func (c *cli) initRecipe(kind, folder string) error {
	full, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	text, err := recipe.Starter(kind, filepath.Base(full))
	if err != nil {
		return fmt.Errorf("--init: %w", err)
	}
	file := filepath.Join(folder, builder.DefaultFile)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists; remove it, or choose another folder", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	c.say("Wrote %s. Look through it, then: berth build %s", file, folder)
	return nil
}

// proxies are those of the environment, for what a build fetches. A proxy on this machine's loopback is reached from its own
// network only.
func proxies(network string) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy"} {
		for _, name := range []string{name, strings.ToUpper(name)} {
			value := os.Getenv(name)
			if value == "" {
				continue
			}
			if u, err := url.Parse(value); err == nil && network != "host" && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.")) {
				continue
			}
			out[name] = value
		}
	}
	return out
}
