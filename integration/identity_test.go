//go:build integration

package integration

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/integration/rig"
)

// identity is what an operator has written down about an instance.
type identity struct{ Address, Hostname, HostKey string }

func identities(b *rig.Berth, containers map[int]rig.Container) map[int]identity {
	found := map[int]identity{}
	for seat, c := range containers {
		found[seat] = identity{c.Address, c.Hostname, b.SSH(c.Address).HostKey}
	}
	return found
}

func sameIdentities(t *testing.T, after string, want, got map[int]identity) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after %s: %s", after, diff)
	}
}

// TestIdentityStays through everything that ends a task or Berth.
func TestIdentityStays(t *testing.T) {
	requireReal(t, "docker", webImage)
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.With("cpus", 0.3)))
	first := b.Running(app, 2, 30*time.Second)
	want := identities(b, first)
	if want[0].HostKey == want[1].HostKey || want[0].Address == want[1].Address {
		t.Fatalf("two seats share an identity: %v", want)
	}

	b.Engine.Docker("kill", first[0].ID)
	rig.Eventually(t, 30*time.Second, "the killed instance is replaced", func() error {
		_, err := replaced(b, app, first, 0)
		return err
	})
	second := b.Running(app, 2, 10*time.Second)
	sameIdentities(t, "docker kill", want, identities(b, second))
	if second[1] != first[1] {
		t.Errorf("docker kill of seat 0 changed seat 1: %+v", second[1])
	}

	b.Kill9()
	b.Start()
	third := b.Running(app, 2, 30*time.Second)
	if diff := cmp.Diff(second, third); diff != "" {
		t.Errorf("kill -9 of berth changed what runs: %s", diff)
	}

	b.CLI("restart", app)
	b.Settle(60 * time.Second)
	fourth := b.Running(app, 2, 10*time.Second)
	sameIdentities(t, "berth restart", want, identities(b, fourth))
	for seat := range fourth {
		if fourth[seat].Task == third[seat].Task {
			t.Errorf("seat %d was not restarted", seat)
		}
	}
}

// replaced says whether the seat runs with another container than before.
func replaced(b *rig.Berth, app string, before map[int]rig.Container, seat int) (rig.Container, error) {
	now, err := b.Containers(app)
	if err != nil {
		return rig.Container{}, err
	}
	c, ok := now[seat]
	if !ok || c.ID == before[seat].ID {
		return c, errNotYet
	}
	return c, nil
}

// TestEngineIsKilled: dockerd may die, too. This needs an engine that nobody else uses.
func TestEngineIsKilled(t *testing.T) {
	requireReal(t, "docker", webImage)
	engine := rig.StartEngine(t, webImage)
	b := rig.New(t, rig.Options{Binary: binary, Engine: engine})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2))
	before := b.Running(app, 2, 60*time.Second)
	want := identities(b, before)

	engine.Kill9()
	sameIdentities(t, "kill -9 of dockerd, while it is away", want, identities(b, before))
	engine.Start()
	after := b.Running(app, 2, 60*time.Second)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("kill -9 of dockerd changed what runs: %s", diff)
	}
	// Berth must have found the engine again: it can still replace and add.
	b.CLI("scale", app, "3")
	grown := b.Running(app, 3, 60*time.Second)
	delete(grown, 2)
	if diff := cmp.Diff(before, grown); diff != "" {
		t.Errorf("scaling after that changed what runs: %s", diff)
	}
}

// TestScaleKeepsAddresses: 2, 5, 2, 5: in Consul and in Zabbix's discovery, and the seats that come back are the same.
func TestScaleKeepsAddresses(t *testing.T) {
	requireReal(t, "docker", "consul", webImage)
	consul := rig.StartConsul(t)
	b := rig.New(t, rig.Options{Binary: binary, Consul: consul, Flags: roomy()})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz"), rig.With("labels", map[string]string{"BERTH_SERVICE": "web"})))
	b.Settle(60 * time.Second)

	scale := func(n, text string) map[int]string {
		t.Helper()
		b.CLI("scale", app, n)
		b.Settle(60 * time.Second)
		want := map[string]bool{}
		addresses := map[int]string{}
		for seat, c := range b.Running(app, int(n[0]-'0'), 30*time.Second) {
			want[c.Address] = true
			addresses[seat] = c.Address
		}
		rig.Eventually(t, 15*time.Second, text+" in Consul", func() error {
			found, _, err := consul.Services("web", 0)
			got := map[string]bool{}
			for _, s := range found {
				got[s.ServiceAddress] = true
			}
			return differs(want, got, err)
		})
		rig.Eventually(t, 15*time.Second, text+" in Zabbix discovery", func() error {
			got, err := discovered(b, app)
			return differs(want, got, err)
		})
		return addresses
	}
	five := scale("5", "five instances")
	two := scale("2", "two instances")
	if two[0] != five[0] || two[1] != five[1] {
		t.Errorf("the kept instances changed their addresses: %v, then %v", five, two)
	}
	if again := scale("5", "five instances again"); !maps.Equal(five, again) {
		t.Errorf("the addresses were %v, and are now %v", five, again)
	}
}
