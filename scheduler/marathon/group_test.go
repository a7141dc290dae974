package marathon

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

// groupPut is a PUT of a group: the change, and the tree after it.
func groupPut(body []byte, at spec.AppID, current Tree) (puts, after Tree, err error) {
	u, err := DecodeGroup(body, at, testOptions())
	if err != nil {
		return Tree{}, Tree{}, err
	}
	if puts, err = u.Puts(current, testOptions()); err != nil {
		return Tree{}, Tree{}, err
	}
	puts = Settle(current, puts)
	after = current.Apply(puts)
	return puts, after, ValidateTree(after)
}

// outline is a tree in short, sorted by id: "/g/a x2 role", "/g/ after /h", "/g/p pod".
func outline(t Tree) string {
	var lines []string
	for id, app := range t.Apps {
		line := fmt.Sprintf("%s x%d", id, app.Instances)
		if app.Role != "*" {
			line += " " + app.Role
		}
		if app.Pod != nil {
			line = string(id) + " pod"
		}
		lines = append(lines, line)
	}
	for id, g := range t.Groups {
		line := strings.TrimSuffix(string(id), "/") + "/"
		if len(g.Dependencies) > 0 {
			line += fmt.Sprintf(" after %v", g.Dependencies)
		}
		if g.EnforceRole != nil {
			line += fmt.Sprintf(" enforce=%t", *g.EnforceRole)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// shop is the tree that the tables start with.
func shop(t *testing.T) Tree {
	t.Helper()
	_, tree, err := groupPut([]byte(`{"id":"/shop","dependencies":["/base"],"apps":[{"id":"cron","cmd":"run"}],"groups":[
		{"id":"back","apps":[{"id":"db","cmd":"run","instances":3}]},
		{"id":"front/web","apps":[{"id":"/shop/front/web/ui","cmd":"run"}]}]}`), "/", Tree{})
	if err != nil {
		t.Fatal(err)
	}
	tree.Apps["/shop/pod"] = &spec.App{ID: "/shop/pod", Pod: &spec.Pod{}}
	return tree
}

func TestGroupPut(t *testing.T) {
	const whole = "/shop/ after [/base], /shop/back/, /shop/back/db x3, /shop/cron x1, /shop/front/, /shop/front/web/, /shop/front/web/ui x1, /shop/pod pod"
	for name, c := range map[string]struct{ at, body, want string }{
		"nothing":                      {"/shop", `{}`, whole},
		"null is absent":               {"/shop", `{"apps":null,"groups":null,"dependencies":null}`, whole},
		"a new group":                  {"/", `{"id":"new/inner"}`, "/new/, /new/inner/, " + whole},
		"a group below the path":       {"/shop", `{"id":"more"}`, strings.Replace(whole, "/shop/pod pod", "/shop/more/, /shop/pod pod", 1)},
		"the path's own id":            {"/shop/back", `{"id":"back","apps":[]}`, strings.Replace(whole, ", /shop/back/db x3", "", 1)},
		"apps replace, pods stay":      {"/shop", `{"apps":[{"id":"new","cmd":"run"}]}`, strings.Replace(strings.Replace(whole, "/shop/cron x1, ", "", 1), "/shop/pod", "/shop/new x1, /shop/pod", 1)},
		"groups replace":               {"/shop", `{"groups":[]}`, "/shop/ after [/base], /shop/cron x1, /shop/pod pod"},
		"a listed group keeps its own": {"/shop", `{"groups":[{"id":"back"}]}`, "/shop/ after [/base], /shop/back/, /shop/back/db x3, /shop/cron x1, /shop/pod pod"},
		"a deep group keeps its way":   {"/shop", `{"groups":[{"id":"front/web"}]}`, "/shop/ after [/base], /shop/cron x1, /shop/front/, /shop/front/web/, /shop/front/web/ui x1, /shop/pod pod"},
		"dependencies":                 {"/shop", `{"dependencies":["other","/x/y","other"],"groups":[{"id":"back","dependencies":["../z"]}]}`, "/shop/ after [/other /x/y], /shop/back/ after [/z], /shop/back/db x3, /shop/cron x1, /shop/pod pod"},
		"no dependencies":              {"/shop", `{"dependencies":[]}`, strings.Replace(whole, " after [/base]", "", 1)},
		"of the root":                  {"/", `{"dependencies":["/base"]}`, "/ after [/base], " + whole},
		"scale":                        {"/shop", `{"scaleBy":1.5}`, strings.NewReplacer("db x3", "db x5", "x1", "x2").Replace(whole)},
		"scale down":                   {"/shop", `{"id":"/shop","scaleBy":0}`, strings.NewReplacer("db x3", "db x0", "x1", "x0").Replace(whole)},
		"scale one group":              {"/shop/back", `{"scaleBy":0.4}`, strings.Replace(whole, "db x3", "db x2", 1)},
		"an empty group gives way":     {"/shop", `{"groups":[{"id":"back","apps":[]},{"id":"front"}],"apps":[{"id":"back","cmd":"run"}]}`, "/shop/ after [/base], /shop/back x1, /shop/front/, /shop/front/web/, /shop/front/web/ui x1, /shop/pod pod"},
		"an app becomes a group":       {"/shop", `{"apps":[],"groups":[{"id":"cron","apps":[{"id":"a","cmd":"run"}]}]}`, "/shop/ after [/base], /shop/cron/, /shop/cron/a x1, /shop/pod pod"},
		"enforced role":                {"/prod", `{"enforceRole":true,"apps":[{"id":"a","cmd":"run"}],"groups":[{"id":"g","apps":[{"id":"b","cmd":"run","role":"prod"}]}]}`, "/prod/ enforce=true, /prod/a x1 prod, /prod/g/, /prod/g/b x1 prod, " + whole},
		"role for new apps only":       {"/", `{"groups":[{"id":"shop","enforceRole":true}]}`, strings.Replace(whole, "/shop/ after [/base]", "/shop/ after [/base] enforce=true", 1)},
		"a version inside is ignored":  {"/shop", `{"groups":[{"id":"back","version":"2026-01-01T00:00:00.000Z","apps":[]},{"id":"front"}]}`, strings.Replace(whole, ", /shop/back/db x3", "", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			before := shop(t)
			was := outline(before)
			_, after, err := groupPut([]byte(c.body), spec.AppID(c.at), before)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Split(c.want, ", "), strings.Split(outline(after), ", ")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if outline(before) != was {
				t.Errorf("the tree before was changed: %s", outline(before))
			}
		})
	}
}

func TestGroupFaults(t *testing.T) {
	for name, c := range map[string]struct{ at, body, want string }{
		"types everywhere": {"/", `{"id":"A","scaleBy":-1,"enforceRole":1,"dependencies":["x","Y"],"version":"x","apps":[{"cmd":"run"},7],"groups":[{"id":"g","groups":[{"apps":{}}]}]}`,
			"Invalid JSON: /apps(0)/id: error.path.missing, /apps(1): error.expected.jsobject, /dependencies(1): error.pattern, /enforceRole: error.expected.jsboolean, " +
				"/groups(0)/groups(0)/apps: error.expected.jsarray, /groups(0)/groups(0)/id: error.path.missing, /id: error.pattern, /scaleBy: error.min, /version: error.expected.date.isoformat"},
		"an app":          {"/", `{"id":"g","apps":[{"id":"a","cmd":"x","cpus":-1},{"id":"b"}]}`, "Object is not valid: /apps(0)/cmd: got x, expected 2 or more characters, /apps(0)/cpus: got -1, expected 0 or more, /apps(1): AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."},
		"not a child":     {"/g", `{"apps":[{"id":"/a","cmd":"run"},{"id":"b/c","cmd":"run"},{"id":"..","cmd":"run"}],"groups":[{"id":"/h"},{"id":"/g"}]}`, "Object is not valid: /apps(0)/id: Identifier is not child of '/g', /apps(1)/id: Identifier is not child of '/g', /apps(2)/id: Identifier is not child of '/g'; must not be root, /groups(0)/id: Identifier is not child of '/g', /groups(1)/id: Identifier is not child of '/g'"},
		"twice":           {"/g", `{"apps":[{"id":"a","cmd":"run"},{"id":"/g/a","cmd":"run"}],"groups":[{"id":"h"},{"id":"h"}]}`, "Object is not valid: /apps(1)/id: /g/a is listed twice, /groups(1)/id: /g/h is listed twice"},
		"another group":   {"/g", `{"id":"/h"}`, "Object is not valid: /id: /h is not the group /g of the path, nor below it"},
		"company":         {"/shop", `{"scaleBy":2,"version":"2026-01-01T00:00:00.000Z"}`, "Object is not valid: /scaleBy: not allowed in conjunction with other properties., /version: not allowed in conjunction with other properties."},
		"version and app": {"/shop", `{"version":"2026-01-01T00:00:00.000Z","apps":[]}`, "Object is not valid: /version: not allowed in conjunction with other properties."},
		"scale inside":    {"/shop", `{"groups":[{"id":"back","scaleBy":2}]}`, "Object is not valid: /groups(0)/scaleBy: not allowed in conjunction with other properties."},
		"scaled too far":  {"/shop/back", `{"scaleBy":1e300}`, "Object is not valid: /apps//shop/back/db/instances: 3" + strings.Repeat("0", 0)},
		"reserved":        {"/", `{"id":"g/tasks"}`, "Object is not valid: /id: must not end with any of the following reserved keywords: restart, tasks, versions, ., .."},
		"app and group":   {"/shop", `{"groups":[{"id":"cron","apps":[{"id":"a","cmd":"run"}]}]}`, "Object is not valid: /: Groups and Applications may not have the same identifier.; /shop/cron is an app and a group; /shop/cron is an app, so /shop/cron/a cannot lie below it"},
		"app for a pod":   {"/shop", `{"apps":[{"id":"pod","cmd":"run"}]}`, "Object is not valid: /apps(0)/id: /shop/pod is a pod; an app cannot take its place"},
		"cycle of groups": {"/shop", `{"groups":[{"id":"back","dependencies":["front"]},{"id":"front","dependencies":["back"]}]}`, "Object is not valid: /: Dependency graph has cyclic dependencies.; the cycle is /shop/back/db -> /shop/front -> /shop/front/web -> /shop/front/web/ui -> /shop/back -> /shop/back/db"},
		"own dependency":  {"/shop", `{"dependencies":["shop"]}`, "Object is not valid: /: Dependency graph has cyclic dependencies.; the cycle is /shop/back/db -> /shop -> /shop/back -> /shop/back/db"},
		"inner role":      {"/shop", `{"groups":[{"id":"back","enforceRole":true}]}`, "Object is not valid: /groups(0)/enforceRole: only top-level groups can enforce their role"},
		"role and apps":   {"/shop", `{"enforceRole":true,"apps":[]}`, "Object is not valid: /enforceRole: cannot be changed together with the services of the group"},
		"wrong role":      {"/prod", `{"enforceRole":true,"apps":[{"id":"a","cmd":"run","role":"*"}]}`, "Object is not valid: /apps(0)/role: got *, expected one of: [prod]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, after, err := groupPut([]byte(c.body), spec.AppID(c.at), shop(t))
			if err == nil {
				t.Fatalf("accepted: %s", outline(after))
			}
			if got := err.Error(); !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestGroupRole(t *testing.T) {
	for _, c := range []struct{ group, body, want string }{
		{"/prod", `{"enforceRole":true}`, ""},
		{"/prod", `{}`, "Invalid JSON: /enforceRole: error.path.missing"},
		{"/prod", `[]`, "Invalid JSON: /: error.expected.jsobject"},
		{"/prod", `{`, "Invalid JSON: unexpected end of JSON input at line 1, column 1"},
		{"/", `{"enforceRole":true}`, "Object is not valid: /enforceRole: only top-level groups can enforce their role"},
		{"/prod/a", `{"enforceRole":false}`, "Object is not valid: /enforceRole: only top-level groups can enforce their role"},
	} {
		enforce, err := DecodeGroupRole([]byte(c.body), spec.AppID(c.group))
		if got := fmt.Sprint(err); (c.want == "") != (err == nil) || c.want == "" && !enforce || c.want != "" && got != c.want {
			t.Errorf("%s %s: got %t, %v", c.group, c.body, enforce, err)
		}
	}
}

// groupBody is a group as a GET answers it, but for its version, and for what is known of tasks.
func groupBody(tree Tree, id spec.AppID) map[string]any {
	const version = "2026-01-01T00:00:00.000Z"
	out := map[string]any{}
	raw, _ := json.Marshal(EncodeGroup(id, tree.Groups[id], version))
	_ = json.Unmarshal(raw, &out)
	apps, groups, known := []any{}, []any{}, map[spec.AppID]bool{}
	inner := func(child spec.AppID) {
		for ; child != "/"; child = child.Parent() {
			if child.Parent() == id && !known[child] {
				known[child] = true
				groups = append(groups, groupBody(tree, child))
			}
		}
	}
	for app := range tree.Apps {
		if app.Parent() == id && tree.Apps[app].Pod == nil {
			apps = append(apps, Encode(tree.Apps[app]))
		}
		inner(app.Parent())
	}
	for g := range tree.Groups {
		inner(g)
	}
	out["apps"], out["groups"] = apps, groups
	return out
}

// checkGroupRoundTrip: what is read of the whole tree can be sent again and changes nothing.
func checkGroupRoundTrip(t failer, tree Tree) {
	t.Helper()
	body := groupBody(tree, "/")
	delete(body, "version")
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, again, err := groupPut(raw, "/", tree)
	if err != nil {
		t.Fatalf("refused: %v\n%s", err, raw)
	}
	if a, b := outline(tree), outlineSent(again, tree); a != b {
		t.Fatalf("got  %s\nwant %s", b, a)
	}
	for id, app := range tree.Apps {
		if !ConfigEqual(app, again.Apps[id]) {
			t.Fatalf("%s changes: %s", id, raw)
		}
	}
}

// outlineSent is the outline of a tree whose top-level groups have been told their role explicitly.
func outlineSent(after, before Tree) string {
	plainer := after.Apply(Tree{})
	for id, g := range after.Groups {
		if was := before.Groups[id]; was != nil && was.EnforceRole == nil && g.EnforceRole != nil && !*g.EnforceRole {
			own := *g
			own.EnforceRole = nil
			plainer.Groups[id] = &own
		}
	}
	return outline(plainer)
}

// drawGroup makes a group's body of a few names, so that puts meet.
func drawGroup(t *rapid.T, depth int) map[string]any {
	body := map[string]any{}
	names := []string{"a", "b", "c"}
	if rapid.Bool().Draw(t, "apps") {
		apps := []any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, "names") {
			apps = append(apps, map[string]any{"id": "x" + name, "cmd": "run", "instances": rapid.IntRange(0, 3).Draw(t, "n")})
		}
		body["apps"] = apps
	}
	if depth > 0 && rapid.Bool().Draw(t, "groups") {
		groups := []any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, "inner") {
			child := drawGroup(t, depth-1)
			child["id"] = rapid.SampledFrom([]string{name, "x" + name, name + "/deep"}).Draw(t, "id")
			groups = append(groups, child)
		}
		body["groups"] = groups
	}
	if rapid.Bool().Draw(t, "depends") {
		body["dependencies"] = []string{rapid.SampledFrom(names).Draw(t, "on")}
	}
	return body
}

// TestTreeProperty: undoing the changes gives every old tree back; settling again adds nothing; what is read can be sent.
func TestTreeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree Tree
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var changes []spec.TreeChange // newest first
		past := map[time.Time]Tree{}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			raw, err := json.Marshal(drawGroup(t, 2))
			if err != nil {
				t.Fatal(err)
			}
			puts, after, err := groupPut(raw, rapid.SampledFrom([]spec.AppID{"/", "/a", "/a/b", "/c/deep"}).Draw(t, "at"), tree)
			if err != nil {
				continue // two things of one name, or a cycle
			}
			if again := Settle(tree, puts); outline(tree.Apply(again)) != outline(after) || len(again.Groups) != len(puts.Groups) {
				t.Fatalf("settled twice: %s, then %s", outline(after), outline(tree.Apply(again)))
			}
			at = at.Add(time.Millisecond)
			change := spec.TreeChange{Version: at, Apps: map[spec.AppID]*spec.App{}, Groups: map[spec.AppID]*spec.Group{}}
			for id := range puts.Apps {
				change.Apps[id] = tree.Apps[id]
			}
			for id := range puts.Groups {
				change.Groups[id] = tree.Groups[id]
			}
			changes = append([]spec.TreeChange{change}, changes...)
			tree, past[at] = after, after
			checkGroupRoundTrip(t, tree)
		}
		for version, want := range past {
			got, ok := TreeAt(tree, at, changes, version)
			if !ok || outline(got) != outline(want) {
				t.Fatalf("%s: %t, %s, want %s", version, ok, outline(got), outline(want))
			}
			back := Settle(tree, Rollback(tree, got, "/"))
			if restored := tree.Apply(back); outline(restored) != outline(want) {
				t.Fatalf("rolled back to %s, want %s", outline(restored), outline(want))
			}
			// The same from a tree that is older than the newest changes.
			if old, ok := TreeAt(want, version, changes, version); !ok || outline(old) != outline(want) {
				t.Fatal("an older tree is not its own version")
			}
			if versions := GroupVersions(want, version, changes, "/"); len(versions) != len(changes)-slices.IndexFunc(changes, func(c spec.TreeChange) bool { return c.Version.Equal(version) }) {
				t.Fatalf("versions up to %s: %v", version, versions)
			}
		}
		if _, ok := TreeAt(tree, at, changes, at.Add(-time.Hour)); ok {
			t.Fatal("a version that never was")
		}
	})
}

