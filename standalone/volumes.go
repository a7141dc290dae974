package standalone

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/internal/docker"
)

// makeVolumes makes the folders of persistent volumes that a container mounts and that are not there yet. Docker would make
// them, too, but for root alone, and the container's user is not known here. What is there is left as it is: the image may
// have chosen another owner or mode.
func (h *host) makeVolumes(binds []string) error {
	for _, b := range binds {
		source, _, _ := strings.Cut(b, ":")
		name, err := filepath.Rel(h.opts.VolumesDir, source)
		if h.opts.VolumesDir == "" || err != nil || !filepath.IsLocal(name) {
			continue
		}
		if err := h.makeVolume(name); err != nil {
			return fmt.Errorf("make persistent volume %s: %w", name, err)
		}
	}
	return nil
}

// makeVolume goes through one open folder, so that no symbolic link leads out of it.
func (h *host) makeVolume(name string) error {
	if err := os.MkdirAll(h.opts.VolumesDir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(h.opts.VolumesDir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return root.Chmod(name, 0o777|os.ModeSticky)
}

// insideVolume mounts something of the task's own sandbox elsewhere in its container: a fetched file, or a new folder.
type insideVolume struct {
	path          string // below the sandbox
	containerPath string
	readOnly      bool
}

// mountInside puts the mounts among the container's. What was fetched may hold symbolic links; none may lead the mount out of
// the sandbox. The container has not run yet, so nobody can change the way in between.
func mountInside(s *docker.CreateSpec, sandbox string, volumes []insideVolume) error {
	if len(volumes) == 0 {
		return nil
	}
	base, err := filepath.EvalSymlinks(sandbox)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		at := filepath.Join(base, v.path)
		source, err := filepath.EvalSymlinks(at)
		if errors.Is(err, os.ErrNotExist) {
			source, err = at, makeInside(base, v.path)
		}
		if err != nil {
			return fmt.Errorf("mount %s of the sandbox: %w", v.path, err)
		}
		if name, err := filepath.Rel(base, source); err != nil || !filepath.IsLocal(name) {
			return fmt.Errorf("mount %s of the sandbox: it leads out of the sandbox", v.path)
		}
		text := source + ":" + v.containerPath
		if v.readOnly {
			text += ":ro"
		}
		if err := s.SetOption("volume", text); err != nil {
			return fmt.Errorf("mount %s of the sandbox: %w", v.path, err)
		}
	}
	return nil
}

func makeInside(base, name string) error {
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o777|os.ModeSticky)
}
