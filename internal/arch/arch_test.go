package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestLockedDoors holds the repository against the rules.
func TestLockedDoors(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range check(t, root) {
		t.Error(v)
	}
}

// TestListedPackagesExist: a rule for a folder that was renamed would bind nobody. Only finished components are asked: those
// with a root package.
func TestListedPackagesExist(t *testing.T) {
	var dirs []string
	for _, p := range load(t, "../..") {
		dirs = append(dirs, p.dir)
	}
	for _, p := range deciding {
		root := rootOf(p)
		if slices.Contains(dirs, root) && !slices.Contains(dirs, p) && p != "agent/hostnet" {
			t.Errorf("%s is on the list of deciding packages but does not exist in component %s", p, root)
		}
	}
}

// wanted marks what must be found on its line, or so many lines below: at the end of some lines it would be a comment that
// documents the name.
var wanted = regexp.MustCompile("// want(?:\\+([0-9]))? `([^`]+)`")

// TestChecker runs the checker over a tree in which each bad line says what must be found there.
func TestChecker(t *testing.T) {
	const root = "testdata/bad"
	found := check(t, root)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range wanted.FindAllStringSubmatch(line, -1) {
				below, _ := strconv.Atoi(m[1])
				at := slices.IndexFunc(found, func(v violation) bool {
					return v.file == filepath.ToSlash(rel) && v.line == i+1+below && strings.Contains(v.text, m[2])
				})
				if at < 0 {
					t.Errorf("%s:%d: %q was not found", rel, i+1+below, m[2])
					continue
				}
				found = slices.Delete(found, at, at+1)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Errorf("unwanted: %s", v)
	}
}
