package standalone

import (
	"errors"
	"fmt"
	"os"

	"github.com/berth-project/berth/internal/docker"
)

// credentials are those for the image's registry in a Docker configuration that the task has fetched into its sandbox
// (.docker/config.json or .dockercfg): how Marathon's users give their registry's password. Without one they are zero.
func credentials(sandbox, image string) (docker.Credentials, error) {
	root, err := os.OpenRoot(sandbox)
	if err != nil {
		return docker.Credentials{}, err
	}
	defer root.Close()
	for _, name := range []string{".docker/config.json", ".dockercfg"} {
		f, err := root.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return docker.Credentials{}, err
		}
		c, err := docker.CredentialsIn(f, name == ".dockercfg", image)
		if err = errors.Join(err, f.Close()); err != nil {
			return docker.Credentials{}, fmt.Errorf("read the fetched %s: %w", name, err)
		}
		return c, nil
	}
	return docker.Credentials{}, nil
}
