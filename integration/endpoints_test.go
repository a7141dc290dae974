//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestEndpoints: one Berth over two Docker Engines, each a host with an agent of its own. Instances are on both, a dead or
// frozen dockerd concerns its own host only, and nothing is restarted by any of it.
func TestEndpoints(t *testing.T) {
	requireReal(t, "docker", webImage)
	hosts := []*rig.Host{rig.StartHost(t, "h1", webImage), rig.StartHost(t, "h2", webImage)}
	b := rig.New(t, rig.Options{Binary: binary, Hosts: hosts, Flags: []string{"--endpoint-timeout", "3s"}})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz"), rig.With("constraints", []any{[]any{"rack", "UNIQUE"}}),
		rig.With("unreachableStrategy", map[string]any{"inactiveAfterSeconds": 3600, "expungeAfterSeconds": 7200})))
	b.Settle(90 * time.Second)
	before := [2]string{running(t, hosts[0], app), running(t, hosts[1], app)}

	tasks, err := b.Tasks(app)
	if err != nil || len(tasks) != 2 || tasks[0].Address() == tasks[1].Address() {
		t.Fatalf("got %+v, %v", tasks, err)
	}
	for _, h := range hosts { // each instance has its own address, reachable on its own host
		_, address, _ := strings.Cut(running(t, h, app), " ")
		if out, err := h.Run(t.Context(), "curl", "-fsS", "-m", "5", "http://"+address+"/healthz"); err != nil {
			t.Errorf("%s does not answer on %s: %v: %s", address, h.Name, err, out)
		}
	}

	state := func(what string, h *rig.Host, want string) {
		t.Helper()
		rig.Eventually(t, 90*time.Second, what, func() error {
			tasks, err := b.Tasks(app)
			if err != nil {
				return err
			}
			for _, task := range tasks {
				expect := "TASK_RUNNING"
				if task.Host == h.Name {
					expect = want
				}
				if task.State != expect {
					return fmt.Errorf("%s on %s is %s", task.ID, task.Host, task.State)
				}
			}
			if len(tasks) != 2 {
				return fmt.Errorf("%d tasks", len(tasks))
			}
			return nil
		})
	}
	hosts[0].Engine.Freeze()
	t.Cleanup(hosts[0].Engine.Thaw)
	state("only the host of the frozen dockerd is unreachable", hosts[0], "TASK_UNREACHABLE")
	hosts[0].Engine.Thaw()
	state("the frozen host is back", hosts[0], "TASK_RUNNING")

	hosts[1].Engine.Kill9()
	state("only the host without dockerd is unreachable", hosts[1], "TASK_UNREACHABLE")

	b.Kill9()
	b.Start() // with one host away
	state("the other host is found again", hosts[1], "TASK_UNREACHABLE")

	hosts[1].Engine.Start()
	state("the host is back", hosts[1], "TASK_RUNNING")
	b.Kill9()
	b.Start()
	state("both are found again", hosts[1], "TASK_RUNNING")
	for i, h := range hosts {
		if now := running(t, h, app); now != before[i] {
			t.Errorf("on %s runs %q, before it was %q", h.Name, now, before[i])
		}
	}
	if out := b.CLI("logs", app); out == "" {
		t.Error("no logs")
	}
}

// running is the one container of the app on a host, and its address.
func running(t *testing.T, h *rig.Host, app string) string {
	t.Helper()
	ids := strings.Fields(h.Engine.Docker("ps", "-q", "--no-trunc", "--filter", "label=berth.app="+app))
	if len(ids) != 1 {
		t.Fatalf("%s has containers %v", h.Name, ids)
	}
	return ids[0] + " " + h.Engine.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", ids[0])
}
