package instance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/images/builder"
	"github.com/berth-project/berth/images/drift"
	"github.com/berth-project/berth/internal/docker"
)

// pets is an engine with one instance, in which a file was made and one removed. As the real one, it finishes what it began when nobody
// waits any more, whose answer then is lost.
type pets struct {
	containers map[string]string // id -> image
	images     map[string]docker.Image
	tags       map[string]string
	at         func(call string) // is called first
	noisy      string            // what the instance's rpm prints
	made       int
}

func newPets() *pets {
	return &pets{
		containers: map[string]string{"pet": "base"}, tags: map[string]string{"web:1": "base"}, at: func(string) {},
		images: map[string]docker.Image{"base": {ID: "base", Labels: map[string]string{builder.LabelRecipe: "digest", builder.LabelName: "web", drift.LabelMessage: "old"}}},
	}
}

func (p *pets) new(kind string) string {
	p.made++
	return fmt.Sprint(kind, p.made)
}

func (p *pets) Inspect(ctx context.Context, id string) (docker.Container, error) {
	return docker.Container{ID: id, Name: "web", Image: "web:1"}, ctx.Err()
}

func (p *pets) Diff(ctx context.Context, _ string) ([]docker.Change, error) {
	return []docker.Change{{Kind: docker.Added, Path: "/opt/new"}, {Kind: docker.Removed, Path: "/opt/old"}}, ctx.Err()
}

func (p *pets) RunsFrom(ctx context.Context, _ string) (string, []string, error) {
	return "base", nil, ctx.Err()
}

func (p *pets) Summaries(ctx context.Context, _ map[string]string) (out []docker.Container, err error) {
	for id := range p.containers {
		c := docker.Container{ID: id, Name: "web"}
		if strings.HasPrefix(id, "abandoned") {
			c.Name, c.CreatedAt = helperName+id, time.Now().Add(-abandoned-time.Minute)
		}
		if strings.HasPrefix(id, "atwork") {
			c.Name, c.CreatedAt = helperName+id, time.Now().Add(-2*time.Hour)
		}
		out = append(out, c)
	}
	return out, ctx.Err()
}

func (p *pets) InspectImage(ctx context.Context, ref string) (docker.Image, error) {
	if id, ok := p.tags[ref]; ok {
		ref = id
	}
	if i, ok := p.images[ref]; ok {
		return i, ctx.Err()
	}
	return docker.Image{}, errors.Join(fmt.Errorf("no image %s: %w", ref, cerrdefs.ErrNotFound), ctx.Err())
}

func (p *pets) Create(ctx context.Context, s docker.CreateSpec) (string, error) {
	p.at("create")
	id := p.new("container")
	p.containers[id] = s.Image
	return lost(ctx, id)
}

// lost is an id, unless nobody waits for it any more.
func lost(ctx context.Context, id string) (string, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return id, nil
}

func (p *pets) Remove(ctx context.Context, id string, _ bool) error {
	if ctx.Err() == nil {
		delete(p.containers, id)
	}
	return ctx.Err()
}

func (p *pets) Finish(ctx context.Context, _ string) (int, error) {
	p.at("finish")
	return 0, ctx.Err()
}

func (p *pets) Logs(ctx context.Context, _ string, _ docker.LogOptions, _, _ io.Writer) error {
	return ctx.Err()
}

func (p *pets) ExecTo(ctx context.Context, _ string, cmd []string, stdout, _ io.Writer) (int, error) {
	p.at("exec")
	if cmd[0] == "rpm" && p.noisy != "" {
		for {
			if _, err := io.WriteString(stdout, p.noisy); err != nil {
				return 0, err
			}
		}
	}
	return 127, ctx.Err()
}

func (p *pets) CopyOut(ctx context.Context, _, from string, _ func(*tar.Header, io.Reader) error) error {
	return errors.Join(fmt.Errorf("no %s: %w", from, cerrdefs.ErrNotFound), ctx.Err())
}

func (p *pets) CopyIn(ctx context.Context, _ string, archive io.Reader) error {
	p.at("copyin")
	if _, err := io.Copy(io.Discard, archive); err != nil {
		return err
	}
	return ctx.Err()
}

func (p *pets) Snapshot(ctx context.Context, _ string, labels map[string]string) (string, error) {
	p.at("snapshot")
	id := p.new("image")
	p.images[id] = docker.Image{ID: id, Labels: labels}
	return lost(ctx, id)
}

