//go:build integration

package rig

import (
	"strings"
	"testing"
)

// TestEngineOfOurOwn: the second engine runs beside the machine's, its containers outlive it, and it leaves nothing.
func TestEngineOfOurOwn(t *testing.T) {
	const image = "berth/base:bookworm"
	if _, err := MachineEngine(t).TryDocker("image", "inspect", "--format", "x", image); err != nil {
		t.Skipf("*** SKIPPED: no image %s", image)
	}
	e := StartEngine(t, image)
	id := e.Docker("run", "-d", "--network", "none", image)
	pid := e.Docker("inspect", "--format", "{{.State.Pid}}", id)
	e.Kill9()
	e.Start()
	if got := e.Docker("inspect", "--format", "{{.State.Pid}} {{.State.Status}}", id); got != pid+" running" {
		t.Errorf("after kill -9 of the engine: %s, want %s running", got, pid)
	}
}

// TestConsulOfOurOwn: an agent on free ports that has a leader.
func TestConsulOfOurOwn(t *testing.T) {
	if ConsulBinary() == "" {
		t.Skip("*** SKIPPED: no Consul server was built")
	}
	services, index, err := StartConsul(t).Services("consul", 0)
	if err != nil || len(services) != 1 || index == 0 {
		t.Errorf("got %v, %d, %v", services, index, err)
	}
}

func TestFreshNamesFitAnInterface(t *testing.T) {
	a, b := freshName(), freshName()
	if a == b || len("br-"+a) > 15 || strings.ToLower(a) != a {
		t.Errorf("%s and %s", a, b)
	}
	if p := freeRange(t, 29); !territory.Overlaps(p) || p != p.Masked() {
		t.Errorf("range %s", p)
	}
}
