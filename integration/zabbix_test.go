//go:build integration && slow

package integration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/monitor/template"
	zabbixfigures "github.com/berth-project/berth/monitor/zabbix"
)

const zabbixTemplate = "../monitor/template/berth-containers.yaml"

// TestZabbixServer: a real server takes the template, finds the instances by itself and keeps their history by seat,
// whatever becomes of their containers; by zabbix_agentd, by Berth's own port, and by that through a real proxy.
func TestZabbixServer(t *testing.T) {
	requireReal(t, "docker", webImage)
	requireZabbix(t)
	port := lowPort(t)
	b := rig.New(t, rig.Options{Binary: binary, Flags: append(roomy(), "--monitor-interval", "1s",
		"--zabbix-listen", "127.0.0.1:"+port, "--zabbix-server", "127.0.0.1")})
	app := b.AppID("web")
	b.Create(b.App("web", webImage, 2, rig.HTTPCheck("/healthz"), rig.With("cpus", 0.5), rig.With("mem", 128), patientChecks))

	z := startZabbix(t, app)
	source, err := os.ReadFile(zabbixTemplate)
	if err != nil {
		t.Fatal(err)
	}
	z.importTemplate(string(source), templateRules())
	if changes := z.differsFromImport(string(source)); changes != "" {
		t.Errorf("Zabbix understood the template differently: %s", changes)
	}
	running := b.Running(app, 2, 30*time.Second)
	z.createHost("berth-host", template.HostTemplate, z.startAgent(b), map[string]string{"{$BERTH.UNHEALTHY.FOR}": "5s"})
	// The same machine by Berth's own port, once more through a proxy; their discoveries go on while the first is looked at.
	own, proxied := z.in(t), z.in(t)
	own.createHost("berth-port", template.HostTemplate, port, nil)
	proxied.proxy, _ = z.startProxy(3600) // it is told when to look
	proxied.createHost("berth-proxied", template.HostTemplate, port, nil)
	askAgain := func() {
		t.Helper()
		if err := errors.Join(proxied.learn(), z.checkNow(append(own.asked(), proxied.asked()...)...)); err != nil {
			t.Error(err)
		}
	}

	first := z.discover(2)
	askAgain()
	t.Run("values", func(t *testing.T) {
		z, b := z.in(t), b.In(t)
		now := z.fresh()
		z.plausible(now, 2)
		z.started(now, b.Running(app, 2, 10*time.Second))
		later := z.fresh()
		for seat := range 2 {
			key := z.key("berth.uptime", seat)
			before, err1 := now[key].number()
			after, err2 := later[key].number()
			if took := float64(later[key].LastClock - now[key].LastClock); err1 != nil || err2 != nil || after-before < took-2 || after-before > took+2 {
				t.Errorf("seat %d: uptime went from %v to %v in %v s: %v, %v", seat, before, after, took, err1, err2)
			}
			// Rates need two values; the probes alone are traffic.
			for _, key := range []string{"berth.net.in", "berth.net.out"} {
				if n, err := later[z.key(key, seat)].number(); err != nil || n <= 0 {
					t.Errorf("seat %d: %s: %v, %v", seat, key, n, err)
				}
			}
		}
		for key, i := range later {
			if i.State != "0" || i.LastClock == 0 && (z.changes(key) || strings.HasPrefix(key, "berth.service.")) {
				t.Errorf("%s has no value: %s", key, i.Error)
			}
		}
	})

	t.Run("a third seat", func(t *testing.T) {
		z, b := z.in(t), b.In(t)
		b.CLI("scale", app, "3")
		running = b.Running(app, 3, 30*time.Second)
		askAgain()
		now := z.discover(3)
		sameItems(t, first, now)
		if one, all := z.ofSeat(first, 0), z.ofSeat(now, 2); one != zabbixfigures.PerInstance() || one != all {
			t.Errorf("seat 0 has %d items, seat 2 has %d: %v", one, all, slices.Sorted(maps.Keys(now)))
		}
		z.plausible(z.fresh(), 3)
	})

	t.Run("another container", func(t *testing.T) {
		z, b := z.in(t), b.In(t)
		uptime := z.key("berth.uptime", 0)
		before := z.fresh(uptime)
		began := time.Now()
		b.Engine.Docker("kill", running[0].ID)
		askAgain()
		rig.Eventually(t, 30*time.Second, "seat 0 has another container", func() error {
			_, err := replaced(b, app, running, 0)
			return err
		})
		running = b.Running(app, 3, 30*time.Second)
		z.becomes(z.trigger(before[uptime].ItemID, "has been restarted"), true, began, before[uptime])
		now := z.fresh()
		sameItems(t, before, now)
		z.plausible(now, 3)
		z.started(now, running)
		if again := z.discover(3); len(again) != len(before) {
			t.Errorf("%d items became %d", len(before), len(again))
		}
	})

	t.Run("unhealthy", func(t *testing.T) {
		z, b := z.in(t), b.In(t)
		key := z.key("berth.health", 1)
		health := z.fresh(key)[key]
		alarm := z.trigger(health.ItemID, "is unhealthy")
		if want := app + ".1 is unhealthy"; alarm.Description != want || alarm.Value != "0" || alarm.Error != "" {
			t.Fatalf("the trigger is %+v, want %q at rest", alarm, want)
		}
		service := func(do string) {
			t.Helper()
			b.Engine.Docker("exec", running[1].ID, "s6-svc", do, "/run/service/nginx")
		}
		began := time.Now()
		service("-d")
		z.becomes(alarm, true, began, health)
		service("-u")
		z.becomes(alarm, false, began, health)
		if got := b.Running(app, 3, 20*time.Second)[1]; got != running[1] {
			t.Errorf("the container was replaced: %+v became %+v", running[1], got)
		}
	})

	t.Run("the port of its own", func(t *testing.T) { own.in(t).testPort(z.in(t), port, 3) })
	t.Run("the port through a proxy", func(t *testing.T) { proxied.in(t).testPort(z.in(t), port, 3) })
	t.Run("pages", func(t *testing.T) { testPages(t, b.In(t), []*zabbix{z, own, proxied}, "127.0.0.1:"+port, 3) })
}

