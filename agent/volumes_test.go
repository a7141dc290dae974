package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"
)

func TestRemoveVolumes(t *testing.T) {
	state := t.TempDir()
	dir := VolumesDir(state)
	log, _ := test.NewNullLogger()
	v := volumes{dir: dir, log: log}
	if d := v.remove(t.Context(), volumesJob{free: []string{"db.0/data-1"}}); d.err != nil || len(d.gone) != 1 {
		t.Fatalf("without a folder everything is gone: %+v", d)
	}
	outside := filepath.Join(state, "berth.db")
	for _, f := range []string{outside, filepath.Join(dir, "db.0/data-1/sub/file"), filepath.Join(dir, "db.0/log-2/file"), filepath.Join(dir, "db.1/data-3/file")} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at, to := range map[string]string{
		"db.0/data-1/sub/up": "../../../..", "db.0/data-1/abs": state, "db.2": "..", "db.1/link-4": state,
	} {
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		free []string
		gone []string
		bad  bool
	}{
		{"no names", []string{"", "..", "../..", "/", "db.0", "db.0/..", "../berth.db", "db.0/data-1/..", "db.0//data-1", "./db.0", ".hidden/x"}, nil, true},
		{"through a link", []string{"db.2/berth.db"}, nil, true},
		{"a link itself", []string{"db.1/link-4"}, []string{"db.1/link-4"}, false},
		{"one, with links in it", []string{"db.0/data-1"}, []string{"db.0/data-1"}, false},
		{"again, and one more", []string{"db.0/data-1", "db.0/nothing", "db.1/data-3"}, []string{"db.0/data-1", "db.0/nothing", "db.1/data-3"}, false},
	} {
		d := v.remove(t.Context(), volumesJob{free: c.free})
		if !slices.Equal(d.gone, c.gone) || (d.err != nil) != c.bad {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
	for path, there := range map[string]bool{
		outside: true, filepath.Join(dir, "db.0/log-2/file"): true, filepath.Join(dir, "db.0/data-1"): false, filepath.Join(dir, "db.1"): false, dir: true,
	} {
		if _, err := os.Lstat(path); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
}
