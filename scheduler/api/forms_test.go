package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

// counter is an API over a world with three apps that run: /web, /shop/db and /shop/cache.
type counter struct {
	t       *testing.T
	world   *apitest.World
	handler http.Handler
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	world := apitest.New(api.NewLog(0))
	s, err := api.New(options(world))
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{t, world, s.Handler("")}
	body := `[{"id":"/web","cmd":"sleep 1","labels":{"env":"test"}},{"id":"/shop/db","args":["Sleep","2"],"container":{"docker":{"image":"db"}},"labels":{"env":"prod","tier":"back"}},
		{"id":"/shop/cache","cmd":"run","ports":[],"healthChecks":[{"protocol":"COMMAND","command":{"value":"true"}}]}]`
	if w := c.ask("PUT", "/v2/apps", body); w.Code != 200 {
		t.Fatalf("put: %d %s", w.Code, w.Body)
	}
	world.Settle()
	return c
}

// ask sends a request; header lines are "Name: value".
func (c *counter) ask(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}

// TestForms lists what clients send, in all the ways that they do, with the code of the answer.
func TestForms(t *testing.T) {
	const update, app = `{"instances":2}`, `{"id":"/new","cmd":"run"}`
	for _, c := range []struct {
		method, target, body string
		header               string
		want                 int
	}{
		{"GET", "/v2/apps/?label=", "", "", 200},
		{"GET", "/v2//apps//web", "", "", 200},
		{"GET", "/v2/apps/web/", "", "", 200},
		{"GET", "/v2/apps/%2Fshop%2Fdb", "", "", 200},
		{"GET", "/v2/apps//shop//db?unknown=1", "", "", 200},
		{"GET", "/v2/apps/shop%2Fdb/versions/", "", "", 200},
		{"GET", "/v2/apps/shop", "", "", 404},
		{"GET", "/v2/apps/shop/*", "", "", 200},
		{"GET", "/v2/apps/*", "", "", 200},
		{"GET", "/v2/apps/shop/*/tasks", "", "", 200},
		{"GET", "/v2/apps/nowhere/*", "", "", 404},
		{"GET", "/v2/apps/web/tasks/x", "", "", 405},
		{"GET", "/v2/apps/web/restart", "", "", 405},
		{"GET", "/v2/apps/web/versions/not-a-time", "", "", 422},
		{"GET", "/v2/apps/web/versions/2001-01-01T00%3A00%3A00Z", "", "", 404},
		{"GET", "/v2/apps?label=a%20in%20(b", "", "", 422},
		{"GET", "/v2/unknown", "", "", 404},
		{"HEAD", "/v2/apps/web", "", "", 200},
		{"OPTIONS", "/v2/apps/web/tasks", "", "", 200},
		{"PUT", "/v2/apps/web/restart", "", "", 405},
		{"POST", "/v2/apps/web", app, "", 405},
		{"DELETE", "/v2/apps", "", "", 405},

		{"GET", "/v2/apps", "", "Accept: */*", 200},
		{"GET", "/v2/apps", "", "Accept: text/html, application/*;q=0.3", 200},
		{"GET", "/v2/apps", "", "Accept: application/json;q=0, */*;q=0.1", 406},
		{"GET", "/v2/apps", "", "Accept: text/html", 406},
		{"POST", "/v2/apps", app, "Content-Type: application/json; charset=utf-8", 201},
		{"POST", "/v2/apps", app, "Content-Type: Application/JSON", 201},
		{"POST", "/v2/apps", app, "", 201},
		{"POST", "/v2/apps", app, "Content-Type: application/x-www-form-urlencoded", 415},
		{"POST", "/v2/apps", "", "", 400},
		{"POST", "/v2/apps", `[` + app + `]`, "", 422},
		{"POST", "/v2/apps", `{"id":"/web","cmd":"run"}`, "", 409},
		{"POST", "/v2/apps?force=true", `{"id":"web","cmd":"run"}`, "", 409},
		{"POST", "/v2/apps/web/restart", "no JSON", "Content-Type: text/plain", 200},
		{"POST", "/v2/apps/nothing/restart", "", "", 404},

		{"PUT", "/v2/apps/web", update, "", 200},
		{"PUT", "/v2/apps/fresh", `{"cmd":"run","id":"/other"}`, "", 201},
		{"PUT", "/v2/apps/web/tasks/sub", update, "", 405},
		{"PUT", "/v2/apps/web?partialUpdate=True", update, "", 200},
		{"PUT", "/v2/apps/web?partialUpdate=yes", update, "", 422}, // a full definition with nothing to run
		{"PUT", "/v2/apps/web?partialUpdate=false", `{"cmd":"run","version":"2001-01-01T00:00:00Z"}`, "", 200},
		{"PUT", "/v2/apps/web", `{"version":"2001-01-01T00:00:00Z"}`, "", 404},
		{"PUT", "/v2/apps/web", `{"version":"2001-01-01T00:00:00Z","cmd":"x y"}`, "", 422},
		{"PUT", "/v2/apps/web", `{"version":7}`, "", 422},
		{"PATCH", "/v2/apps/web", update, "", 200},
		{"PATCH", "/v2/apps/fresh", `{"cmd":"run"}`, "", 404},
		{"PUT", "/v2/apps", `[{"id":"/fresh","cmd":"run"},{"id":"web","instances":2}]`, "", 200},
		{"PUT", "/v2/apps?partialUpdate=false", `[{"id":"web","instances":2}]`, "", 422},
		{"PATCH", "/v2/apps", `[{"id":"/fresh","cmd":"run"}]`, "", 404},
		{"PATCH", "/v2/apps", `[{"id":"web","instances":2}]`, "", 200},
		{"PUT", "/v2/apps", `{"id":"web","instances":2}`, "", 422},
		{"PUT", "/v2/apps", `[{"instances":2}]`, "", 422},
		{"PUT", "/v2/apps", `[]`, "", 200},

		{"DELETE", "/v2/apps/shop", "", "", 404},
		{"DELETE", "/v2/apps/shop/db", "", "", 200},
		{"DELETE", "/v2/apps/web/tasks?scale=True&wipe=TRUE", "", "", 400},
		{"DELETE", "/v2/apps/web/tasks?scale=1&wipe=true", "", "", 200},
		{"DELETE", "/v2/apps/web/tasks/web.instance-00000000-0000-4000-8000-000000000999._app.1", "", "", 404},
		{"DELETE", "/v2/apps/nothing/tasks", "", "", 404},
	} {
		t.Run(c.method+" "+c.target+" "+c.header+c.body, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header}
			}
			w := newCounter(t).ask(c.method, c.target, c.body, header...)
			if w.Code != c.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
			if w.Header().Get("Cache-Control") != "no-cache, no-store, must-revalidate" || w.Header().Get("Expires") != "0" {
				t.Errorf("may be cached: %v", w.Header())
			}
			var body struct{ Message string }
			if w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &body) != nil || body.Message == "") {
				t.Errorf("a refusal without a message: %s", w.Body)
			}
			if w.Code == 405 && w.Header().Get("Allow") == "" {
				t.Error("405 does not say what is possible")
			}
		})
	}
}

