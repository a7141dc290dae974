// Package instance looks at running instances: in what one differs from its image (package drift decides what that means), and
// what its services have logged. It makes images of instances, too.
package instance

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/internal/docker"
)

// Engine is what of a Docker Engine is needed; *docker.Client is the real one.
type Engine interface {
	Inspect(ctx context.Context, id string) (docker.Container, error)
	Diff(ctx context.Context, id string) ([]docker.Change, error)
	RunsFrom(ctx context.Context, id string) (imageID string, mounts []string, err error)
	Summaries(ctx context.Context, labels map[string]string) ([]docker.Container, error)
	InspectImage(ctx context.Context, ref string) (docker.Image, error)
	Create(ctx context.Context, s docker.CreateSpec) (string, error)
	Remove(ctx context.Context, id string, force bool) error
	Finish(ctx context.Context, id string) (int, error)
	Logs(ctx context.Context, id string, o docker.LogOptions, stdout, stderr io.Writer) error
	ExecTo(ctx context.Context, id string, cmd []string, stdout, stderr io.Writer) (int, error)
	CopyOut(ctx context.Context, id, from string, each func(h *tar.Header, body io.Reader) error) error
	CopyIn(ctx context.Context, id string, archive io.Reader) error
	Snapshot(ctx context.Context, id string, labels map[string]string) (string, error)
	Export(ctx context.Context, id string, w io.Writer) error
	Commit(ctx context.Context, id string, like docker.Image, labels map[string]string, comment, author string) (string, error)
	Tag(ctx context.Context, id, ref string) error
	RemoveImage(ctx context.Context, id string) error
	ImagesWith(ctx context.Context, labels map[string]string) ([]string, error)
}

// Look is an instance beside its image.
type Look struct {
	Container string `json:"container"`
	Image     string `json:"image"`   // as the container calls it
	ImageID   string `json:"imageID"` // its digest in a registry, or its id
	drift.Drift

	changes []drift.Change
	mounts  []string
	from    docker.Image
	shadow  string // the image's
}

// maxText bounds a file that is read as a whole.
const maxText = 64 << 20

// helperName begins the names of containers that are needed for a moment only.
const helperName = "berth-helper-"

