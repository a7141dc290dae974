package marathon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/spec"
)

// refusedGroups are the corpus's groups that are refused, each with a piece of the text and the reason why that is right.
var refusedGroups = []struct{ file, text, why string }{
	{"groups__list_groups_response.json", "cannot specify both uris and fetch", "answer of a server that wrote both forms"},
	{"methods.yml__034_GET_v2_groups_test.json", "/upgradeStrategy/maximumOverCapacity: error.path.missing", "half an upgradeStrategy"},
	{"DeploymentFormatsTest.scala__L24", "/scaleBy: not allowed in conjunction", "a test of reading types only"},
}

// isGroup says whether a body is a group's definition, or what a server answered of one.
func isGroup(name string, n *node) bool {
	return n.kind == kindObject && (n.has("groups") || strings.Contains(name, "GroupsResourceTest") || strings.Contains(name, "__groups__"))
}

// TestGroupCorpus puts every group of the corpus, and puts again what the tree then says of it: nothing changes.
func TestGroupCorpus(t *testing.T) {
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
	tried := 0
	for _, line := range readLines(t, filepath.Join(dir, "INDEX.tsv"))[1:] {
		name, _, _ := strings.Cut(line, "\t")
		if name == "" {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := parse(body); err == nil && isGroup(name, n) {
			tried++
			t.Run(name, func(t *testing.T) { corpusGroup(t, name, n, expected[name]) })
		}
	}
	t.Logf("%d groups", tried)
}

func corpusGroup(t *testing.T, name string, n *node, outcome string) {
	at := spec.AppID("/")
	if strings.HasPrefix(outcome, "422 (POST to group /foo)") {
		at = "/foo"
	}
	if n.has("groups") && n.has("version") { // an answer: its version is none to roll back to
		delete(n.fields, "version")
	}
	_, tree, err := groupPut(n.raw(), at, Tree{})
	i := slices.IndexFunc(refusedGroups, func(r struct{ file, text, why string }) bool { return strings.Contains(name, r.file) })
	switch {
	case strings.HasPrefix(outcome, "422") && err == nil:
		t.Errorf("accepted, expected %s", outcome)
	case strings.HasPrefix(outcome, "422"):
		t.Logf("%s: %v", outcome, err)
	case err != nil && i < 0:
		t.Errorf("refused: %v", err)
	case err != nil && !strings.Contains(err.Error(), refusedGroups[i].text):
		t.Errorf("refused for another reason than %q: %v", refusedGroups[i].why, err)
	case err == nil && i >= 0:
		t.Errorf("accepted although %s", refusedGroups[i].why)
	}
	if err == nil {
		checkGroupRoundTrip(t, tree)
	}
}
