//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/integration/rig"
)

// podOf is a pod with a server that listens on its loopback and on its address, and a client beside it that has a file in
// common with it.
func podOf(b *rig.Berth, name string, instances int) map[string]any {
	return map[string]any{
		"id":         b.AppID(name),
		"networks":   []any{map[string]any{"mode": "container", "name": b.Pool}},
		"scaling":    map[string]any{"kind": "fixed", "instances": instances},
		"scheduling": map[string]any{"backoff": map[string]any{"backoff": 1, "backoffFactor": 1, "maxLaunchDelay": 2}},
		"volumes":    []any{map[string]any{"name": "shared"}},
		"containers": []any{
			map[string]any{
				"name": "server", "resources": map[string]any{"cpus": 0.2, "mem": 64},
				"image":        map[string]any{"kind": "DOCKER", "id": webImage},
				"endpoints":    []any{map[string]any{"name": "http", "containerPort": 80}},
				"volumeMounts": []any{map[string]any{"name": "shared", "mountPath": "/srv/shared"}},
				"healthCheck": map[string]any{
					"http": map[string]any{"endpoint": "http", "path": "/"}, "gracePeriodSeconds": 60, "intervalSeconds": 2, "timeoutSeconds": 1,
				},
			},
			map[string]any{
				"name": "client", "resources": map[string]any{"cpus": 0.1, "mem": 64},
				"exec":         map[string]any{"command": map[string]any{"shell": "echo $MARATHON_CONTAINER_ID $ENDPOINT_HTTP >$MESOS_SANDBOX/data/from-client; exec sleep 100000"}},
				"volumeMounts": []any{map[string]any{"name": "shared", "mountPath": "data"}},
				"lifecycle":    map[string]any{"killGracePeriodSeconds": 2},
				"healthCheck": map[string]any{
					"exec": map[string]any{"command": map[string]any{"shell": "test -e /mnt/mesos/sandbox/data/from-client"}}, "gracePeriodSeconds": 60, "intervalSeconds": 2, "timeoutSeconds": 1,
				},
			},
		},
	}
}

// podSeat is one instance as the machine has it.
type podSeat struct {
	Address, Hostname string
	Sandbox           string            // container ids
	Members           map[string]string // by container name
}

// podSeats are the running instances of a pod, by seat.
func podSeats(b *rig.Berth, pod string) (map[string]podSeat, error) {
	out, err := b.Engine.TryDocker("ps", "-q", "--no-trunc", "--filter", "label=berth.app="+pod)
	if err != nil || out == "" {
		return map[string]podSeat{}, err
	}
	format := `{{.Id}}|{{index .Config.Labels "berth.seat"}}|{{with index .Config.Labels "berth.container"}}{{.}}{{end}}|{{.Config.Hostname}}|{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`
	text, err := b.Engine.TryDocker(append([]string{"inspect", "--format", format}, strings.Fields(out)...)...)
	if err != nil {
		return nil, err
	}
	seats := map[string]podSeat{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), "|")
		s, ok := seats[f[1]]
		if !ok {
			s.Members = map[string]string{}
		}
		if f[2] == "" {
			s.Sandbox, s.Hostname, s.Address = f[0], f[3], f[4]
		} else {
			s.Members[f[2]] = f[0]
		}
		seats[f[1]] = s
	}
	return seats, nil
}

// podRuns waits until n whole instances run and the pod is stable.
func podRuns(b *rig.Berth, t *testing.T, pod string, n int, limit time.Duration) map[string]podSeat {
	t.Helper()
	var found map[string]podSeat
	rig.Eventually(t, limit, fmt.Sprintf("%d instances of pod %s run", n, pod), func() (err error) {
		if found, err = podSeats(b, pod); err != nil {
			return err
		}
		if len(found) != n {
			return fmt.Errorf("there are %d: %v", len(found), found)
		}
		for seat, s := range found {
			if s.Sandbox == "" || s.Address == "" || len(s.Members) != 2 {
				return fmt.Errorf("seat %s is not whole: %+v", seat, s)
			}
		}
		code, status := b.Do("GET", "/v2/pods"+pod+"::status", nil)
		if code != 200 || !strings.Contains(status, `"status":"STABLE"`) || strings.Contains(status, "DEGRADED") || strings.Contains(status, "STAGING") {
			return fmt.Errorf("status %d: %s", code, status)
		}
		return nil
	})
	return found
}

func places(seats map[string]podSeat) map[string]string {
	out := map[string]string{}
	for seat, s := range seats {
		out[seat] = s.Address + " " + s.Hostname
	}
	return out
}