// FuzzDecodeGroup: no body makes it panic, every refusal says something, and what is accepted can be read and sent again.
func FuzzDecodeGroup(f *testing.F) {
	for _, seed := range []string{
		`{"id":"/shop","groups":[{"id":"back","apps":[{"id":"db","cmd":"run"}]},{"id":"front","dependencies":["back"],"apps":[{"id":"web","cmd":"run"}]}]}`,
		`{"scaleBy":2}`, `{"version":"2026-01-01T00:00:00.000Z"}`, `{"groups":[{"id":"prod","enforceRole":true,"apps":[{"id":"a","cmd":"run"}]}]}`,
		`{"id":"a/b","apps":[],"groups":[{"id":"c/d"}]}`, `[]`, `{"apps":[{"id":"a","uris":["http://h/a.tgz"],"ports":[1]}]}`,
	} {
		f.Add([]byte(seed), "/")
		f.Add([]byte(seed), "/shop")
	}
	f.Fuzz(func(t *testing.T, body []byte, at string) {
		if !isRawID(at) {
			return
		}
		_, tree, err := groupPut(body, resolve(at, "/"), Tree{})
		if err != nil {
			if faults := asFaults(t, err); faults.Syntax == "" && len(faults.Details) == 0 {
				t.Fatalf("a refusal without a reason: %+v", faults)
			}
			return
		}
		checkGroupRoundTrip(t, tree)
	})
}
