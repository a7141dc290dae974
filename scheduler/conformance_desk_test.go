package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/admit"
	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// sending is one definition on its way to the API.
type sending struct {
	method, path string // "" when there is nothing to send
	body         []byte
	read         string            // where the result is read, and sent back with PUT
	before       map[string]string // what must be there: PUT path -> body
}

// baseApp is what fragments of definitions are applied to.
const baseApp = `{"cmd":"run","portDefinitions":[{"name":"http-api"}]}`

// appKeys are keys that only app definitions and their fragments have.
var appKeys = []string{"cmd", "args", "container", "cpus", "instances", "ipAddress", "portDefinitions", "ports", "healthChecks", "readinessChecks",
	"networks", "unreachableStrategy", "killSelection", "acceptedResourceRoles", "fetch", "check", "secrets"}

// sendings finds the definitions in a body. as says what it is: "app", "update" (of an app), "pod", "group" (PUT), "groups"
// (POST), "patch" (bulk), "none"; a path behind it ("update healthChecks[]") says where in a definition the body belongs.
// Without as the keys decide; answers of a server give the definitions in them.
func sendings(t *testing.T, body []byte, as string) []sending {
	t.Helper()
	as, at, inside := strings.Cut(as, " ")
	if inside {
		body = wrap(body, at, as)
	}
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil {
		return listSendings(t, body, list, as)
	}
	o := object(body)
	if as == "" {
		as = kindOf(o)
		if o == nil {
			as = "app" // no JSON, or no object: the API must say so
		}
	}
	text := func(key string) string { s, _ := o[key].(string); return "/" + strings.TrimPrefix(s, "/") }
	switch as {
	case "app":
		return []sending{{method: "POST", path: "/v2/apps", body: body, read: "/v2/apps" + text("id")}}
	case "update":
		at := "/v2/apps/conformance"
		if o["id"] != nil {
			at = "/v2/apps" + text("id")
		}
		return []sending{{method: "PUT", path: at, body: body, read: at, before: map[string]string{at: baseApp}}}
	case "pod":
		return []sending{{method: "POST", path: "/v2/pods", body: body, read: "/v2/pods" + text("id")}}
	case "group":
		return []sending{{method: "PUT", path: "/v2/groups", body: body, read: "/v2/groups" + text("id")}}
	case "groups":
		return []sending{{method: "POST", path: "/v2/groups", body: body, read: "/v2/groups" + text("id")}}
	case "answer":
		return answerSendings(t, o)
	}
	return []sending{{}}
}

// kindOf tells what an object is by its keys.
func kindOf(o map[string]any) string {
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return o[k] != nil })
	}
	switch {
	case has("eventType", "taskId", "instanceId", "tasks") && !has("cmd", "args", "container"), has("instances") && has("spec"), has("app", "queue"):
		return "answer"
	case has("containers"):
		return "pod"
	case has("groups"), has("apps") && has("id"):
		return "group"
	case has("apps"):
		return "answer"
	case has(appKeys...) && has("id"):
		return "app"
	case has(appKeys...):
		return "update"
	}
	return "none"
}

func listSendings(t *testing.T, body []byte, list []json.RawMessage, as string) []sending {
	before := map[string]string{}
	var found []sending
	for _, element := range list {
		switch o := object(element); {
		case o["spec"] != nil:
			found = append(found, sendings(t, element, "")...)
		case kindOf(o) == "app":
			before["/v2/apps/"+strings.Trim(o["id"].(string), "/")] = baseApp
		}
	}
	switch {
	case len(before) > 0 && as == "patch":
		return []sending{{method: "PATCH", path: "/v2/apps", body: body, before: before}}
	case len(before) > 0:
		return []sending{{method: "PUT", path: "/v2/apps", body: body}}
	case len(found) > 0:
		return found
	}
	return []sending{{}}
}

// answerSendings are the definitions that stand in a server's answer.
func answerSendings(t *testing.T, o map[string]any) []sending {
	var found []sending
	add := func(v any, as string) {
		if v != nil {
			body, _ := json.Marshal(v) // came from JSON
			found = append(found, sendings(t, body, as)...)
		}
	}
	add(o["app"], "app")
	add(o["spec"], "pod")
	apps, _ := o["apps"].([]any)
	for _, app := range apps {
		add(app, "app")
	}
	queue, _ := o["queue"].([]any)
	for _, item := range queue {
		add(item.(map[string]any)["app"], "app")
		add(item.(map[string]any)["pod"], "pod")
	}
	if len(found) == 0 {
		return []sending{{}}
	}
	return found
}

// wrap puts a fragment where it belongs: "a.b[]" makes {"a":{"b":[fragment]}}. What is no update needs an id beside it, and
// volumes lie in a container without image.
func wrap(body []byte, at, as string) []byte {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return body
	}
	parts := strings.Split(at, ".")
	for _, part := range slices.Backward(parts) {
		name, isList := strings.CutSuffix(part, "[]")
		if isList {
			v = []any{v}
		}
		v = map[string]any{name: v}
	}
	whole := v.(map[string]any)
	if as != "update" {
		whole["id"] = "/conformance"
	}
	if c, ok := whole["container"].(map[string]any); ok && c["volumes"] != nil {
		c["type"] = "MESOS"
	}
	out, _ := json.Marshal(v) // came from JSON
	return out
}

// desk is an API over a scheduler with one large host on which everything starts at once. Its operators allow what Berth
// can do at all, so that what is refused is refused by the definition's own fault or by Berth's nature.
type desk struct {
	*play
	handler    http.Handler
	transcript strings.Builder
}

