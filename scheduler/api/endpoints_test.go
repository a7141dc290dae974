package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

// endpoint is one path and what its methods answer in a world with the apps /a and /g/b and the pod /p, each with one task, a deployment
// of /a and a version.
type endpoint struct {
	path string
	// answers are "METHOD STATUS [BODY]". A method that is not named must be refused with 405, or, when none is, with 404:
	// then the path is not there. HEAD follows GET, OPTIONS lists the methods.
	answers []string
	row     string // what docs/marathon-compat.md must have in backticks; "": the path
}

// endpoints are all of section 1 of Marathon's API, and Berth's own. Paths may have TASK, DEPLOYMENT, VERSION and the like in
// them.
func endpoints() []endpoint {
	const app = `{"id":"/new","cmd":"sleep 1"}`
	gone := func(path, row string) endpoint { return endpoint{path: path, row: row} }
	return []endpoint{
		{"/v2/apps", []string{"GET 200", "POST 201 " + app, "PUT 200 [" + app + "]", `PATCH 404 [{"id":"/nothing"}]`}, ""},
		{"/v2/apps/", []string{"GET 200", "POST 409 " + `{"id":"/a","cmd":"x1"}`, "PUT 422 [{}]", "PATCH 422 [{}]"}, "/v2/apps"},
		{"/v2/apps/g/b", []string{"GET 200", `PUT 200 {"instances":1}`, `PATCH 200 {"instances":1}`, "DELETE 200"}, "/v2/apps/ID"},
		{"/v2/apps//g%2Fb", []string{"GET 200", `PUT 200 {"instances":1}`, `PATCH 200 {"instances":1}`, "DELETE 200"}, "/v2/apps/ID"},
		{"/v2/apps/tasks/x", []string{"GET 404", `PUT 201 {"cmd":"sleep 1"}`, `PATCH 404 {}`, "DELETE 404"}, "/v2/apps/ID"},
		{"/v2/apps/missing", []string{"GET 404", `PUT 422 {}`, `PATCH 404 {}`, "DELETE 404"}, "/v2/apps/ID"},
		{"/v2/apps/a", []string{"GET 200", `PUT 409 {"cmd":"sleep 2"}`, `PATCH 409 {"cmd":"sleep 2"}`, "DELETE 200"}, "/v2/apps/ID"},
		{"/v2/apps/*", []string{"GET 200"}, "/v2/apps/GROUP/*"},
		{"/v2/apps/g/*", []string{"GET 200"}, "/v2/apps/GROUP/*"},
		{"/v2/apps/none/*", []string{"GET 404"}, "/v2/apps/GROUP/*"},
		{"/v2/apps/g/b/restart", []string{"POST 200"}, "/v2/apps/ID/restart"},
		{"/v2/apps/missing/restart", []string{"POST 404"}, "/v2/apps/ID/restart"},
		{"/v2/apps/g/b/tasks", []string{"GET 200", "DELETE 200"}, "/v2/apps/ID/tasks"},
		{"/v2/apps/g/*/tasks", []string{"GET 200", "DELETE 404"}, "/v2/apps/ID/tasks"},
		{"/v2/apps/g/b/tasks/TASK", []string{"DELETE 200"}, "/v2/apps/ID/tasks/TASK"},
		{"/v2/apps/g/b/tasks/unknown", []string{"DELETE 404"}, "/v2/apps/ID/tasks/TASK"},
		{"/v2/apps/g/b/versions", []string{"GET 200"}, "/v2/apps/ID/versions"},
		{"/v2/apps/g/b/versions/VERSION", []string{"GET 200"}, "/v2/apps/ID/versions/VERSION"},
		{"/v2/apps/g/b/versions/2000-01-01T00:00:00.000Z", []string{"GET 404"}, "/v2/apps/ID/versions/VERSION"},
		{"/v2/apps/g/b/versions/yesterday", []string{"GET 422"}, "/v2/apps/ID/versions/VERSION"},
		{"/v2/groups", []string{"GET 200", `POST 409 {"id":"/"}`, `PUT 409 {"apps":[]}`, `PATCH 422 {"enforceRole":true}`, "DELETE 409"}, ""},
		{"/v2/groups/g", []string{"GET 200", "POST 409 {}", `PUT 200 {"scaleBy":2}`, `PATCH 200 {"enforceRole":false}`, "DELETE 200"}, "/v2/groups/ID"},
		{"/v2/groups/missing", []string{"GET 404", "POST 201 {}", "PUT 200 {}", `PATCH 404 {"enforceRole":true}`, "DELETE 404"}, "/v2/groups/ID"},
		{"/v2/groups/g/apps", []string{"GET 200", "POST 201 {}", "PUT 200 {}", `PATCH 422 {"enforceRole":true}`, "DELETE 404"}, "/v2/groups/ID/apps"}, // or a group of this name
		{"/v2/groups/versions", []string{"GET 200"}, ""},
		{"/v2/groups/g/versions", []string{"GET 200"}, "/v2/groups/ID/versions"},
		{"/v2/groups/g/versions/TREE", []string{"GET 200"}, "/v2/groups/ID/versions/VERSION"},
		{"/v2/groups/g/versions/2000-01-01T00:00:00.000Z", []string{"GET 404"}, "/v2/groups/ID/versions/VERSION"},
		{"/v2/pods", []string{"GET 200", "POST 201 " + pod("/new")}, ""},
		{"/v2/pods/", []string{"GET 200", "POST 409 " + pod("/p")}, "/v2/pods"},
		{"/v2/pods/p", []string{"GET 200", "PUT 200 " + pod("/p"), "DELETE 202"}, "/v2/pods/ID"},
		{"/v2/pods/g/b", []string{"GET 404", "PUT 404 " + pod("/g/b"), "DELETE 404"}, "/v2/pods/ID"}, // an app
		{"/v2/pods/::status", []string{"GET 200"}, ""},
		{"/v2/pods/p::status", []string{"GET 200"}, "/v2/pods/ID::status"},
		{"/v2/pods/p::versions", []string{"GET 200"}, "/v2/pods/ID::versions"},
		{"/v2/pods/p::versions/PODVERSION", []string{"GET 200"}, "/v2/pods/ID::versions/VERSION"},
		{"/v2/pods/p::instances", []string{`DELETE 200 []`}, "/v2/pods/ID::instances"},
		{"/v2/pods/p::instances/INSTANCE", []string{"DELETE 200"}, "/v2/pods/ID::instances/INSTANCE"},
		{"/v2/pods/p::instances/none", []string{"DELETE 404"}, "/v2/pods/ID::instances/INSTANCE"},
		gone("/v2/pods/p::other", "unknown path"),
		{"/v2/deployments", []string{"GET 200"}, ""},
		{"/v2/deployments/DEPLOYMENT", []string{"DELETE 200"}, "/v2/deployments/ID"},
		{"/v2/deployments/unknown", []string{"DELETE 404"}, "/v2/deployments/ID"},
		{"/v2/tasks", []string{"GET 200"}, ""},
		{"/v2/tasks/delete", []string{`POST 200 {"ids":[]}`}, ""},
		{"/v2/queue", []string{"GET 200"}, ""},
		{"/v2/queue/g/b/delay", []string{"DELETE 404"}, "/v2/queue/ID/delay"},
		{"/v2/info", []string{"GET 200"}, ""},
		{"/v2/leader", []string{"GET 200", "DELETE 409"}, ""},
		{"/ping", []string{"GET 200"}, ""},
		{"/metrics", []string{"GET 200"}, ""},
		{"/metrics/prometheus", []string{"GET 200"}, ""},
		{"/logging", []string{"GET 200", `POST 200 {"level":"info","logger":"ROOT"}`}, ""},
		{"/v2/plugins", []string{"GET 200"}, ""},
		gone("/v2/plugins/auth/index.html", "/v2/plugins/ID/PATH"),
		{"/v2/events", []string{"GET 405"}, ""}, // without its Accept header
		gone("/v2/eventSubscriptions", ""),
		gone("/v2/artifacts", ""), gone("/v2/artifacts/a/b", "/v2/artifacts"),
		gone("/v2/schemas", ""),
		gone("/", ""), gone("/ui/", ""), gone("/help", ""), gone("/api-console", ""), gone("/public/api", "/public"), gone("/config", ""),
		gone("/v2", "unknown path"), gone("/v2/nothing", "unknown path"), gone("/v1/apps", "unknown path"),
		{"/berth/v1/instances", []string{"GET 200", `PATCH 400 {"weight":1}`}, ""},
		{"/berth/v1/instances?app=/g/b", []string{"GET 200", `PATCH 200 {"weight":1}`}, "/berth/v1/instances"},
		{"/berth/v1/resize", []string{`POST 400 {"cpus":1}`}, "POST /berth/v1/resize"},
		{"/berth/v1/resize?app=/missing", []string{`POST 404 {"cpus":1}`}, "POST /berth/v1/resize"},
		{"/berth/v1/logs?app=/g/b", []string{"GET 200"}, "/berth/v1/logs"},
		{"/berth/v1/logs", []string{"GET 400"}, ""},
		{"/berth/v1/why?app=/g/b", []string{"GET 200"}, "GET /berth/v1/why?app=ID"},
		{"/berth/v1/policies", []string{"GET 200"}, "GET /berth/v1/policies"},
		{"/berth/v1/hosts/h/document", []string{"GET 204"}, "/berth/v1/hosts/HOST/document"},
		{"/berth/v1/hosts/h/document?for=net", []string{"GET 204"}, "/berth/v1/hosts/HOST/document"},
		{"/berth/v1/hosts", []string{"GET 200"}, "GET /berth/v1/hosts"},
		{"/berth/v1/hosts/h/dead", []string{"POST 404"}, "POST /berth/v1/hosts/HOST/dead"},
		{"/berth/v1/hosts/host-1/drain", []string{"GET 404", `POST 200 {"reason":"disks"}`, "DELETE 204"}, "/berth/v1/hosts/HOST/drain"},
		{"/berth/v1/hosts/h/report", []string{`POST 204 {"Host":"h"}`}, "/berth/v1/hosts/HOST/report"},
	}
}

