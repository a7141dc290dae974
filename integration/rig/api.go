package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Task is what the tests look at in the API's tasks.
type Task struct {
	ID          string `json:"id"`
	AppID       string `json:"appId"`
	State       string `json:"state"`
	Host        string `json:"host"`
	Version     string `json:"version"`
	IPAddresses []struct {
		IPAddress string `json:"ipAddress"`
	} `json:"ipAddresses"`
	HealthCheckResults []struct {
		Alive bool `json:"alive"`
	} `json:"healthCheckResults"`
}

// Address is the task's own, "" while it is not known.
func (t Task) Address() string {
	if len(t.IPAddresses) == 0 {
		return ""
	}
	return t.IPAddresses[0].IPAddress
}

// client talks to a unix socket. Connections are not kept: Berth is killed and started again under it.
func (b *Berth) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", b.Socket())
		},
	}}
}

func (b *Berth) do(method, path string, body any) (int, []byte, error) {
	return b.call(b.t.Context(), method, path, body)
}

func (b *Berth) call(ctx context.Context, method, path string, body any) (int, []byte, error) {
	var text []byte
	switch body := body.(type) {
	case nil:
	case string:
		text = []byte(body)
	default:
		var err error
		if text, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Do makes one call. A body that is no string is sent as JSON.
func (b *Berth) Do(method, path string, body any) (int, string) {
	b.t.Helper()
	code, answer, err := b.do(method, path, body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return code, string(answer)
}

// Want makes one call that must be answered with code, and decodes the answer into out unless that is nil.
func (b *Berth) Want(code int, method, path string, body, out any) {
	b.t.Helper()
	got, answer := b.Do(method, path, body)
	if got != code {
		b.t.Fatalf("%s %s: got %d, want %d: %s", method, path, got, code, answer)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(answer), out); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// Tasks are the app's tasks by the API.
func (b *Berth) Tasks(app string) ([]Task, error) {
	code, answer, err := b.do("GET", "/v2/apps"+app+"/tasks", nil)
	if err != nil {
		return nil, err
	}
	if code != 200 {
		return nil, fmt.Errorf("tasks of %s: %d %s", app, code, answer)
	}
	var list struct {
		Tasks []Task `json:"tasks"`
	}
	err = json.Unmarshal(answer, &list)
	return list.Tasks, err
}

// Deploying says which deployments run.
func (b *Berth) Deploying() ([]string, error) {
	code, answer, err := b.do("GET", "/v2/deployments", nil)
	if err != nil {
		return nil, err
	}
	if code != 200 {
		return nil, fmt.Errorf("deployments: %d %s", code, answer)
	}
	var list []struct {
		ID           string   `json:"id"`
		AffectedApps []string `json:"affectedApps"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, err
	}
	var ids []string
	for _, d := range list {
		ids = append(ids, d.ID+" of "+strings.Join(d.AffectedApps, ", "))
	}
	return ids, nil
}

// Settle waits until no deployment runs.
func (b *Berth) Settle(limit time.Duration) {
	b.t.Helper()
	Eventually(b.t, limit, "all deployments are done", func() error {
		running, err := b.Deploying()
		if err == nil && len(running) > 0 {
			_, instances, _ := b.do("GET", "/berth/v1/instances", nil) // for the message only
			err = fmt.Errorf("still running: %s; queue: %s; instances: %s", strings.Join(running, "; "), b.Queue(), instances)
		}
		return err
	})
}

// Queue is the launch queue as the API tells it, for searching reasons in it.
func (b *Berth) Queue() string {
	_, answer, err := b.do("GET", "/v2/queue", nil)
	if err != nil {
		return err.Error()
	}
	return string(answer)
}

// App makes a definition in the way operators write them: an image and the pool as its network. Edit changes it.
func (b *Berth) App(name, image string, instances int, edit ...func(app map[string]any)) map[string]any {
	app := map[string]any{
		"id": b.AppID(name), "instances": instances, "cpus": 0.1, "mem": 64,
		"networks":  []any{map[string]any{"mode": "container", "name": b.Pool}},
		"container": map[string]any{"type": "DOCKER", "docker": map[string]any{"image": image}},
		// Failed launches are part of some tests, and nobody wants to wait for them to be tried again.
		"backoffSeconds": 1, "backoffFactor": 1.0, "maxLaunchDelaySeconds": 2,
	}
	for _, e := range edit {
		e(app)
	}
	return app
}

// With sets one field of a definition.
func With(key string, value any) func(map[string]any) {
	return func(app map[string]any) { app[key] = value }
}

// HTTPCheck is a quick health check on the image's own port 80.
func HTTPCheck(path string) func(map[string]any) {
	return func(app map[string]any) {
		app["container"].(map[string]any)["portMappings"] = []any{map[string]any{"containerPort": 80, "name": "http"}}
		app["healthChecks"] = []any{map[string]any{
			"protocol": "HTTP", "path": path, "portIndex": 0,
			"gracePeriodSeconds": 60, "intervalSeconds": 1, "timeoutSeconds": 2, "maxConsecutiveFailures": 5,
		}}
	}
}

// Create posts a definition.
func (b *Berth) Create(app map[string]any) {
	b.t.Helper()
	b.Want(201, "POST", "/v2/apps", app, nil)
}

// Update changes fields of an app.
func (b *Berth) Update(app string, change map[string]any) {
	b.t.Helper()
	b.Want(200, "PUT", "/v2/apps"+app, change, nil)
}
