//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestExhaustedPoolWaits: a /29 has five addresses for instances, so the sixth waits, and says so, until one is free.
func TestExhaustedPoolWaits(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary, Bits: 29, Flags: roomy("--address-rest", "1s")})
	app := b.AppID("many")
	b.Create(b.App("many", baseImage, 6))
	rig.Eventually(t, 60*time.Second, "five run and one waits", func() error {
		c, err := b.Containers(app)
		if err == nil && len(c) != 5 {
			err = fmt.Errorf("%d containers", len(c))
		}
		if err != nil {
			return err
		}
		return contains(b.Queue(), app, b.Pool)
	})
	for _, text := range []string{b.Queue(), b.CLI("ps")} {
		if err := contains(text, "address"); err != nil {
			t.Errorf("no reason: %v", err)
		}
	}
	b.Want(200, "PUT", "/v2/apps"+app+"?force=true", map[string]any{"instances": 5}, nil)
	b.Running(app, 5, 30*time.Second)
	b.Settle(15 * time.Second)
}

// TestHeldAddressWaits: something else on the machine has the address that an instance must have.
func TestHeldAddressWaits(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	address := b.CIDR.Addr().Next().Next().Next().String()
	holder := "holder-" + b.Pool
	// The network is there once the first instance runs.
	b.Create(b.App("first", baseImage, 1))
	b.Running(b.AppID("first"), 1, 30*time.Second)
	if b.Engine.Docker("inspect", "--format", "{{(index .NetworkSettings.Networks \""+b.Pool+"\").IPAddress}}", b.Running(b.AppID("first"), 1, time.Second)[0].ID) == address {
		address = b.CIDR.Addr().Next().Next().Next().Next().String()
	}
	b.Engine.Docker("run", "-d", "--name", holder, "--network", b.Pool, "--ip", address, baseImage)
	t.Cleanup(func() { _, _ = rig.MachineEngine(t).TryDocker("rm", "-f", holder) })

	app := b.AppID("wants")
	b.Create(b.App("wants", baseImage, 1, rig.With("labels", map[string]string{"BERTH_IPS": address})))
	rig.Eventually(t, 30*time.Second, "the queue says who has the address", func() error {
		return contains(b.Queue(), app, address, holder)
	})
	if err := contains(b.CLI("ps"), address); err != nil {
		t.Errorf("berth ps: %v", err)
	}
	b.Engine.Docker("rm", "-f", holder)
	if c := b.Running(app, 1, 60*time.Second)[0]; c.Address != address {
		t.Errorf("it runs with %s, want %s", c.Address, address)
	}
}

// TestStopAndCleanup: instances outlive an orderly stop, and a cleanup leaves nothing of Berth on the machine.
func TestStopAndCleanup(t *testing.T) {
	requireReal(t, "docker", webImage)
	b := rig.New(t, rig.Options{Binary: binary})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 1, rig.HTTPCheck("/healthz")))
	b.Settle(30 * time.Second)
	before := b.Running(app, 1, 5*time.Second)[0]
	bridge := b.Bridge()
	if _, err := os.Stat("/sys/class/net/" + bridge); err != nil {
		t.Errorf("the pool's bridge: %v", err)
	}
	b.Stop()
	if got := ask(before.Address); got != "" {
		t.Errorf("the instance does not outlive Berth: %s", got)
	}
	b.Remove()
	if _, err := os.Stat("/sys/class/net/" + bridge); err == nil {
		t.Errorf("--cleanup left the bridge %s", bridge)
	}
	if _, err := b.Engine.TryDocker("inspect", before.ID); err == nil {
		t.Errorf("--cleanup left the container %s", before.Name)
	}
	for _, dump := range [][]string{{"iptables-save"}, {"ip", "route", "show", "table", "all"}, {"ip", "rule"}} {
		out, err := exec.Command(dump[0], dump[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v", dump, err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, bridge) || strings.Contains(line, b.CIDR.Addr().String()+"/") {
				t.Errorf("--cleanup left: %s", line)
			}
		}
	}
	b.Start() // the state is still there, so the seat comes back as it was
	if after := b.Running(app, 1, 30*time.Second)[0]; after.Address != before.Address || after.Hostname != before.Hostname {
		t.Errorf("the seat was %+v, and is now %+v", before, after)
	}
}
