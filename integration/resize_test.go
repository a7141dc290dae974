//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestResize: the quota of a running container goes up and down within what it holds, survives a kill of Berth and of the
// container, and the container itself stays.
func TestResize(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	id := b.AppID("web")
	b.Create(b.App("web", baseImage, 1, rig.With("cpus", 0.2), rig.With("cmd", "sleep 10000"), rig.With("labels", map[string]string{"BERTH_CPU_MAX": "0.6"})))
	web := b.Running(id, 1, 30*time.Second)[0]
	wantQuota(t, web.PID, 0.2)

	for _, cpus := range []string{"0.5", "0.1", "0.6"} {
		var out struct {
			InPlace   bool
			CPUs      float64
			Held      float64
			Instances []struct{ Milliseconds int }
		}
		if err := json.Unmarshal([]byte(b.CLI("resize", id, "--cpus", cpus, "-o", "json")), &out); err != nil {
			t.Fatal(err)
		}
		if !out.InPlace || out.Held != 0.6 || len(out.Instances) != 1 {
			t.Errorf("resize to %s: %+v", cpus, out)
		}
		wantQuota(t, web.PID, out.CPUs)
		t.Logf("%s cpus: the API said so after %d ms", cpus, out.Instances[0].Milliseconds)
	}
	if now := b.Running(id, 1, 30*time.Second)[0]; now.PID != web.PID || now.ID != web.ID {
		t.Fatalf("another container: %+v was %+v", now, web)
	}
	var app struct {
		App struct{ CPUs float64 }
	}
	b.Want(200, "GET", "/v2/apps"+id, nil, &app)
	if app.App.CPUs != 0.6 {
		t.Errorf("the API says %v cpus", app.App.CPUs)
	}
	if text, err := b.TryCLI(context.Background(), nil, "resize", id, "--cpus", "0.7"); err == nil || !strings.Contains(text+err.Error(), "--restart") {
		t.Errorf("beyond what is held: %s, %v", text, err)
	}

	b.CLI("resize", id, "--cpus", "0.3")
	b.Kill9()
	wantQuota(t, web.PID, 0.3)
	b.Start()
	if now := b.Running(id, 1, 30*time.Second)[0]; now.PID != web.PID {
		t.Fatalf("another container after a kill of Berth: %+v was %+v", now, web)
	}
	wantQuota(t, web.PID, 0.3)
	b.Engine.Docker("kill", web.ID)
	rig.Eventually(t, 60*time.Second, "another container runs", func() error {
		if now := b.Running(id, 1, 60*time.Second)[0]; now.ID == web.ID {
			return errors.New("the old one still does")
		}
		return nil
	})
	wantQuota(t, b.Running(id, 1, 60*time.Second)[0].PID, 0.3)
}

// wantQuota: the agent stamps and sets exactly what is wanted.
func wantQuota(t *testing.T, pid int, cpus float64) {
	t.Helper()
	if got := cpuQuota(t, pid).Seconds() / 0.1; math.Abs(got-cpus) > 0.001 {
		t.Errorf("the quota of process %d is %.3f cpus, want %v", pid, got, cpus)
	}
}
