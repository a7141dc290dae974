package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

func TestRecords(t *testing.T) {
	f := handlerFixture(t)
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.world.Stops = []api.Stop{{Task: "web.1", Seat: spec.SeatID{App: "/prod/web", Index: 3}, Host: "h", Reason: "r", Wanted: begin, Out: begin.Add(time.Second), Left: 2}}
	_, err := f.world.Change(context.Background(), api.Change{Decide: func(api.Tree) (api.Tree, error) {
		return api.Tree{Apps: map[spec.AppID]*spec.App{"/prod/web": {ID: "/prod/web", Instances: 1}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		f.server.Handler("").ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	code, text := get("/berth/v1/deployments?app=prod/web")
	var got struct {
		Deployments []struct {
			ID, State    string
			AffectedApps []string
			Stops        []map[string]any
			Resized      []any
		}
		Stops []any
	}
	if err := json.Unmarshal([]byte(text), &got); code != 200 || err != nil || len(got.Deployments) != 1 || got.Stops == nil {
		t.Fatalf("%d, %v: %s", code, err, text)
	}
	d := got.Deployments[0]
	if d.State != "running" || len(d.AffectedApps) != 1 || len(d.Stops) != 1 {
		t.Fatal(text)
	}
	stop := d.Stops[0]
	if stop["app"] != "/prod/web" || stop["seat"] != 3.0 || stop["outOfConsul"] != "2026-01-02T03:04:06Z" || stop["connectionsLeft"] != 2.0 || stop["killSent"] != nil {
		t.Error(text)
	}
	if code, text := get("/berth/v1/deployments?id=" + d.ID); code != 200 || !strings.Contains(text, d.ID) {
		t.Errorf("%d: %s", code, text)
	}
	if code, text := get("/berth/v1/deployments?id=nonsense"); code != 404 {
		t.Errorf("%d: %s", code, text)
	}
	if code, text := get("/berth/v1/deployments?app=other"); code != 200 || strings.Contains(text, d.ID) {
		t.Errorf("%d: %s", code, text)
	}
	if len(d.Resized) != 0 || d.Resized == nil {
		t.Errorf("nothing was resized: %s", text)
	}
}

// TestRecordsOfResizes: what changed in place has no steps, and is in the record of its app.
func TestRecordsOfResizes(t *testing.T) {
	f := handlerFixture(t)
	do := func(method, path, body string) string {
		w := httptest.NewRecorder()
		f.server.Handler("").ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	do(http.MethodPut, "/v2/apps/web", `{"cmd":"sleep 1","cpus":1,"labels":{"BERTH_CPU_MAX":"2"}}`)
	do(http.MethodPost, "/berth/v1/resize?app=/web&force=true", `{"cpus":1.5}`)
	text := do(http.MethodGet, "/berth/v1/deployments?app=/web", "")
	for _, want := range []string{`"steps":[]`, `"state":"finished"`, `"affectedApps":["/web"],"affectedPods":[]`, `"inPlace":["/web"]`, `"before":1,"cpus":1.5,"held":2`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if text := do(http.MethodGet, "/berth/v1/deployments?app=/other", ""); strings.Contains(text, "/web") {
		t.Error(text)
	}
}
