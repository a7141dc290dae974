package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// answer does one call that must have the given code, and decodes the body.
func (p *play) answer(code int, method, path, body string, into any) {
	p.t.Helper()
	w := p.serve(method, path, body)
	if w.Code != code {
		p.t.Fatalf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
}

// TestGroupReadAndSent: what GET answers can be sent again, but for the version of the whole, and is no change.
func TestGroupReadAndSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		p.answer(200, "PUT", "/v2/groups", `{"dependencies":["/elsewhere"],"apps":[{"id":"top","cmd":"run"}],"groups":[
			{"id":"shop","enforceRole":true,"apps":[{"id":"old","cmd":"run","ports":[0,0],"uris":["http://h/a.tgz"],
				"healthChecks":[{"protocol":"HTTP"}],"container":{"docker":{"image":"i","network":"BRIDGE","portMappings":[{"containerPort":80}]}}}],
			"groups":[{"id":"empty"},{"id":"deep","dependencies":["/top"],"groups":[{"id":"er","apps":[{"id":"x","args":["run"],"instances":0,"cpus":0.25}]}]}]},
			{"id":"plain","apps":[{"id":"y","cmd":"run","dependencies":["/shop/deep"]}]}]}`, nil)
		for _, path := range []string{"", "/shop", "/shop/deep/er", "/plain"} {
			var read map[string]any
			p.answer(200, "GET", "/v2/groups"+path, "", &read)
			delete(read, "version")
			body, err := json.Marshal(read)
			if err != nil {
				t.Fatal(err)
			}
			var tried struct{ Steps []any }
			p.answer(200, "PUT", "/v2/groups"+path+"?dryRun=true", string(body), &tried)
			if len(tried.Steps) != 0 {
				t.Errorf("%q: steps %v after %s", path, tried.Steps, body)
			}
			var before, after []string
			p.answer(200, "GET", "/v2/groups/versions", "", &before)
			p.answer(200, "PUT", "/v2/groups"+path+"?force=true", string(body), nil)
			p.answer(200, "GET", "/v2/groups/versions", "", &after)
			if !slices.Equal(before, after) {
				t.Errorf("%q: sending what was read changed the tree: %v, %v", path, before, after)
			}
		}
	})
}

// TestTreeHistory: the last changes can be read back, after a crash, too, and no more of them are kept than the store does.
func TestTreeHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		var first struct{ Version string }
		p.answer(201, "POST", "/v2/groups", `{"id":"/g","apps":[{"id":"a","cmd":"run","instances":0}]}`, &first)
		var versions []string
		p.answer(200, "GET", "/v2/groups/versions", "", &versions)
		if want := []string{first.Version}; !slices.Equal(versions, want) {
			t.Errorf("versions %v, want %v", versions, want)
		}
		for i := range store.MaxVersions + 5 {
			p.answer(200, "PUT", "/v2/groups/g/"+fmt.Sprint("n", i), `{}`, nil)
		}
		for _, when := range []string{"before", "after"} {
			p.answer(200, "GET", "/v2/groups/versions", "", &versions)
			if len(versions) != store.MaxVersions || !slices.IsSortedFunc(versions, func(a, b string) int { return strings.Compare(b, a) }) {
				t.Errorf("%s the crash: %d versions: %v", when, len(versions), versions)
			}
			var oldest struct{ Groups []struct{ ID string } }
			p.answer(200, "GET", "/v2/groups/g/versions/"+versions[len(versions)-1], "", &oldest)
			if len(oldest.Groups) != 6 {
				t.Errorf("%s the crash the oldest tree has %d groups", when, len(oldest.Groups))
			}
			p.answer(404, "GET", "/v2/groups/versions/"+first.Version, "", nil)
			p.stop()
			p.start()
		}
		newest := versions[0]
		var next struct{ Version string }
		p.answer(200, "PUT", "/v2/groups/g/later", `{}`, &next)
		if next.Version <= newest {
			t.Errorf("version %s after %s", next.Version, newest)
		}
	})
}

