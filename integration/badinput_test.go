//go:build integration

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// TestBadInputIsRefused: with the path or the reason, and nothing changes.
func TestBadInputIsRefused(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	pinned := b.CIDR.Addr().Next().Next().Next().Next().String()
	pin := func(ips string) func(map[string]any) {
		return rig.With("labels", map[string]string{"BERTH_IPS": ips})
	}
	b.Create(b.App("holder", baseImage, 1, pin(pinned)))
	if c := b.Running(b.AppID("holder"), 1, 30*time.Second)[0]; c.Address != pinned {
		t.Fatalf("the pinned instance has %s, want %s", c.Address, pinned)
	}
	b.Settle(10 * time.Second)
	before := definitions(b)
	for _, c := range []struct {
		name   string
		method string
		path   string
		body   any
		code   int
		parts  []string
	}{
		{"broken JSON", "POST", "/v2/apps", `{"id": "/x"`, 400, []string{"Invalid JSON"}},
		{"wrong type", "POST", "/v2/apps", `{"id": "/x", "cmd": "sleep 1", "instances": "two"}`, 422, []string{"/instances"}},
		{"several faults", "POST", "/v2/apps", `{"id": "/x", "cpus": "a", "mem": []}`, 422, []string{"/cpus", "/mem"}},
		{"no command", "POST", "/v2/apps", `{"id": "/x"}`, 422, []string{"cmd"}},
		{"existing id", "POST", "/v2/apps", b.App("holder", baseImage, 1), 409, []string{b.AppID("holder")}},
		{"unknown app", "DELETE", "/v2/apps/nowhere", nil, 404, []string{"nowhere"}},
		{"pinned address of another app", "POST", "/v2/apps", b.App("thief", baseImage, 1, pin(pinned)), 422, []string{pinned, b.AppID("holder")}},
		{"pinned address outside the pools", "POST", "/v2/apps", b.App("far", baseImage, 1, pin("192.0.2.7")), 422, []string{"192.0.2.7"}},
		{"too few pinned addresses", "POST", "/v2/apps", b.App("few", baseImage, 2, pin(b.CIDR.Addr().Next().Next().String())), 422, []string{"BERTH_IPS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.In(t)
			code, text := b.Do(c.method, c.path, c.body)
			if code != c.code {
				t.Errorf("got %d, want %d: %s", code, c.code, text)
			}
			if err := contains(text, c.parts...); err != nil {
				t.Error(err)
			}
			if after := definitions(b); after != before {
				t.Errorf("the apps were %s, and are now %s", before, after)
			}
		})
	}
	t.Run("command line", func(t *testing.T) {
		b := b.In(t)
		out, err := b.TryCLI(t.Context(), strings.NewReader(`{"id": "/x", "cmd": "sleep 1", "instances": "two"}`), "apply", "-f", "-")
		if err == nil {
			t.Error("berth apply took a bad definition")
		}
		if err := contains(out, "/instances"); err != nil {
			t.Error(err)
		}
		if strings.Contains(out, "{") && strings.Contains(out, "&") {
			t.Errorf("the error shows a Go struct: %s", out)
		}
	})
}

// TestBadPoolStopsTheStart: better no Berth than one that leases addresses nobody meant.
func TestBadPoolStopsTheStart(t *testing.T) {
	requireReal(t, "docker")
	b := rig.Prepare(t, rig.Options{Binary: binary, Pools: rig.PoolYAML("bad", "10.201.3.1/16")})
	if err := contains(b.RunRefused(), "10.201.3.1/16 is not a network: did you mean 10.201.0.0/16"); err != nil {
		t.Error(err)
	}
}

func network(name string) []any { return []any{map[string]any{"mode": "container", "name": name}} }

// TestReasonsUntilMended: what cannot run now is accepted, as Marathon does, and says why until an update mends it.
func TestReasonsUntilMended(t *testing.T) {
	requireReal(t, "docker", baseImage)
	b := rig.New(t, rig.Options{Binary: binary})
	for _, c := range []struct {
		name    string
		edit    func(map[string]any)
		mend    map[string]any
		inQueue []string
		inPs    []string
	}{
		{"noimage", rig.With("container", map[string]any{"type": "DOCKER", "docker": map[string]any{"image": "berth/nowhere:1"}}),
			map[string]any{"container": map[string]any{"type": "DOCKER", "docker": map[string]any{"image": baseImage}}},
			[]string{"berth/nowhere:1"}, []string{"berth/nowhere:1"}},
		{"nopool", rig.With("networks", network("nowhere")), map[string]any{"networks": network(b.Pool)}, []string{"nowhere"}, []string{"nowhere"}},
		{"greedy", rig.With("mem", 1<<30), map[string]any{"mem": 64}, []string{"InsufficientMemory"}, []string{"mem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.In(t)
			app := b.AppID(c.name)
			b.Create(b.App(c.name, baseImage, 1, c.edit))
			rig.Eventually(t, 20*time.Second, "the queue says why", func() error {
				if err := contains(b.Queue(), app); err != nil {
					return err
				}
				return contains(b.Queue(), c.inQueue...)
			})
			rig.Eventually(t, 10*time.Second, "berth ps says why", func() error { return contains(b.CLI("ps"), c.inPs...) })
			b.Want(200, "PUT", "/v2/apps"+app+"?force=true", c.mend, nil)
			b.Running(app, 1, 30*time.Second)
			b.Settle(15 * time.Second)
			if q := b.Queue(); strings.Contains(q, app) {
				t.Errorf("it runs and is still in the queue: %s", q)
			}
		})
	}
}