// TestPods on a real engine: the containers of an instance share address, loopback and folders, live and die together, keep
// the address through everything, and leave nothing behind.
func TestPods(t *testing.T) {
	requireReal(t, "docker", webImage, baseImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	pod := b.AppID("pod")
	b.Want(201, "POST", "/v2/pods", podOf(b, "pod", 2), nil)
	first := podRuns(b, t, pod, 2, 60*time.Second)
	want := places(first)
	one := first["1"]

	t.Run("one address and one loopback", func(t *testing.T) {
		if got := b.Engine.Docker("exec", one.Members["client"], "hostname"); got != one.Hostname {
			t.Errorf("the client's host name is %q, the instance's %q", got, one.Hostname)
		}
		get := `exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3`
		if got := b.Engine.Docker("exec", one.Members["client"], "bash", "-c", get); !strings.Contains(got, " 200 ") {
			t.Errorf("the server on 127.0.0.1 says %q", got)
		}
		if got := b.Engine.Docker("exec", one.Members["server"], "cat", "/srv/shared/from-client"); got != "client 80" {
			t.Errorf("the client left %q", got)
		}
		quota := b.Engine.Docker("inspect", "--format", "{{.HostConfig.CpuQuota}} {{.HostConfig.Memory}}", one.Members["server"])
		if quota != "20000 67108864" {
			t.Errorf("quota and memory of the server: %s", quota)
		}
		if login := b.SSH(one.Address); login == nil {
			t.Error("no login")
		}
	})

	t.Run("a container that fails ends its instance", func(t *testing.T) {
		b := b.In(t)
		b.Engine.Docker("kill", one.Members["client"])
		rig.Eventually(t, 30*time.Second, "the instance is replaced", func() error {
			now, err := podSeats(b, pod)
			if s := now["1"]; err == nil && (len(s.Members) != 2 || s.Sandbox == one.Sandbox || s.Members["server"] == one.Members["server"]) {
				err = errNotYet
			}
			return err
		})
		now := podRuns(b, t, pod, 2, 30*time.Second)
		if diff := cmp.Diff(want, places(now)); diff != "" {
			t.Errorf("the instance moved: %s", diff)
		}
		if diff := cmp.Diff(first["0"], now["0"]); diff != "" {
			t.Errorf("the other instance changed: %s", diff)
		}
	})

	t.Run("kill -9 of berth", func(t *testing.T) {
		b := b.In(t)
		before := podRuns(b, t, pod, 2, 10*time.Second)
		b.Kill9()
		b.Start()
		if diff := cmp.Diff(before, podRuns(b, t, pod, 2, 30*time.Second)); diff != "" {
			t.Errorf("it changed what runs: %s", diff)
		}
	})

	t.Run("kill -9 of berth while a container dies", func(t *testing.T) {
		b := b.In(t)
		before := podRuns(b, t, pod, 2, 10*time.Second)
		b.Kill9()
		b.Engine.Docker("kill", before["0"].Members["server"])
		b.Engine.Docker("kill", before["1"].Sandbox)
		b.Start()
		rig.Eventually(t, 40*time.Second, "both instances are replaced", func() error {
			now, err := podSeats(b, pod)
			for seat, s := range now {
				if err == nil && (len(s.Members) != 2 || s.Sandbox == before[seat].Sandbox) {
					err = errNotYet
				}
			}
			return err
		})
		if diff := cmp.Diff(want, places(podRuns(b, t, pod, 2, 30*time.Second))); diff != "" {
			t.Errorf("an instance moved: %s", diff)
		}
	})

	t.Run("kill -9 of berth while it starts one, then scaled", func(t *testing.T) {
		b := b.In(t)
		b.Want(200, "PUT", "/v2/pods"+pod, podOf(b, "pod", 4), nil)
		rig.Eventually(t, 20*time.Second, "the third instance begins", func() error {
			now, err := podSeats(b, pod)
			if err == nil && len(now) < 3 {
				err = errNotYet
			}
			return err
		})
		b.Kill9()
		b.Start()
		now := podRuns(b, t, pod, 4, 60*time.Second)
		b.Settle(30 * time.Second)
		for seat, place := range want {
			if got := places(now)[seat]; got != place {
				t.Errorf("seat %s moved from %s to %s", seat, place, got)
			}
		}
		b.Want(200, "PUT", "/v2/pods"+pod, podOf(b, "pod", 1), nil)
		b.Settle(60 * time.Second)
		podRuns(b, t, pod, 1, 10*time.Second)
	})

	t.Run("nothing is left", func(t *testing.T) {
		b := b.In(t)
		b.Want(202, "DELETE", "/v2/pods"+pod, nil, nil)
		b.Settle(60 * time.Second)
		rig.Eventually(t, 20*time.Second, "no container of the pod runs and no sandbox is there", func() error {
			running, err := b.Engine.TryDocker("ps", "-q", "--filter", "label=berth.app="+pod)
			sandboxes, err2 := b.Engine.TryDocker("ps", "-aq", "--filter", "label=berth.app="+pod, "--filter", "label=mesos.task_ids")
			if running != "" || sandboxes != "" {
				return fmt.Errorf("running: %q, sandboxes: %q", running, sandboxes)
			}
			return errors.Join(err, err2)
		})
		shared, err := filepath.Glob(filepath.Join(b.Dir, "state", "*", "sandboxes", "*", "volumes"))
		if err != nil || len(shared) != 0 {
			t.Errorf("shared folders are left: %v %v", shared, err)
		}
		if entries, err := os.ReadDir(filepath.Join(b.Dir, "state")); err != nil || len(entries) == 0 {
			t.Errorf("looked in the wrong place: %v %v", entries, err)
		}
	})
}
