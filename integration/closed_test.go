//go:build integration

package integration

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gambol99/go-marathon"

	"github.com/berth-project/berth/integration/rig"
)

// TestClosedByDefault: the API is root on the machine, so nobody gets in unasked, and a definition gets no more of the
// machine than the configuration allows.
func TestClosedByDefault(t *testing.T) {
	requireReal(t, "docker", baseImage)
	listen := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	b := rig.New(t, rig.Options{Binary: binary, Flags: []string{"--listen", listen}})

	info, err := os.Stat(b.Socket())
	if err != nil || info.Mode().Perm() != fs.FileMode(0o660) {
		t.Errorf("the socket's mode: %v, %v", info.Mode(), err)
	}
	for _, c := range []struct {
		name string
		auth func(*http.Request)
		want int
	}{
		{"nothing", func(*http.Request) {}, 401},
		{"wrong token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x"+b.Token()) }, 401},
		{"bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+b.Token()) }, 200},
		{"token=", func(r *http.Request) { r.Header.Set("Authorization", "token="+b.Token()) }, 200},
		{"basic", func(r *http.Request) { r.SetBasicAuth("berth", b.Token()) }, 200},
		{"basic, other user", func(r *http.Request) { r.SetBasicAuth("root", b.Token()) }, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/v2/apps", "/v2/events", "/berth/v1/hosts/x/document"} {
				if c.want == 200 && path != "/v2/apps" {
					continue // those go on until the client leaves
				}
				req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+listen+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.auth(req)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("%s: got %d, want %d", path, resp.StatusCode, c.want)
				}
			}
		})
	}

	docker := func(more map[string]any) func(map[string]any) {
		return func(app map[string]any) {
			for k, v := range more {
				app["container"].(map[string]any)["docker"].(map[string]any)[k] = v
			}
		}
	}
	parameter := func(key, value string) map[string]any {
		return map[string]any{"parameters": []any{map[string]string{"key": key, "value": value}}}
	}
	for name, edit := range map[string]func(map[string]any){
		"privileged":   docker(map[string]any{"privileged": true}),
		"pid=host":     docker(parameter("pid", "host")),
		"volume=/":     docker(parameter("volume", "/:/host")),
		"forged label": docker(parameter("label", "berth.app=/other")),
		"another ip":   docker(parameter("ip", b.CIDR.Addr().Next().Next().String())),
		"host network": docker(parameter("net", "host")),
		"host path /etc": func(app map[string]any) {
			app["container"].(map[string]any)["volumes"] = []any{map[string]string{"containerPath": "/host", "hostPath": "/etc", "mode": "RW"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := b.In(t)
			if code, text := b.Do("POST", "/v2/apps", b.App("greedy", baseImage, 1, edit)); code != 422 {
				t.Errorf("got %d, want 422: %s", code, text)
			}
		})
	}

	t.Run("go-marathon", func(t *testing.T) {
		config := marathon.NewDefaultConfig()
		config.URL = "http://" + listen
		config.HTTPBasicAuthUser, config.HTTPBasicPassword = "berth", b.Token()
		client, err := marathon.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		app := marathon.NewDockerApplication().Name(b.AppID("gm")).Count(1).CPU(0.1).Memory(64)
		app.Container.Docker.Container(baseImage)
		app.SetNetwork(b.Pool, marathon.ContainerNetworkMode)
		if _, err := client.CreateApplication(app); err != nil {
			t.Fatal(err)
		}
		if err := client.WaitOnApplication(b.AppID("gm"), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		tasks, err := client.Tasks(b.AppID("gm"))
		if err != nil || len(tasks.Tasks) != 1 || len(tasks.Tasks[0].IPAddresses) != 1 {
			t.Fatalf("tasks %+v, %v", tasks, err)
		}
		if _, err := client.DeleteApplication(b.AppID("gm"), false); err != nil {
			t.Error(err)
		}
	})
}