var allMethods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

// TestEndpoints asks every path with every method, each in a fresh world, and holds the docs' table against the list.
func TestEndpoints(t *testing.T) {
	page, err := os.ReadFile("../../docs/marathon-compat.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints() {
		row := e.row
		if row == "" {
			row = e.path
		}
		if row != "unknown path" {
			row = "`" + row + "`"
		}
		if !slices.ContainsFunc(strings.Split(string(page), "\n"), func(line string) bool { // the first cell of a row
			cells := strings.Split(line, "|")
			return len(cells) > 2 && strings.Contains(cells[1], row)
		}) {
			t.Errorf("docs/marathon-compat.md has no row with %s", row)
		}
		for _, method := range allMethods {
			t.Run(method+" "+e.path, func(t *testing.T) { e.ask(t, method) })
		}
	}
}

func (e endpoint) ask(t *testing.T, method string) {
	want, body := e.expect(method)
	f := inhabited(t)
	tasks := list[struct{ ID string }](t, f, "/v2/apps/g/b/tasks", "tasks")
	trees := list[string](t, f, "/v2/groups/g/versions", "")
	podVersions := list[string](t, f, "/v2/pods/p::versions", "")
	instances := list[struct{ ID string }](t, f, "/v2/pods/p::status", "instances")
	deployments := list[struct{ ID string }](t, f, "/v2/deployments", "")
	versions := list[string](t, f, "/v2/apps/g/b/versions", "versions")
	path := strings.NewReplacer("PODVERSION", podVersions[0], "INSTANCE", instances[0].ID, "TREE", trees[0], "TASK", tasks[0].ID, "DEPLOYMENT", deployments[0].ID, "VERSION", versions[0]).Replace(e.path)
	resp, answer := f.ask(t, method, path, body)
	if resp.StatusCode != want {
		t.Fatalf("%d, want %d: %s", resp.StatusCode, want, answer)
	}
	for _, name := range []string{"Cache-Control", "Pragma", "Expires", "X-Frame-Options", "X-Xss-Protection", "X-Marathon-Leader"} {
		if resp.Header.Get(name) == "" {
			t.Errorf("no header %s", name)
		}
	}
	allow := strings.Split(resp.Header.Get("Allow"), ", ")
	switch {
	case method == "HEAD":
		if len(answer) > 0 {
			t.Errorf("an answer with a body: %s", answer)
		}
		return
	case e.path == "/v2/events": // refuses GET for the header
	case method == "OPTIONS" && want == 200, want == 405:
		for _, m := range allMethods {
			if named, _ := e.expect(m); (named != 405) != slices.Contains(allow, m) {
				t.Errorf("%s, but Allow is %v", m, allow)
			}
		}
	}
	var fault struct {
		Message *string
		Details any
	}
	if want >= 400 && (resp.Header.Get("Content-Type") != "application/json" || json.Unmarshal(answer, &fault) != nil || fault.Message == nil || *fault.Message == "") {
		t.Errorf("an error without a message: %s %s", resp.Header.Get("Content-Type"), answer)
	}
}

