// Package builder makes images of berth.yaml: it queues builds to the machine's cores, has the Docker Engine build what package
// recipe has laid out, names the image by its version and pushes it. A version that exists is never given to another image.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/images/recipe"
	"github.com/berth-project/berth/internal/docker"
)

// DefaultDir is where the queue of all users of a machine is.
const DefaultDir = "/run/lock/berth-build"

// DefaultFile is what a description is called.
const DefaultFile = "berth.yaml"

// Labels of a built image.
const (
	LabelName     = "berth-image.name"     // the recipe's
	LabelRecipe   = "berth-image.recipe"   // its digest
	LabelPackages = "berth-image.packages" // the groups of packages, as JSON
	LabelBase     = "berth-image.base"     // the id of the image it was built on
	LabelVersion  = "org.opencontainers.image.version"
)

// Engine is what a builder needs of Docker.
type Engine interface {
	Info(ctx context.Context) (docker.Info, error)
	InspectImage(ctx context.Context, ref string) (docker.Image, error)
	ImagesWith(ctx context.Context, labels map[string]string) ([]string, error)
	Pull(ctx context.Context, ref string, as docker.Credentials) error
	Build(ctx context.Context, s docker.BuildSpec, on docker.BuildEvents) (string, error)
	Tag(ctx context.Context, id, ref string) error
	RemoteDigest(ctx context.Context, ref string, as docker.Credentials) (string, error)
	Push(ctx context.Context, ref string, as docker.Credentials, tell func(text string)) error
}

// Options of a builder. Only Engine is needed.
type Options struct {
	Engine Engine
	Dir    string // of the queue; DefaultDir
	Slots  int    // builds at a time; 0: as many as the engine has cores
	Config string // the folder of Docker's configuration; "": as Docker's clients find it
}

// Request is one build.
type Request struct {
	Folder  string
	File    string // of the description, below Folder unless it is absolute; DefaultFile
	Version string // "": the description's, or git's
	Push    string // REGISTRY/NAME; "": the description's
	NoPush  bool
	Network string            // of the commands that are run
	Args    map[string]string // build arguments: proxies
	Fresh   bool              // no layer of earlier builds is used
}

// Report is told how a build goes on, one call at a time.
type Report struct {
	Say    func(text string)
	Step   func(title string) // begins; the one before has ended
	Reused func()             // the step was there from an earlier build
	Output func(text string)  // of the step's commands; pieces that end where they like
	Ended  func()             // the last step has ended
}

// Result is what has become of a request.
type Result struct {
	Image  string  `json:"image"` // NAME:VERSION
	ID     string  `json:"id"`
	Recipe string  `json:"recipe"` // its digest
	Built  bool    `json:"built"`  // false: the version was there, of the same recipe
	Pushed string  `json:"pushed,omitempty"`
	Sent   bool    `json:"sent"` // false: the registry had it
	Queued float64 `json:"queuedSeconds"`
	Took   float64 `json:"buildSeconds"`
}

// TakenError says that a version belongs to another recipe.
type TakenError struct{ Ref, Where, Why string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s exists %s %s, and a version is never given to another image: raise version in the description, or build with --tag", e.Ref, e.Where, e.Why)
}

// StepError is a step that failed.
type StepError struct {
	Title string
	Err   error
}

func (e *StepError) Error() string { return e.Title + ": " + e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// Builder makes images. It is safe for concurrent use.
type Builder struct{ Options }

// New returns a builder.
func New(o Options) *Builder {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	return &Builder{o}
}

// job is one request on its way.
type job struct {
	*Builder
	Request
	report Report
	dir    fs.FS
	recipe recipe.Recipe
	plan   recipe.Plan
	base   string // its image's id, "" while it is not there
	ref    string
	remote string // "": nowhere
	as     docker.Credentials
	result Result
}

// open reads and checks the description.
func (b *Builder) open(ctx context.Context, r Request, report Report) (*job, func(), error) {
	root, err := os.OpenRoot(r.Folder)
	if err != nil {
		return nil, nil, err
	}
	j := &job{Builder: b, Request: r, report: report, dir: root.FS()}
	if err := j.read(ctx); err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	return j, func() { _ = root.Close() }, nil
}

func (j *job) read(ctx context.Context) error {
	file := j.File
	if file == "" {
		file = DefaultFile
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(j.Folder, file)
	}
	text, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s; berth build --init writes one to begin with", file)
	}
	if err != nil {
		return err
	}
	if j.recipe, err = recipe.Decode(text); err != nil {
		return fmt.Errorf("%s is not right:\n%w", file, err)
	}
	version := j.Version
	if version == "" {
		version = j.recipe.Version
	}
	if version == "" {
		if version, err = gitVersion(ctx, j.Folder); err != nil {
			return fmt.Errorf("%s has no version, and git tells none: %w; write one there, or build with --tag", file, err)
		}
	}
	if !recipe.ValidVersion(version) {
		return fmt.Errorf("%q cannot be an image's tag: letters, digits and . _ - can; build with --tag", version)
	}
	return j.names(version)
}

func (j *job) names(version string) error {
	j.Version, j.ref = version, j.recipe.Name+":"+version
	push := j.Push
	if push == "" {
		push = j.recipe.Push
	}
	if j.NoPush {
		push = ""
	}
	if push != "" {
		if err := recipe.ValidPush(push); err != nil {
			return err
		}
		j.remote = push + ":" + version
	}
	j.result.Image = j.ref
	return nil
}