// Compare looks in what a running container differs from its image.
func Compare(ctx context.Context, e Engine, id string) (*Look, error) {
	sweep(ctx, e, time.Now())
	c, err := e.Inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	imageID, mounts, err := e.RunsFrom(ctx, id)
	if err != nil {
		return nil, err
	}
	image, err := e.InspectImage(ctx, imageID)
	if err != nil {
		return nil, fmt.Errorf("the image that it was started from is gone from its host: %w", err)
	}
	found, err := e.Diff(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &Look{Container: c.Name, Image: c.Image, ImageID: digestOf(image), mounts: mounts, from: image}
	in := drift.Input{Mounts: mounts, AccountsBefore: map[string]string{}, AccountsAfter: map[string]string{}}
	for _, f := range found {
		in.Changes = append(in.Changes, drift.Change{Kind: drift.Kind(f.Kind), Path: f.Path})
	}
	in.Owners = drift.NewOwners(in.Changes)
	base, err := create(ctx, e, helper(image))
	if err != nil {
		return nil, err
	}
	defer remove(ctx, e, base)
	l := looker{engine: e, id: id, base: base, image: image, in: &in}
	if err := l.packages(ctx); err != nil {
		return nil, err
	}
	if err := l.accounts(ctx); err != nil {
		return nil, err
	}
	out.Drift, out.changes, out.shadow = drift.Compare(in), in.Changes, in.AccountsBefore["/etc/shadow"]
	return out, nil
}

// digestOf is the name by which others have the image, otherwise its id, which is the digest of its configuration.
func digestOf(i docker.Image) string {
	if len(i.Digests) > 0 {
		return i.Digests[0]
	}
	return i.ID
}

// helper is a container that never runs, or runs one program as root without any network: a way into an image's files. What is
// said of it here must not find its way into an image that is made of it: it has no labels, and its program is its entrypoint.
func helper(image docker.Image, program ...string) docker.CreateSpec {
	if len(program) == 0 {
		program = []string{"/berth-helper"} // some images name no program, and no container can be made of them
	}
	s := docker.CreateSpec{Name: helperName + rand.Text(), Image: image.ID, Network: "none", Entrypoint: program}
	if u := image.User; u != "" && u != "0" && u != "root" {
		s.User = "0"
	}
	return s
}

// create makes a container also when nobody waits for it any more, as its name is what removes it.
func create(ctx context.Context, e Engine, s docker.CreateSpec) (string, error) {
	on, done := outlast(ctx)
	defer done()
	return e.Create(on, s)
}

// removeTimeout bounds the tidying up, which goes on when nobody waits any more.
const removeTimeout = 30 * time.Second

func remove(ctx context.Context, e Engine, container string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_ = e.Remove(ctx, container, true) // sweep finds it the next time
}

// looker reads what is needed of an instance and its image.
type looker struct {
	engine   Engine
	id, base string // containers: the instance, and a stopped one of its image
	image    docker.Image
	in       *drift.Input
}

// changed says whether something at or below a path differs.
func (l *looker) changed(at string) bool {
	return slices.ContainsFunc(l.in.Changes, func(c drift.Change) bool { return c.Path == at || strings.HasPrefix(c.Path, at+"/") })
}

// packages reads the databases of both, and has the packages that own what changed checked.
func (l *looker) packages(ctx context.Context) error {
	after, err := l.dpkg(ctx, l.id)
	if err != nil {
		return err
	}
	before := after
	if l.changed("/var/lib/dpkg") {
		if before, err = l.dpkg(ctx, l.base); err != nil {
			return err
		}
	}
	rpms, rpmsBefore, err := l.rpm(ctx)
	if err != nil {
		return err
	}
	l.in.After, l.in.Before = append(slices.Clone(after), rpms...), append(slices.Clone(before), rpmsBefore...)
	l.verify(ctx, drift.Deb, after, []string{"dpkg", "--verify"})
	l.verify(ctx, drift.RPM, rpms, []string{"rpm", "--verify", "--nodeps", "--noscripts"})
	return nil
}

// dpkg reads the database of dpkg in a container; without one there are no packages.
func (l *looker) dpkg(ctx context.Context, id string) ([]drift.Package, error) {
	const at = "/var/lib/dpkg"
	status, found, err := l.text(ctx, id, at+"/status")
	if err != nil || !found {
		return nil, err
	}
	diversions, _, err := l.text(ctx, id, at+"/diversions")
	if err != nil {
		return nil, err
	}
	auto, _, err := l.text(ctx, id, "/var/lib/apt/extended_states")
	if err != nil {
		return nil, err
	}
	packages := drift.Status(status, l.in.Owners)
	drift.MarkAuto(packages, auto)
	l.in.Owners.Divert(diversions)
	return packages, l.engine.CopyOut(ctx, id, at+"/info", func(h *tar.Header, body io.Reader) error {
		name, isList := strings.CutSuffix(path.Base(h.Name), ".list")
		if !isList || h.Typeflag != tar.TypeReg {
			return nil
		}
		name, _, _ = strings.Cut(name, ":") // the architecture
		scan := bufio.NewScanner(body)
		for scan.Scan() {
			l.in.Owners.Add(drift.Deb, name, scan.Text())
		}
		return scan.Err()
	})
}

// rpm asks the instance's rpm, and, when its database changed, that of the image.
func (l *looker) rpm(ctx context.Context) (after, before []drift.Package, err error) {
	query := []string{"rpm", "-qa", "--qf", drift.RPMQuery}
	out := bounded{left: maxText}
	code, err := l.engine.ExecTo(ctx, l.id, query, &out, io.Discard)
	if err != nil && !noProgram(err) { // some engines end with 127 instead
		return nil, nil, err
	}
	if err != nil || code != 0 {
		if l.changed("/var/lib/rpm") || l.changed("/usr/lib/sysimage/rpm") {
			l.in.Unsure = append(l.in.Unsure, "which RPMs changed: rpm does not run in the instance")
		}
		return nil, nil, nil
	}
	if after, err = drift.ReadRPM(bufio.NewScanner(strings.NewReader(out.String())), l.in.Owners); err != nil {
		return nil, nil, fmt.Errorf("read the packages of rpm: %w", err)
	}
	if !l.changed("/var/lib/rpm") && !l.changed("/usr/lib/sysimage/rpm") {
		return after, after, nil
	}
	asked, err := create(ctx, l.engine, helper(l.image, query...))
	if err != nil {
		return nil, nil, err
	}
	defer remove(ctx, l.engine, asked)
	was := bounded{left: maxText}
	code, err = l.engine.Finish(ctx, asked)
	if err != nil && noProgram(err) {
		return after, nil, nil // the image has no rpm: the first was installed with it
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("it ends with %d", code)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ask the image's rpm: %w", err)
	}
	if err = l.engine.Logs(ctx, asked, docker.LogOptions{}, &was, io.Discard); err == nil {
		before, err = drift.ReadRPM(bufio.NewScanner(strings.NewReader(was.String())), l.in.Owners)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the packages of the image's rpm: %w", err)
	}
	return after, before, nil
}

// noProgram says that a container has not the program that was to run in it.
func noProgram(err error) bool {
	return strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file or directory")
}

// verify has the packages of a format that own something that changed compare their files with what they brought.
func (l *looker) verify(ctx context.Context, format string, installed []drift.Package, tool []string) {
	names := l.in.Owners.Packages(format, l.in.Changes)
	names = slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(installed, func(p drift.Package) bool { return p.Name == n })
	})
	for part := range slices.Chunk(names, 200) {
		out, trouble := bounded{left: maxText}, bounded{left: maxText}
		code, err := l.engine.ExecTo(ctx, l.id, append(slices.Clone(tool), part...), &out, &trouble)
		l.in.Findings = append(l.in.Findings, drift.ReadFindings(out.String())...)
		if err == nil && code > 2 {
			err = fmt.Errorf("%s ends with %d: %s", tool[0], code, strings.TrimSpace(trouble.String()))
		}
		if err != nil {
			l.in.Unsure = append(l.in.Unsure, "whether files of packages were edited: "+err.Error())
			return
		}
	}
}

