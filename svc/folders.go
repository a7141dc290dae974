package svc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

// makeFolders makes RuntimeDirectory= and its like, owned by the service. Configuration stays root's, as systemd.exec(5) says.
func makeFolders(sv *unit.Service, c *credentials) error {
	for _, kind := range []struct {
		dirs []unit.Directory
		exit int
		own  bool
	}{
		{sv.RuntimeDirectory, exitRuntime, true},
		{sv.StateDirectory, exitState, true},
		{sv.CacheDirectory, exitCache, true},
		{sv.LogsDirectory, exitLogs, true},
		{sv.ConfigurationDirectory, exitConfig, false},
	} {
		for _, dir := range kind.dirs {
			owner := c
			if !kind.own {
				owner = nil
			}
			if err := makeFolder(dir, owner); err != nil {
				return failed(kind.exit, err)
			}
		}
	}
	return nil
}

func makeFolder(dir unit.Directory, c *credentials) error {
	at, err := openFolder(dir.Path)
	if err != nil {
		return fmt.Errorf("make the folder %s: %w", dir.Path, err)
	}
	defer at.Close()
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if c != nil {
		if err := giveAway(at, f, c); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(int(f.Fd()), dir.Mode); err != nil {
		return fmt.Errorf("change the mode of %s: %w", dir.Path, err)
	}
	for _, link := range dir.Links {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(dir.Path, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// openFolder opens a folder, and makes what of its path is missing. From the first folder on in which others than root may make files, no link
// leads elsewhere: a service would have a link that it has made followed by root, and be given what is there.
func openFolder(path string) (*os.Root, error) {
	at, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	trusted, full := true, "/"
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		full = filepath.Join(full, part)
		err := at.Mkdir(part, 0o755)
		if errors.Is(err, os.ErrExist) {
			err = nil
		}
		next := at
		if err == nil && trusted {
			next, err = os.OpenRoot(full)
		} else if err == nil {
			next, err = at.OpenRoot(part)
		}
		_ = at.Close()
		if err != nil {
			return nil, err
		}
		at = next
		info, err := at.Stat(".")
		if err != nil {
			return nil, errors.Join(err, at.Close())
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		trusted = trusted && ok && stat.Uid == 0 && stat.Mode&0o002 == 0
	}
	return at, nil
}

// giveAway changes the owner of a folder, and of all in it if the folder was another's: a start costs nothing when all is as it was.
func giveAway(at *os.Root, f *os.File, c *credentials) error {
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil || int(info.Uid) == c.UID && int(info.Gid) == c.GID {
		return err
	}
	return fs.WalkDir(at.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return at.Lchown(path, c.UID, c.GID)
	})
}

// clearFolders removes what RuntimeDirectory= made, when the service has ended for good.
func clearFolders(sv *unit.Service, restarts bool) {
	switch sv.RuntimeDirectoryPreserve {
	case "yes":
		return
	case "restart":
		if restarts {
			return
		}
	}
	for _, dir := range sv.RuntimeDirectory {
		for _, link := range dir.Links {
			_ = os.Remove(link)
		}
		_ = os.RemoveAll(dir.Path)
	}
}
