package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// ImageExists says whether the image is on this machine.
func (c *Client) ImageExists(ctx context.Context, ref string) (bool, error) {
	_, err := c.api.ImageInspect(ctx, ref)
	switch {
	case IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for image %s: %w", ref, err)
	}
	return true, nil
}

// Credentials are what a registry asks for; zero: nothing.
type Credentials struct {
	Username, Password string
	IdentityToken      string // instead of a password
	Server             string
}

// Pull fetches an image from its registry; without a tag or digest, the tag "latest". It returns when the image is whole.
func (c *Client) Pull(ctx context.Context, ref string, as Credentials) error {
	var opts image.PullOptions
	if as != (Credentials{}) {
		auth, err := registry.EncodeAuthConfig(registry.AuthConfig{
			Username: as.Username, Password: as.Password, IdentityToken: as.IdentityToken, ServerAddress: as.Server,
		})
		if err != nil {
			return fmt.Errorf("pull image %s: %w", ref, err)
		}
		opts.RegistryAuth = auth
	}
	body, err := c.api.ImagePull(ctx, ref, opts)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	defer body.Close()
	if err := pullResult(body); err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}

// pullResult reads the progress stream to its end: the engine answers 200 first, and tells of failures inside the stream.
func pullResult(progress io.Reader) error {
	decoder := json.NewDecoder(progress)
	for {
		var line struct {
			Error string `json:"error"`
		}
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the progress: %w", err)
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}