// ofSeat counts the items of a seat, without those of its networks and services, which are discovered by rules of their own.
func (z *zabbix) ofSeat(items map[string]item, seat int) int {
	n := 0
	for key := range items {
		if strings.HasSuffix(key, fmt.Sprintf("[%s,%d]", z.app, seat)) {
			n++
		}
	}
	return n
}

// patientChecks keep an instance that fails them: they are to be seen, not to be acted on.
func patientChecks(app map[string]any) {
	for _, check := range app["healthChecks"].([]any) {
		check.(map[string]any)["maxConsecutiveFailures"] = 0
	}
}

// sameItems holds Zabbix against the promise that histories go on: every item that was there is still the same one.
func sameItems(t *testing.T, before, now map[string]item) {
	t.Helper()
	for key, i := range before {
		if now[key].ItemID != i.ItemID {
			t.Errorf("%s was item %s and is %q", key, i.ItemID, now[key].ItemID)
		}
	}
}

// plausible looks at the values of every seat, knowing the app.
func (z *zabbix) plausible(items map[string]item, seats int) {
	z.t.Helper()
	const mib = 1 << 20
	for _, want := range []struct {
		key      string
		from, to float64
	}{
		{"berth.cpu.quota", 0.5, 0.5},
		{"berth.cpu.usage", 0, 0.55},
		{"berth.cpu.throttled", 0, 100},
		{"berth.mem.limit", 128 * mib, 128 * mib},
		{"berth.mem.used", 1 * mib, 128 * mib},
		{"berth.mem.pct", 1, 100},
		{"berth.procs", 3, 100},
		{"berth.uptime", 0, 600},
		{"berth.health", 1, 1},
	} {
		for seat := range seats {
			key := z.key(want.key, seat)
			if n, err := items[key].number(); err != nil || n < want.from || n > want.to {
				z.t.Errorf("%s is %v, want %v to %v: %v", key, n, want.from, want.to, err)
			}
			if err := tagged(items[key], map[string]string{"app": z.app, "seat": fmt.Sprint(seat)}); err != nil {
				z.t.Error(err)
			}
		}
	}
	if n, err := items["berth.ping"].number(); err != nil || n != 1 {
		z.t.Errorf("berth.ping is %v, %v", n, err)
	}
	if got := items["berth.version"].LastValue; strings.TrimSpace(got) == "" {
		z.t.Error("berth.version is empty")
	}
}

// tagged is an error unless the item has these tags.
func tagged(i item, want map[string]string) error {
	has := map[string]string{}
	for _, tag := range i.Tags {
		has[tag.Tag] = tag.Value
	}
	for tag, value := range want {
		if has[tag] != value {
			return fmt.Errorf("%s has the tags %v", i.Key, has)
		}
	}
	return nil
}

// started holds the uptimes against what Docker says of the containers.
func (z *zabbix) started(items map[string]item, running map[int]rig.Container) {
	z.t.Helper()
	for seat, c := range running {
		at, err := time.Parse(time.RFC3339Nano, c.Started)
		if err != nil {
			z.t.Fatal(err)
		}
		i := items[z.key("berth.uptime", seat)]
		n, err := i.number()
		if err != nil {
			z.t.Error(err)
			continue
		}
		if late := time.Unix(i.LastClock, 0).Sub(at).Seconds() - n; late < -2 || late > 2 {
			z.t.Errorf("seat %d: started %s, had uptime %v at %d", seat, at, n, i.LastClock)
		}
	}
}
