//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestACluster: scheduler and agent are processes of their own, which meet the engine and each other over TCP only. What
// users see is what `berth standalone` shows, and a dead scheduler takes no instance along.
func TestACluster(t *testing.T) {
	requireReal(t, "docker", baseImage, webImage)
	b := rig.New(t, rig.Options{Binary: binary, Mesos: rig.NewMesos(t), Flags: []string{"--native-checks=false"}})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/")))
	b.Settle(90 * time.Second)
	before := map[string]string{}
	tasks, err := b.Tasks(app)
	if err != nil || len(tasks) != 2 {
		t.Fatalf("got %+v, %v", tasks, err)
	}
	for _, task := range tasks {
		before[task.ID] = task.Address()
		resp, err := http.Get("http://" + task.Address() + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s answers %s", task.ID, resp.Status)
		}
	}

	b.Kill9()
	for _, address := range before {
		if resp, err := http.Get("http://" + address + "/"); err != nil {
			t.Errorf("an instance went with the scheduler: %v", err)
		} else {
			resp.Body.Close()
		}
	}
	b.Start()
	rig.Eventually(t, 30*time.Second, "the same tasks are known", func() error {
		tasks, err := b.Tasks(app)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if before[task.ID] != task.Address() || task.State != "TASK_RUNNING" {
				return fmt.Errorf("task %+v, of %v", task, before)
			}
		}
		if len(tasks) != len(before) {
			return fmt.Errorf("%d tasks", len(tasks))
		}
		return nil
	})

	leftover(t, b, app)

	code, answer := b.Do("POST", "/v2/pods", map[string]any{"id": b.AppID("pod"), "containers": []any{
		map[string]any{"name": "c", "exec": map[string]any{"command": map[string]any{"shell": "sleep 1000"}}, "resources": map[string]any{"cpus": 0.1, "mem": 32}},
	}})
	if code != 422 || !strings.Contains(answer, "Mesos") {
		t.Errorf("a pod on Mesos: %d %s", code, answer)
	}
}

// leftover is a container that has outlived its task, as when dockerd dies under Mesos's docker executor: for everybody the task
// is over, but its container runs on, on the address that the seat's next task needs.
func leftover(t *testing.T, b *rig.Berth, app string) {
	t.Helper()
	was, name := b.Running(app, 2, 30*time.Second)[0], "leftover-"+b.Pool
	b.Update(app, map[string]any{"instances": 0})
	b.Settle(60 * time.Second)
	t.Cleanup(func() { _, _ = rig.MachineEngine(t).TryDocker("rm", "-f", name) })
	b.Engine.Docker("run", "-d", "--name", name, "--network", b.Pool, "--ip", was.Address, "--label", "berth.schema=1",
		"--label", "berth.app="+app, "--label", "berth.seat=0", "--label", "berth.task="+was.Task, "--entrypoint", "/bin/sleep", baseImage, "1000")
	b.Update(app, map[string]any{"instances": 2})
	rig.Eventually(t, 60*time.Second, "the leftover is stopped", func() error {
		if state := b.Engine.Docker("inspect", "-f", "{{.State.Running}}", name); state != "false" {
			return fmt.Errorf("running: %s; %s", state, b.Queue())
		}
		return nil
	})
	if now := b.Running(app, 2, 90*time.Second)[0]; now.Address != was.Address || now.Task == was.Task {
		t.Errorf("%+v came after %+v", now, was)
	}
}