// TestFilters are the query parameters of the list of apps.
func TestFilters(t *testing.T) {
	c := newCounter(t)
	for query, want := range map[string]string{
		"":                               "/shop/cache /shop/db /web",
		"id=SHOP":                        "/shop/cache /shop/db",
		"cmd=sleep":                      "/shop/db /web",
		"cmd=sleep%202":                  "/shop/db",
		"id=shop&cmd=sleep":              "/shop/db",
		"label=env":                      "/shop/db /web",
		"label=env%3D%3Dprod":            "/shop/db",
		"label=env!%3Dprod":              "/web",
		"label=env%20in%20(prod,test)":   "/shop/db /web",
		"label=env%20notin%20(test)":     "/shop/db",
		"label=env,tier==back":           "/shop/db",
		"label=tier==back&label=nothing": "/shop/db",
		"id=nothing":                     "",
	} {
		t.Run(query, func(t *testing.T) {
			var answer struct{ Apps []struct{ ID string } }
			if err := json.Unmarshal(c.ask("GET", "/v2/apps?"+query, "").Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, app := range answer.Apps {
				ids = append(ids, app.ID)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestEmbeds: which parts of an app are there on demand, and which always.
func TestEmbeds(t *testing.T) {
	c := newCounter(t)
	parts := []string{"tasks", "tasksRunning", "deployments", "lastTaskFailure", "readinessCheckResults", "taskStats"}
	const always, single = "deployments tasksRunning", "deployments tasks tasksRunning"
	for query, want := range map[string]struct{ list, single string }{
		"":                  {always, single},
		"embed=":            {always, single},
		"embed=nonsense":    {always, single},
		"embed=tasks":       {single, single},
		"embed=apps.tasks":  {single, single},
		"embed=app.counts":  {always, single},
		"embed=apps.counts": {always, single},
		"embed=group.apps.tasks&embed=apps.readiness": {"deployments readinessCheckResults tasks tasksRunning", "deployments readinessCheckResults tasks tasksRunning"},
		"embed=apps.taskStats":                        {"deployments taskStats tasksRunning", "deployments taskStats tasks tasksRunning"},
		"embed=apps.failures":                         {single, single},
		"embed=apps.lastTaskFailure":                  {always, single},
	} {
		t.Run(query, func(t *testing.T) {
			var list struct{ Apps []map[string]any }
			var one struct{ App map[string]any }
			for target, into := range map[string]any{"/v2/apps?": &list, "/v2/apps/web?": &one} {
				if err := json.Unmarshal(c.ask("GET", target+query, "").Body.Bytes(), into); err != nil {
					t.Fatal(err)
				}
			}
			present := func(app map[string]any) string {
				return strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(app)), func(k string) bool { return !slices.Contains(parts, k) }), " ")
			}
			if diff := cmp.Diff([]string{want.list, want.single}, []string{present(list.Apps[2]), present(one.App)}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if list.Apps[2]["versionInfo"] == nil || one.App["versionInfo"] == nil {
				t.Error("no versionInfo")
			}
		})
	}
}

// TestAnswersOfChanges: headers, the two shapes of 409, and force.
func TestAnswersOfChanges(t *testing.T) {
	c := newCounter(t)
	w := c.ask("POST", "/v2/apps", `{"id":"new","cmd":"run","version":"2001-01-01T00:00:00Z","versionInfo":{}}`)
	var app map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &app); err != nil {
		t.Fatal(err)
	}
	id := w.Header().Get("Marathon-Deployment-Id")
	if id == "" || w.Header().Get("Location") != "http://example.com/new" {
		t.Errorf("headers: %v", w.Header())
	}
	if diff := cmp.Diff([]any{map[string]any{"id": id}}, app["deployments"]); diff != "" || app["versionInfo"] != nil || app["tasksRunning"] != 0.0 || app["version"] == "2001-01-01T00:00:00.000Z" {
		t.Errorf("%s\n%v", diff, app)
	}
	exists, locked := conflict(t, c.ask("POST", "/v2/apps", `{"id":"new","cmd":"run"}`)), conflict(t, c.ask("PUT", "/v2/apps/new", `{"cmd":"other"}`))
	if exists["message"] != "An app with id [/new] already exists." || exists["deployments"] != nil {
		t.Errorf("an id that exists: %v", exists)
	}
	if diff := cmp.Diff([]any{map[string]any{"id": id}}, locked["deployments"]); diff != "" || !strings.HasPrefix(locked["message"].(string), "App is locked by one or more deployments.") {
		t.Errorf("a lock: %v", locked)
	}
	for _, query := range []string{"?force=1", "?force=", "?force=false"} {
		conflict(t, c.ask("DELETE", "/v2/apps/new"+query, "")) // deletion alone is forced unless told otherwise
	}
	w = c.ask("DELETE", "/v2/apps/new", "")
	var result struct{ Version, DeploymentID string }
	if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil || w.Code != 200 || result.DeploymentID != w.Header().Get("Marathon-Deployment-Id") {
		t.Errorf("deletion: %d %s %v", w.Code, w.Body, err)
	}
	if w = c.ask("PUT", "/v2/apps/g/made", `{"cmd":"run"}`); w.Header().Get("Location") != "http://example.com/g/made" {
		t.Errorf("a PUT that creates: %v", w.Header())
	}
}

func conflict(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 409 {
		t.Fatalf("got %d %s, want 409", w.Code, w.Body)
	}
	return body
}
