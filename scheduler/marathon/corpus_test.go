package marathon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

// corpusEnv names a folder of Marathon definitions collected from public repositories: JSON files, INDEX.tsv (one line a
// file, its name first) and EXPECT.tsv (name, expected outcome).
const corpusEnv = "BERTH_MARATHON_EXAMPLES"

// refused are the corpus's files that are refused although no outcome is recorded for them, or another one is; each with
// a piece of the text and the reason why that is right.
var refused = []struct{ file, text, why string }{
	{"rest-api__public__api__v2__examples__app.json", "", "shows every field at once: contradicts itself"},
	{"scale__mom.json", "acceptedResourceRoles can only contain", "relies on a server role of its own"},
	{"marathon-lb__tests__", "acceptedResourceRoles can only contain", "taken from servers with the role slave_public as default"},
	{"backends_1.9__docker_", "must not specify both", "has the old and the new form"},
	{"marathon-consul__apps__testdata__apps", "/upgradeStrategy/maximumOverCapacity: error.path.missing", "answer of a server before 1.5"},
	{"depcon__marathon__testdata__apps__app_params", "/upgradeStrategy/maximumOverCapacity: error.path.missing", "half an upgradeStrategy"},
	{"go-marathon__tests__rest-api__methods.yml__0", "", "made-up answers: half an upgradeStrategy, or nothing to run"},
	{"fault-domain-awareness.md__L69", "must either contain one of", "shows placement only"},
	{"configure-task-handling.md__L41", "/killSelection: error.unknown.enum.literal", "shows a made-up value"},
	{"recipes.md__L236", "must either contain one of", "shows acceptedResourceRoles only"},
	{"ports.md__fragment-L193", "/ipAddress/networkName: error.pattern", "a name in mixed case"},
	{"ip-per-task.md__L", "must either contain one of", "shows ipAddress only"},
	{"AppUpdateTest.scala__L447", "must have dvdi/driver", "a test of reading types only: the volume lacks its driver"},
	{"DeploymentFormatsTest.scala__L24", "must either contain one of", "a test of reading ids and versions of groups only"},
}

// definitions finds the app definitions in a body: itself, or those of {"app":...} and {"apps":[...]}. Fragments that
// only an update could be are updates.
func definitions(n *node) (apps []*node) {
	switch {
	case n.kind != kindObject || n.has("containers") || n.has("spec") || n.has("groups"):
		return nil
	case n.has("apps"):
		for _, app := range n.fields["apps"].list {
			apps = append(apps, definitions(app)...)
		}
		return apps
	case n.has("app"):
		return definitions(n.fields["app"])
	}
	for _, key := range []string{"cmd", "args", "container", "cpus", "instances", "ipAddress", "portDefinitions", "ports", "healthChecks",
		"readinessChecks", "networks", "unreachableStrategy", "killSelection", "acceptedResourceRoles", "fetch"} {
		// Tasks, events and the like have some of these keys, too, and always one of their own.
		if n.has(key) && !n.has("eventType") && !n.has("tasks") && !n.has("taskId") && !n.has("instanceId") && !n.has("exec") && !n.has("image") {
			return []*node{n}
		}
	}
	return nil
}

func TestCorpus(t *testing.T) {
	dir := os.Getenv(corpusEnv)
	if dir == "" {
		t.Skipf("%s is not set", corpusEnv)
	}
	expected := map[string]string{}
	for _, line := range readLines(t, filepath.Join(dir, "EXPECT.tsv")) {
		if name, outcome, ok := strings.Cut(line, "\t"); ok {
			expected[name] = outcome
		}
	}
	tried, accepted := 0, 0
	for _, line := range readLines(t, filepath.Join(dir, "INDEX.tsv"))[1:] {
		name, _, _ := strings.Cut(line, "\t")
		if name == "" || strings.Contains(name, "GroupsResourceTest") || strings.Contains(name, "PodsResourceTest") || strings.Contains(name, "__groups__") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			n, err := parse(body)
			if err != nil {
				if expected[name] != "400 not JSON" {
					t.Error(err)
				}
				return
			}
			for _, app := range definitions(n) {
				tried++
				if corpusApp(t, name, app, expected[name]) {
					accepted++
				}
			}
		})
	}
	t.Logf("%d definitions, %d accepted", tried, accepted)
	if tried < 100 {
		t.Errorf("only %d definitions found", tried)
	}
}

// corpusApp reads one definition, or applies it to an app when it is but a part of one.
func corpusApp(t *testing.T, name string, n *node, outcome string) bool {
	t.Helper()
	var app *spec.App
	var err error
	if n.has("id") && !strings.Contains(name, "Update") && !strings.Contains(name, "_patch") {
		app, err = decodeApp(n, "/", testOptions())
	} else {
		fields := *n
		fields.fields = map[string]*node{}
		for k, v := range n.fields {
			if k != "version" {
				fields.fields[k] = v
			}
		}
		current := mustDecode(t, `{"id":"/app","cmd":"run","role":"production","portDefinitions":[{"name":"http-api"}]}`)
		app, err = UpdateApp(current, fields.raw(), true, testOptions())
	}
	i := slices.IndexFunc(refused, func(r struct{ file, text, why string }) bool { return strings.Contains(name, r.file) })
	switch {
	case strings.HasPrefix(outcome, "422"):
		if err == nil {
			t.Errorf("accepted, expected %s", outcome)
		} else {
			t.Logf("%s: %v", outcome, err)
		}
	case err != nil && i < 0:
		t.Errorf("refused: %v", err)
	case err != nil && !strings.Contains(err.Error(), refused[i].text):
		t.Errorf("refused for another reason than %q: %v", refused[i].why, err)
	}
	if err != nil {
		return false
	}
	checkRoundTrip(t, app, testOptions())
	return true
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

func (n *node) has(key string) bool {
	return n.fields[key] != nil && n.fields[key].kind != kindNull
}
