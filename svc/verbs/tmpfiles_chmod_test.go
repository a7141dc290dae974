package verbs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestChmodItself: the mode of a file is set, and that of what a link leads to is not.
func TestChmodItself(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(file, link), chmodItself(link, 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []os.FileMode{0o600, 0o644 | os.ModeSetgid} {
		if want != 0o600 {
			if err := chmodItself(file, want); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, want)
		}
	}
}
