package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/berth-project/berth/images/recipe"
	"github.com/berth-project/berth/internal/docker"
)

// engine is a small engine: images are their labels, and a build reads them from the Dockerfile's last line.
type engine struct {
	mu     sync.Mutex
	images map[string]docker.Image // by id
	tags   map[string]string       // name -> id
	remote map[string]string       // name -> id
	order  []string                // ids, newest first
	built  []string                // Dockerfiles
	fail   error
	refuse error  // of builds, before anything of the context was read
	queued func() // a build is about to queue
	during func() // something is built
	pushed func() // something was pushed
}

func newEngine() *engine {
	return &engine{
		images: map[string]docker.Image{"base": {ID: "base", Entrypoint: []string{"/init"}}},
		tags:   map[string]string{"berth/base:bookworm": "base"}, remote: map[string]string{},
	}
}

func (e *engine) Info(context.Context) (docker.Info, error) {
	if e.queued != nil {
		e.queued()
	}
	return docker.Info{NCPU: 2}, nil
}

func (e *engine) InspectImage(_ context.Context, ref string) (docker.Image, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range []string{ref, e.tags[ref]} {
		if i, ok := e.images[id]; ok {
			return i, nil
		}
	}
	for _, i := range e.images {
		if slices.Contains(i.Digests, ref) {
			return i, nil
		}
	}
	return docker.Image{}, fmt.Errorf("no such image %s: %w", ref, cerrdefs.ErrNotFound)
}

func (e *engine) ImagesWith(_ context.Context, labels map[string]string) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, id := range e.order {
		fits := true
		for k, v := range labels {
			fits = fits && e.images[id].Labels[k] == v
		}
		if fits {
			out = append(out, id)
		}
	}
	return out, nil
}

func (e *engine) Pull(_ context.Context, ref string, _ docker.Credentials) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, id, _ := strings.Cut(ref, "@")
	if !slices.Contains(slices.Collect(maps.Values(e.remote)), id) {
		return fmt.Errorf("no %s: %w", ref, cerrdefs.ErrNotFound)
	}
	i := e.images["away "+id]
	i.ID, i.Digests = id, []string{name + "@" + id}
	e.images[id] = i
	return nil
}

func (e *engine) Build(_ context.Context, s docker.BuildSpec, on docker.BuildEvents) (string, error) {
	if e.refuse != nil {
		return "", e.refuse
	}
	if e.during != nil {
		e.during()
	}
	text := ""
	archive := tar.NewReader(s.Context)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if h.Name == "Dockerfile" {
			raw, err := io.ReadAll(archive)
			if err != nil {
				return "", err
			}
			text = string(raw)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.built = append(e.built, text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		on.Step(i + 1)
		on.Output("done\n")
	}
	if e.fail != nil {
		return "", e.fail
	}
	id := fmt.Sprintf("id%d", len(e.built))
	made := docker.Image{ID: id, Labels: map[string]string{}}
	for _, pair := range strings.SplitAfter(strings.TrimPrefix(lines[len(lines)-1], "LABEL "), `" `) {
		k, v, _ := strings.Cut(pair, "=")
		made.Labels[k] = strings.NewReplacer(`\"`, `"`).Replace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(v), `"`), `"`))
	}
	e.images[id] = made
	e.order = append([]string{id}, e.order...)
	return id, nil
}

func (e *engine) Tag(_ context.Context, id, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tags[ref] = id
	return nil
}

func (e *engine) RemoteDigest(_ context.Context, ref string, _ docker.Credentials) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id, ok := e.remote[ref]; ok {
		return id, nil
	}
	return "", fmt.Errorf("no %s: %w", ref, cerrdefs.ErrNotFound)
}

func (e *engine) Push(_ context.Context, ref string, _ docker.Credentials, tell func(string)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	tell("layer Pushed")
	id := e.tags[ref]
	e.remote[ref] = id
	i := e.images[id]
	i.Digests = append(i.Digests, ref[:strings.LastIndex(ref, ":")]+"@"+id)
	e.images[id], e.images["away "+id] = i, i
	if e.pushed != nil {
		e.pushed()
	}
	return nil
}

// forget removes all images but the base from this machine.
func (e *engine) forget() {
	for ref, id := range e.tags {
		if id != "base" {
			delete(e.tags, ref)
			delete(e.images, id)
		}
	}
	e.order = nil
}

