package standalone

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/berth-project/berth/internal/docker"
)

// maxConfig bounds a Docker configuration that a task has fetched.
const maxConfig = 1 << 20

// registryAuth is one entry of a Docker configuration.
type registryAuth struct {
	Auth          string `json:"auth"` // base64 of "user:password"
	IdentityToken string `json:"identitytoken"`
}

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
		text, err := io.ReadAll(io.LimitReader(f, maxConfig))
		if err = errors.Join(err, f.Close()); err != nil {
			return docker.Credentials{}, err
		}
		auths := map[string]registryAuth{}
		into := any(&auths)
		if name != ".dockercfg" {
			into = &struct{ Auths *map[string]registryAuth }{&auths}
		}
		if err := json.Unmarshal(text, into); err != nil {
			return docker.Credentials{}, fmt.Errorf("read the fetched %s: %w", name, err)
		}
		c, err := forRegistry(auths, registryOf(image))
		if err != nil {
			return c, fmt.Errorf("read the fetched %s: %w", name, err)
		}
		return c, nil
	}
	return docker.Credentials{}, nil
}

// hub is Docker's own registry, which images without one belong to.
const hub = "index.docker.io"

func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" || host == "docker.io" {
		return hub
	}
	return host
}

// forRegistry finds the entry of a registry; keys are host names or, from older clients, URLs.
func forRegistry(auths map[string]registryAuth, registry string) (docker.Credentials, error) {
	for key, a := range auths {
		_, host, ok := strings.Cut(key, "://")
		if !ok {
			host = key
		}
		if host, _, _ = strings.Cut(host, "/"); host == "docker.io" {
			host = hub
		}
		if host != registry {
			continue
		}
		c := docker.Credentials{Server: key, IdentityToken: a.IdentityToken}
		plain, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			return c, fmt.Errorf("the entry of %s is not base64", registry)
		}
		c.Username, c.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		return c, nil
	}
	return docker.Credentials{}, nil
}
