package standalone

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// makeVolumes makes the folders of persistent volumes that a container mounts and that are not there yet. Docker would make
// them, too, but for root alone, and the container's user is not known here. What is there is left as it is: the image may
// have chosen another owner or mode.
func (o *owner) makeVolumes(binds []string) error {
	for _, b := range binds {
		source, _, _ := strings.Cut(b, ":")
		name, err := filepath.Rel(o.opts.VolumesDir, source)
		if o.opts.VolumesDir == "" || err != nil || !filepath.IsLocal(name) {
			continue
		}
		if err := o.makeVolume(name); err != nil {
			return fmt.Errorf("make persistent volume %s: %w", name, err)
		}
	}
	return nil
}

// makeVolume goes through one open folder, so that no symbolic link leads out of it.
func (o *owner) makeVolume(name string) error {
	if err := os.MkdirAll(o.opts.VolumesDir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(o.opts.VolumesDir)
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