func newDesk(t *testing.T) *desk {
	p := &play{t: t, w: newWorld(), store: store.NewMemory(), held: map[string]spec.Held{}, hosts: map[string]bool{"h1": true},
		pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/16")}}}
	p.w.hosts["h1"] = &worldHost{name: "h1", cpus: 10000, mem: 1e8}
	p.w.auto = true
	p.start()
	t.Cleanup(p.stop)
	policy := admit.Policy{AllowPrivileged: true, AllowHostNetwork: true, HostPaths: []string{"/"}, Pods: true}
	server, err := api.New(api.Options{
		Backend: p.s, Events: p.events, Marathon: marathon.Options{DefaultNetworkName: "p", BridgeName: api.BridgeName, Features: map[string]bool{marathon.FeatureGPU: true}},
		Admit: func(app *spec.App) error { return admit.Check(app, policy) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &desk{play: p, handler: server.Handler("")}
}

// ask sends a request and returns the answer.
func (d *desk) ask(method, target string, body []byte) (int, []byte) {
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	calm()
	return w.Code, w.Body.Bytes()
}

// try sends a definition and, when it is accepted, makes the round trip. The result is "accepted", or the code with the
// faults' paths and texts.
func (d *desk) try(s sending) string {
	for at, body := range s.before {
		if code, answer := d.ask("PUT", at, []byte(body)); code != http.StatusCreated {
			d.t.Fatalf("PUT %s: %d %s", at, code, answer)
		}
	}
	code, answer := d.ask(s.method, s.path, s.body)
	fmt.Fprintf(&d.transcript, "%s %s\n%d %s\n", s.method, s.path, code, pretty(answer))
	if code >= 300 {
		return fmt.Sprintf("%d %s", code, faultsOf(answer))
	}
	if s.read == "" {
		return "accepted"
	}
	if id, ok := object(answer)["id"].(string); ok && s.method == "POST" {
		s.read = s.path + id // as the server resolved it
	}
	code, whole := d.ask("GET", s.read, nil)
	if code != http.StatusOK {
		return fmt.Sprintf("accepted, but then GET %s answers %d %s", s.read, code, whole)
	}
	definition := whole
	if app := object(whole)["app"]; app != nil {
		definition, _ = json.Marshal(app) // came from JSON
	}
	fmt.Fprintf(&d.transcript, "GET %s\n%s\n", s.read, pretty(stable(definition)))
	for _, fault := range []string{legacyKeys(definition), d.sendBack(s, definition)} {
		if fault != "" {
			return "accepted, but " + fault
		}
	}
	return "accepted"
}

// sendBack sends what was read, as it is and without its version. Neither may change anything.
func (d *desk) sendBack(s sending, read []byte) string {
	_, deployments := d.ask("GET", "/v2/deployments", nil)
	without := object(read)
	delete(without, "version")
	bare, _ := json.Marshal(without) // came from JSON
	for _, c := range []struct {
		what, query string
		body        []byte
	}{{"with its version", "", read}, {"without its version", "", bare}, {"as the full definition", "?partialUpdate=false", bare}} {
		if c.query != "" && !strings.HasPrefix(s.read, "/v2/apps") {
			continue // only apps merge
		}
		if code, answer := d.ask("PUT", s.read+c.query, c.body); code >= 300 {
			return fmt.Sprintf("sent back %s it is refused: %d %s", c.what, code, faultsOf(answer))
		}
		if _, now := d.ask("GET", "/v2/deployments", nil); !bytes.Equal(now, deployments) {
			return fmt.Sprintf("sent back %s it is deployed: %s", c.what, now)
		}
		_, again := d.ask("GET", s.read, nil)
		if app := object(again)["app"]; app != nil {
			again, _ = json.Marshal(app) // came from JSON
		}
		if a, b := stable(read), stable(again); !bytes.Equal(a, b) {
			return fmt.Sprintf("sent back %s it changes: %s became %s", c.what, a, b)
		}
	}
	return ""
}

// stable drops what is no part of a definition and what differs from run to run.
func stable(body []byte) []byte {
	o := object(body)
	strip(o)
	out, _ := json.Marshal(o) // came from JSON
	return out
}

func strip(o map[string]any) {
	for _, key := range []string{"tasks", "deployments", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "lastTaskFailure", "pods"} {
		delete(o, key)
	}
	for _, key := range []string{"apps", "groups"} {
		list, _ := o[key].([]any)
		for _, element := range list {
			if e, ok := element.(map[string]any); ok {
				strip(e)
			}
		}
	}
}

// legacyKeys finds a key that no Marathon since 1.5 writes.
func legacyKeys(app []byte) string {
	o := object(app)
	for _, key := range []string{"ports", "uris", "ipAddress", "storeUrls"} {
		if _, has := o[key]; has {
			return "it comes back with the legacy key " + key
		}
	}
	container, _ := o["container"].(map[string]any)
	docker, _ := container["docker"].(map[string]any)
	for _, key := range []string{"network", "portMappings", "credential"} {
		if _, has := docker[key]; has {
			return "it comes back with the legacy key container.docker." + key
		}
	}
	return ""
}

// faultsOf are the paths and texts of a refusal, in one line.
func faultsOf(answer []byte) string {
	var body struct {
		Message string
		Details json.RawMessage
	}
	if json.Unmarshal(answer, &body) != nil {
		return string(answer)
	}
	var details []struct {
		Path   string
		Errors []string
	}
	if json.Unmarshal(body.Details, &details) != nil || len(details) == 0 {
		return body.Message
	}
	var parts []string
	for _, d := range details {
		parts = append(parts, d.Path+": "+strings.Join(d.Errors, "; "))
	}
	return strings.Join(parts, ", ")
}

var uuidForm = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// pretty indents JSON and hides what is random.
func pretty(body []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") != nil {
		return string(body)
	}
	return uuidForm.ReplaceAllString(out.String(), "UUID")
}
