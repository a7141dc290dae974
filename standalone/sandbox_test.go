package standalone

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/standalone/fetch"
)

// shelf is a web server without a network: it has files, and takes as long as it is told.
type shelf struct {
	files map[string][]byte
	takes time.Duration
}

func (s *shelf) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	body, ok := s.files[r.URL.Path]
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}
	if !ok {
		resp.StatusCode = 404
	}
	return resp, nil
}

func uris(names ...string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		for _, n := range names {
			t.Command.URIs = append(t.Command.URIs, mesos.CommandInfo_URI{Value: "http://files/" + n})
		}
	}
}

func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// again starts the world's engine anew with other options.
func (w *world) again(change func(*Host)) {
	w.stop()
	change(w.host())
	w.start()
}

func TestFetchesBeforeItStarts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := &shelf{files: map[string][]byte{"/app.tar": tarOf(t, "bin/app", "code")}, takes: 3 * time.Second}
		w.again(func(o *Host) { o.Fetch = fetch.Options{Transport: s, Stall: time.Hour} })
		f := w.subscribe(info(""))
		f.accept(f.offer(), 1e7, w.task("a.1", uris("app.tar")))
		if s := f.update("a.1", mesos.TASK_STAGING); s.GetMessage() != "fetching http://files/app.tar" {
			t.Errorf("got %q", s.GetMessage())
		}
		f.update("a.1", mesos.TASK_STARTING)
		running := f.update("a.1", mesos.TASK_RUNNING)
		cid := running.ContainerStatus.ContainerID.Value
		text, err := os.ReadFile(filepath.Join(w.opts.StateDir, sandboxDir, cid, "bin/app"))
		if string(text) != "code" {
			t.Errorf("got %q, %v", text, err)
		}
	})
}

func TestFetchFailsOrIsKilled(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := &shelf{takes: 3 * time.Second}
		w.again(func(o *Host) { o.Fetch = fetch.Options{Transport: s, Stall: time.Hour} })
		f := w.subscribe(info(""))
		f.accept(f.offer(), 1e7, w.task("a.1", uris("none")))
		f.update("a.1", mesos.TASK_STAGING)
		got := f.update("a.1", mesos.TASK_FAILED)
		if got.GetMessage() != "Failed to launch container: failed to fetch 'http://files/none': HTTP 404 Not Found" || got.GetReason() != mesos.REASON_CONTAINER_LAUNCH_FAILED {
			t.Errorf("got %v", got)
		}
		f.accept(f.offer(), 1e7, w.task("a.2", uris("none")))
		f.update("a.2", mesos.TASK_STAGING)
		began := time.Now()
		f.kill("a.2", time.Hour)
		if got := f.update("a.2", mesos.TASK_KILLED); got.GetReason() != mesos.REASON_TASK_KILLED_DURING_LAUNCH || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), got)
		}
	})
}

func TestFetchedCredentials(t *testing.T) {
	const image = "registry.example:5000/app:1"
	owner := docker.Credentials{Username: "me", Password: "pass:word", Server: "https://registry.example:5000/v1/"}
	config := []byte(`{"auths":{"https://registry.example:5000/v1/":{"auth":"bWU6cGFzczp3b3Jk"},"other":{"auth":"eDp5"}}}`)
	for _, c := range []struct {
		name, file string
		content    []byte
		want       mesos.TaskState
		message    string
	}{
		{"an archive with .docker/config.json", "docker.tar", tarOf(t, ".docker/config.json", string(config)), mesos.TASK_RUNNING, ""},
		{".dockercfg", ".dockercfg", config[len(`{"auths":`) : len(config)-1], mesos.TASK_RUNNING, ""},
		{"somebody else's", ".dockercfg", []byte(`{"other":{"auth":"eDp5"}}`), mesos.TASK_FAILED, "pull access denied"},
		{"no JSON", ".dockercfg", []byte(`{`), mesos.TASK_FAILED, "read the fetched .dockercfg"},
		{"no base64", ".dockercfg", []byte(`{"registry.example:5000":{"auth":"?"}}`), mesos.TASK_FAILED, "not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.again(func(o *Host) {
					o.Fetch = fetch.Options{Transport: &shelf{files: map[string][]byte{"/" + c.file: c.content}}}
				})
				w.docker.AddPrivateImage(image, owner)
				f := w.subscribe(info(""))
				f.accept(f.offer(), 1e7, w.task("a.1", uris(c.file), func(t *mesos.TaskInfo) { t.Container.Docker.Image = image }))
				f.update("a.1", mesos.TASK_STAGING)
				if c.want == mesos.TASK_RUNNING {
					f.update("a.1", mesos.TASK_STARTING)
				}
				if s := f.update("a.1", c.want); !strings.Contains(s.GetMessage(), c.message) {
					t.Errorf("got %q", s.GetMessage())
				}
			})
		})
	}
}

// TestPullConfigOfTheHost: what pullConfig becomes, a docker configuration of this machine under the name that is looked for.
func TestPullConfigOfTheHost(t *testing.T) {
	const image = "registry.example:5000/app:1"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "registry.json"), []byte(`{"auths":{"registry.example:5000":{"auth":"bWU6cGFzczp3b3Jk"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	bubble(t, func(t *testing.T, w *world) {
		w.again(func(o *Host) { o.Fetch = fetch.Options{Roots: []string{dir}} })
		w.docker.AddPrivateImage(image, docker.Credentials{Username: "me", Password: "pass:word", Server: "registry.example:5000"})
		f := w.subscribe(info(""))
		name, extract := ".docker/config.json", false
		f.accept(f.offer(), 1e7, w.task("a.1", func(t *mesos.TaskInfo) {
			t.Container.Docker.Image = image
			t.Command.URIs = []mesos.CommandInfo_URI{{Value: "file://" + dir + "/registry.json", OutputFile: &name, Extract: &extract}}
		}))
		for _, state := range []mesos.TaskState{mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING} {
			f.update("a.1", state)
		}
	})
}
