package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/spec"
)

func seat(app spec.AppID, n int) spec.HostSeat {
	id := spec.SeatID{App: app, Index: n}
	return spec.HostSeat{
		Seat: id, Hostname: id.Hostname(), TaskID: id.Safe() + ".task", Address: addr("10.1.0.10"), Pool: "blue", AppVersion: "2026-01-02T03:04:05.000Z",
		HostKeys: []spec.HostKey{{Type: "ed25519", Private: "PRIVATE", Public: "ssh-ed25519 AAAA\n"}},
	}
}

func TestSeatFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seats")
	log, _ := test.NewNullLogger()
	s := newSeats(dir, log)
	doc := &spec.HostDocument{Host: "h1", Version: 3, AuthorizedKeys: []string{"ssh-ed25519 ONE", "ssh-ed25519 TWO"}, Seats: []spec.HostSeat{seat("/prod/web", 0)}}
	job := seatsJob{doc: doc, started: map[string]time.Time{"prod_web.0.task": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	if d := s.apply(t.Context(), job); d.err != nil || d.version != 3 {
		t.Fatalf("%+v", d)
	}
	folder := filepath.Join(dir, "prod_web.0")
	for name, want := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"ssh_host_ed25519_key":     {"PRIVATE\n", 0o600},
		"ssh_host_ed25519_key.pub": {"ssh-ed25519 AAAA\n", 0o644},
		"authorized_keys":          {"ssh-ed25519 ONE\nssh-ed25519 TWO\n", 0o644},
		"motd": {`This is web-0.prod: instance 0 of app /prod/web, a container that Berth runs.

  address   10.1.0.10 (pool blue)
  host      h1
  task      prod_web.0.task
  version   2026-01-02T03:04:05.000Z
  since     2026-01-02 03:04:05 UTC

Files outside volumes vanish with this container, at the next restart or update.
Keep data on volumes.

`, 0o644},
	} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.text, string(b)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if i, err := os.Stat(filepath.Join(folder, name)); err != nil || i.Mode().Perm() != want.mode {
			t.Errorf("%s: %v, %v", name, i.Mode(), err)
		}
	}
	t.Run("a mounted folder sees a new key", func(t *testing.T) {
		mounted, err := os.OpenRoot(folder) // as a bind mount holds the folder, not its path
		if err != nil {
			t.Fatal(err)
		}
		defer mounted.Close()
		changed := *doc
		changed.AuthorizedKeys = []string{"ssh-ed25519 THREE"}
		if d := s.apply(t.Context(), seatsJob{doc: &changed}); d.err != nil {
			t.Fatal(d.err)
		}
		if b, err := mounted.ReadFile("authorized_keys"); err != nil || string(b) != "ssh-ed25519 THREE\n" {
			t.Errorf("got %q, %v", b, err)
		}
	})
	t.Run("a restarted agent finds all as it is", func(t *testing.T) {
		before, err := os.Stat(filepath.Join(folder, "ssh_host_ed25519_key"))
		if err != nil {
			t.Fatal(err)
		}
		if d := newSeats(dir, log).apply(t.Context(), job); d.err != nil {
			t.Fatal(d.err)
		}
		after, err := os.Stat(filepath.Join(folder, "ssh_host_ed25519_key"))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("the key was written again: %v", err)
		}
	})
	t.Run("nothing is left beside", func(t *testing.T) {
		if left, _ := filepath.Glob(filepath.Join(folder, ".new-*")); len(left) > 0 {
			t.Errorf("%v", left)
		}
	})
}

// What others do to the folders is mended at the next recheck, and only then.
func TestSeatFoldersAreRepaired(t *testing.T) {
	log, _ := test.NewNullLogger()
	s := newSeats(t.TempDir(), log)
	j := seatsJob{doc: &spec.HostDocument{Seats: []spec.HostSeat{seat("/web", 0)}, AuthorizedKeys: []string{"ONE"}}}
	if d := s.apply(t.Context(), j); d.err != nil {
		t.Fatal(d.err)
	}
	folder := filepath.Join(s.dir, "web.0")
	key, keys := filepath.Join(folder, "ssh_host_ed25519_key"), filepath.Join(folder, "authorized_keys")
	for name, harm := range map[string]func() error{
		"removed": func() error { return os.RemoveAll(folder) },
		"edited":  func() error { return os.WriteFile(keys, []byte("EVIL\n"), 0o644) },
		"opened":  func() error { return os.Chmod(key, 0o644) },
		"linked":  func() error { return errors.Join(os.Rename(key, key+".x"), os.Symlink(key+".x", key)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			j.again++
			if d := s.apply(t.Context(), j); d.err != nil {
				t.Fatal(d.err)
			}
			if !same(key, []byte("PRIVATE\n"), 0o600) || !same(keys, []byte("ONE\n"), 0o644) {
				t.Error("it is not mended")
			}
		})
	}
}

// A killed process can leave copies of private keys behind; the next one removes them.
func TestSeatFolderLeftovers(t *testing.T) {
	dir := t.TempDir()
	log, _ := test.NewNullLogger()
	left := filepath.Join(dir, "former.0", ".new-123")
	if err := errors.Join(os.Mkdir(filepath.Dir(left), 0o755), os.WriteFile(left, []byte("PRIVATE"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if d := newSeats(dir, log).apply(t.Context(), seatsJob{doc: &spec.HostDocument{}}); d.err != nil {
		t.Fatal(d.err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
}

func TestSeatFolderNames(t *testing.T) {
	log, _ := test.NewNullLogger()
	s := newSeats(t.TempDir(), log)
	bad := seat("/a", 0)
	bad.HostKeys[0].Type = "../../x"
	d := s.apply(t.Context(), seatsJob{doc: &spec.HostDocument{Seats: []spec.HostSeat{seat("/..", 0), bad, seat("/good", 0)}}})
	if d.err == nil || !strings.Contains(d.err.Error(), "cannot be a folder's name") || !strings.Contains(d.err.Error(), "cannot be a key type") {
		t.Errorf("got %v", d.err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "good.0", "ssh_host_ed25519_key")); err != nil {
		t.Errorf("the good one is not written: %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	log, _ := test.NewNullLogger()
	s := newSeats(dir, log)
	for _, name := range []string{"here.0", "mounted.0", "gone.0", "back.0"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1e9, 0)
	here, mounted := map[string]bool{"here.0": true}, map[string]bool{"mounted.0": true}
	if err := s.prune(here, mounted, now); err != nil {
		t.Fatal(err)
	}
	if err := s.prune(map[string]bool{"here.0": true, "back.0": true}, mounted, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := s.prune(here, mounted, now.Add(seatLinger)); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if d := cmp.Diff([]string{"back.0", "here.0", "mounted.0"}, left); err != nil || d != "" {
		t.Error(err, d)
	}
}