func (p *pets) Export(ctx context.Context, _ string, w io.Writer) error {
	t := tar.NewWriter(w)
	return errors.Join(t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "opt/new"}), t.Close(), ctx.Err())
}

func (p *pets) Commit(ctx context.Context, _ string, like docker.Image, labels map[string]string, _, _ string) (string, error) {
	p.at("commit")
	id := p.new("image")
	all := maps.Clone(like.Labels) // which the engine keeps
	maps.Copy(all, labels)
	p.images[id] = docker.Image{ID: id, Labels: all}
	return lost(ctx, id)
}

func (p *pets) Tag(ctx context.Context, id, ref string) error {
	p.at("tag")
	if ctx.Err() == nil {
		p.tags[ref] = id
	}
	return ctx.Err()
}

func (p *pets) RemoveImage(ctx context.Context, id string) error {
	if ctx.Err() == nil {
		delete(p.images, id)
	}
	return ctx.Err()
}

func (p *pets) ImagesWith(ctx context.Context, labels map[string]string) (out []string, err error) {
	for id, i := range p.images {
		if _, is := i.Labels[slices.Collect(maps.Keys(labels))[0]]; is {
			out = append(out, id)
		}
	}
	return out, ctx.Err()
}

var next = CommitOptions{Tag: "web:2", Instance: "/web.0", By: "ann", Now: time.Unix(0, 0)}

// TestCommitLabels: an image of an instance does not pass for one that berth build made of the description, and says nothing of what
// was done to the instance before.
func TestCommitLabels(t *testing.T) {
	p := newPets()
	made, err := Commit(t.Context(), p, "pet", next)
	if err != nil {
		t.Fatal(err)
	}
	got := p.images[p.tags["web:2"]].Labels
	for label, want := range map[string]string{
		builder.LabelRecipe: "", builder.LabelName: "", drift.LabelMessage: "", drift.LabelFrom: "web:1", drift.LabelBy: "ann", builder.LabelVersion: "2",
	} {
		if v, said := got[label]; v != want || !said {
			t.Errorf("label %s is %q", label, v)
		}
	}
	if !strings.Contains(made.Recipe, "`/opt/new`: added") || !strings.Contains(made.Recipe, "`/opt/old`: removed") {
		t.Errorf("recipe:\n%s", made.Recipe)
	}
}

// TestCommitInterrupted: whenever nobody waits any more, nothing is left, and no name is given.
func TestCommitInterrupted(t *testing.T) {
	for _, when := range strings.Fields("create exec snapshot finish copyin commit tag") {
		for nth := range 3 {
			t.Run(fmt.Sprint(when, nth), func(t *testing.T) {
				p, seen := newPets(), 0
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				p.at = func(call string) {
					if call == when {
						if seen == nth {
							cancel()
						}
						seen++
					}
				}
				if _, err := Commit(ctx, p, "pet", next); err == nil && seen > nth {
					t.Error("it went on to its end")
				}
				if seen <= nth {
					return // there are not so many
				}
				if want := map[string]string{"pet": "base"}; !cmp.Equal(p.containers, want) {
					t.Error("containers", cmp.Diff(want, p.containers))
				}
				if len(p.images) != 1 || len(p.tags) != 1 {
					t.Errorf("images %v, tags %v", slices.Collect(maps.Keys(p.images)), p.tags)
				}
			})
		}
	}
}

// TestSweep: what a killed process left behind goes with the next look, also at another instance.
func TestSweep(t *testing.T) {
	p := newPets()
	p.containers["abandoned1"] = "base"
	p.images["old"] = docker.Image{ID: "old", Labels: map[string]string{labelSnapshot: "1"}}
	p.containers["atwork1"] = "base"
	p.images["new"] = docker.Image{ID: "new", Labels: map[string]string{labelSnapshot: fmt.Sprint(time.Now().Unix())}}
	if _, err := Compare(t.Context(), p, "pet"); err != nil {
		t.Fatal(err)
	}
	if len(p.containers) != 2 || p.containers["atwork1"] == "" || p.images["old"].ID != "" || p.images["new"].ID == "" {
		t.Errorf("left are %v and %v", p.containers, p.images)
	}
}

// TestEndless: a program of the instance cannot fill our memory.
func TestEndless(t *testing.T) {
	p := newPets()
	p.noisy = strings.Repeat("x", 1<<20)
	if _, err := Compare(t.Context(), p, "pet"); !errors.Is(err, errTooLarge) {
		t.Errorf("got %v", err)
	}
}
