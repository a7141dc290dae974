package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	for name, replace := range map[string]func(string, []byte) error{"in one step": Replace, "durably": ReplaceDurably} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "state")
			// What a crash has left behind is in nobody's way, however long it is.
			if err := os.WriteFile(file+next, []byte("half of something long"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"first", "2nd", ""} {
				if err := replace(file, []byte(content)); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(file); err != nil || string(got) != content {
					t.Errorf("got %q, %v, want %q", got, err, content)
				}
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestReplaceFails: the old content stays where the new cannot be written.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state")
	if err := Replace(file, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file+next, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, replace := range []func(string, []byte) error{Replace, ReplaceDurably} {
		if err := replace(file, []byte("new")); err == nil {
			t.Error("no error")
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := Replace(filepath.Join(dir, "nowhere", "state"), nil); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