func quiet() Report {
	return Report{Say: func(string) {}, Step: func(string) {}, Reused: func() {}, Output: func(string) {}, Ended: func() {}}
}

type world struct {
	t      *testing.T
	engine *engine
	b      *Builder
	folder string
}

func newWorld(t *testing.T) *world {
	e := newEngine()
	return &world{t, e, New(Options{Engine: e, Dir: filepath.Join(t.TempDir(), "queue"), Config: t.TempDir()}), t.TempDir()}
}

func (w *world) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.folder, DefaultFile), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) build(push string) (Result, error) {
	return w.b.Build(w.t.Context(), Request{Folder: w.folder, Push: push}, quiet())
}

func (w *world) must(push string) Result {
	w.t.Helper()
	r, err := w.build(push)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) taken(push, text string) {
	w.t.Helper()
	_, err := w.build(push)
	var taken *TakenError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), text) {
		w.t.Errorf("got %v, want that %s", err, text)
	}
}

const place = "r.example:5000/shop"

func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\npackages: [a]\n")
	if r := w.must(""); !r.Built || r.Image != "shop:1" || w.engine.tags["shop:1"] != r.ID {
		t.Errorf("got %+v", r)
	}
	if r := w.must(""); r.Built || r.ID != w.engine.tags["shop:1"] {
		t.Errorf("got %+v", r)
	}
	first := w.engine.tags["shop:1"]
	if r := w.must(place); r.Built || !r.Sent || w.engine.remote[place+":1"] != first {
		t.Errorf("got %+v", r)
	}
	if r := w.must(place); r.Built || r.Sent || r.Pushed != place+":1" {
		t.Errorf("got %+v", r)
	}
	w.write("name: shop\nversion: 1\npackages: [b]\n")
	w.taken("", "shop:1 exists on this machine with other contents")

	w.engine.forget()
	w.taken(place, place+":1 exists in the registry with other contents")
	w.write("name: shop\nversion: 1\npackages: [a]\n")
	if r := w.must(place); r.Built || r.Sent || r.ID != first || w.engine.tags["shop:1"] != first {
		t.Errorf("the registry's image is not used: %+v", r)
	}
	w.engine.tags["other:1"] = "base"
	w.write("name: other\nversion: 1\n")
	w.taken("", "was not made by berth build")
}

// TestPackageLayers: a package more is a layer more above those of the newest version.
func TestPackageLayers(t *testing.T) {
	w := newWorld(t)
	for i, list := range []string{"b", "b, a", "b, a, c", "a, c"} {
		w.write(fmt.Sprintf("name: shop\nversion: %d\npackages: [%s]\n", i, list))
		w.must("")
	}
	var got []string
	for i := range 4 {
		got = append(got, w.engine.images[w.engine.tags[fmt.Sprintf("shop:%d", i)]].Labels[LabelPackages])
	}
	want := []string{`[["b"]]`, `[["b"],["a"]]`, `[["b"],["a"],["c"]]`, `[["a","c"]]`}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	plain := docker.Image{ID: "plain"}
	w.engine.images["plain"], w.engine.tags["debian:12"] = plain, "plain"
	for text, want := range map[string]string{
		"":          "is empty",
		"name: x\n": "has no version, and git tells none",
		"name: x\nversion: 1\nbase: debian:12\nservices: [{name: a, command: b}]\n":                  "does not start Berth's /init",
		"name: x\nversion: 1\nbase: debian:12\nlanguage: php\n":                                      "does not start Berth's /init",
		"name: x\nversion: 1\nbase: gone:1\n":                                                        "the base is not on this machine",
		"name: x\nversion: 1\nbuild: {base: 'gone:2', commands: [a], output: /a, destination: /b}\n": "the base is not on this machine: no gone:2",
		"name: x\nversion: 1\nfiles: [{source: gone, destination: /a}]\n":                            "there is no such file",
	} {
		w.write(text)
		if _, err := w.build(""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if len(w.engine.built) > 0 {
		t.Errorf("something was built: %v", w.engine.built)
	}
	w.write("name: x\nversion: 1\ncommands: ['false']\n")
	w.engine.fail = errors.New("exit code 1")
	var failed *StepError
	if _, err := w.build(""); !errors.As(err, &failed) || w.engine.tags["x:1"] != "" {
		t.Errorf("got %v", err)
	}
}

// TestTogether: of many requests for one version one builds.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\npackages: [a]\n")
	var wg sync.WaitGroup
	var mu sync.Mutex
	built := 0
	for range 10 {
		wg.Go(func() {
			r, err := w.build("")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if r.Built {
				built++
			}
		})
	}
	wg.Wait()
	if built != 1 {
		t.Errorf("%d of them built", built)
	}
	files, err := os.ReadDir(w.b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), "slot-") {
			t.Errorf("%s is left", f.Name())
		}
	}
}

