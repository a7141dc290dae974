//go:build integration

package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestIP: on a real machine nothing differs; what is made to differ by hand is found, named, and repaired as far as that is safe.
func TestIP(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	app := b.AppID("web")
	b.Create(b.App("web", baseImage, 3))
	b.Settle(60 * time.Second)
	c := b.Running(app, 3, 5*time.Second)

	check := func(when string, left int, args []string, parts ...string) {
		t.Helper()
		out, err := b.TryCLI(t.Context(), nil, append([]string{"ip", "check"}, args...)...)
		if wrong := (err != nil) != (left > 0); wrong {
			t.Errorf("%s: exit with %v, %d findings should be left\n%s", when, err, left, out)
		}
		if left > 0 && !strings.Contains(out, fmt.Sprintf("%d of ", left)) {
			t.Errorf("%s: %d findings should be left\n%s", when, left, out)
		}
		if err := contains(out, parts...); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	host := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	repair := []string{"--repair"}
	rig.Eventually(t, 20*time.Second, "the list has the containers", func() error {
		return contains(b.CLI("ip", "ls"), app+".0", c[0].Address, "container "+c[0].ID[:12], app+".2", c[2].Address)
	})
	check("in order", 0, nil, "Nothing differs: 3 addresses, 1 host.")

	host("route", "del", b.CIDR.Masked().String(), "dev", b.Bridge())
	check("without the pool's route", 0, repair, c[0].Address, c[1].Address, c[2].Address, "the host's route to it", "not to "+b.Bridge(), "repaired: the host was told to set its network anew")
	host("route", "get", c[0].Address)

	host("route", "add", c[1].Address+"/32", "dev", "lo")
	defer func() { _ = exec.Command("ip", "route", "del", c[1].Address+"/32", "dev", "lo").Run() }()
	check("a route of somebody else's", 1, []string{"--repair", "--wait", "2s"}, c[1].Address, "the host's route to it leads to lo", "not repaired yet")
	host("route", "del", c[1].Address+"/32", "dev", "lo")

	b.Want(200, "PUT", "/v2/apps"+app+"?force=true", map[string]any{"instances": 2}, nil)
	b.Settle(30 * time.Second)
	idle := c[2].Address
	stranger, leftover := "stranger-"+b.Pool, "leftover-"+b.Pool
	defer func() { _, _ = b.Engine.TryDocker("rm", "-f", stranger, leftover) }() // before the cleanup, which waits for an empty network
	b.Engine.Docker("run", "-d", "--name", stranger, "--network", b.Pool, "--ip", idle, baseImage)
	free := c[0].Address[:strings.LastIndexByte(c[0].Address, '.')] + ".200"
	b.Engine.Docker("run", "-d", "--name", leftover, "--network", b.Pool, "--ip", free, "--label", "berth.schema=1",
		"--label", "berth.app="+app, "--label", "berth.seat=9", "--label", "berth.task=long-over", baseImage)
	rig.Eventually(t, 20*time.Second, "the list has them", func() error {
		return contains(b.CLI("ip", "ls"), idle, stranger, free)
	})
	check("two containers by hand", 2, nil, "foreign: container", stranger, "is on "+idle+", which is leased to "+app+".2", "no-task: container", leftover, "--repair: the host stops the container")
	check("the same, repaired", 1, []string{"--repair", "--wait", "20s"}, "repaired: the host was told to stop the container", "to do: stop it")
	if out := b.Engine.Docker("ps", "--format", "{{.Names}}"); strings.Contains(out, leftover) || !strings.Contains(out, stranger) {
		t.Errorf("a repair stops what is over, and nothing else:\n%s", out)
	}
	if out := b.CLI("ip", "release", idle); !strings.Contains(out, "it was leased to "+app+".2") {
		t.Error(out)
	}
	if out, err := b.TryCLI(t.Context(), nil, "ip", "release", c[0].Address); err == nil || !strings.Contains(out, "has a task") {
		t.Errorf("released although a task lives: %s", out)
	}
	if err := contains(b.CLI("ip", "show", app+".0"), c[0].Address, "running on", "link veth", "route to "+b.Bridge()); err != nil {
		t.Error(err)
	}
	check("in the end", 0, nil, "Nothing differs")
	after := b.Running(app, 2, 5*time.Second)
	if after[0].ID != c[0].ID || after[1].ID != c[1].ID {
		t.Errorf("instances were touched: %v, before %v", after, c)
	}
}