// readBounded reads no more than the decoder wants to see.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// gitVersion is the name that git gives to what is checked out.
func gitVersion(ctx context.Context, folder string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", "-C", folder, "describe", "--tags", "--always", "--dirty")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(text)
		}
		return "", err
	}
	version := strings.TrimSpace(string(out))
	if strings.HasSuffix(version, "-dirty") {
		return "", fmt.Errorf("the checkout has changes that are not committed (%s), which no version stands for", version)
	}
	return version, nil
}

// Plan tells what a request would do. Without an engine it is what a first build would do.
func (b *Builder) Plan(ctx context.Context, r Request) (recipe.Plan, string, error) {
	j, closeDir, err := b.open(ctx, r, Report{})
	if err != nil {
		return recipe.Plan{}, "", err
	}
	defer closeDir()
	earlier, _ := j.earlier(ctx) // only for a closer look
	j.plan, err = j.recipe.Plan(j.dir, earlier)
	return j.plan, j.ref, err
}

// Build does what the request asks for, and returns when it is done.
func (b *Builder) Build(ctx context.Context, r Request, report Report) (Result, error) {
	j, closeDir, err := b.open(ctx, r, report)
	if err != nil {
		return Result{}, err
	}
	defer closeDir()
	if err := j.run(ctx); err != nil {
		return j.result, fmt.Errorf("build %s: %w", j.ref, err)
	}
	return j.result, nil
}

func (j *job) run(ctx context.Context) (err error) {
	if j.remote != "" {
		if j.as, err = docker.Configured(ctx, j.Config, j.remote); err != nil {
			return err
		}
	}
	// One version is built once, however many ask for it.
	if err := openFolder(j.Dir); err != nil {
		return err
	}
	release, err := hold(ctx, j.lockFile("version", j.ref), func() { j.report.Say("waiting for another build of " + j.ref) })
	if err != nil {
		return err
	}
	defer release()
	if err := j.lay(ctx); err != nil {
		return err
	}
	id, remote, err := j.existing(ctx)
	if err != nil {
		return err
	}
	if id == "" {
		if id, err = j.make(ctx); err != nil {
			return err
		}
		j.result.Built = true
	}
	j.result.ID, j.result.Recipe = id, j.plan.Digest
	if j.remote == "" {
		return nil
	}
	j.result.Pushed = j.remote
	if remote {
		return nil
	}
	return j.push(ctx, id)
}

// lay has the bases fetched and makes the plan.
func (j *job) lay(ctx context.Context) error {
	base, err := j.fetched(ctx, j.recipe.Base)
	if err != nil {
		return err
	}
	if j.recipe.Build != nil {
		if _, err := j.fetched(ctx, j.recipe.Build.Base); err != nil {
			return err
		}
	}
	serves := len(j.recipe.Services) > 0 || j.recipe.Language != ""
	if serves && j.recipe.Supervisor == recipe.S6 && !slices.Contains(base.Entrypoint, "/init") {
		return fmt.Errorf("the base %s does not start Berth's /init, so nothing would run the services: take a base that images/base/build made, or supervisor: none", j.recipe.Base)
	}
	j.base = base.ID
	earlier, err := j.earlier(ctx)
	if err != nil {
		return err
	}
	if j.Fresh {
		earlier = nil
	}
	if j.plan, err = j.recipe.Plan(j.dir, earlier); err != nil {
		return err
	}
	for _, e := range j.plan.Context(-1) {
		if why := drift.Secret("/"+e.Source, nil); e.Source != "" && why != "" {
			j.report.Say(fmt.Sprintf("%s goes into the image (%s); if it is of no use there, name it under ignore", e.Source, why))
		}
	}
	return nil
}

// fetched describes a base, after it was pulled if it is not there: the engine itself has no credentials.
func (j *job) fetched(ctx context.Context, base string) (docker.Image, error) {
	found, err := j.Engine.InspectImage(ctx, base)
	if !docker.IsNotFound(err) {
		return found, err
	}
	as, err := docker.Configured(ctx, j.Config, base)
	if err != nil {
		return docker.Image{}, err
	}
	j.report.Say("fetching the base " + base)
	if err := j.Engine.Pull(ctx, base, as); err != nil {
		return docker.Image{}, fmt.Errorf("the base is not on this machine: %w", err)
	}
	return j.Engine.InspectImage(ctx, base)
}

// make queues and builds.
func (j *job) make(ctx context.Context) (string, error) {
	slots := j.Slots
	if slots == 0 {
		info, err := j.Engine.Info(ctx)
		if err != nil {
			return "", err
		}
		slots = info.NCPU
	}
	queued := time.Now()
	leave, err := Queue{j.Dir, slots}.Enter(ctx, func(before int) {
		j.report.Say(fmt.Sprintf("waiting for a core: %d before this one, %d build at a time", before, slots))
	})
	if err != nil {
		return "", err
	}
	defer leave()
	started := time.Now()
	j.result.Queued = started.Sub(queued).Seconds()
	id, err := j.buildAll(ctx)
	j.result.Took = time.Since(started).Seconds()
	if err != nil {
		return "", err
	}
	return j.name(ctx, id)
}
