package verbs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestFillUp: what is there stays, all that is missing comes with its mode, also behind what was there, and nothing goes where a link leads out.
func TestFillUp(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.MkdirAll(in("from/sub"), 0o755), os.MkdirAll(in("to"), 0o755), os.Mkdir(in("out"), 0o755), os.Mkdir(in("from/z"), 0o755),
		os.WriteFile(in("from/a"), []byte("new"), 0o644), os.WriteFile(in("to/a"), []byte("old"), 0o644),
		os.WriteFile(in("from/secret"), []byte("x"), 0o600), os.WriteFile(in("from/sub/c"), []byte("c"), 0o640), os.Chmod(in("from/sub"), 0o750),
		os.Symlink("a", in("from/link")),
	); err != nil {
		t.Fatal(err)
	}
	if err := fillUp(in("from"), in("to")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(in("to/link")); err != nil || string(text) != "old" {
		t.Errorf("to/link is %q, %v", text, err)
	}
	for name, want := range map[string]os.FileMode{"secret": 0o600, "sub": os.ModeDir | 0o750, "sub/c": 0o640, "link": 0o777 | os.ModeSymlink} {
		if info, err := os.Lstat(in("to/" + name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
	if err := errors.Join(os.Remove(in("to/z")), os.Symlink(in("out"), in("to/z")), os.WriteFile(in("from/z/f"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := fillUp(in("from"), in("to")); err == nil {
		t.Error("a link out of the folder was followed")
	}
	if _, err := os.Stat(in("out/f")); err == nil {
		t.Error("a file was made behind the link")
	}
}
