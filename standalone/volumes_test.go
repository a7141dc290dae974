package standalone

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakeVolumes(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, "volumes")
	o := &owner{Engine: &Engine{opts: Options{StateDir: state, VolumesDir: dir}}}
	mode := func(path string) os.FileMode {
		i, err := os.Lstat(path)
		if err != nil {
			return 0
		}
		return i.Mode().Perm() | i.Mode()&os.ModeSticky
	}
	at := filepath.Join(dir, "db.0", "data-1")
	binds := []string{at + ":/mnt/mesos/sandbox/data", state + "/elsewhere:/x", dir + "/../other:/y", "named:/z"}
	if err := o.makeVolumes(binds); err != nil {
		t.Fatal(err)
	}
	if got := mode(at); got != 0o777|os.ModeSticky {
		t.Errorf("mode %v", got)
	}
	if mode(filepath.Join(state, "elsewhere")) != 0 || mode(filepath.Join(state, "other")) != 0 {
		t.Error("only volumes are made")
	}
	if err := os.Chmod(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.makeVolumes(binds); err != nil || mode(at) != 0o700 {
		t.Errorf("one that is there is left alone: %v, %v", mode(at), err)
	}
	if err := os.Symlink(state, filepath.Join(dir, "db.1")); err != nil {
		t.Fatal(err)
	}
	if err := o.makeVolumes([]string{filepath.Join(dir, "db.1", "data-2") + ":/x"}); err == nil || mode(filepath.Join(state, "data-2")) != 0 {
		t.Errorf("a link leads out: %v", err)
	}
}