// accounts reads the account files that differ, of both.
func (l *looker) accounts(ctx context.Context) error {
	for _, file := range drift.AccountFiles() {
		if !l.changed(file) {
			continue
		}
		for id, into := range map[string]map[string]string{l.base: l.in.AccountsBefore, l.id: l.in.AccountsAfter} {
			text, _, err := l.text(ctx, id, file)
			if err != nil {
				return err
			}
			into[file] = text
		}
	}
	return nil
}

// text reads a file of a container; found is false where there is none.
func (l *looker) text(ctx context.Context, id, file string) (text string, found bool, err error) {
	return readFile(ctx, l.engine, id, file)
}

// bounded keeps what is written, and is an error when that is too much: what runs in an instance is not ours.
type bounded struct {
	kept bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLarge
	}
	return b.kept.Write(p)
}

func (b *bounded) String() string { return b.kept.String() }

// errTooLarge says that something is longer than any machine's.
var errTooLarge = fmt.Errorf("it is longer than %d MiB", maxText>>20)

func readFile(ctx context.Context, e Engine, id, file string) (text string, found bool, err error) {
	b := bounded{left: maxText}
	err = e.CopyOut(ctx, id, file, func(h *tar.Header, body io.Reader) error {
		if h.Name != file || h.Typeflag != tar.TypeReg {
			return nil // a link, or a folder that somebody put in its place
		}
		_, err := io.Copy(&b, body)
		return err
	})
	if docker.IsNotFound(err) {
		return "", false, nil
	}
	return b.String(), err == nil, err
}
