package marathon

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// tree makes apps of "id: dependency dependency".
func tree(lines ...string) map[spec.AppID]*spec.App {
	apps := map[spec.AppID]*spec.App{}
	for _, line := range lines {
		id, deps, _ := strings.Cut(line, ":")
		app := &spec.App{ID: spec.AppID(id)}
		for _, d := range strings.Fields(deps) {
			app.Dependencies = append(app.Dependencies, spec.AppID(d))
		}
		apps[app.ID] = app
	}
	return apps
}

func TestValidateTree(t *testing.T) {
	const cyclic = "Dependency graph has cyclic dependencies."
	const clash = "Groups and Applications may not have the same identifier."
	for name, c := range map[string]struct {
		apps []string
		want string
	}{
		"empty":               {nil, ""},
		"chain":               {[]string{"/a: /b", "/b: /c", "/c"}, ""},
		"missing":             {[]string{"/a: /nowhere"}, ""},
		"diamond":             {[]string{"/a: /b /c", "/b: /d", "/c: /d", "/d"}, ""},
		"group":               {[]string{"/g/a: /h", "/h/b", "/h/i/c"}, ""},
		"cycle":               {[]string{"/a: /b", "/b: /c", "/c: /a"}, cyclic + "; the cycle is /a -> /b -> /c -> /a"},
		"itself":              {[]string{"/a: /a"}, cyclic + "; the cycle is /a -> /a"},
		"own group":           {[]string{"/g/a: /g", "/g/b"}, cyclic + "; the cycle is /g/a -> /g -> /g/a"},
		"through a group":     {[]string{"/g/a: /h", "/h/i/b: /g/a"}, cyclic + "; the cycle is /g/a -> /h -> /h/i -> /h/i/b -> /g/a"},
		"app below app":       {[]string{"/a", "/a/b"}, clash + "; /a is an app, so /a/b cannot lie below it"},
		"app far below":       {[]string{"/a", "/a/b/c/d"}, clash + "; /a is an app, so /a/b/c/d cannot lie below it"},
		"same prefix is fine": {[]string{"/a", "/ab/c"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := ValidateTree(Tree{Apps: tree(c.apps...)})
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if f := asFaults(t, err); f.at("/") != c.want {
				t.Errorf("got %v, want %s", f, c.want)
			}
		})
	}
	removed := tree("/a/b")
	removed["/a"] = nil
	if err := ValidateTree(Tree{Apps: removed}); err != nil {
		t.Errorf("a removed app counts: %v", err)
	}
}

// TestCycleProperty: edges from higher to lower numbers never make a cycle; closing a path always does.
func TestCycleProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "n")
		apps := map[spec.AppID]*spec.App{}
		id := func(i int) spec.AppID { return spec.AppID("/g" + strconv.Itoa(i%3) + "/a" + strconv.Itoa(i)) }
		for i := range n {
			app := &spec.App{ID: id(i)}
			for j := range i {
				if rapid.Bool().Draw(t, "edge") {
					app.Dependencies = append(app.Dependencies, id(j))
				}
			}
			apps[app.ID] = app
		}
		if err := ValidateTree(Tree{Apps: apps}); err != nil {
			t.Fatalf("no cycle: %v", err)
		}
		from := rapid.IntRange(1, n-1).Draw(t, "from")
		if len(apps[id(from)].Dependencies) == 0 {
			return
		}
		target := apps[apps[id(from)].Dependencies[0]]
		target.Dependencies = append(target.Dependencies, id(from))
		if ValidateTree(Tree{Apps: apps}) == nil {
			t.Fatalf("cycle between %s and %s not found", id(from), target.ID)
		}
	})
}
