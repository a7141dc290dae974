//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// residentPod counts its starts on a persistent volume, which its other container sees read-only. Neither of its commands
// that are checks goes through a shell.
func residentPod(b *rig.Berth, release string) map[string]any {
	argv := func(words ...string) map[string]any {
		return map[string]any{"exec": map[string]any{"command": map[string]any{"argv": words}}, "intervalSeconds": 2, "timeoutSeconds": 1, "delaySeconds": 0}
	}
	alive := argv("test", "-s", "/mnt/mesos/sandbox/data/starts")
	alive["gracePeriodSeconds"] = 60
	mount := func(at string, readOnly bool) []any {
		return []any{map[string]any{"name": "kept", "mountPath": at, "readOnly": readOnly}}
	}
	return map[string]any{
		"id":          b.AppID("db"),
		"environment": map[string]string{"RELEASE": release},
		"networks":    []any{map[string]any{"mode": "container", "name": b.Pool}},
		"scaling":     map[string]any{"kind": "fixed", "instances": 2},
		"volumes":     []any{map[string]any{"name": "kept", "persistent": map[string]any{"type": "root", "size": 10}}},
		"containers": []any{
			map[string]any{
				"name": "main", "resources": map[string]any{"cpus": 0.1, "mem": 64},
				"exec":         map[string]any{"command": map[string]any{"shell": `echo $RELEASE >>data/starts; exec sleep 100000`}},
				"volumeMounts": mount("data", false), "healthCheck": alive, "check": argv("sed", "q3", "/etc/hostname"),
				"lifecycle": map[string]any{"killGracePeriodSeconds": 2},
			},
			map[string]any{
				"name": "server", "resources": map[string]any{"cpus": 0.1, "mem": 64}, "image": map[string]any{"kind": "DOCKER", "id": webImage},
				"endpoints": []any{map[string]any{"name": "http", "containerPort": 80}}, "volumeMounts": mount("seen", true),
				"check": map[string]any{"http": map[string]any{"endpoint": "http", "path": "/"}, "intervalSeconds": 1, "timeoutSeconds": 1, "delaySeconds": 0},
			},
		},
	}
}

// podStarts waits until the instances have started with these releases on their data, as the second container reads it, and
// gives the instances' ids.
func podStarts(t *testing.T, b *rig.Berth, pod string, want ...string) []string {
	t.Helper()
	for seat, s := range podRuns(b, t, pod, 2, 60*time.Second) {
		rig.Eventually(t, 30*time.Second, fmt.Sprintf("seat %s has started with %v", seat, want), func() error {
			got, err := b.Engine.TryDocker("exec", s.Members["server"], "cat", "/mnt/mesos/sandbox/seen/starts")
			if err == nil && strings.Join(strings.Fields(got), " ") != strings.Join(want, " ") {
				err = fmt.Errorf("it says %q", got)
			}
			return err
		})
	}
	var ids []string
	for _, i := range podStatusOf(b, pod) {
		if len(i.LocalVolumes) != 1 || i.LocalVolumes[0].ContainerPath != "kept" {
			t.Errorf("localVolumes of %s: %+v", i.ID, i.LocalVolumes)
		}
		ids = append(ids, i.ID)
	}
	return ids
}

// podInstanceStatus is what the test reads of an instance.
type podInstanceStatus struct {
	ID           string
	LocalVolumes []struct{ ContainerPath string }
	Containers   []struct {
		Name        string
		CheckResult json.RawMessage
	}
}

func podStatusOf(b *rig.Berth, pod string) []podInstanceStatus {
	var status struct{ Instances []podInstanceStatus }
	b.Want(200, "GET", "/v2/pods"+pod+"::status", nil, &status)
	return status.Instances
}

// TestPodVolumes: a pod's data is there after a kill, a rolling update and kill -9 of Berth; wiping and deleting remove it.
// Its checks are reported.
func TestPodVolumes(t *testing.T) {
	requireReal(t, "docker", webImage, baseImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	pod := b.AppID("db")
	b.Want(201, "POST", "/v2/pods", residentPod(b, "one"), nil)
	ids := podStarts(t, b, pod, "one")

	rig.Eventually(t, 30*time.Second, "the checks are reported", func() error {
		for _, i := range podStatusOf(b, pod) {
			got := ""
			for _, c := range i.Containers {
				got += c.Name + string(c.CheckResult)
			}
			if got != `main{"exec":{"exitCode":3}}server{"http":{"statusCode":200}}` {
				return fmt.Errorf("%s: %s", i.ID, got)
			}
		}
		return nil
	})
	first := podRuns(b, t, pod, 2, 10*time.Second)["0"]
	if text, err := b.Engine.TryDocker("exec", first.Members["server"], "touch", "/mnt/mesos/sandbox/seen/x"); err == nil {
		t.Errorf("a volume that is mounted to read was written to: %s", text)
	}

	b.Want(200, "DELETE", "/v2/pods"+pod+"::instances", ids, nil)
	rig.Eventually(t, 60*time.Second, "other instances run", func() error {
		now, err := podSeats(b, pod)
		if err == nil && (len(now) != 2 || now["0"].Sandbox == first.Sandbox) {
			err = errNotYet
		}
		return err
	})
	podStarts(t, b, pod, "one", "one")
	b.Want(200, "PUT", "/v2/pods"+pod, residentPod(b, "two"), nil)
	b.Settle(60 * time.Second)
	ids = podStarts(t, b, pod, "one", "one", "two")
	b.Kill9()
	b.Start()
	podStarts(t, b, pod, "one", "one", "two")

	before := volumeFolders(t, b)
	b.Want(200, "DELETE", "/v2/pods"+pod+"::instances?wipe=true", ids, nil)
	rig.Eventually(t, 60*time.Second, "the wiped folders are gone", func() error {
		for _, old := range before {
			if _, err := os.Stat(old); err == nil {
				return fmt.Errorf("%s is there", old)
			}
		}
		return nil
	})
	podStarts(t, b, pod, "two")
	b.Want(202, "DELETE", "/v2/pods"+pod, nil, nil)
	rig.Eventually(t, 60*time.Second, "no volume is left", func() error {
		if left := volumeFolders(t, b); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}
