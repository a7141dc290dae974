package standalone

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/docker"
)

func TestMountInside(t *testing.T) {
	sandbox, outside := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(sandbox, "app.py"), nil, 0o644),
		os.Symlink("app.py", filepath.Join(sandbox, "link")),
		os.Symlink(outside, filepath.Join(sandbox, "escape")),
		os.Symlink("../../nowhere", filepath.Join(sandbox, "dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ path, want, fault string }{
		{path: "app.py", want: "app.py"},
		{path: "link", want: "app.py"},
		{path: "new/folder", want: "new/folder"},
		{path: "escape", fault: "leads out of the sandbox"},
		{path: "escape/etc", fault: "mount escape/etc"},
		{path: "dangling", fault: "mount dangling"},
	} {
		t.Run(c.path, func(t *testing.T) {
			var s docker.CreateSpec
			err := mountInside(&s, sandbox, []insideVolume{{path: c.path, containerPath: "/opt/x", readOnly: true}})
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) || len(s.Binds) > 0 {
					t.Fatalf("got %v, %v", s.Binds, err)
				}
				return
			}
			if want := filepath.Join(sandbox, c.want) + ":/opt/x:ro"; err != nil || !slices.Equal(s.Binds, []string{want}) {
				t.Fatalf("got %v, %v, want %s", s.Binds, err, want)
			}
			if _, err := os.Stat(filepath.Join(sandbox, c.want)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
}