// TestEngineRefuses: what the engine says is told, and not that it stopped reading.
func TestEngineRefuses(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\ncommands: [a]\n")
	w.engine.refuse = errors.New("no space left on device")
	if _, err := w.build(""); !errors.Is(err, w.engine.refuse) {
		t.Errorf("got %v", err)
	}
}

// TestEditedMeanwhile: what is edited after the plan was made is not given a version that says otherwise.
func TestEditedMeanwhile(t *testing.T) {
	for list, file := range map[string]string{"files: [{source: a, destination: /a}]": "a", "files: [{source: d, destination: /d}]": "d/b", "packages: [c.deb]": "c.deb"} {
		w := newWorld(t)
		w.write("name: shop\nversion: 1\n" + list + "\n")
		if err := os.Mkdir(filepath.Join(w.folder, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		edit := func(text string) {
			if err := os.WriteFile(filepath.Join(w.folder, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		edit("before")
		w.engine.queued = func() { edit("BEFORE") }
		if _, err := w.build(""); err == nil || !strings.Contains(err.Error(), "send "+file+" to the engine: it was changed") || len(w.engine.tags) > 1 {
			t.Errorf("%s: got %v, tags %v", list, err, w.engine.tags)
		}
		w.engine.queued = nil
		w.must("")
	}
}

// TestGivenAwayMeanwhile: a version that another image got while this one was built stays that image's.
func TestGivenAwayMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\n")
	w.engine.during = func() { w.engine.tags["shop:1"] = "base" }
	w.taken("", "shop:1 exists on this machine and was not made by berth build")
	if w.engine.tags["shop:1"] != "base" {
		t.Error("it was taken from the image that had it")
	}
}

// TestPushedMeanwhile: of two machines that push one version at once, the one whose image is not there says so.
func TestPushedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\n")
	told := ""
	r := quiet()
	r.Output = func(text string) { told += text }
	if _, err := w.b.Build(t.Context(), Request{Folder: w.folder, Push: place + "/first"}, r); err != nil || !strings.HasSuffix(told, "layer Pushed\n") {
		t.Errorf("got %v, told %q", err, told)
	}
	w.engine.pushed = func() { w.engine.remote[place+":1"] = "another" }
	w.taken(place, "pushed in the same moment")
}

// TestFollower: each step is told once, also when a later part of the build repeats it, and what a command prints is no step.
func TestFollower(t *testing.T) {
	var got []string
	r := quiet()
	r.Step = func(title string) { got = append(got, title) }
	f := &follower{steps: []recipe.Step{{Title: "start"}, {Title: "install"}, {Title: "copy"}}, report: r}
	for _, part := range [][]int{{1, 2, 9, 0, 1}, {1, 2, 3, 4}} {
		on := f.events()
		for _, number := range part {
			on.Step(number)
		}
	}
	if want := []string{"[1/4] start", "[2/4] install", "[3/4] copy", "[4/4] label the image"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCredentialsAreNamed: a folder is copied as it is, and what of it looks like a secret is said.
func TestCredentialsAreNamed(t *testing.T) {
	w := newWorld(t)
	w.write("name: shop\nversion: 1\nfiles: [{source: ., destination: /srv}]\n")
	if err := errors.Join(os.WriteFile(filepath.Join(w.folder, ".npmrc"), nil, 0o600), os.WriteFile(filepath.Join(w.folder, "a"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var said []string
	r := quiet()
	r.Say = func(text string) { said = append(said, text) }
	if _, err := w.b.Build(t.Context(), Request{Folder: w.folder}, r); err != nil || len(said) != 1 || !strings.HasPrefix(said[0], ".npmrc goes into the image") {
		t.Errorf("said %q, %v", said, err)
	}
}
