package instance

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/internal/docker"
)

// CommitOptions say what image to make of an instance.
type CommitOptions struct {
	Tag      string // the image's name, with its tag
	Instance string // APP.N
	By       string
	Message  string
	With     []string // paths that are in the image although they look like secrets
	Now      time.Time
}

// Committed is an image that was made of an instance.
type Committed struct {
	Look
	Tag     string            `json:"tag"`
	ID      string            `json:"id"`
	Recipe  string            `json:"recipe"`
	LeftOut map[string]string `json:"leftOut"` // path -> why
}

// TagError says that an image cannot have the name. Exists: it is another's already.
type TagError struct {
	Tag    string
	Exists bool
}

// Error implements error.
func (e *TagError) Error() string {
	if e.Exists {
		return fmt.Sprintf("there is an image %s already, and images are never overwritten: take another tag", e.Tag)
	}
	return fmt.Sprintf("%q is no name of an image with a tag, such as registry.example.com/team/web:2", e.Tag)
}

// tagged is a name with a tag (https://distribution.github.io/distribution/spec/api/, "pull an image"; in short).
var tagged = regexp.MustCompile(`^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Commit makes an image of an instance: its image, and one layer with what differs. It is not the engine's own commit, as that
// takes everything: the container's environment, host keys, histories, logs. The instance stands still for a moment, so that its
// files belong together.
func Commit(ctx context.Context, e Engine, id string, o CommitOptions) (*Committed, error) {
	if !tagged.MatchString(o.Tag) {
		return nil, &TagError{Tag: o.Tag}
	}
	if err := free(ctx, e, o.Tag); err != nil {
		return nil, err
	}
	look, err := Compare(ctx, e, id)
	if err != nil {
		return nil, err
	}
	c := &committer{engine: e, look: look, o: o, leftOut: map[string]string{}}
	if err := c.source(ctx, id); err != nil {
		return nil, err
	}
	defer c.tidy(ctx)
	if err := c.fill(ctx); err != nil {
		return nil, err
	}
	made, err := c.name(ctx)
	if err != nil {
		return nil, err
	}
	return &Committed{Look: *look, Tag: o.Tag, ID: made, Recipe: c.text, LeftOut: c.leftOut}, nil
}

// name makes the image and gives it its name; without one it does not stay.
func (c *committer) name(ctx context.Context) (string, error) {
	on, done := outlast(ctx)
	defer done()
	made, err := c.engine.Commit(on, c.to, c.look.from, c.labels(), c.o.Message, c.o.By)
	if err != nil {
		return "", err
	}
	if err = free(ctx, c.engine, c.o.Tag); err == nil { // somebody may have been quicker
		err = c.engine.Tag(ctx, made, c.o.Tag)
	}
	if err != nil {
		on, done := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer done()
		return "", errors.Join(err, c.engine.RemoveImage(on, made))
	}
	return made, nil
}

// What images say of how they were made: package builder's labels, and the version.
const (
	builtLabels  = "berth-image."
	labelVersion = "org.opencontainers.image.version"
)

// labels are the recipe's. What the image before says of itself does not hold for this one: berth build would take it for what it
// made of a berth.yaml. A label cannot be taken away, only be empty.
func (c *committer) labels() map[string]string {
	out := c.recipe.Labels(c.look.Drift)
	for l := range c.look.from.Labels {
		if strings.HasPrefix(l, builtLabels) {
			out[l] = ""
		}
	}
	out[labelVersion] = c.o.Tag[strings.LastIndexByte(c.o.Tag, ':')+1:]
	return out
}

// patience is how long the engine may go on with what it cannot leave half done, when nobody waits any more.
const patience = 2 * time.Minute

// outlast is ctx for what the engine makes in any case: only who waits for its answer learns what there is to remove.
func outlast(ctx context.Context) (context.Context, func()) {
	on, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(patience, cancel) })
	return on, func() { stop(); cancel() }
}

// free says that no image has the name.
func free(ctx context.Context, e Engine, tag string) error {
	_, err := e.InspectImage(ctx, tag)
	switch {
	case err == nil:
		return &TagError{Tag: tag, Exists: true}
	case docker.IsNotFound(err):
		return nil
	}
	return err
}

// labelSnapshot marks the images of a moment; its value is when they were made.
const labelSnapshot = "berth.snapshot"

// abandoned is the age from which on what a crash left behind is removed: no layer takes as long, as each look at any instance sweeps.
const abandoned = 6 * time.Hour

// sweep removes what a process left behind that was killed while it made an image.
func sweep(ctx context.Context, e Engine, now time.Time) {
	all, err := e.Summaries(ctx, nil)
	if err != nil {
		return // the next one sweeps
	}
	for _, c := range all {
		if strings.HasPrefix(c.Name, helperName) && now.Sub(c.CreatedAt) > abandoned {
			remove(ctx, e, c.ID)
		}
	}
	old, err := e.ImagesWith(ctx, map[string]string{labelSnapshot: ""})
	if err != nil {
		return
	}
	for _, id := range old {
		i, err := e.InspectImage(ctx, id)
		if err != nil {
			continue
		}
		if made, err := strconv.ParseInt(i.Labels[labelSnapshot], 10, 64); err == nil && now.Sub(time.Unix(made, 0)) > abandoned {
			_ = e.RemoveImage(ctx, id)
		}
	}
}

// committer makes one image.
type committer struct {
	engine   Engine
	look     *Look
	o        CommitOptions
	snapshot string // an image: the instance's files at one moment
	from, to string // containers, which do not run: of the snapshot, and what becomes the new image
	leftOut  map[string]string
	recipe   drift.Recipe
	text     string
}

// source keeps the instance's files, and begins the new image's.
func (c *committer) source(ctx context.Context, id string) (err error) {
	defer func() {
		if err != nil {
			c.tidy(ctx)
		}
	}()
	on, done := outlast(ctx)
	defer done()
	if c.snapshot, err = c.engine.Snapshot(on, id, map[string]string{labelSnapshot: strconv.FormatInt(c.o.Now.Unix(), 10)}); err != nil {
		return err
	}
	if err = ctx.Err(); err != nil {
		return err
	}
	if c.from, err = c.engine.Create(on, helper(docker.Image{ID: c.snapshot})); err != nil {
		return err
	}
	gone, err := c.gone()
	if err != nil {
		return err
	}
	if len(gone) == 0 {
		c.to, err = c.engine.Create(on, helper(c.look.from))
		return err
	}
	if c.to, err = c.engine.Create(on, helper(c.look.from, append([]string{"rm", "-rf", "--"}, gone...)...)); err != nil {
		return err
	}
	code, err := c.engine.Finish(ctx, c.to)
	if err == nil && code != 0 {
		err = fmt.Errorf("rm ends with %d", code)
	}
	if err != nil {
		return fmt.Errorf("take the files away that were removed in %s: %w", c.o.Instance, err)
	}
	return nil
}

// maxArguments bounds the command line of rm, far below Linux's own bound.
const maxArguments = 1 << 20

// gone are the paths of the image that the new one has not, without what is below another of them.
func (c *committer) gone() (out []string, err error) {
	last, size := "", 0
	for _, f := range c.look.changes {
		if f.Kind != drift.Removed || last != "" && strings.HasPrefix(f.Path, last) || drift.Leave(f.Path, true, c.look.mounts) != "" {
			continue
		}
		last = f.Path + "/"
		out = append(out, f.Path)
		size += len(f.Path) + 1
	}
	if size > maxArguments {
		return nil, fmt.Errorf("make an image of %s: %d files of its image were removed, which is too much for a layer; build it anew", c.o.Instance, len(out))
	}
	return out, nil
}

// tidy removes what was needed for a moment.
func (c *committer) tidy(ctx context.Context) {
	for _, id := range []string{c.from, c.to} {
		if id != "" {
			remove(ctx, c.engine, id)
		}
	}
	if c.snapshot == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_ = c.engine.RemoveImage(ctx, c.snapshot) // sweep finds it the next time
}

// fill streams what differs from the snapshot into the new image's container, and ends with the recipe.
func (c *committer) fill(ctx context.Context) error {
	earlier, _, err := readFile(ctx, c.engine, c.from, drift.RecipePath)
	if err != nil {
		return err
	}
	c.recipe = drift.Recipe{
		Image: c.o.Tag, Instance: c.o.Instance, From: c.look.Image, FromID: c.look.ImageID, By: c.o.By, At: c.o.Now, Message: c.o.Message,
		LeftOut: c.leftOut, Earlier: earlier,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, exported := io.Pipe()
	wanted, filtered := io.Pipe()
	failed := make(chan error, 2)
	go func() {
		err := c.engine.Export(ctx, c.from, exported)
		exported.CloseWithError(err)
		failed <- err
	}()
	go func() {
		err := c.filter(all, filtered)
		all.CloseWithError(err)
		filtered.CloseWithError(err)
		failed <- err
	}()
	err = c.engine.CopyIn(ctx, c.to, wanted)
	wanted.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if err != nil {
		cancel()
	}
	return errors.Join(err, firstReal(<-failed, <-failed))
}

// firstReal is the error that was first, not those that followed from it.
func firstReal(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// filter copies from an archive of all files those that belong into the image.
func (c *committer) filter(r io.Reader, w io.Writer) error {
	wanted := map[string]bool{}
	for _, f := range c.look.changes {
		wanted[f.Path] = f.Kind != drift.Removed
	}
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the instance's files: %w", err)
		}
		file := path.Join("/", h.Name)
		if !wanted[file] || file == drift.RecipePath {
			continue
		}
		if err := c.pass(h, file, in, out, wanted); err != nil {
			return fmt.Errorf("take over %s: %w", file, err)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the padding, without which the engine would find the reader gone
		return err
	}
	c.text = c.recipe.Text(c.look.Drift)
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Dir(drift.RecipePath)[1:], Mode: 0o755, ModTime: c.o.Now}); err != nil {
		return err
	}
	if err := put(out, &tar.Header{Typeflag: tar.TypeReg, Name: drift.RecipePath[1:], Mode: 0o644, ModTime: c.o.Now}, c.text); err != nil {
		return err
	}
	return out.Close()
}

func put(out *tar.Writer, h *tar.Header, text string) error {
	h.Size = int64(len(text))
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(out, text)
	return err
}

// headSize is how far into a file a private key is looked for: some have certificates before it.
const headSize = 64 << 10

// pass copies one file, unless it has to stay out.
func (c *committer) pass(h *tar.Header, file string, body io.Reader, out *tar.Writer, wanted map[string]bool) error {
	if drift.Leave(file, h.Typeflag == tar.TypeDir, c.look.mounts) != "" {
		return nil // of every machine; not worth a word
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeSymlink:
	case tar.TypeReg:
		return c.regular(h, file, body, out)
	case tar.TypeLink:
		to := path.Join("/", h.Linkname)
		if why := c.leftOut[to]; why != "" || !wanted[to] || drift.Leave(to, false, c.look.mounts) != "" {
			c.leftOut[file] = "a hard link to " + to + ", which is not in the image's own layer"
			return nil
		}
	default:
		c.leftOut[file] = "no file, folder or link"
		return nil
	}
	return out.WriteHeader(h)
}

func (c *committer) regular(h *tar.Header, file string, body io.Reader, out *tar.Writer) error {
	if file == "/etc/shadow" {
		text, err := io.ReadAll(io.LimitReader(body, maxText))
		if err != nil {
			return err
		}
		kept, names := drift.WithoutPasswords(c.look.shadow, string(text))
		for _, n := range names {
			c.leftOut["/etc/shadow: "+n] = "a password that somebody set; the account has none in the image"
		}
		return put(out, h, kept)
	}
	buffered := bufio.NewReaderSize(body, headSize)
	head, err := buffered.Peek(int(min(h.Size, headSize)))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if why := drift.Secret(file, bytes.Clone(head)); why != "" && !slices.Contains(c.o.With, file) {
		c.leftOut[file] = why
		return nil
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(out, buffered)
	return err
}
