package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
)

// VolumesDir is the folder below which the seats' persistent volumes are. The engine makes them; the agent removes those
// that the document names, and nothing else.
func VolumesDir(stateDir string) string { return filepath.Join(stateDir, "volumes") }

// volumesJob is what must not be there any more.
type volumesJob struct {
	free  []string // "<seat>/<volume>"
	again int
}

// volumesDone says which of them are gone.
type volumesDone struct {
	gone []string
	err  error
}

// volumes removes the data of volumes that were given up.
type volumes struct {
	dir string
	log logrus.FieldLogger
}

// remove removes each of them; one that fails does not keep the others.
func (v *volumes) remove(_ context.Context, j volumesJob) volumesDone {
	var d volumesDone
	if len(j.free) == 0 {
		return d
	}
	// Everything goes through one open folder: a symbolic link, in a name or in the data, never leads out of it.
	root, err := os.OpenRoot(v.dir)
	if errors.Is(err, os.ErrNotExist) {
		d.gone = j.free
		return d
	}
	if err != nil {
		d.err = fmt.Errorf("open the folder of volumes: %w", err)
		return d
	}
	defer root.Close()
	mounted, err := mountPoints()
	if err != nil {
		d.err = err
		return d
	}
	var errs []error
	for _, name := range j.free {
		if err := v.removeOne(root, name, mounted); err != nil {
			errs = append(errs, fmt.Errorf("remove volume %s: %w", name, err))
			continue
		}
		d.gone = append(d.gone, name)
	}
	d.err = errors.Join(errs...)
	return d
}

func (v *volumes) removeOne(root *os.Root, name string, mounted []string) error {
	seat, volume, ok := strings.Cut(name, "/")
	if !ok || !plainName.MatchString(seat) || !plainName.MatchString(volume) {
		return errors.New("this cannot be a volume's name")
	}
	if _, err := root.Lstat(name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	// What an operator has mounted below is not ours: its files would go with the folder.
	dir, err := filepath.EvalSymlinks(v.dir)
	if err != nil {
		return err
	}
	at := filepath.Join(dir, name)
	for _, m := range mounted {
		if m == at || strings.HasPrefix(m, at+"/") {
			return fmt.Errorf("%s is a mount point", m)
		}
	}
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	_ = root.Remove(seat) // stays while it has other volumes
	v.log.WithField("volume", name).Info("persistent volume removed")
	return nil
}

// mountPoints are the mount points of this process's namespace.
func mountPoints() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount points: %w", err)
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			out = append(out, unescape.Replace(f[4]))
		}
	}
	return out, nil
}
