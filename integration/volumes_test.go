//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// resident is an app with one persistent volume, which counts its own starts there.
func resident(instances int) map[string]any {
	return map[string]any{
		"cmd": `echo "$HOSTNAME" >>data/starts; exec sleep infinity`, "cpus": 0.2, "mem": 64, "instances": instances,
		"container": map[string]any{"type": "MESOS", "volumes": []map[string]any{
			{"containerPath": "data", "mode": "RW", "persistent": map[string]any{"type": "root", "size": 10}},
			{"containerPath": "/var/lib/app", "hostPath": "data", "mode": "RW"},
		}},
	}
}

// starts are how often the seat has started on its data, by the file that it writes there.
func starts(b *rig.Berth, c rig.Container) (int, error) {
	text, err := b.Engine.TryDocker("exec", c.ID, "cat", "/var/lib/app/starts")
	return len(strings.Fields(text)), err
}

// wantStarts waits until every seat has started so many times on its data.
func wantStarts(t *testing.T, b *rig.Berth, app string, want ...int) {
	t.Helper()
	rig.Eventually(t, 60*time.Second, fmt.Sprintf("starts are %v", want), func() error {
		now, err := b.Containers(app)
		if err != nil {
			return err
		}
		if len(now) != len(want) {
			return fmt.Errorf("%d containers", len(now))
		}
		for seat, n := range want {
			if got, err := starts(b, now[seat]); err != nil || got != n {
				return errors.Join(fmt.Errorf("seat %d: %d starts, want %d", seat, got, n), err)
			}
		}
		return idle(b, app)
	})
}

// TestPersistentVolumes: the data is there after a kill, an update, scaling down and up, and kill -9 of Berth; wiping and
// deleting remove it.
func TestPersistentVolumes(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	app := b.AppID("db")
	definition := resident(3)
	definition["id"] = app
	b.Want(201, "POST", "/v2/apps", definition, nil)
	wantStarts(t, b, app, 1, 1, 1)

	var list struct {
		Tasks []struct {
			ID           string `json:"id"`
			LocalVolumes []struct {
				ContainerPath string `json:"containerPath"`
				PersistenceID string `json:"persistenceId"`
			} `json:"localVolumes"`
		} `json:"tasks"`
	}
	b.Want(200, "GET", "/v2/apps"+app+"/tasks", nil, &list)
	for _, task := range list.Tasks {
		if len(task.LocalVolumes) != 1 || task.LocalVolumes[0].ContainerPath != "data" {
			t.Errorf("localVolumes of %s: %+v", task.ID, task.LocalVolumes)
		}
	}

	b.Want(200, "DELETE", "/v2/apps"+app+"/tasks", nil, nil)
	wantStarts(t, b, app, 2, 2, 2)
	b.Update(app, map[string]any{"env": map[string]string{"RELEASE": "2"}})
	wantStarts(t, b, app, 3, 3, 3)
	b.Update(app, map[string]any{"instances": 1})
	wantStarts(t, b, app, 3)
	b.Kill9()
	b.Start()
	b.Update(app, map[string]any{"instances": 3})
	wantStarts(t, b, app, 3, 4, 4)

	if code, answer := b.Do("PUT", "/v2/apps"+app, map[string]any{"mem": 65}); code != 422 {
		t.Errorf("resources of a resident app are frozen: %d %s", code, answer)
	}

	before := volumeFolders(t, b)
	b.Want(200, "DELETE", "/v2/apps"+app+"/tasks?wipe=true", nil, nil)
	wantStarts(t, b, app, 1, 1, 1)
	rig.Eventually(t, 30*time.Second, "the wiped folders are gone", func() error {
		for _, old := range before {
			if _, err := os.Stat(old); err == nil {
				return fmt.Errorf("%s is there", old)
			}
		}
		return nil
	})
	b.Want(200, "DELETE", "/v2/apps"+app, nil, nil)
	rig.Eventually(t, 30*time.Second, "no volume is left", func() error {
		if left := volumeFolders(t, b); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}

func volumeFolders(t *testing.T, b *rig.Berth) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(b.Dir, "state", "volumes", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFetch from a server on loopback: an archive, an executable, and one that is not there.
func TestFetch(t *testing.T) {
	requireReal(t, "docker", baseImage)
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	const greeting = "hello from the archive\n"
	if err := w.WriteHeader(&tar.Header{Name: "conf/greeting", Mode: 0o644, Size: int64(len(greeting))}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, greeting)
	w.Close()
	z.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	files := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app.tar.gz":
			w.Write(archive.Bytes()) //nolint:errcheck // the client sees it
		case "/run.sh":
			fmt.Fprint(w, "#!/bin/sh\ncat conf/greeting >out\nexec sleep infinity\n")
		default:
			http.NotFound(w, r)
		}
	})}
	go files.Serve(l) //nolint:errcheck // closed below
	t.Cleanup(func() { files.Close() })
	url := "http://" + l.Addr().String()

	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	app := b.AppID("fetched")
	b.Want(201, "POST", "/v2/apps", map[string]any{
		"id": app, "cmd": "./run.sh", "cpus": 0.2, "mem": 64, "user": "nobody",
		"container": map[string]any{"type": "MESOS", "volumes": []map[string]any{{"hostPath": "conf/greeting", "containerPath": "/opt/greeting", "mode": "RO"}}},
		"fetch":     []map[string]any{{"uri": url + "/app.tar.gz", "cache": true}, {"uri": url + "/run.sh", "executable": true}},
		"check":     map[string]any{"exec": map[string]any{"command": map[string]any{"argv": []string{"grep", "-q", "other", "/mnt/mesos/sandbox/out"}}}, "intervalSeconds": 1, "delaySeconds": 1},
	}, nil)
	c := b.Running(app, 1, 60*time.Second)[0]
	rig.Eventually(t, 20*time.Second, "what was fetched has run", func() error {
		text, err := b.Engine.TryDocker("exec", c.ID, "sh", "-c", "cat /mnt/mesos/sandbox/out; stat -c %U /mnt/mesos/sandbox/out; cmp /opt/greeting /mnt/mesos/sandbox/conf/greeting")
		if err == nil && text != greeting+"nobody\n" && strings.TrimSpace(text) != strings.TrimSpace(greeting+"nobody") {
			err = fmt.Errorf("got %q", text)
		}
		return err
	})
	rig.Eventually(t, 20*time.Second, "the check is reported", func() error {
		_, text := b.Do("GET", "/v2/apps"+app+"/tasks", nil)
		if !strings.Contains(text, `"checkResult":{"exec":{"exitCode":1}}`) {
			return fmt.Errorf("got %s", text)
		}
		return nil
	})

	missing := b.AppID("missing")
	b.Want(201, "POST", "/v2/apps", map[string]any{"id": missing, "cmd": "true", "cpus": 0.1, "mem": 32, "uris": []string{url + "/none.tgz"}}, nil)
	rig.Eventually(t, 30*time.Second, "the failure names the URI", func() error {
		var got struct {
			App struct {
				LastTaskFailure struct{ State, Message string } `json:"lastTaskFailure"`
			} `json:"app"`
		}
		_, text := b.Do("GET", "/v2/apps"+missing, nil)
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			return err
		}
		if f := got.App.LastTaskFailure; f.State != "TASK_FAILED" || !strings.Contains(f.Message, url+"/none.tgz': HTTP 404") {
			return fmt.Errorf("got %+v", f)
		}
		return nil
	})
}
