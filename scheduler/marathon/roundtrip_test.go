package marathon

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

var update = flag.Bool("update", false, "rewrite the canonical forms in testdata")

// testOptions permit what the examples use.
func testOptions() Options {
	return Options{
		DefaultNetworkName: "berth", BridgeName: "mesos-bridge", Roles: []string{"*", "dev", "production", "slave_public"},
		Features: map[string]bool{FeatureSecrets: true, FeatureExternalVolumes: true, FeatureGPU: true},
	}
}

func mustDecode(t *testing.T, body string) *spec.App {
	t.Helper()
	app, err := DecodeApp([]byte(body), testOptions())
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return app
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkRoundTrip holds an accepted app to what every client relies on: what is read back can be sent again.
func checkRoundTrip(t failer, app *spec.App, o Options) {
	t.Helper()
	body, err := json.Marshal(Encode(app))
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	var keys map[string]any
	if err := json.Unmarshal(body, &keys); err != nil {
		t.Fatalf("own output: %v", err)
	}
	checkKeys(t, keys)
	again, err := DecodeApp(body, o)
	if err != nil {
		t.Fatalf("own output refused: %v\n%s", err, body)
	}
	if diff := cmp.Diff(explicit(app), explicit(again)); diff != "" {
		t.Fatalf("decoded again it differs (-first +again):\n%s\n%s", diff, body)
	}
	delete(keys, "version")
	sent, _ := json.Marshal(keys)
	if _, err := UpdateApp(app, body, true, o); err != nil {
		t.Fatalf("PUT of the GET body with its version: %v\n%s", err, body)
	}
	for _, partial := range []bool{true, false} {
		updated, err := UpdateApp(app, sent, partial, o)
		if err != nil {
			t.Fatalf("PUT of the GET body, partial %v: %v\n%s", partial, err, sent)
		}
		if !ConfigEqual(app, updated) || updated.Instances != app.Instances {
			t.Fatalf("PUT of the GET body is a change, partial %v:\n%s", partial, cmp.Diff(app, updated))
		}
		if diff := cmp.Diff(app, updated); partial && diff != "" {
			t.Fatalf("PUT of the GET body changes something:\n%s", diff)
		}
	}
}

// explicit is the app with its checks' first port named: absent and 0 mean the same.
func explicit(app *spec.App) *spec.App {
	c := *app
	c.Version, c.LastScaling, c.LastConfigChange = time.Time{}, time.Time{}, time.Time{}
	c.HealthChecks = nil
	for _, h := range app.HealthChecks {
		if h.Protocol != healthCommand {
			h = explicitIndex(h)
		}
		c.HealthChecks = append(c.HealthChecks, h)
	}
	return &c
}

// checkKeys looks for legacy keys and for keys that must always be there.
func checkKeys(t failer, app map[string]any) {
	t.Helper()
	for _, key := range []string{"ports", "uris", "ipAddress", "storeUrls"} {
		if _, has := app[key]; has {
			t.Fatalf("legacy key %s is written", key)
		}
	}
	for _, key := range []string{"id", "backoffFactor", "backoffSeconds", "cpus", "mem", "disk", "gpus", "executor", "instances", "labels",
		"maxLaunchDelaySeconds", "networks", "requirePorts", "killSelection", "unreachableStrategy", "upgradeStrategy", "version", "role"} {
		if app[key] == nil {
			t.Fatalf("key %s is not written", key)
		}
	}
	host := app["networks"].([]any)[0].(map[string]any)["mode"] == "host"
	if _, has := app["portDefinitions"].([]any); has != host {
		t.Fatalf("portDefinitions written: %v, host mode: %v", has, host)
	}
	container, has := app["container"].(map[string]any)
	if !has {
		return
	}
	if container["type"] == nil || container["volumes"] == nil || (container["portMappings"] != nil) == host {
		t.Fatalf("container's keys: %v", container)
	}
	if docker, has := container["docker"].(map[string]any); has {
		for _, key := range []string{"forcePullImage", "image", "parameters", "privileged"} {
			if docker[key] == nil {
				t.Fatalf("key container.docker.%s is not written", key)
			}
		}
		if docker["network"] != nil || docker["portMappings"] != nil {
			t.Fatalf("legacy keys in container.docker: %v", docker)
		}
	}
}

func TestCanonicalForms(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		name, isInput := strings.CutSuffix(filepath.Base(file), ".json")
		if strings.HasSuffix(name, ".canonical") || !isInput {
			continue
		}
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			app := mustDecode(t, string(body))
			app.Version = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
			got := append(mustMarshal(t, Encode(app)), '\n')
			golden := "testdata/" + name + ".canonical.json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkRoundTrip(t, app, testOptions())
		})
	}
}

// TestEmbedding: answers with more keys embed AppJSON.
func TestEmbedding(t *testing.T) {
	answer := struct {
		*AppJSON
		TasksRunning int `json:"tasksRunning"`
	}{Encode(mustDecode(t, `{"id":"a","cmd":"run"}`)), 7}
	var got map[string]any
	if err := json.Unmarshal(mustMarshal(t, answer), &got); err != nil {
		t.Fatal(err)
	}
	if got["id"] != "/a" || got["tasksRunning"] != 7.0 {
		t.Errorf("got %v", got)
	}
}