// expect is the status of a method and the body to send.
func (e endpoint) expect(method string) (status int, body string) {
	if len(e.answers) == 0 {
		return http.StatusNotFound, ""
	}
	if method == "OPTIONS" {
		return http.StatusOK, ""
	}
	for _, a := range e.answers {
		name, rest, _ := strings.Cut(a, " ")
		if name == method || name == "GET" && method == "HEAD" {
			_, err := fmt.Sscan(rest, &status)
			if err != nil {
				panic(err)
			}
			_, body, _ = strings.Cut(rest, " ")
			return status, body
		}
	}
	return http.StatusMethodNotAllowed, ""
}

func pod(id string) string {
	return `{"id":"` + id + `","containers":[{"name":"main","resources":{"cpus":0.1,"mem":32},"exec":{"command":{"shell":"sleep 1"}}}]}`
}

// inhabited is a world with two apps and a pod that run, the first of which is being deployed again.
func inhabited(t *testing.T) *fixture {
	t.Helper()
	f := handlerFixture(t)
	for _, app := range []string{`{"id":"/a","cmd":"sleep 1"}`, `{"id":"/g/b","cmd":"sleep 1"}`} {
		if resp, answer := f.ask(t, "POST", "/v2/apps", app); resp.StatusCode != 201 {
			t.Fatalf("%s", answer)
		}
		f.world.Settle()
	}
	if resp, answer := f.ask(t, "POST", "/v2/pods", pod("/p")); resp.StatusCode != 201 {
		t.Fatalf("%s", answer)
	}
	f.world.Settle()
	if resp, answer := f.ask(t, "PUT", "/v2/apps/a", `{"instances":2}`); resp.StatusCode != 200 {
		t.Fatalf("%s", answer)
	}
	return f
}

// handlerFixture is a server without a listener: it is only asked through its handler.
func handlerFixture(t *testing.T, change ...func(*api.Options)) *fixture {
	t.Helper()
	f := &fixture{events: api.NewLog(0)}
	f.world = apitest.New(f.events)
	o := options(f.world)
	o.Level = logrus.New()
	for _, c := range change {
		c(&o)
	}
	var err error
	if f.server, err = api.New(o); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) ask(t *testing.T, method, path, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.server.Handler("").ServeHTTP(w, r)
	return w.Result(), w.Body.Bytes()
}

// list reads an array, or the array below a key.
func list[T any](t *testing.T, f *fixture, path, key string) (out []T) {
	t.Helper()
	_, answer := f.ask(t, "GET", path, "")
	if key != "" {
		var in map[string]json.RawMessage
		if err := json.Unmarshal(answer, &in); err != nil {
			t.Fatal(err)
		}
		answer = in[key]
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatalf("%s: %v in %s", path, err, answer)
	}
	return out
}