// TestDryRunLeavesNothing: neither state nor events nor records.
func TestDryRunLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		p.answer(201, "POST", "/v2/groups", `{"id":"/g","apps":[{"id":"a","cmd":"run"}]}`, nil)
		_ = p.do("advance 1s")
		before, commits := p.serve("GET", "/v2/groups", "").Body.String(), p.store.Commits()
		for _, c := range []struct{ method, path, body string }{
			{"PUT", "/v2/groups/g", `{"scaleBy":2}`}, // the running deployment is no obstacle
			{"PUT", "/v2/groups/g", `{"apps":[]}`},
			{"POST", "/v2/groups/h", `{"groups":[{"id":"i"}]}`},
			{"DELETE", "/v2/groups/g", ""},
			{"DELETE", "/v2/groups", ""},
		} {
			var tried struct {
				Steps []struct {
					Actions []struct{ Action, App string }
				}
			}
			p.answer(200, c.method, c.path+"?dryRun=true", c.body, &tried)
			if c.method == "DELETE" && (len(tried.Steps) != 1 || tried.Steps[0].Actions[0].Action != string(spec.StopApplication)) {
				t.Errorf("%s %s: %+v", c.method, c.path, tried)
			}
		}
		p.answer(422, "PUT", "/v2/groups/g?dryRun=true", `{"scaleBy":2,"apps":[]}`, nil)
		p.answer(409, "POST", "/v2/groups/g?dryRun=true", `{}`, nil)
		if out := p.do("advance 1s"); len(out) != 0 {
			t.Errorf("something happened: %v", out)
		}
		if after := p.serve("GET", "/v2/groups", "").Body.String(); after != before || p.store.Commits() != commits {
			t.Errorf("commits %d, then %d; %s, then %s", commits, p.store.Commits(), before, after)
		}
	})
}

// TestGroupEvents: a change names the innermost group around it; a refused one says why.
func TestGroupEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		for _, c := range []struct{ method, path, body, want string }{
			{"POST", "/v2/groups", `{"id":"/g/h","apps":[{"id":"a","cmd":"run"},{"id":"b","cmd":"run"}]}`, "group_change_success /g/h"},
			{"PUT", "/v2/groups/g/h/a", `{}`, "group_change_failed /g/h/a"},
			{"POST", "/v2/apps", `{"id":"/g/h/a","cmd":"run"}`, "group_change_failed /g/h"},
			{"DELETE", "/v2/pods/g/h/a", ``, "group_change_failed /g/h"},
			{"POST", "/v2/apps", `{"id":"/new/in/c","cmd":"run"}`, "group_change_success /new/in"},
			{"PUT", "/v2/groups?force=true", `{"groups":[{"id":"g"}]}`, "group_change_success /"},
		} {
			if w := p.serve(c.method, c.path, c.body); w.Code >= 500 {
				t.Fatal(w.Code, w.Body)
			}
			calm()
			var got []string
			for e, ok := p.sub.Next(time.Now()); ok; e, ok = p.sub.Next(time.Now()) {
				if e.Type == api.EventGroupChangeSuccess || e.Type == api.EventGroupChangeFailed {
					got = append(got, fmt.Sprint(e.Type, " ", e.Fields["groupId"]))
				}
			}
			if want := []string{c.want}; !slices.Equal(got, want) {
				t.Errorf("%s %s: %v, want %v", c.method, c.path, got, want)
			}
		}
	})
}

