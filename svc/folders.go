package svc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	if err := os.MkdirAll(filepath.Dir(dir.Path), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir.Path, os.FileMode(dir.Mode))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Stat(dir.Path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("make the folder %s: there is a file of this name", dir.Path)
	}
	if err := os.Chmod(dir.Path, os.FileMode(dir.Mode)); err != nil {
		return err
	}
	if c != nil {
		if err := giveAway(dir.Path, c); err != nil {
			return err
		}
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

// giveAway changes the owner of a folder, and of all in it if the folder was another's: a start costs nothing when all is as it was.
func giveAway(dir string, c *credentials) error {
	if owner, group, err := ownerOf(dir); err != nil || owner == c.UID && group == c.GID {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, c.UID, c.GID)
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
