package recipe_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/images/recipe"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scenarios")

// TestScenarios holds each txtar in testdata: a folder with its berth.yaml, what an earlier image had installed ("earlier", JSON),
// and at the end "want": the Dockerfile and what is in its context, or all that is wrong.
func TestScenarios(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no scenarios")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			scenario, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir, want, at := fstest.MapFS{}, "", -1
			var earlier [][]string
			for i, f := range scenario.Files {
				switch f.Name {
				case "want":
					want, at = string(f.Data), i
				case "earlier":
					if err := json.Unmarshal(f.Data, &earlier); err != nil {
						t.Fatal(err)
					}
				default:
					mode := os.FileMode(0o600)
					if strings.HasPrefix(string(f.Data), "#!") {
						mode = 0o700
					}
					dir[f.Name] = &fstest.MapFile{Data: f.Data, Mode: mode}
				}
			}
			got := outcome(dir, earlier)
			if *update {
				if at < 0 {
					scenario.Files = append(scenario.Files, txtar.File{Name: "want"})
					at = len(scenario.Files) - 1
				}
				scenario.Files[at].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(scenario), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func outcome(dir fstest.MapFS, earlier [][]string) string {
	r, err := recipe.Decode(dir[`berth.yaml`].Data)
	if err != nil {
		return err.Error() + "\n"
	}
	plan, err := r.Plan(dir, earlier)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, s := range plan.Steps {
		mark := ""
		if s.Shared {
			mark = " (shared)"
		}
		fmt.Fprintf(&b, "# %s%s\n%s\n", s.Title, mark, strings.ReplaceAll(s.Text, `\n`, "\n    "))
	}
	for _, e := range plan.Context(-1) {
		fmt.Fprintf(&b, "%s %s", e.Mode, e.Name)
		switch {
		case e.Link != "":
			fmt.Fprintf(&b, " -> %s", e.Link)
		case e.Source != "":
			fmt.Fprintf(&b, " = %s", e.Source)
		}
		b.WriteByte('\n')
		if len(e.Content) > 0 {
			b.WriteString("    | " + strings.ReplaceAll(strings.TrimSuffix(string(e.Content), "\n"), "\n", "\n    | ") + "\n")
		}
	}
	return b.String()
}

func mustDecode(t *testing.T, text string) recipe.Recipe {
	t.Helper()
	r, err := recipe.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStarters(t *testing.T) {
	for _, kind := range recipe.Starters() {
		for _, folder := range []string{"shop", "My Shop!", "7", ".", strings.Repeat("x", 100)} {
			text, err := recipe.Starter(kind, folder)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := recipe.Decode(text); err != nil {
				t.Errorf("%s for %q: %v", kind, folder, err)
			}
		}
	}
	if _, err := recipe.Starter("cobol", "x"); err == nil || !strings.Contains(err.Error(), "plain, php, node, python, java, go") {
		t.Errorf("got %v", err)
	}
}

// TestDigest: what changes the image changes the digest, and nothing else does.
func TestDigest(t *testing.T) {
	const text = "name: a\nfiles: [{source: etc, destination: /etc/a}]\n"
	files := func(edit func(fstest.MapFS)) fstest.MapFS {
		m := fstest.MapFS{"etc/x": {Data: []byte("1"), Mode: 0o644}, "other": {Data: []byte("1")}}
		if edit != nil {
			edit(m)
		}
		return m
	}
	digest := func(text string, dir fstest.MapFS) string {
		t.Helper()
		plan, err := mustDecode(t, text).Plan(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	was := digest(text, files(nil))
	for name, c := range map[string]struct {
		text string
		edit func(fstest.MapFS)
		same bool
	}{
		"nothing":       {text, nil, true},
		"the version":   {text + "version: 2\n", nil, true},
		"a push":        {text + "push: r.example/a\n", nil, true},
		"a comment":     {"# x\n" + text, nil, true},
		"umask":         {text, func(m fstest.MapFS) { m["etc/x"].Mode = 0o600 }, true},
		"another file":  {text, func(m fstest.MapFS) { m["other"].Data = []byte("2") }, true},
		"content":       {text, func(m fstest.MapFS) { m["etc/x"].Data = []byte("2") }, false},
		"executable":    {text, func(m fstest.MapFS) { m["etc/x"].Mode = 0o755 }, false},
		"a new file":    {text, func(m fstest.MapFS) { m["etc/y"] = &fstest.MapFile{} }, false},
		"a package":     {text + "packages: [curl]\n", nil, false},
		"an owner":      {strings.Replace(text, "}", ", owner: x}", 1), nil, false},
		"the base":      {text + "base: debian:12\n", nil, false},
		"a environment": {text + "environment: {A: b}\n", nil, false},
	} {
		if got := digest(c.text, files(c.edit)); (got == was) != c.same {
			t.Errorf("%s: the digest is the same: %v, want %v", name, got == was, c.same)
		}
	}
}

// TestLongInstruction: what the engine would refuse in words of its own is said before anything is built.
func TestLongInstruction(t *testing.T) {
	r := mustDecode(t, "name: a\ncommands: ['"+strings.Repeat("x", 40<<10)+"', '"+strings.Repeat("y", 40<<10)+"']\n")
	if _, err := r.Plan(fstest.MapFS{}, nil); err == nil || !strings.Contains(err.Error(), "to run the recipe's commands takes 81") {
		t.Errorf("got %v", err)
	}
}

// TestGroups: whatever was installed before, all packages are installed once, and layers that can stay do.
func TestGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-f]`), 0, 6, rapid.ID)
		want := names.Draw(t, "want")
		earlier := rapid.SliceOfN(names, 0, 12).Draw(t, "earlier")
		r := recipe.Recipe{Name: "x", Base: "b", Family: recipe.Deb, Supervisor: recipe.S6, Packages: want}
		plan, err := r.Plan(fstest.MapFS{}, earlier)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Sorted(slices.Values(slices.Concat(plan.Groups...)))
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("want %v after %v, got %v", want, earlier, plan.Groups)
		}
		if len(plan.Groups) > 8 {
			t.Errorf("%d layers", len(plan.Groups))
		}
		again, err := r.Plan(fstest.MapFS{}, plan.Groups)
		if err != nil || again.Dockerfile(-1) != plan.Dockerfile(-1) {
			t.Errorf("the same again is something else: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		if scenario, err := txtar.ParseFile(file); err == nil {
			for _, in := range scenario.Files {
				if in.Name == "berth.yaml" {
					f.Add(in.Data)
				}
			}
		}
	}
	f.Add([]byte("name: &a x\nversion: *a\n"))
	f.Add([]byte("a: b: c"))
	dir := fstest.MapFS{"etc/x": {Data: []byte("1")}, "app.py": {}, "x.deb": {}, "package.json": {Data: []byte(`{"main": "x.js"}`)}}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := recipe.Decode(text)
		if err != nil {
			return
		}
		plan, err := r.Plan(dir, nil)
		if err != nil {
			return
		}
		for _, s := range plan.Steps {
			if strings.ContainsAny(s.Text, "\n\r") {
				t.Errorf("an instruction of several lines: %q", s.Text)
			}
		}
		for _, e := range plan.Context(-1) {
			if strings.Contains(e.Name, "..") && !strings.Contains(e.Name, "...") && filepath.Clean(e.Name) != e.Name {
				t.Errorf("a name that leaves the context: %q", e.Name)
			}
		}
	})
}