// TestEventsNamePaths: events of API calls name the path alone, as Marathon's do, also where the call had parameters.
func TestEventsNamePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		p.answer(201, "PUT", "/v2/apps/g/a?force=true", `{"cmd":"run"}`, nil)
		p.answer(201, "POST", "/v2/pods?force=true", `{"id":"/p","containers":[{"name":"c","exec":{"command":{"shell":"run"}},"resources":{"cpus":0.1,"mem":32}}]}`, nil)
		synctest.Wait()
		var got []string
		for e, ok := p.sub.Next(time.Now()); ok; e, ok = p.sub.Next(time.Now()) {
			if uri := e.Fields["uri"]; uri != nil {
				got = append(got, fmt.Sprint(e.Type, " ", uri))
			}
		}
		if want := []string{"api_post_event /v2/apps/g/a", "pod_created_event /v2/pods"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// TestGroupEmbeds: without embed everything but what is known of tasks; with it what is named.
func TestGroupEmbeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		p.answer(201, "POST", "/v2/groups", `{"id":"/g/apps","apps":[{"id":"a","cmd":"run"}],"groups":[{"id":"h"}]}`, nil)
		for query, want := range map[string]string{
			"":                              "apps a pods groups h",
			"?embed=group.groups":           "groups h",
			"?embed=group.apps":             "apps a",
			"?embed=group.pods":             "pods",
			"?embed=group.apps.counts":      "apps a tasksStaged",
			"?embed=group.apps&embed=tasks": "apps a tasks deployments",
			"?embed=nonsense":               "",
		} {
			var g map[string]any
			p.answer(200, "GET", "/v2/groups/g/apps"+query, "", &g) // the group, not the list: it really has that name
			var got []string
			if list, ok := g["apps"].([]any); ok {
				app := list[0].(map[string]any)
				got = append(got, "apps", strings.TrimPrefix(app["id"].(string), "/g/apps/"))
				for _, key := range []string{"tasksStaged", "tasks", "deployments"} {
					if app[key] != nil {
						got = append(got, key)
					}
				}
			}
			if _, ok := g["pods"].([]any); ok {
				got = append(got, "pods")
			}
			if list, ok := g["groups"].([]any); ok {
				got = append(got, "groups", strings.TrimPrefix(list[0].(map[string]any)["id"].(string), "/g/apps/"))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%q: %q, want %q", query, strings.Join(got, " "), want)
			}
		}
		var list []map[string]any
		p.answer(200, "GET", "/v2/groups/g/apps/apps", "", &list)
		if len(list) != 1 || list[0]["id"] != "/g/apps/a" || list[0]["tasksStaged"] == nil {
			t.Errorf("apps of the group: %v", list)
		}
		p.answer(200, "GET", "/v2/groups/apps", "", &list) // no such group: all apps of the root
		if len(list) != 1 {
			t.Errorf("apps of the root: %v", list)
		}
		p.answer(404, "GET", "/v2/groups/nowhere/apps", "", nil)
		p.answer(404, "GET", "/v2/groups/nowhere/versions", "", nil)
		p.answer(404, "PUT", "/v2/groups/nowhere", `{"scaleBy":2}`, nil)
		p.answer(404, "PUT", "/v2/groups/nowhere", `{"version":"2000-01-01T00:00:00.000Z"}`, nil)
		p.answer(404, "PATCH", "/v2/groups/nowhere", `{"enforceRole":true}`, nil)
		p.answer(404, "DELETE", "/v2/groups/nowhere", ``, nil)
		p.answer(400, "PUT", "/v2/groups/g", `{`, nil)
		p.answer(422, "GET", "/v2/groups/g/versions/yesterday", ``, nil)
		p.answer(405, "DELETE", "/v2/groups/g/versions", ``, nil)
		p.answer(404, "GET", "/v2/groups/g/versions/x/y", ``, nil)
	})
}

// TestGroupRole: apps and pods of a group that enforces its role have it, are held to it, and tell it their tasks.
func TestGroupRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer p.stop()
		_ = p.do("host h1 4 4096")
		p.answer(200, "PUT", "/v2/groups/prod", `{"enforceRole":true}`, nil)
		var made struct{ Role string }
		p.answer(201, "POST", "/v2/apps", `{"id":"/prod/a","cmd":"run","cpus":0.1}`, &made)
		if made.Role != "prod" {
			t.Errorf("app has role %q", made.Role)
		}
		p.answer(201, "POST", "/v2/pods", `{"id":"/prod/deep/p","containers":[{"name":"c","exec":{"command":{"shell":"run"}},"resources":{"cpus":0.1,"mem":32}}]}`, &made)
		if made.Role != "prod" {
			t.Errorf("pod has role %q", made.Role)
		}
		p.answer(201, "POST", "/v2/apps", `{"id":"/other/a","cmd":"run","cpus":0.1}`, &made)
		if made.Role != "*" {
			t.Errorf("app elsewhere has role %q", made.Role)
		}
		p.answer(422, "PUT", "/v2/apps/prod/b", `{"cmd":"run","role":"*"}`, nil)
		p.answer(422, "PUT", "/v2/apps", `[{"id":"/prod/b","cmd":"run","role":"*"}]`, nil)
		calm()
		for _, task := range p.w.alive() {
			want := map[spec.AppID]string{"/prod/a": "TRUE", "/other/a": "FALSE"}[task.seat.App]
			if got := task.Env["MARATHON_APP_ENFORCE_GROUP_ROLE"]; want != "" && got != want {
				t.Errorf("%s is told %q", task.seat, got)
			}
		}
		var listed struct {
			Tasks []struct {
				AppID spec.AppID
				Role  string
			}
		}
		p.answer(200, "GET", "/v2/tasks", "", &listed)
		for _, task := range listed.Tasks {
			if want := map[spec.AppID]string{"/prod/a": "prod", "/other/a": "*"}[task.AppID]; task.Role != want {
				t.Errorf("a task of %s has role %q", task.AppID, task.Role)
			}
		}
		if len(listed.Tasks) != 2 {
			t.Errorf("tasks: %+v", listed.Tasks)
		}
	})
}
