package svc

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// TestFolderOfAnother: a link that a service has put into its own folder does not get it what is behind the link.
func TestFolderOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give folders away")
	}
	root := t.TempDir()
	mine, victim := filepath.Join(root, "mine"), filepath.Join(root, "victim")
	who := &credentials{UID: 1234, GID: 1234}
	if err := errors.Join(os.Mkdir(victim, 0o700), makeFolder(unit.Directory{Path: mine, Mode: 0o755}, who), os.Symlink(victim, filepath.Join(mine, "sub"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"mine/sub", "mine/sub/deeper"} {
		if err := makeFolder(unit.Directory{Path: filepath.Join(root, path), Mode: 0o777}, who); err == nil {
			t.Errorf("%s is made", path)
		}
	}
	var info unix.Stat_t
	if err := unix.Stat(victim, &info); err != nil || info.Uid != 0 || info.Mode&0o777 != 0o700 {
		t.Errorf("the victim has owner %d, mode %o, %v", info.Uid, info.Mode, err)
	}
	if left, _ := os.ReadDir(victim); len(left) != 0 {
		t.Errorf("there is %v in it", left)
	}
}

// TestFolder: it has its mode with all bits, and its owner, as has what was in it when it was another's.
func TestFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give folders away")
	}
	dir := unit.Directory{Path: filepath.Join(t.TempDir(), "a/b"), Mode: 0o2775, Links: nil}
	if err := makeFolder(dir, nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir.Path, "c/d")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600), makeFolder(dir, &credentials{UID: 12, GID: 34})); err != nil {
		t.Fatal(err)
	}
	var info unix.Stat_t
	for path, mode := range map[string]uint32{dir.Path: 0o2775, file: 0o600} {
		if err := unix.Lstat(path, &info); err != nil || info.Uid != 12 || info.Gid != 34 || info.Mode&0o7777 != mode {
			t.Errorf("%s: owner %d:%d, mode %o, %v", path, info.Uid, info.Gid, info.Mode, err)
		}
	}
}

// TestReadPIDFile: only a small file that begins with a number is one.
func TestReadPIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for text, want := range map[string]int{"17\n": 17, "17": 17, " 17 \n/var/lib/db\n5432\n": 17, "": 0, "x\n": 0, "17 18\n": 0} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := readPIDFile(file); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	if err := errors.Join(os.Remove(file), unix.Mkfifo(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := readPIDFile(file); got != 0 {
		t.Errorf("a pipe: got %d", got)
	}
}

// TestAllowed: with NotifyAccess=all root, the service's user and its processes speak for it, and nobody else.
func TestAllowed(t *testing.T) {
	s, err := New(Options{Root: t.TempDir(), Self: "x"})
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{life: &life{s: s, name: "x.service", sv: &unit.Service{NotifyAccess: "all"}, who: &credentials{UID: 33}}}
	for user, want := range map[int]bool{0: true, 33: true, 1000: false, -1: false} {
		if got := f.allowed(notice{from: 1, user: user}); got != want {
			t.Errorf("user %d: %t", user, got)
		}
	}
	self, _ := look(os.Getpid())
	if _, err := s.update("x.service", func(r *record) { r.Main = self }); err != nil {
		t.Fatal(err)
	}
	f.hear(notice{from: 1, user: 33, fields: map[string]string{"MAINPID": strconv.Itoa(os.Getppid())}})
	if f.main.PID != 0 {
		t.Errorf("process %d of somebody else is the main one", f.main.PID)
	}
}
