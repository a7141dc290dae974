package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/unit"
)

// nativeRoot has a folder for each of the services that the image itself brings and s6 starts without asking a unit.
const nativeRoot = "/etc/s6/services"

// native is one of the image's own services that answers to a unit's name, or nil. A package's unit that has the name as an alias goes before it.
func (s *ctl) native(name string) *unit.Unit {
	folders, _ := filepath.Glob(s.path(nativeRoot + "/*"))
	for _, folder := range folders {
		base := filepath.Base(folder)
		names := []string{base + ".service"}
		if text, err := os.ReadFile(filepath.Join(folder, "units")); err == nil {
			names = strings.Fields(string(text))
		}
		if !slices.Contains(names, name) {
			continue
		}
		if u := s.units().Unit(name); u.Load == unit.Loaded && !slices.Contains(names, u.Name) {
			return nil
		}
		return &unit.Unit{
			Name: names[0], Names: names, Kind: unit.KindService, Load: unit.Loaded, Path: path.Join(nativeRoot, base, "run"),
			Description: base + " of the image",
			// What the manager does to one that has no unit file: HUP, by which daemons read their configuration again.
			Service: &unit.Service{
				Type: unit.Simple, Restart: unit.RestartAlways,
				ExecReload: []unit.Command{{Path: "/bin/kill", Args: []string{"/bin/kill", "-HUP", "$MAINPID"}}},
			},
		}
	}
	return nil
}

// downFile is the file by which s6 leaves a service down when the container starts.
func downFile(own *unit.Unit) string { return path.Join(path.Dir(own.Path), "down") }

// nativeFileState is whether one of the image's own services starts with the container: of that its unit's links, if there are any, say nothing.
func (s *ctl) nativeFileState(own *unit.Unit) unit.FileState {
	if s.exists(downFile(own)) {
		return unit.Disabled
	}
	return unit.Enabled
}

// switchNatives has the image's own services among units start with the container, or not.
func (s *ctl) switchNatives(verb string, names []string) error {
	if s.runtime {
		return nil // only for as long as the container runs, and they are asked at its next start
	}
	for _, name := range names {
		own := s.native(name)
		if own == nil {
			continue
		}
		up := verb == "enable" || verb == "reenable"
		if verb == "preset" {
			up = s.units().Preset(name) == "enabled"
			if s.presetMode == "enable-only" && !up || s.presetMode == "disable-only" && up {
				continue
			}
		} else if !up && verb != "disable" {
			continue
		}
		file, done := downFile(own), "Removed"
		var err error
		if up {
			err = os.Remove(s.path(file))
		} else {
			done = "Created"
			err = touch(s.path(file))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
		case err != nil:
			return fmt.Errorf("%s of %s: %w", path.Base(file), path.Dir(file), cause(err))
		case !s.quiet:
			s.errorf("%s \"%s\".", done, file)
		}
	}
	return nil
}

// touch makes an empty file where none is.
func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// withFiles leaves out those of the image's own services that have no unit file: enabling them changes no links.
func (s *ctl) withFiles(verb string, names []string) []string {
	if verb == "mask" || verb == "unmask" {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.units().FileState(name) == "" && s.native(name) != nil })
}
